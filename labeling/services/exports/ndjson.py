"""Rows as lines of JSON: a template for the line, one encoder a column, and JSON columns as they were read."""

import json
from collections.abc import Callable, Iterable, Mapping
from json.encoder import encode_basestring
from typing import Any

from labeling.services.exports.fields import Field, Kind, Row

_TRUTH = {True: "true", False: "false"}  # one and zero are equal to them


def encoder(fields: Iterable[Field]) -> Callable[[Iterable[Row]], bytes]:
    """Turns rows of these columns into lines."""
    fields = tuple(fields)
    template = _template(fields)
    encoders = [_encoder(field) for field in fields]

    def encode(rows: Iterable[Row]) -> bytes:
        lines = [template % tuple([one(value) for one, value in zip(encoders, row, strict=True)]) for row in rows]
        return "".join(lines).encode()

    return encode


def reply(text: str) -> str:
    """A response as the one message of a completion."""
    return f'[{{"role": "assistant", "content": {encode_basestring(text)}}}]'


def plain(text: str) -> str:
    """JSON as the database keeps it; SQLite's has characters escaped that the other formats write out."""
    return json.dumps(json.loads(text), ensure_ascii=False) if "\\u" in text else text


def _template(fields: tuple[Field, ...]) -> str:
    """A line with a place for every value; the columns of an object stand together at the end."""
    outer = [f"{json.dumps(field.name)}: %s" for field in fields if not field.inside]
    objects: dict[str, list[str]] = {}
    for field in fields:
        if field.inside:
            objects.setdefault(field.inside, []).append(f"{json.dumps(field.name)}: %s")
    inner = [f"{json.dumps(name)}: {{{', '.join(columns)}}}" for name, columns in objects.items()]
    return "{" + ", ".join([*outer, *inner]) + "}\n"


_ENCODERS: Mapping[Kind, Callable[[Any], str]] = {
    "text": encode_basestring,
    "whole": int.__repr__,
    "number": float.__repr__,
    "truth": _TRUTH.__getitem__,
    "time": lambda value: f'"{value.isoformat()}"',
    "json": plain,
    "messages": plain,
    "reply": reply,
}


def _encoder(field: Field) -> Callable[[Any], str]:
    encode = _ENCODERS[field.kind]
    if not field.empty:
        return encode
    return lambda value: "null" if value is None else encode(value)
