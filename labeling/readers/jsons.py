"""JSON Lines and JSON lists, a row at a time; what is not clean JSON is a reason, never a guess."""

import json
import re
from codecs import getincrementaldecoder
from collections.abc import Iterator
from typing import Any, BinaryIO

from labeling.readers.encodings import BOM, why_not_utf8
from labeling.readers.raw import LONGEST_ROW, Raw, Unreadable

DEEPEST = 64
"""Levels of objects and lists in each other."""
_BLOCK = 1 << 18
_ESCAPED = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")
_SPACE = re.compile(r"\s*")


class BadJson(Exception):
    """Why a text is no row; ``field`` where one is to blame."""

    def __init__(self, reason: str, field: str = "") -> None:
        super().__init__(reason)
        self.field = field


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _value in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise BadJson(f"{twice}: given twice", twice)
    return found


def _no_constant(name: str) -> Any:
    raise BadJson(f"not JSON: {name} is no number")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
_LENIENT = json.JSONDecoder()


def parse_object(line: bytes) -> dict[str, Any]:
    """The JSON object of a line. Raises BadJson."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadJson(why_not_utf8(line, error.start)) from None
    try:
        row = _DECODER.decode(text)
    except RecursionError:
        raise BadJson("not JSON: nested too deeply") from None
    except ValueError as error:
        raise BadJson(f"not JSON: {error}") from None
    if line.count(b"[") + line.count(b"{") > DEEPEST:
        _not_deep(row)
    return checked(row, escaped=_ESCAPED.search(line) is not None)


def parse_value(text: str) -> Any:
    """A JSON value in a cell of a table. Raises BadJson."""
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise BadJson("nested too deeply") from None
    except ValueError as error:
        raise BadJson(str(error)) from None
    _not_deep(value)
    _clean(value, "a cell")
    return value


def checked(row: object, *, escaped: bool) -> dict[str, Any]:
    """The object, if it is one; ``escaped``: it may hold what no database takes, so look into every text."""
    if not isinstance(row, dict):
        raise BadJson("not a JSON object")
    if escaped:
        for name, value in row.items():
            _clean(name, "a field's name")
            _clean(value, name)
    return row


def json_lines(file: BinaryIO) -> Iterator[Raw]:
    """Every line that is not blank, read as an object."""
    number = 0
    while line := file.readline(LONGEST_ROW + 1):
        number += 1
        if len(line) > LONGEST_ROW:
            _pass_over(file, line)
            yield Raw(number, None, f"longer than {LONGEST_ROW >> 20} MiB", line=line[:2000])
            continue
        if number == 1:
            line = line.removeprefix(BOM)
        if not line.strip():
            continue
        try:
            row = parse_object(line)
        except BadJson as error:
            yield Raw(number, None, str(error), error.field, line)
        else:
            yield Raw(number, row, line=line)


def json_entries(file: BinaryIO) -> Iterator[Raw]:
    """The entries of one JSON list, each as soon as it is complete; what is not one whole list is Unreadable."""
    text = _Text(file)
    text.takes("[")
    over = text.takes("]")
    while not over:
        yield text.entry()
        over = text.takes("]")
        if not over and text.sign() and not text.takes(","):
            raise Unreadable(f"There is no comma after entry {text.number} of the JSON list.")
    if text.sign():
        raise Unreadable(f"The JSON list ends with entry {text.number}, and something else follows.")


class _Text:
    """A JSON list of which no more is in memory than what is being read."""

    def __init__(self, file: BinaryIO) -> None:
        self.number = 0
        self._file = file
        self._decoder = getincrementaldecoder("utf-8-sig")()
        self._text, self._place, self._ended = "", 0, False

    def sign(self) -> str:
        """The next character that is no white space; none at the end of the file."""
        while True:
            self._place = _SPACE.match(self._text, self._place).end()  # type: ignore[union-attr]
            if self._place < len(self._text) or self._ended:
                return self._text[self._place : self._place + 1]
            self._more()

    def takes(self, sign: str) -> bool:
        """Go past the sign if it is the next."""
        found = self.sign() == sign
        self._place += found
        return found

    def entry(self) -> Raw:
        """The next entry. Raises Unreadable where there is none."""
        if not self.sign():
            raise Unreadable(f"The JSON list breaks off after entry {self.number}.")
        while (found := self._complete()) is None:
            self._more()
        value, end, problem = found
        self.number += 1
        raw = _entry(self.number, value, self._text[self._place : end], problem)
        self._place = end
        return raw

    def _complete(self) -> tuple[Any, int, BadJson | None] | None:
        """The entry if all of it is in memory."""
        try:
            found = _decoded(self._text, self._place)
        except RecursionError:
            raise Unreadable(f"Entry {self.number + 1} is nested too deeply.") from None
        except ValueError as error:
            if self._ended or len(self._text) - self._place > LONGEST_ROW:
                raise Unreadable(f"Entry {self.number + 1} is not JSON: {error}") from None
            return None
        whole = found[1] < len(self._text) or self._ended  # a number may go on in the next block
        return found if whole else None

    def _more(self) -> None:
        # Twice as much each time an entry is still incomplete: a long one is not parsed again and again.
        block = self._file.read(max(_BLOCK, len(self._text) - self._place))
        self._ended = not block
        try:
            self._text = self._text[self._place :] + self._decoder.decode(block, final=self._ended)
        except UnicodeDecodeError as error:
            raise Unreadable(f"After entry {self.number}: {why_not_utf8(block, error.start)}") from None
        self._place = 0


def _decoded(text: str, place: int) -> tuple[Any, int, BadJson | None]:
    """The value, where it ends, and what is wrong with it although it is JSON."""
    try:
        return *_DECODER.raw_decode(text, place), None
    except BadJson as error:
        return *_LENIENT.raw_decode(text, place), error


def _entry(number: int, value: object, text: str, problem: BadJson | None) -> Raw:
    if len(text) > LONGEST_ROW:
        return Raw(number, None, f"longer than {LONGEST_ROW >> 20} MiB")
    try:
        if problem:
            raise problem
        if text.count("[") + text.count("{") > DEEPEST:
            _not_deep(value)
        return Raw(number, checked(value, escaped="\\u" in text))
    except BadJson as error:
        return Raw(number, None, str(error), error.field, text.encode("utf-8", "replace"))


def _not_deep(value: object) -> None:
    """Raises BadJson where so many objects and lists lie in each other that nobody else could walk through them."""
    level = [value]
    for _ in range(DEEPEST + 1):
        inner: list[object] = []
        for each in level:
            if isinstance(each, dict):
                inner.extend(each.values())
            elif isinstance(each, list):
                inner.extend(each)
        if not inner:
            return
        level = inner
    raise BadJson(f"nested too deeply: more than {DEEPEST} levels")


def _pass_over(file: BinaryIO, line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = file.readline(_BLOCK)


def _clean(value: object, name: str) -> None:
    if isinstance(value, str):
        if "\x00" in value:
            raise BadJson(f"{name}: contains a NUL character", name)
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise BadJson(f"{name}: contains half of a surrogate pair", name) from None
    elif isinstance(value, list):
        for each in value:
            _clean(each, name)
    elif isinstance(value, dict):
        for key, each in value.items():
            _clean(key, name)
            _clean(each, name)
