"""Rows as Parquet, a row group at a time. PyArrow is large: only an export that needs it loads it."""

import json
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from labeling.services.exports.fields import Field, Row

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP = 10_000


class _Sink:
    """A file that is handed on in pieces and never kept."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        self.closed = True

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def pieces(fields: tuple[Field, ...], chunks: Iterable[Iterable[Row]]) -> Iterator[bytes]:
    """The file's bytes, after each row group. Without a row it is a file with the columns and no row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = _Sink()
    schema = _schema(fields)
    rows = chain.from_iterable(chunks)
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd") as writer:
        while group := list(islice(rows, ROW_GROUP)):
            writer.write_table(_table(fields, schema, group), row_group_size=ROW_GROUP)
            yield sink.taken()
    yield sink.taken()


def _schema(fields: tuple[Field, ...]) -> "pa.Schema":
    import pyarrow as pa

    columns: list[pa.Field] = []
    objects: dict[str, list[pa.Field]] = {}
    for field in fields:
        column = pa.field(field.name, _type(field), nullable=True)
        (objects.setdefault(field.inside, []) if field.inside else columns).append(column)
    return pa.schema([*columns, *(pa.field(name, pa.struct(inner)) for name, inner in objects.items())])


def _type(field: Field) -> "pa.DataType":
    import pyarrow as pa

    messages = pa.list_(pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())]))
    kinds = {
        "text": pa.string(),
        "whole": pa.int64(),
        "number": pa.float64(),
        "truth": pa.bool_(),
        "time": pa.timestamp("us", tz="UTC"),
        "json": pa.string(),
        "messages": messages,
        "reply": messages,
    }
    return kinds[field.kind]


def _table(fields: tuple[Field, ...], schema: "pa.Schema", rows: list[Row]) -> "pa.Table":
    import pyarrow as pa

    arrays: list[pa.Array] = []
    objects: dict[str, list[pa.Array]] = {}
    for field, values in zip(fields, zip(*rows, strict=True), strict=True):
        array = pa.array([_value(field, value) for value in values], type=_type(field))
        (objects.setdefault(field.inside, []) if field.inside else arrays).append(array)
    for name, inner in objects.items():
        arrays.append(pa.StructArray.from_arrays(inner, fields=list(schema.field(name).type)))
    return pa.Table.from_arrays(arrays, schema=schema)


def _value(field: Field, value: Any) -> Any:
    if value is None:
        return None
    if field.kind == "messages":
        return json.loads(value)
    if field.kind == "reply":
        return [{"role": "assistant", "content": value}]
    return bool(value) if field.kind == "truth" else value
