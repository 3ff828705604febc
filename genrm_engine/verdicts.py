"""Reading a verdict that a model wrote in free form; knows no model, and the forced verdict needs no reading.

The asked form is ``Winner: [A]`` or ``Winner: [B]``. Spaces, markdown emphasis (``*``, ``_``) and doubled brackets
around its parts are the same form; another word, letter, bracket or script is not. Only the last ``Winner:`` counts.
What stands before it is untrusted, and where it is not in the asked form (another name, another bracket, cut off in the
middle, the question's own "Winner: [A] or Winner: [B]" repeated) there is no verdict: never an earlier one, never a
default side.
"""

import re
from typing import Literal, NamedTuple

Verdict = Literal["A", "B"]

MARK = "Winner:"
_LOOSE = r"[ \t*_]*"
_FORM = re.compile(rf"{MARK}{_LOOSE}\[+{_LOOSE}(?P<name>[AB]){_LOOSE}\]+")
_LINE = re.compile(rf"{_LOOSE}{_FORM.pattern}[ \t*_.]*")
_ANNOUNCED = re.compile(rf"{MARK}(?={_LOOSE}\[)")
_QUESTION = "Winner: [A] or Winner: [B]"
_NAMES: dict[str, Verdict] = {"A": "A", "B": "B"}


class Split(NamedTuple):
    """A text taken apart: what stands before the verdict's form, the verdict, and the place of its letter.

    ``rationale`` is a beginning of the text without the spaces and marks before the form; without a verdict it is the
    whole text, ``verdict`` is None and ``letter`` -1.
    """

    rationale: str
    verdict: Verdict | None
    letter: int


def split_verdict(text: str) -> Split:
    """The last verdict of a text if it is in the asked form, and the text before it."""
    start = text.rfind(MARK)
    found = _FORM.match(text, start) if start >= 0 else None
    if found is None or text[: found.end()].endswith(_QUESTION) or _breaks_off(text):
        return Split(text, None, -1)
    return Split(_without_marks(text[:start]), _NAMES[found["name"]], found.start("name"))


def parse_verdict(text: str) -> Verdict | None:
    """The verdict that counts; None where ``split_verdict`` finds none."""
    return split_verdict(text).verdict


def is_complete(text: str) -> bool:
    """Whether a verdict stands on the last line, alone, and its line is ended: nothing is left to be written."""
    body = text.rstrip()
    return "\n" in text[len(body) :] and _LINE.fullmatch(body[body.rfind("\n") + 1 :]) is not None


def defused(text: str) -> str:
    """A text to be shown to a judge, in which no verdict stands: a judge that copies it has not given one."""
    return _ANNOUNCED.sub("Winner :", text)


def _breaks_off(text: str) -> bool:
    """Whether the last line is the beginning of another verdict."""
    line = text[text.rfind("\n") + 1 :].strip(" \t*_")
    return bool(line) and MARK.startswith(line)


def _without_marks(text: str) -> str:
    """The text without what decorates the form that follows it on its line."""
    line = text.rfind("\n") + 1
    return text.rstrip() if text[line:].strip(" \t*_") else text[:line].rstrip()
