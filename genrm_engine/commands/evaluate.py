"""``evaluate``: a judge measured on labelled files; an unfinished measurement is continued."""

import argparse
import re
from pathlib import Path
from typing import Any

from genrm_engine.commands.shared import (
    add_common,
    add_format,
    add_judging,
    add_split,
    judge_of,
    progress_of,
    rows_of,
    settings_of,
)
from genrm_engine.errors import EngineError
from genrm_engine.evaluation.alternative_annotator import EPSILONS
from genrm_engine.evaluation.run import evaluate_file, evaluate_sets, read_gold, set_name
from genrm_engine.formats import DataRow, labelled_pairs, read_data


def run(options: argparse.Namespace) -> dict[str, Any]:
    progress = progress_of(options, options.out)
    settings = settings_of(options)
    if options.plain:
        path = _plain(options)
        rows, gold = labelled_pairs(rows_of(path, options)), read_gold(path)
        with judge_of(options, progress) as (backend, judge):
            return evaluate_file(
                rows,
                backend=backend,
                settings=settings,
                out=options.out,
                progress=progress,
                gold=gold,
                judge=judge,
            )
    sets = _sets(options)
    calibration = read_data(options.calibration, format=options.format) if options.calibration else ()
    if options.calibration and not labelled_pairs(calibration):
        raise EngineError(f"{options.calibration} has no row with a choice to fit the calibration on")
    with judge_of(options, progress) as (backend, judge):
        return evaluate_sets(
            sets,
            backend=backend,
            settings=settings,
            out=options.out,
            progress=progress,
            calibration=calibration,
            epsilon=EPSILONS["skilled"] if options.epsilon is None else options.epsilon,
            judge=judge,
        )


def _sets(options: argparse.Namespace) -> dict[str, list[DataRow]]:
    """The rows of each file by its name, of which other characters than a set's name may have become dashes."""
    found: dict[str, list[DataRow]] = {}
    for path in options.data:
        plain = re.sub(r"[^\w-]", "-", path.name.split(".")[0]).lstrip("-")
        name = set_name(plain, calibrated=options.calibration is not None)
        if name in found:
            raise EngineError(f"two data files are named {name}: a set is named by its file")
        found[name] = rows_of(path, options)
    return found


def _plain(options: argparse.Namespace) -> Path:
    """The one file that ``--plain`` measures. Raises EngineError for more, and for options without effect there."""
    for name in ("calibration", "epsilon"):
        if getattr(options, name) is not None:
            raise EngineError(f"--{name} does not apply with --plain")
    if len(options.data) != 1:
        raise EngineError(f"--plain measures one data file, not {len(options.data)}")
    path: Path = options.data[0]
    return path


def add(commands: Any) -> None:
    command = commands.add_parser("evaluate", help="measure a judge on labelled pairs")
    command.add_argument("--data", type=Path, nargs="+", required=True, help="labelled pairs; each file is a set")
    command.add_argument("--calibration", type=Path, help="other labelled pairs to fit the calibration on")
    command.add_argument(
        "--epsilon",
        type=float,
        help="advantage of a human in the alternative annotator test: "
        + ", ".join(f"{value} {who}" for who, value in EPSILONS.items())
        + "; none: that of the skilled",
    )
    command.add_argument("--plain", action="store_true", help="judgements and headline figures of one file only")
    command.add_argument("--out", type=Path, required=True, help="folder for judgements, figures, table and plots")
    command.set_defaults(run=run)
    for part in (add_split, add_judging, add_format, add_common):
        part(command)
