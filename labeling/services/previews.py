"""The first rows of an uploaded file and what would become of them. Reads only, and only the beginning of the file."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from genrm_engine.formats import guess_columns
from labeling.readers import CONTAINERS, Raw, TooLarge, open_file
from labeling.services.checking import Plan, outcome_of
from labeling.services.mapping import columns_of
from labeling.services.pairs import Rejected
from labeling.services.rows import Row, layout_of
from labeling.services.uploads import Draft

ROWS = 8
LOOKED_AT = 50
"""Rows by which columns and layout are known."""
LOOKED_INTO = 64 * 2**20
"""Bytes that are unpacked for it at most: somebody waits for the page, and a packed table is unpacked whole."""
CELL = 160
MOST_COLUMNS = 200
_HINT = 2_000
"""Characters of a cell that are looked at: a preview stays small whatever the rows hold."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A row as it stands in the file, and the pair that it becomes or the reason why not."""

    number: int
    cells: list[str]
    row: Row | None = None
    rejected: Rejected | None = None

    @property
    def asked(self) -> str:
        """The last message of the prompt."""
        return "" if self.row is None else self.row.prompt[-1]["content"][:_HINT]


@dataclass(slots=True)
class Preview:
    """What a file is, and its first rows. ``columns`` has those of nested objects too, ``shown`` has not."""

    container: str
    compression: str
    layout: str = ""
    columns: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    suggested: dict[str, str] = field(default_factory=dict)

    @property
    def undetected(self) -> bool:
        """The file has rows with columns, but in no layout that is known."""
        return not self.layout and bool(self.columns)


def preview(draft: Draft, plan: Plan) -> Preview:
    """Read the beginning of the file. Raises Unreadable where there is nothing to be read.

    Where too much would have to be unpacked for that, there are no rows to be seen; a worker may still import it.
    """
    raws: list[Raw] = []
    with draft.opened() as file:
        opened = open_file(file, draft.filename).within(LOOKED_INTO)
        container = CONTAINERS.get(opened.container, opened.container)
        try:
            raws.extend(raw for raw in islice(opened.rows, LOOKED_AT) if not _is_header(raw))
        except TooLarge:
            container += "" if raws else " (too large to be looked into before it is imported)"
    found = Preview(container, opened.compression)
    rows = [raw.row for raw in raws if raw.row is not None]
    found.layout = next((name for name in map(layout_of, rows) if name), "")
    shown = _names(rows, list)
    found.columns, found.shown = _names(rows, columns_of), shown
    found.suggested = guess_columns(found.columns)
    found.samples = [_sample(raw, shown, plan) for raw in raws[:ROWS]]
    return found


def _names(rows: list[dict[str, Any]], of: Callable[[dict[str, Any]], Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in of(row)))[:MOST_COLUMNS]


def _sample(raw: Raw, columns: list[str], plan: Plan) -> Sample:
    outcome, _weight = outcome_of(raw, plan)
    held: Mapping[str, Any] = raw.cells or raw.row or {}
    cells = [_cell(held.get(name)) for name in columns]
    if isinstance(outcome, Rejected):
        return Sample(raw.number, cells, rejected=outcome)
    return Sample(raw.number, cells, row=outcome)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= CELL else f"{text[:CELL]}…"


def _is_header(raw: Raw) -> bool:
    row: Mapping[str, Any] = raw.row or {}
    return raw.number == 1 and len(row) == 1 and isinstance(row.get("header"), dict)
