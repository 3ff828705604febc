"""The rejected rows of an import as a file: in the form of the file they came from, with the reason beside each."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from labeling.models import ImportBatch, RejectedLine
from labeling.readers.delimited import REASON
from labeling.services.exports.spreadsheet import harmless

_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "tsv": "text/tab-separated-values; charset=utf-8",
    "json": "application/json",
    "jsonl": "application/x-ndjson",
}
_STEP = 500


@dataclass(frozen=True, slots=True)
class Download:
    """A file that is written while it is sent."""

    filename: str
    content_type: str
    parts: Iterator[str]


def download(batch: ImportBatch) -> Download:
    """CSV stays CSV, TSV stays TSV, a JSON list stays one; everything else comes as JSON Lines."""
    held = batch.format.rpartition(", ")[2] or "jsonl"
    kind = held if held in _TYPES else "jsonl"
    stem = PurePath(batch.filename).name.partition(".")[0] or "rows"
    lines = batch.rejected_lines.order_by("number", "pk")
    writer = {"csv": _table(lines, ","), "tsv": _table(lines, "\t"), "json": _list(lines), "jsonl": _lines(lines)}[kind]
    return Download(f"{stem}-rejected.{kind}", _TYPES[kind], writer)


def _lines(lines: Any) -> Iterator[str]:
    for line in lines.iterator(chunk_size=_STEP):
        yield json.dumps(_with_reason(line), ensure_ascii=False) + "\n"


def _list(lines: Any) -> Iterator[str]:
    yield "["
    for place, line in enumerate(lines.iterator(chunk_size=_STEP)):
        yield (",\n" if place else "\n") + json.dumps(_with_reason(line), ensure_ascii=False)
    yield "\n]\n"


def _table(lines: Any, separator: str) -> Iterator[str]:
    """The columns of all rejected rows in the order in which they come up, the reason last.

    Strangers may have written the cells, and a spreadsheet shall compute none of them.
    """
    columns: dict[str, None] = {}
    for line in lines.iterator(chunk_size=_STEP):
        columns.update(dict.fromkeys(_row(line)))
    columns.pop(REASON, None)
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=separator, lineterminator="\n")
    writer.writerow([*map(harmless, columns), REASON])
    for line in lines.iterator(chunk_size=_STEP):
        row = _row(line)
        writer.writerow([*(harmless(_cell(row.get(name))) for name in columns), harmless(line.reason)])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _with_reason(line: RejectedLine) -> dict[str, Any]:
    return {**_row(line), REASON: line.reason}


def _row(line: RejectedLine) -> dict[str, Any]:
    """The row, or what there was in its place where it could not be read as one."""
    try:
        row = json.loads(line.raw)
    except (ValueError, RecursionError):
        row = None
    return row if isinstance(row, dict) else {"row": line.raw or line.excerpt}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
