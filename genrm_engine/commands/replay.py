"""``replay``: what sequential voting and cascades would have saved, and cost, on recorded samples; needs no model."""

import argparse
import json
from pathlib import Path
from typing import Any

from genrm_engine.commands.shared import add_format, judgements_of, tell
from genrm_engine.formats import read_labelled, refuse_collisions
from genrm_engine.replay import replay, to_markdown


def run(options: argparse.Namespace) -> dict[str, Any]:
    labelled = [row for path in options.data for row in read_labelled(path, format=options.format)]
    refuse_collisions(labelled)
    rows = replay(
        judgements_of(options.full),
        {row.pair.id: row.choice for row in labelled},
        {row.pair.id: row.pair.group for row in labelled},
        scores=judgements_of(options.scores) if options.scores else (),
    )
    summary = {"rows": [row.to_json() for row in rows]}
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    if not options.json:
        tell(to_markdown(rows))
    return summary


def add(commands: Any) -> None:
    command = commands.add_parser("replay", help="evaluate sequential voting and cascades on recorded samples")
    command.add_argument("--full", type=Path, required=True, help="judgements with all their samples (cot), JSON Lines")
    command.add_argument("--scores", type=Path, help="judgements of the same judge by score, for cascades")
    command.add_argument("--data", type=Path, nargs="+", required=True, help="labelled pairs")
    command.add_argument("--out", type=Path, help="file for the figures, JSON")
    command.add_argument("--json", action="store_true", help="the last line of output is JSON")
    command.set_defaults(run=run)
    add_format(command)
