"""Parquet and Arrow files, a few rows at a time. Loads Arrow only when such a file is read."""

import math
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, BinaryIO

from labeling.readers.raw import Raw, Unreadable

_ROWS = 200


def parquet_rows(file: BinaryIO) -> Iterator[Raw]:
    """The rows of a Parquet file, with no more of it in memory than what is being read."""
    from pyarrow import ArrowException, parquet

    try:
        opened = parquet.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
        yield from _numbered(opened.iter_batches(batch_size=_ROWS))
    except (ArrowException, OSError) as error:
        raise Unreadable(f"The Parquet file is damaged: {_first_line(error)}") from None


def arrow_rows(file: BinaryIO) -> Iterator[Raw]:
    """The rows of an Arrow stream (as `datasets` saves them) or of an Arrow file."""
    from pyarrow import ArrowException, ipc

    magic = file.read(6)
    file.seek(0)
    try:
        if magic == b"ARROW1":
            whole = ipc.open_file(file)
            yield from _numbered(whole.get_batch(place) for place in range(whole.num_record_batches))
        else:
            yield from _numbered(ipc.open_stream(file))
    except (ArrowException, OSError, EOFError) as error:
        raise Unreadable(f"The Arrow file is damaged: {_first_line(error)}") from None


def _numbered(batches: Iterator[Any]) -> Iterator[Raw]:
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS):
            for row in _rows(batch.slice(start, _ROWS)):
                number += 1
                yield Raw(number, None, row) if isinstance(row, str) else Raw(number, row)


def _rows(batch: Any) -> Iterator[dict[str, Any] | str]:
    """Rows as plain values, or why one is none: text in a file need not be UTF-8."""
    try:
        rows = batch.to_pylist()
    except ValueError as error:
        if batch.num_rows == 1:
            yield f"not UTF-8: {_first_line(error)}"
            return
        for place in range(batch.num_rows):
            yield from _rows(batch.slice(place, 1))
        return
    for row in rows:
        yield {name: plain(value) for name, value in row.items()}


def plain(value: Any) -> Any:
    """The value as JSON has it: dates as text, maps as objects, what is no number as none."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, date | datetime):
        return value.isoformat()
    return str(value)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
