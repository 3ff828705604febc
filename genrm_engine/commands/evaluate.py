"""``evaluate``: a judge measured on labelled files; an unfinished measurement is continued."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genrm_engine.commands.shared import add_common, add_format, add_judging, backend_of, progress_of, settings_of
from genrm_engine.errors import EngineError
from genrm_engine.evaluation.alternative_annotator import EPSILONS
from genrm_engine.evaluation.run import evaluate_file, evaluate_sets, read_gold
from genrm_engine.formats import DataRow, read_data, read_labelled


def run(options: argparse.Namespace) -> dict[str, Any]:
    progress = progress_of(options, options.out)
    settings = settings_of(options)
    if options.plain:
        [path] = options.data if len(options.data) == 1 else _one_only(options.data)
        rows = read_labelled(path, format=options.format)
        with backend_of(options, progress) as backend:
            return evaluate_file(
                rows, backend=backend, settings=settings, out=options.out, progress=progress, gold=read_gold(path)
            )
    sets = _sets(options)
    calibration = read_data(options.calibration, format=options.format) if options.calibration else ()
    with backend_of(options, progress) as backend:
        return evaluate_sets(
            sets,
            backend=backend,
            settings=settings,
            out=options.out,
            progress=progress,
            calibration=calibration,
            epsilon=options.epsilon,
            judge_name=options.model,
        )


def _sets(options: argparse.Namespace) -> dict[str, list[DataRow]]:
    """The rows of each file by its name; of some splits only, where ``--split`` names them."""
    found: dict[str, list[DataRow]] = {}
    for path in options.data:
        name = path.name.split(".")[0]
        if name in found:
            raise EngineError(f"two data files are named {name}: a set is named by its file")
        rows = read_data(path, format=options.format)
        found[name] = [row for row in rows if not options.split or row.split in options.split]
        if not found[name]:
            raise EngineError(f"{path} has no row of the split {', '.join(options.split)}")
    return found


def _one_only(paths: Sequence[Path]) -> Sequence[Path]:
    raise EngineError(f"--plain measures one data file, not {len(paths)}")


def add(commands: Any) -> None:
    command = commands.add_parser("evaluate", help="measure a judge on labelled pairs")
    command.add_argument("--data", type=Path, nargs="+", required=True, help="labelled pairs; each file is a set")
    command.add_argument("--split", nargs="+", help="only rows of these splits (meta.split)")
    command.add_argument("--calibration", type=Path, help="other labelled pairs to fit the calibration on")
    command.add_argument(
        "--epsilon",
        type=float,
        default=EPSILONS["skilled"],
        help="advantage of a human in the alternative annotator test: "
        + ", ".join(f"{value} {who}" for who, value in EPSILONS.items()),
    )
    command.add_argument("--plain", action="store_true", help="judgements and headline figures of one file only")
    command.add_argument("--out", type=Path, required=True, help="folder for judgements, figures, table and plots")
    command.set_defaults(run=run)
    for part in (add_judging, add_format, add_common):
        part(command)
