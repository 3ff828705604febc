"""Labels on their way out: by people, by the judge (synthetic), their consensus, or both together.

`ask` checks what is wanted, `open_export` finds the rows, and its `pieces` are the bytes of the file. Nothing here
writes, and memory stays flat however many rows there are.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from labeling.errors import ExportRefused
from labeling.models import Deployment, Project
from labeling.services.exports import ndjson, parquet, spreadsheet
from labeling.services.exports.asked import BY_JUDGE, Asked, ask, ask_again
from labeling.services.exports.cursors import basis_of, next_cursor, read_cursor
from labeling.services.exports.fields import CHOICE, PART, Field, Row
from labeling.services.exports.shapes import Table, table_of
from labeling.services.exports.sources import Read, read, read_prompts
from labeling.services.judging import champion_of

__all__ = [
    "CONTENT_TYPES",
    "Asked",
    "Export",
    "ask",
    "ask_again",
    "deployment_of",
    "export",
    "open_export",
    "version_of",
]

CONTENT_TYPES = {
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Export:
    """Rows that are about to leave, once. What was read is counted by choice and part, and what has left."""

    asked: Asked
    deployment: Deployment | None
    cursor: str
    table: Table
    rows: Read
    read: Counter[tuple[str, str]] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)

    @property
    def fields(self) -> tuple[Field, ...]:
        return self.table.fields

    @property
    def written(self) -> int:
        """How many rows have left so far."""
        return self.left["rows"]

    def chunks(self) -> Iterator[list[Row]]:
        """The rows in their form, a chunk at a time."""
        with closing(self.rows.chunks) as chunks:  # type: ignore[type-var]
            for chunk in chunks:
                self.read.update((row[CHOICE], row[PART]) for row in chunk)
                rows = list(self.table.rows(chunk))
                self.left["rows"] += len(rows)
                yield rows

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the file, a piece at a time."""
        if self.asked.format == "csv":
            return spreadsheet.pieces(self.fields, self.chunks())
        if self.asked.format == "parquet":
            return parquet.pieces(self.fields, self.chunks())
        return self._lines()

    def _lines(self) -> Iterator[bytes]:
        encode = ndjson.encoder(self.fields)
        for chunk in self.chunks():
            yield encode(chunk)


def open_export(project: Project, asked: Asked) -> Export:
    """Find the rows that were asked for; they are read as `pieces` are taken.

    Raises ExportRefused for a version that is none of the project's and a cursor that does not fit.
    """
    deployment = deployment_of(project, asked)
    cursor, basis = read_cursor(asked), basis_of(project, asked, deployment)
    following = next_cursor(project, asked, basis=basis)
    if asked.shape == "prompt":
        rows = read_prompts(project, asked, deployment)
    else:
        rows = read(project, asked, deployment, since=cursor.changed_since(basis) if cursor else None)
    return Export(asked, deployment, following, table_of(asked, rows.provenance), rows)


def deployment_of(project: Project, asked: Asked) -> Deployment | None:
    """Whose judgements are asked for: the version that was named, by name or number, else the champion's."""
    if asked.source not in BY_JUDGE:
        return None
    return version_of(project, asked.judge) if asked.judge else champion_of(project)


def version_of(project: Project, judge: str) -> Deployment:
    """The version of this name or number. Raises ExportRefused."""
    own = Deployment.objects.select_related("judge").filter(project=project)
    found = own.filter(judge__name=judge).first()
    if found is None and judge.isascii() and judge.isdigit():
        found = own.filter(judge=int(judge)).first() if len(judge) < 19 else None
    if found is None:
        raise ExportRefused("judge", f"the project has no version {judge!r}")
    return found


def export(project: Project, **options: Any) -> Iterator[dict[str, Any]]:
    """The rows as objects, as they would leave as NDJSON."""
    for piece in open_export(project, ask(**options)).pieces():
        for line in piece.split(b"\n"):
            if line:
                yield json.loads(line)
