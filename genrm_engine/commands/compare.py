"""``compare``: the paired test of two judges on the pairs that both have judged; needs no model."""

import argparse
from pathlib import Path
from typing import Any

from genrm_engine.commands.shared import add_format, judgements_of, tell
from genrm_engine.evaluation.compare import Difference, compare
from genrm_engine.files import write_json
from genrm_engine.formats import read_labelled


def run(options: argparse.Namespace) -> dict[str, Any]:
    rows = [row for path in options.data for row in read_labelled(path, format=options.format)]
    found = compare(judgements_of(options.first), judgements_of(options.second), rows)
    summary = found.to_json()
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.out, summary)
    if not options.json:
        for name in ("accuracy", "consistency", "nll", "accuracy_shorter", "accuracy_longer"):
            _say(name, getattr(found, name))
        tell(f"exact McNemar test: p = {found.mcnemar_p:.4f}, {found.n} pairs, {found.groups} groups")
    return summary


def _say(name: str, found: Difference | None) -> None:
    if found is not None:
        tell(
            f"{name}: {found.first:.3f} against {found.second:.3f}, "
            f"difference {found.difference:+.3f} ({found.low:+.3f} to {found.high:+.3f}), n = {found.n}"
        )


def add(commands: Any) -> None:
    command = commands.add_parser("compare", help="compare two judges on the same labelled pairs")
    command.add_argument("--first", type=Path, required=True, help="judgements of the first judge, JSON Lines")
    command.add_argument("--second", type=Path, required=True, help="judgements of the second judge")
    command.add_argument("--data", type=Path, nargs="+", required=True, help="labelled pairs")
    command.add_argument("--out", type=Path, help="file for the figures, JSON")
    command.add_argument("--json", action="store_true", help="the last line of output is JSON")
    command.set_defaults(run=run)
    add_format(command)
