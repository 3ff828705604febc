"""Finding out what a file is, by its content first and its name second, and reading its rows."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import BinaryIO, Self, cast

from labeling.readers.compression import ARROW, DAMAGED, PARQUET, unpacked
from labeling.readers.delimited import SEPARATORS, delimited
from labeling.readers.encodings import BOM, wide_encoding
from labeling.readers.jsons import json_entries, json_lines
from labeling.readers.raw import Bound, Raw, TooLarge, Unreadable
from labeling.readers.tables import arrow_rows, parquet_rows

CONTAINERS = {
    "jsonl": "JSON Lines",
    "json": "JSON list",
    "csv": "CSV",
    "tsv": "TSV",
    "parquet": "Parquet",
    "arrow": "Arrow",
}
_READERS: dict[str, Callable[[BinaryIO], Iterator[Raw]]] = {
    "jsonl": json_lines,
    "json": json_entries,
    "csv": delimited,
    "tsv": delimited,
}
_TABLES: dict[str, Callable[[BinaryIO, Bound], Iterator[Raw]]] = {"parquet": parquet_rows, "arrow": arrow_rows}
_HEAD = 1 << 16


@dataclass(frozen=True, slots=True)
class Opened:
    """An opened file: what it is, its rows one at a time, and how many of its bytes have been read."""

    container: str
    compression: str
    rows: Iterator[Raw]
    position: Callable[[], int]
    bound: Bound = field(default_factory=Bound)

    def within(self, most: int) -> Self:
        """The same; reading raises TooLarge when more than so many bytes have been unpacked."""
        self.bound.most = most
        return self


def open_file(file: BinaryIO, filename: str, bound: Bound | None = None) -> Opened:
    """The rows of a file. Raises Unreadable where it is no text and no table, and while reading where it is damaged.

    Only its beginning is unpacked until its rows are read.
    """
    bound = bound or Bound()
    try:
        stream, compression = unpacked(file, Bound())
        head = stream.read(_HEAD)
    except DAMAGED as error:
        raise Unreadable(f"The compressed file is damaged: {error}") from None
    container = container_of(head, filename)
    stream, _ = unpacked(file, bound)
    rows = _table(container, stream, compression, bound) if container in _TABLES else _READERS[container](stream)
    return Opened(container, compression, _guarded(rows, compression), file.tell, bound)


def holds_at_most(file: BinaryIO, filename: str, most: int) -> bool:
    """Whether the file unpacks to no more than so many bytes; a damaged one does as far as it can be read."""
    try:
        for _raw in open_file(file, filename).within(most).rows:
            pass
    except TooLarge:
        return False
    except Unreadable:
        return True
    finally:
        file.seek(0)
    return True


def container_of(head: bytes, filename: str) -> str:
    """One of CONTAINERS. Raises Unreadable for what cannot be a file of rows."""
    if head.startswith(PARQUET):
        return "parquet"
    if head.startswith(ARROW):
        return "arrow"
    if encoding := wide_encoding(head):
        raise Unreadable(f"The file is {encoding} text. Save it as UTF-8 and import it again.")
    text = head.removeprefix(BOM).lstrip()
    if not text:
        raise Unreadable("The file has no lines.")
    ending = _ending(filename)
    if ending in ("csv", "tsv"):
        return ending
    if text.startswith(b"["):
        return "jsonl" if _lists_in_lines(text) else "json"
    if text.startswith(b"{") or ending in ("jsonl", "ndjson", "json"):
        return "jsonl"
    header = text.splitlines()[0]
    separated = any(each.encode() in header for each in SEPARATORS)
    return ("tsv" if b"\t" in header else "csv") if separated and b"\x00" not in head else "jsonl"


def _ending(filename: str) -> str:
    names = [part.lower().lstrip(".") for part in PurePath(filename).suffixes]
    return next((name for name in reversed(names) if name not in ("gz", "gzip", "zst", "zstd")), "")


def _lists_in_lines(text: bytes) -> bool:
    """Whether the first line is a complete value with another line after it: JSON Lines that begin with a list."""
    first, _, rest = text.partition(b"\n")
    if not rest.strip():
        return False
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return True


def _table(container: str, stream: BinaryIO, compression: str, bound: Bound) -> Iterator[Raw]:
    """Tables are read by jumping about, which a compressed stream does not allow: it is unpacked to disk first."""
    if not compression:
        yield from _TABLES[container](stream, bound)
        return
    with tempfile.TemporaryFile() as file:
        try:
            shutil.copyfileobj(stream, file, 1 << 20)
        except DAMAGED as error:
            raise Unreadable(f"The compressed file is damaged: {error}") from None
        file.seek(0)
        bound.read = 0  # what counts from here on is what the table itself unpacks to
        yield from _TABLES[container](cast(BinaryIO, file), bound)


def _guarded(rows: Iterator[Raw], compression: str) -> Iterator[Raw]:
    number = 0
    try:
        for raw in rows:
            number = raw.number
            yield raw
    except DAMAGED as error:
        what = "compressed file" if compression else "file"
        raise Unreadable(f"The {what} is damaged after line {number}: {error}") from None
