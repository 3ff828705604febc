"""Finding out what a file is, by its content first and its name second, and reading its rows."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import BinaryIO, cast

from labeling.readers.compression import DAMAGED, unpacked
from labeling.readers.delimited import SEPARATORS, delimited
from labeling.readers.encodings import BOM, wide_encoding
from labeling.readers.jsons import json_entries, json_lines
from labeling.readers.raw import Raw, Unreadable
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
    "parquet": parquet_rows,
    "arrow": arrow_rows,
}
_SEEKING = ("parquet", "arrow")
_HEAD = 1 << 16


@dataclass(frozen=True, slots=True)
class Opened:
    """An opened file: what it is, its rows one at a time, and how many of its bytes have been read."""

    container: str
    compression: str
    rows: Iterator[Raw]
    position: Callable[[], int]


def open_file(file: BinaryIO, filename: str) -> Opened:
    """The rows of a file. Raises Unreadable where it is no text and no table, and while reading where it is damaged."""
    try:
        stream, compression = unpacked(file)
        head = stream.read(_HEAD)
    except DAMAGED as error:
        raise Unreadable(f"The compressed file is damaged: {error}") from None
    container = container_of(head, filename)
    stream, _ = unpacked(file)
    if container in _SEEKING and compression:
        stream = _on_disk(stream)
    return Opened(container, compression, _guarded(_READERS[container](stream), compression), file.tell)


def container_of(head: bytes, filename: str) -> str:
    """One of CONTAINERS. Raises Unreadable for what cannot be a file of rows."""
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
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


def _on_disk(stream: BinaryIO) -> BinaryIO:
    """Tables are read by jumping about, which a compressed stream does not allow."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as its rows are read
    try:
        shutil.copyfileobj(stream, file, 1 << 20)
    except DAMAGED as error:
        raise Unreadable(f"The compressed file is damaged: {error}") from None
    file.seek(0)
    return cast(BinaryIO, file)


def _guarded(rows: Iterator[Raw], compression: str) -> Iterator[Raw]:
    number = 0
    try:
        for raw in rows:
            number = raw.number
            yield raw
    except DAMAGED as error:
        what = "compressed file" if compression else "file"
        raise Unreadable(f"The {what} is damaged after line {number}: {error}") from None
