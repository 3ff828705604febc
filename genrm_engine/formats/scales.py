"""Verdicts on a scale, in numbers or words, and the layout that has them; knows nothing of files."""

import re
from typing import NamedTuple

from genrm_engine.errors import EngineError
from genrm_engine.formats.columns import couples
from genrm_engine.formats.draft import Draft
from genrm_engine.formats.fields import Row, finite, messages_of, models_of, present, text_of
from genrm_engine.formats.rows import Label

SCALES = {"preference_strength": 3, "overall_preference": 3, "preference": 2}
"""Columns with a signed scale, and its end. Below 0 the first response is better, above 0 the second."""


class Verdict(NamedTuple):
    """Who won, how clearly (1 better, 2 much better, None: not said), and whether a tie means that both are bad."""

    choice: Label
    strength: int | None = None
    both_bad: bool = False


TIE, BOTH_BAD = Verdict("tie"), Verdict("tie", both_bad=True)
_SIGNS = {
    ">>": Verdict("a", 2),
    ">": Verdict("a", 1),
    "=": TIE,
    "==": TIE,
    "~": TIE,
    "<": Verdict("b", 1),
    "<<": Verdict("b", 2),
}
_TIES = {"tie", "tied", "same", "equal", "draw", "both", "neither better", "no preference", "both good", "tie bothgood"}
_TIES |= {"tie inconsistent"}  # as Chatbot Arena writes it
_BOTH_BAD = {"both bad", "bothbad", "tie bothbad", "neither", "both are bad", "neither is good"}
_FIRST, _SECOND = r"(?:a|1|left|first)", r"(?:b|2|right|second)"
_NOUN = r"(?:the )?(?:model|response|answer|completion|output|assistant|option|text|item|side)? ?"
_MUCH = r"(?:much|far|significantly|strongly|clearly|a lot)"
_LITTLE = r"(?:slightly|a bit|a little|somewhat|marginally|negligibly)"
_BETTER = rf"(?: (?:is |was |wins )?(?P<how>{_MUCH}|{_LITTLE})?(?: ?better| ?preferred)?| wins| won)?"
_WORDS = re.compile(rf"^{_NOUN}(?:(?P<first>{_FIRST})|(?P<second>{_SECOND}))(?: {_NOUN})?{_BETTER}$")
_COMPARED = re.compile(r"^(?P<one>a|b) ?(?P<sign>>>|>|==|=|~|<<|<) ?(?P<other>a|b)$")
_GAPS = re.compile(r"[\s_\-():,.]+")
_SIGNED = re.compile(r"[\s_():,.]*-[\s_\-():,.]*\d")


def verdict_of(value: object, name: str, *, end: int = 2) -> Verdict:
    """A verdict in words ("A", "left", "model_b", "B is much better", "A>>B", "both bad") or on a signed scale."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _signed(value, name, end)
    if not isinstance(value, str):
        raise EngineError(f"{name} is not a verdict but {value!r:.60}")
    if _SIGNED.match(value):  # without its sign it would name a side
        raise EngineError(f"{name} is a signed number, which names no side: {value!r:.60}")
    plain = _GAPS.sub(" ", value.strip().lower()).strip()
    if plain in _TIES:
        return TIE
    if plain in _BOTH_BAD:
        return BOTH_BAD
    if compared := _COMPARED.match(plain):
        found = _SIGNS[compared["sign"]]
        if compared["one"] == compared["other"]:
            raise EngineError(f"{name} compares a response with itself: {value!r:.60}")
        return found if compared["one"] == "a" else _mirrored(found)
    words = _WORDS.match(plain)
    if words is None:
        raise EngineError(f"{name} says neither A, B, tie nor both bad but {value!r:.60}")
    strength = None if words["how"] is None else 2 if re.match(_MUCH, words["how"]) else 1
    return Verdict("a" if words["first"] else "b", strength)


def is_scale(row: Row) -> bool:
    """Whether the row has one of the scales and two responses, and names no winner or labels beside it."""
    if not any(row.get(name) is not None for name in SCALES) or _is_decided(row) or is_unsigned(row):
        return False
    return bool(couples(map(str, row))) and ("prompt" in row or "context" in row)


def is_unsigned(row: Row) -> bool:
    """Whether only a ``preference`` without a sign says who won: 1 may be on a scale or name either response."""
    value = row.get("preference")
    if _is_decided(row) or any(row.get(name) is not None for name in SCALES if name != "preference"):
        return False
    if isinstance(value, str) and value.lstrip().startswith(("+", "-")):
        return False
    number = finite(_number(value))
    return number is not None and number >= 0


def said_winner(row: Row) -> Verdict | None:
    """What a bare ``winner`` says in words; None where it is null or empty. A number may name either response."""
    winner = row.get("winner")
    if winner is None or winner == "":
        return None
    if not isinstance(winner, str) or finite(_number(winner)) is not None:
        raise EngineError(f"winner is not a verdict in words but {winner!r:.60}")
    return verdict_of(winner, "winner")


def read_scale(row: Row) -> Draft:
    """A row with two responses and a scale: ``preference_strength``, ``overall_preference`` or ``preference``."""
    name = next((name for name in SCALES if row.get(name) is not None), "preference")
    verdict = verdict_of(_number(present(row, name)), name, end=SCALES[name])
    asked = "prompt" if row.get("prompt") is not None else "context"
    sides = couples(map(str, row))
    if not sides:
        raise EngineError("response_a is missing")
    first, second = sides[0]
    return Draft(
        prompt=messages_of(present(row, asked), asked),
        response_a=text_of(present(row, first), first),
        response_b=text_of(present(row, second), second),
        stated=verdict.choice,
        strength=verdict.strength,
        both_bad=verdict.both_bad,
        models=models_of(row),
    )


def _is_decided(row: Row) -> bool:
    bare = "response_a" in row and row.get("winner") not in (None, "")
    return bare or "labels" in row or "choice" in row


def _number(value: object) -> object:
    """What a table writes as text is the same number as in JSON."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _signed(value: float, name: str, end: int) -> Verdict:
    if not abs(value) <= end:  # nor is NaN
        raise EngineError(f"{name} is not between -{end} and {end} but {value!r:.60}")
    if value == 0:
        return TIE
    return Verdict("a" if value < 0 else "b", 2 if abs(value) >= end else 1)


def _mirrored(verdict: Verdict) -> Verdict:
    sides: dict[Label, Label] = {"a": "b", "b": "a", "tie": "tie"}
    return verdict._replace(choice=sides[verdict.choice])
