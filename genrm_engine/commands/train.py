"""``train``: labelled pairs in, a judge out; a killed run goes on where it was."""

import argparse
import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from genrm_engine.backends.loading import needing_extra
from genrm_engine.commands.shared import (
    add_common,
    add_format,
    add_split,
    device_of,
    model_of,
    progress_of,
    rows_of,
    rubric_of,
)
from genrm_engine.errors import EngineError
from genrm_engine.formats import labelled_pairs
from genrm_engine.training.config import METHODS, TrainConfig
from genrm_engine.training.tracking import VARIABLE, Tracking


def run(options: argparse.Namespace) -> dict[str, Any]:
    row = config_row(options)
    config = TrainConfig.from_json(row)
    name = options.track_name or options.out.resolve().name
    tracking = Tracking.parse(options.track, name=name) if options.track else None
    progress = progress_of(options, options.out)
    with device_of(options, config.device, progress) as device:
        config = TrainConfig.from_json({**row, "device": device, "model": model_of(config.model, options)})
        rows = labelled_pairs(rows_of(options.train, options))
        older = labelled_pairs(rows_of(options.replay, options)) if options.replay else []
        with needing_extra("training"):
            import peft  # noqa: F401  # what is missing at the end of a run would cost the whole of it

            from genrm_engine.training.run import train
            from genrm_engine.training.trackers import tracked
        with tracked(tracking, config, options.out, progress):
            about = train(config, rows, options.out, progress=progress, older=older, splits=options.split or ())
    return {"judge": str(options.out / "judge"), **about}


def config_row(options: argparse.Namespace) -> dict[str, Any]:
    """The configuration file's fields, overridden by ``--set`` and by those given as options."""
    row: Any = {}
    if options.config is not None:
        try:
            row = json.loads(options.config.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise EngineError(f"{options.config} is not a readable JSON file: {error}") from error
        if not isinstance(row, dict):
            raise EngineError(f"{options.config} does not hold a JSON object")
    given = {name: getattr(options, name) for name in ("method", "model", "device", "threads")}
    row = {**row, **dict(_setting(text) for text in options.set or ())}
    given["rubric"] = options.rubric and rubric_of(options.rubric)
    return {**row, **{name: value for name, value in given.items() if value is not None}}


def _setting(text: str) -> tuple[str, Any]:
    """``name=value``: the value as JSON where it is, else as text."""
    name, sign, value = text.partition("=")
    if not sign:
        raise EngineError(f"--set wants NAME=VALUE, not {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def add(commands: Any) -> None:
    texts = "".join(f"  {item.name}: {item.metadata['help']}\n" for item in fields(TrainConfig))
    command = commands.add_parser(
        "train",
        help="train a judge on labelled pairs",
        description="Train a judge on labelled pairs.",
        epilog=f"fields of a configuration (--config, --set):\n{texts}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--config", type=Path, help="JSON file with the fields of a training configuration")
    command.add_argument("--set", action="append", metavar="NAME=VALUE", help="a field, over the configuration's")
    command.add_argument("--method", metavar="METHOD", help=f"one of {', '.join(METHODS)}")
    command.add_argument("--model", help="model to start from, over the configuration's")
    command.add_argument("--train", type=Path, required=True, help="labelled pairs")
    command.add_argument("--replay", type=Path, help="older labelled pairs, of which a share is mixed in")
    command.add_argument("--rubric", type=Path, help="file with guidelines shown to the judge, over the field's text")
    command.add_argument("--out", type=Path, required=True, help="folder of the run; the judge is OUT/judge")
    command.add_argument(
        "--track",
        default=os.environ.get(VARIABLE, ""),
        metavar="TRACKER:PLACE",
        help=f"also write the curves to tensorboard:FOLDER or mlflow:FOLDER-OR-ADDRESS (or set {VARIABLE})",
    )
    command.add_argument("--track-name", default="", metavar="NAME", help="the run's name there; none: that of OUT")
    command.set_defaults(run=run)
    for part in (add_split, add_format, add_common):
        part(command)
