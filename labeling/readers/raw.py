"""A row as a file holds it, before anything is known of what it means."""

import json
from dataclasses import dataclass
from typing import Any

LONGEST_ROW = 8 * 1024 * 1024
"""Bytes of one row; what is longer is rejected and passed over, so that memory stays small."""


class Unreadable(Exception):
    """The file as a whole cannot be read; the message says why."""


class TooLarge(Unreadable):
    """The file unpacks to more than whoever reads it wants to take."""


@dataclass(slots=True)
class Bound:
    """How much may come out of a packed file: a few kilobytes of zeros, compressed, unpack to gigabytes."""

    most: int | None = None
    read: int = 0

    def add(self, size: int) -> None:
        """Count what came out. Raises TooLarge where it is more than may."""
        self.read += size
        if self.most is not None and self.read > self.most:
            shown = f"{self.most / 2**30:.3g} GiB" if self.most >= 2**30 else f"{self.most / 2**20:.3g} MiB"
            raise TooLarge(f"Unpacked, the file holds more than {shown}, which is the most that is read.")


@dataclass(frozen=True, slots=True)
class Raw:
    """A row with its number in the file; ``row`` is None where it cannot be read, and ``reason`` says why.

    Lines of JSON Lines are counted as an editor does, rows of a table as a spreadsheet does (the header is row 1),
    entries of a list and rows of Parquet from 1. ``line`` holds the bytes of a line that was read as one, ``cells`` the
    row of a table as it stands there, with its empty cells.
    """

    number: int
    row: dict[str, Any] | None
    reason: str = ""
    field: str = ""
    line: bytes | None = None
    cells: dict[str, str] | None = None


def as_text(raw: Raw) -> str:
    """The row as it can be kept and shown: its own line, else its content as JSON."""
    if raw.line is not None:
        text = raw.line.decode("utf-8", errors="replace").strip()
    else:
        row = raw.row if raw.cells is None else raw.cells
        text = "" if row is None else json.dumps(row, ensure_ascii=False, default=str)
    return storable(text)


def storable(text: str) -> str:
    """The text as every database and every page takes it: no NUL, no half characters."""
    return text.encode("utf-8", errors="replace").decode().replace("\x00", "�")
