"""CSV and TSV: the separator found by the header, quotes and line breaks in cells, and what goes wrong with them."""

import csv
import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, BinaryIO

from genrm_engine.formats.columns import prompt_column
from labeling.readers.encodings import BOM, why_not_utf8
from labeling.readers.jsons import BadJson, parse_value
from labeling.readers.raw import LONGEST_ROW, Raw, Unreadable

SEPARATORS = ",;\t|"
MESSAGES = ("prompt", "chosen", "rejected", "conversation_a", "conversation_b", "context")
"""Columns whose cells may hold a conversation as JSON; any other JSON in them is text."""
NESTED = ("labels", "meta", "provenance", "criteria", "highlights", "data", "annotations", "fields", "responses")
"""Columns whose cells are JSON."""
REASON = "rejected_because"
"""The column that a download of rejected rows has more, so that the mended file can be sent as it is.

Its other cells have an apostrophe more where a spreadsheet would have computed them (`exports.spreadsheet`).
"""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBERS = re.compile(
    r"^(?:turn|idx|annotator\d+|weight|p_a|score_chosen|score_rejected"
    r"|preference|preference_strength|overall_preference)$"
)
_SEPARATOR = re.compile(r"^sep=([^\"\r\n])\r?\n?$")
"""The line before the header by which Excel is told the separator."""
_QUOTED = re.compile(r'"(?:[^"]|"")*"')


def separator_of(header: str) -> str:
    """The separator that splits the header into most columns, quotes aside; a comma where none does."""
    plain = _QUOTED.sub("", header)
    return max(SEPARATORS, key=lambda each: (plain.count(each), each == ","))


def delimited(file: BinaryIO) -> Iterator[Raw]:
    """Every row under the header as ``{column: cell}``; empty cells are left out, but a prompt's is null."""
    csv.field_size_limit(LONGEST_ROW)  # the library's limit is smaller than a long response
    lines = _lines(file)
    before, first, separator = _beginning(lines)
    reader = csv.reader(_chained(first, lines), delimiter=separator, strict=True)
    try:
        columns = _columns(next(reader, []))
    except csv.Error as error:
        raise Unreadable(f"The header is not CSV: {_in_words(error)}") from None
    mended = REASON in columns
    if mended:
        columns = _distinct([_unguarded(name) for name in columns])
    number = before + 1
    while True:
        number += 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Raw(number, None, f"not CSV: {_in_words(error)}")
            continue
        if cells is None:
            return
        if any(cells):
            yield _row(number, columns, [_unguarded(cell) for cell in cells] if mended else cells)


def _lines(file: BinaryIO) -> Iterator[str]:
    """Lines as text; bytes that are not UTF-8 are kept so that the row they stand in can be told."""
    number = 0
    while line := file.readline(LONGEST_ROW):
        number += 1
        if number == 1:
            line = line.removeprefix(BOM)
        yield line.decode("utf-8", errors="surrogateescape")


def _beginning(lines: Iterator[str]) -> tuple[int, str, str]:
    """How many lines stand before the header, the header's first line, and the separator."""
    separator = ""
    for number, line in enumerate(lines):
        if not separator and (told := _SEPARATOR.match(line)):
            separator = told[1]
        elif line.strip():
            return number, line, separator or separator_of(line)
    return 0, "", ","


def _chained(first: str, lines: Iterator[str]) -> Iterator[str]:
    if first:
        yield first
    yield from lines


def _columns(cells: list[str]) -> list[str]:
    names = _distinct([cell.strip() or f"column {place}" for place, cell in enumerate(cells, start=1)])
    if any(_not_utf8(name) for name in names):
        raise Unreadable("The header is " + _why(next(name for name in names if _not_utf8(name))))
    return names


def _distinct(names: list[str]) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise Unreadable(f"Two columns are called {_printable(name)!r}.")
    return names


def _unguarded(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA) else cell


def _row(number: int, columns: list[str], cells: list[str]) -> Raw:
    more = (f"column {place}" for place in range(len(columns) + 1, len(cells) + 1))
    as_read = {name: _printable(cell) for name, cell in zip_longest((*columns, *more), cells, fillvalue="")}
    if len(cells) != len(columns):
        words = "cell" if len(cells) == 1 else "cells"
        reason = f"{len(cells)} {words}, but the header has {len(columns)} columns"
        return Raw(number, None, reason, cells=as_read)
    row: dict[str, Any] = {}
    for name, cell in zip(columns, cells, strict=True):
        if cell == "":
            if prompt_column([name]):
                row[name] = None  # a prompt that is missing is not a table without prompts
            continue
        if _not_utf8(cell):
            return Raw(number, None, f"{name}: {_why(cell)}", name, cells=as_read)
        try:
            row[name] = _value(name, cell)
        except BadJson as error:
            return Raw(number, None, f"{name}: not JSON: {error}", name, cells=as_read)
    return Raw(number, row, cells=as_read)


def _value(name: str, cell: str) -> Any:
    """Text, except where the column's name says that it is a number, JSON or a conversation."""
    if name in NESTED and cell.lstrip()[:1] in ("[", "{"):
        return parse_value(cell)
    if name in MESSAGES and cell.lstrip().startswith("[{"):
        try:
            value = parse_value(cell)
        except BadJson:
            return cell
        return value if all(isinstance(each, dict) and "role" in each for each in value) else cell
    if _NUMBERS.match(name):
        try:
            return int(cell) if cell.strip().isdigit() and len(cell) < 16 else float(cell)
        except ValueError:
            return cell
    return cell


def _not_utf8(text: str) -> bool:
    return not text.isascii() and any("\udc80" <= letter <= "\udcff" for letter in text)


def _why(text: str) -> str:
    content = text.encode("utf-8", errors="surrogateescape")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        return why_not_utf8(content, error.start)
    return "not UTF-8"


def _printable(text: str) -> str:
    if text.isascii() and "\x00" not in text:
        return text
    return text.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace").replace("\x00", "�")


def _in_words(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end of data" in text:
        return "a quote that opens here is never closed"
    if "new-line character" in text:
        return "a line break without a line feed; save the file with LF or CRLF line ends"
    if "field larger than" in text:
        return f"a cell is longer than {LONGEST_ROW >> 20} MiB; is a quote not closed?"
    return text
