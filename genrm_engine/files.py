"""Reading labelled pairs from JSON Lines, plain or gzipped, and appending rows that survive a kill."""

import gzip
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from genrm_engine.errors import EngineError
from genrm_engine.types import LabelledPair, Pair


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file; a bad line is an EngineError that names it."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield _row(line, path, number)
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise EngineError(f"{path} cannot be read: {error}") from error


def read_pairs(path: Path) -> list[Pair]:
    return [Pair.from_json(_with_group(row)) for row in read_rows(path)]


def read_labelled(path: Path) -> list[LabelledPair]:
    """Pairs with ``choice`` (or, without one, ``gold``) a or b; ties and rows without a label are left out."""
    found = []
    for row in read_rows(path):
        choice = row.get("choice") or row.get("gold")
        if choice in ("a", "b"):
            found.append(LabelledPair.from_json({**_with_group(row), "choice": choice}))
    return found


def data_hash(rows: Sequence[LabelledPair]) -> str:
    """SHA-256 of the labelled pairs, independent of their order."""
    lines = sorted(json.dumps(row.to_json(), sort_keys=True) for row in rows)
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


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write the file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(path)


def _row(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise EngineError(f"{path}, line {number}: not JSON ({error})") from error
    if not isinstance(row, dict):
        raise EngineError(f"{path}, line {number}: not a JSON object")
    return row


def _with_group(row: dict[str, Any]) -> dict[str, Any]:
    if row.get("group"):
        return row
    meta = row.get("meta")
    return {**row, "group": str(meta.get("group_key") or "") if isinstance(meta, dict) else ""}


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
