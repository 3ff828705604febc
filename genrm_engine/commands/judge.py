"""``judge``: pairs in, judgements out; an unfinished file is continued."""

import argparse
import time
from pathlib import Path
from typing import Any

from genrm_engine.commands.shared import add_common, add_format, add_judging, judge_of, progress_of, settings_of
from genrm_engine.errors import EngineError
from genrm_engine.evaluation.resuming import same_judging
from genrm_engine.evaluation.run import judge_file
from genrm_engine.formats import read_pairs


def run(options: argparse.Namespace) -> dict[str, Any]:
    progress = progress_of(options, options.out.parent / f"{options.out.name}.progress")
    pairs = read_pairs(options.input, format=options.format)
    if not pairs:
        raise EngineError(f"{options.input} has no row")
    settings = settings_of(options)
    started = time.monotonic()
    with judge_of(options, progress) as (backend, judge):
        same_judging(progress.file.parent, settings, judge, {options.out: pairs})
        found = judge_file(pairs, backend=backend, settings=settings, file=options.out, progress=progress)
    seconds = time.monotonic() - started
    return {
        "out": str(options.out),
        "pairs": len(found),
        "refused": len(pairs) - len(found),
        "seconds": round(seconds, 2),
    }


def add(commands: Any) -> None:
    command = commands.add_parser("judge", help="judge pairs")
    command.add_argument("--in", dest="input", type=Path, required=True, help="pairs")
    command.add_argument(
        "--out", type=Path, required=True, help="file for the judgements, JSON Lines; an unfinished one is continued"
    )
    command.set_defaults(run=run)
    for part in (add_judging, add_format, add_common):
        part(command)
