"""``reproduce``: the paper's comparison of judges on given data, row by row."""

import argparse
from pathlib import Path
from typing import Any

from genrm_engine.commands.shared import add_common, device_of, model_of, progress_of
from genrm_engine.reproduction.presets import PRESETS, preset
from genrm_engine.starter import EMBEDDED


def run(options: argparse.Namespace) -> dict[str, Any]:
    chosen = preset(options.preset)
    work = options.work or options.out / "work"
    progress = progress_of(options, work)
    from genrm_engine.reproduction.rows import Place
    from genrm_engine.reproduction.run import reproduce, tables

    place = Place(
        options.data, options.out, work, {}, progress, options.device or "auto", options.threads, options.machine
    )
    if options.table_only:
        return tables(place, chosen)
    with device_of(options, place.device, progress) as device:
        models = {name: model_of(name, options) for name in EMBEDDED}
        place = Place(options.data, options.out, work, models, progress, device, options.threads, options.machine)
        return reproduce(place, chosen, only=options.rows or ())


def add(commands: Any) -> None:
    command = commands.add_parser("reproduce", help="run the paper's comparison of judges")
    command.add_argument("--preset", choices=sorted(PRESETS), required=True)
    command.add_argument("--data", type=Path, required=True, help="folder with the preset's data files")
    command.add_argument("--out", type=Path, required=True, help="folder for figures; finished rows are not run again")
    command.add_argument("--work", type=Path, help="folder for weights and judgements (OUT/work)")
    command.add_argument("--rows", nargs="+", metavar="ROW", help="only these rows; none: all")
    command.add_argument("--table-only", action="store_true", help="draw the table from the rows that are there")
    command.add_argument("--machine", default="", help="name of the machine, written beside the figures")
    command.set_defaults(run=run)
    add_common(command)
