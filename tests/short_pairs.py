"""Labelled pairs of a few words: of two fruits people prefer the plum, which the small model soon learns."""

import json
import random
from typing import Any

from tests.engine.conftest import WORDS


def short_row(number: int, *, labelled: bool = True) -> dict[str, Any]:
    """A row of Tandem's own layout: a prompt of its own, the plum first in about half, one example label."""
    draw = random.Random(number)
    plum, pear = (" ".join(draw.choices(WORDS, k=4)) for _ in range(2))
    plum, pear = f"{plum} plum", f"{pear} pear"
    plum_first = draw.random() < 0.5
    label = {"annotator": "ada", "choice": "a" if plum_first else "b"}
    return {
        "id": f"short-{number}",
        "prompt": f"Say something, number {number}.",
        "response_a": plum if plum_first else pear,
        "response_b": pear if plum_first else plum,
        "labels": [label] if labelled else [],
    }


def as_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)
