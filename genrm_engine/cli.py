"""The engine's command line; knows exit codes, not what the commands do.

Exit codes: 0 done, 1 a fault of the program, 2 a failure that will not pass (bad input, missing model), 3 cancelled, 75
a failure that may pass.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from genrm_engine.commands import compare, evaluate, judge, replay, reproduce, train
from genrm_engine.commands.shared import tell
from genrm_engine.errors import EXIT_CANCELLED, EXIT_FAILED, EXIT_FOR_NOW, Cancelled, EngineError

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code. With ``--json`` the last line of output is the command's summary."""
    options = _parser().parse_args(arguments)
    for name, value in OFFLINE.items():
        os.environ.setdefault(name, value)
    try:
        summary = options.run(options)
    except Cancelled:
        stopped = options.cancel_file.exists()
        tell(f"cancelled; remove {options.cancel_file} to go on with the run" if stopped else "cancelled")
        return EXIT_CANCELLED
    except EngineError as error:
        tell(f"error: {error}")
        return EXIT_FAILED if error.permanent else EXIT_FOR_NOW
    except OSError as error:
        tell(f"error: {error}")
        return EXIT_FOR_NOW
    if options.json and os.environ.get("RANK", "0") == "0":
        sys.stdout.write(json.dumps(summary, ensure_ascii=False) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m genrm_engine", description="Generative reward models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (judge, train, evaluate, compare, replay, reproduce):
        command.add(commands)
    return parser
