"""Reading single fields of a row. Errors name the field; the caller adds the file and the line."""

import json
import math
from collections.abc import Mapping
from typing import Any

from genrm_engine.errors import EngineError
from genrm_engine.formats.rows import HumanLabel, Label
from genrm_engine.types import Message, said

Row = Mapping[str, Any]

CHOICES: dict[str, Label] = {"a": "a", "b": "b", "tie": "tie", "both_bad": "tie"}
WINNERS: dict[str, Label] = {
    "model_a": "a",
    "model_b": "b",
    "tie": "tie",
    "tie (bothbad)": "tie",
    "tie (inconsistent)": "tie",
    "both_bad": "tie",
}
BOTH_BAD = ("both_bad", "tie (bothbad)")
WINNER_COLUMNS: dict[str, Label] = {"winner_model_a": "a", "winner_model_b": "b", "winner_tie": "tie"}
PANDALM_VOTES: dict[int, Label] = {0: "tie", 1: "a", 2: "b"}


def present(row: Row, name: str) -> Any:
    """The field's value, which may not be missing or null."""
    value = row.get(name)
    if value is None:
        raise EngineError(f"{name} is missing")
    return value


def text_of(value: object, name: str) -> str:
    """A text; half surrogate pairs, which no tokenizer takes, become U+FFFD."""
    if not isinstance(value, str):
        raise EngineError(f"{name} is not text but {_kind(value)}")
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def number_of(row: Row, name: str) -> float | None:
    """A finite number, or None where the row gives none."""
    value = row.get(name)
    if value is None:
        return None
    number = finite(value)
    if number is None:
        raise EngineError(f"{name} is not a number but {_shown(value)}")
    return number


def finite(value: object) -> float | None:
    """The number as a float; None for what is no number, and for whole numbers that are too large for a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def messages_of(value: object, name: str) -> tuple[Message, ...]:
    """A conversation; plain text is one user message, a message's content may be a list of text parts."""
    if isinstance(value, str):
        return (Message("user", text_of(value, name)),)
    if not isinstance(value, list) or not value:
        raise EngineError(f"{name} is neither text nor a list of messages but {_kind(value)}")
    return tuple(_message(item, f"{name}, message {number}") for number, item in enumerate(value, start=1))


def choice_of(value: object, name: str) -> Label | None:
    """``a``, ``b`` or ``tie`` (``both_bad`` is one); None for null and the empty text."""
    if value is None or value == "":
        return None
    if not isinstance(value, str) or value not in CHOICES:
        raise EngineError(f"{name} is not one of a, b, tie but {_shown(value)}")
    return CHOICES[value]


def labels_of(value: object) -> tuple[HumanLabel, ...]:
    """The annotators' labels; the later of two by the same annotator counts."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise EngineError(f"labels is not a list but {_kind(value)}")
    found: dict[str, HumanLabel] = {}
    for number, item in enumerate(value, start=1):
        name = f"labels, entry {number}"
        annotator = said(item.get("annotator")) if isinstance(item, dict) else ""
        if not annotator:
            raise EngineError(f"{name} names no annotator")
        choice = choice_of(item.get("choice"), f"{name}: choice")
        if choice is None:
            raise EngineError(f"{name}: choice is missing")
        found[annotator] = HumanLabel(annotator, choice)
    return tuple(found.values())


def winner_of(row: Row) -> Label:
    """Who won: ``winner`` in words, or the one of three columns that is 1."""
    if "winner" in row:
        winner = row["winner"]
        if not isinstance(winner, str) or winner not in WINNERS:
            raise EngineError(f"winner is not one of {', '.join(WINNERS)} but {_shown(winner)}")
        return WINNERS[winner]
    marks = {column: present(row, column) for column in WINNER_COLUMNS}
    for column, mark in marks.items():
        if str(mark) not in ("0", "1", "0.0", "1.0", "True", "False"):
            raise EngineError(f"{column} is not 0 or 1 but {_shown(mark)}")
    won = [column for column, mark in marks.items() if str(mark) in ("1", "1.0", "True")]
    if len(won) != 1:
        raise EngineError(f"exactly one of {', '.join(WINNER_COLUMNS)} must be 1, not {len(won)}")
    return WINNER_COLUMNS[won[0]]


def pandalm_vote(value: object, name: str) -> Label:
    """0 is a tie, 1 the first response, 2 the second."""
    if isinstance(value, bool) or not isinstance(value, int) or value not in PANDALM_VOTES:
        raise EngineError(f"{name} is not 0 (tie), 1 or 2 but {_shown(value)}")
    return PANDALM_VOTES[value]


def turns_of(row: Row, *names: str) -> list[list[str]]:
    """The turns of each field: lists of texts, plain or written as JSON; null is empty.

    Where not all are lists, each text is one turn as it stands: an answer may itself be JSON.
    """
    given = {name: present(row, name) for name in names}
    lists = {name: _json_list(value) for name, value in given.items()}
    if all(isinstance(value, list) for value in lists.values()):
        given = lists
    return [_turns(value, name) for name, value in given.items()]


def models_of(row: Row) -> tuple[str, str] | None:
    """Who wrote A and B, where the row names both."""
    first, second = row.get("model_a"), row.get("model_b")
    return (str(first), str(second)) if first and second else None


def _json_list(value: Any) -> Any:
    """The list that a text writes as JSON; anything else as it is."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value
    return found if isinstance(found, list) else value


def _turns(value: object, name: str) -> list[str]:
    turns = [value] if isinstance(value, str) else value
    if not isinstance(turns, list) or not turns:
        raise EngineError(f"{name} is neither text nor a list of turns but {_kind(turns)}")
    return ["" if turn is None else text_of(turn, name) for turn in turns]


def _message(value: object, name: str) -> Message:
    if not isinstance(value, dict) or not isinstance(value.get("role"), str):
        raise EngineError(f"{name} has no role")
    if value.get("tool_calls") or value.get("function_call"):
        raise EngineError(f"{name} calls a tool, which a judge cannot read")
    content = value.get("content")
    if isinstance(content, list):
        content = "".join(_part(part, name) for part in content)
    return Message(value["role"], text_of(content, f"{name}: content"))


def _part(part: object, name: str) -> str:
    if not isinstance(part, dict) or part.get("type") != "text":
        raise EngineError(f"{name} holds something other than text, which a judge cannot read")
    return text_of(part.get("text"), f"{name}: text")


def _kind(value: object) -> str:
    kinds = {
        type(None): "null",
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "text",
        dict: "an object",
    }
    return "an empty list" if value == [] else kinds.get(type(value), "a list")


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:60]}…"
