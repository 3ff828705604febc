"""Reading rows of JSON, plain or gzipped, and appending rows that survive a kill; does not know what a row means."""

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO

from genrm_engine.errors import EngineError
from genrm_engine.types import LabelledPair


class Place(NamedTuple):
    """Where a row stands: a line of JSON Lines, or an entry of a JSON list, from 1."""

    unit: Literal["line", "entry"]
    number: int

    def __str__(self) -> str:
        return f"{self.unit} {self.number}"


def placed_rows(path: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    """The JSON objects of a file and where they stand: JSON Lines or one JSON list, plain or gzipped.

    JSON Lines are read one at a time, a list whole. A bad line or entry is an EngineError that names it.
    """
    try:
        with _opened(path) as stream:
            written = ((number, line) for number, line in enumerate(stream, start=1) if line.strip())
            number, line = next(written, (0, ""))
            if line.lstrip().startswith("["):
                yield from _entries(line + stream.read(), path)
                return
            while line:
                yield Place("line", number), _row(line, path, Place("line", number))
                number, line = next(written, (0, ""))
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        raise EngineError(f"{path} cannot be read: {error}") from error


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file; a bad line is an EngineError that names it."""
    return (row for _, row in placed_rows(path))


def data_hash(rows: Sequence[LabelledPair]) -> str:
    """SHA-256 of the labelled pairs, independent of their order."""
    return rows_hash(row.to_json() for row in rows)


def rows_hash(rows: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 of the rows, independent of their order."""
    lines = sorted(json.dumps(row, sort_keys=True) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add one line and hand it to the system, so that a killed process loses at most the line it was writing."""
    with path.open("ab") as stream:
        if stream.tell() and not _ends_with_newline(path):
            stream.write(b"\n")
        stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def read_appended(path: Path) -> list[dict[str, Any]]:
    """The complete rows of a file that ``append_row`` wrote; a torn line is passed over."""
    if not path.exists():
        return []
    found = []
    for line in path.read_bytes().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def write_json(path: Path, value: Mapping[str, Any], *, compact: bool = False) -> None:
    """Write the file whole or not at all; ``compact`` on one line, for files that nobody reads by eye."""
    part = path.with_name(path.name + ".part")
    text = json.dumps(value, indent=None if compact else 2, ensure_ascii=False)
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(path)


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """The file as text; gzip is known by its first two bytes, so that its name does not matter."""
    with path.open("rb") as raw:
        zipped = raw.peek(2)[:2] == b"\x1f\x8b"
        with TextIOWrapper(gzip.GzipFile(fileobj=raw) if zipped else raw, encoding="utf-8-sig") as stream:
            yield stream


def _entries(text: str, path: Path) -> Iterator[tuple[Place, dict[str, Any]]]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise EngineError(f"{path}: not a JSON list ({error})") from error
    for number, value in enumerate(values, start=1):
        yield Place("entry", number), _object(value, path, Place("entry", number))


def _row(line: str, path: Path, place: Place) -> dict[str, Any]:
    try:
        return _object(json.loads(line), path, place)
    except ValueError as error:
        raise EngineError(f"{path}, {place}: not JSON ({error})") from error


def _object(value: object, path: Path, place: Place) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise EngineError(f"{path}, {place}: not a JSON object")
    return value


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
