"""Rows as CSV, safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from labeling.services.exports import ndjson
from labeling.services.exports.fields import Field, Row

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A text cell that begins so would be computed by a spreadsheet: an apostrophe before it keeps it text.

A text that has apostrophes there already gets one more, so that whoever takes one away has every text as it was.
"""


def pieces(fields: tuple[Field, ...], chunks: Iterable[Iterable[Row]]) -> Iterator[bytes]:
    """The header, then the rows of each chunk. JSON columns hold their JSON, empty cells stand for none."""
    cells = [_cell(field) for field in fields]
    yield _lines([[field.path for field in fields]])
    for chunk in chunks:
        yield _lines([cell(value) for cell, value in zip(cells, row, strict=True)] for row in chunk)


def harmless(text: str) -> str:
    return f"'{text}" if text.lstrip("'").startswith(FORMULA) else text


def _lines(rows: Iterable[list[Any]]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue().encode()


def _cell(field: Field) -> Callable[[Any], Any]:
    kinds: dict[str, Callable[[Any], Any]] = {
        "text": harmless,
        "whole": int.__repr__,
        "number": float.__repr__,
        "truth": lambda value: "true" if value else "false",
        "time": lambda value: value.isoformat(),
        "json": ndjson.plain,
        "messages": ndjson.plain,
        "reply": ndjson.reply,
    }
    write = kinds[field.kind]
    return lambda value: "" if value is None else write(value)
