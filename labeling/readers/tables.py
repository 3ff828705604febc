"""Parquet and Arrow files, a few rows at a time. Loads Arrow only when such a file is read."""

import math
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, BinaryIO

from labeling.readers.encodings import why_not_utf8
from labeling.readers.raw import Bound, Raw, Unreadable

_ROWS = 200


def parquet_rows(file: BinaryIO, bound: Bound) -> Iterator[Raw]:
    """The rows of a Parquet file, with no more of it in memory than what is being read."""
    from pyarrow import ArrowException, parquet

    try:
        opened = parquet.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
        yield from _numbered(opened.schema_arrow, opened.iter_batches(batch_size=_ROWS), bound)
    except (ArrowException, OSError) as error:
        raise Unreadable(f"The Parquet file is damaged: {_first_line(error)}") from None


def arrow_rows(file: BinaryIO, bound: Bound) -> Iterator[Raw]:
    """The rows of an Arrow stream (as `datasets` saves them) or of an Arrow file."""
    from pyarrow import ArrowException, ipc

    magic = file.read(6)
    file.seek(0)
    try:
        if magic == b"ARROW1":
            whole = ipc.open_file(file)
            yield from _numbered(whole.schema, map(whole.get_batch, range(whole.num_record_batches)), bound)
        else:
            stream = ipc.open_stream(file)
            yield from _numbered(stream.schema, stream, bound)
    except (ArrowException, OSError, EOFError) as error:
        raise Unreadable(f"The Arrow file is damaged: {_first_line(error)}") from None


def _numbered(schema: Any, batches: Iterator[Any], bound: Bound) -> Iterator[Raw]:
    for name in schema.names:
        if schema.names.count(name) > 1:
            raise Unreadable(f"Two columns are called {name!r}.")
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS):
            some = batch.slice(start, _ROWS)
            bound.add(some.nbytes)
            for row in _rows(some):
                number += 1
                yield Raw(number, None, row) if isinstance(row, str) else Raw(number, row)


def _rows(batch: Any) -> Iterator[dict[str, Any] | str]:
    """Rows as plain values, or why one is none: text need not be UTF-8, nor a date one that Python has."""
    try:
        rows = batch.to_pylist(maps_as_pydicts="strict")
    except (ValueError, OverflowError, KeyError, TypeError) as error:
        if batch.num_rows == 1:
            what = "not UTF-8" if isinstance(error, UnicodeDecodeError) else "cannot be read"
            yield f"{what}: {_first_line(error)}"
            return
        for place in range(batch.num_rows):
            yield from _rows(batch.slice(place, 1))
        return
    for row in rows:
        yield _plain_row(row)


def _plain_row(row: dict[str, Any]) -> dict[str, Any] | str:
    found: dict[str, Any] = {}
    for name, value in row.items():
        try:
            found[name] = plain(value)
        except UnicodeDecodeError as error:
            return f"{name}: {why_not_utf8(error.object, error.start)}"
    return found


def plain(value: Any) -> Any:
    """The value as JSON has it: dates and bytes as text, maps as objects, what is no number as none."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, dict):
        return {str(plain(name)): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, date | datetime):
        return value.isoformat()
    return str(value)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
