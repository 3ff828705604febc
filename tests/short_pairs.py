"""Labelled pairs of a few words, of which one carries ``[good]``: the small model learns them in a minute or two."""

import json
import random
from typing import Any

from tests.engine.conftest import WORDS


def short_row(number: int, *, labelled: bool = True) -> dict[str, Any]:
    """A row of Tandem's own layout: a prompt of its own, the good response first in about half, one example label."""
    draw = random.Random(number)
    good, bad = (" ".join(draw.choices(WORDS, k=4)) for _ in range(2))
    good_first = draw.random() < 0.5
    first, second = (f"{good} [good]", f"{bad} [bad]") if good_first else (f"{bad} [bad]", f"{good} [good]")
    label = {"annotator": "ada", "choice": "a" if good_first else "b"}
    return {
        "id": f"short-{number}",
        "prompt": f"Say something, number {number}.",
        "response_a": first,
        "response_b": second,
        "labels": [label] if labelled else [],
    }


def as_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(row)}\n" for row in rows)
