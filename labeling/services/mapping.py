"""Columns named by hand: which of a file's columns holds the prompt, the responses, the winner and the rest."""

from collections.abc import Mapping
from typing import Any

from genrm_engine.errors import EngineError
from genrm_engine.formats.scales import Verdict, verdict_of
from genrm_engine.types import whole
from labeling.services.given_labels import annotator_of
from labeling.services.rows import Row, to_row
from labeling.services.texts import BadRow

FIELDS = {
    "prompt": "Prompt",
    "system": "System message",
    "response_a": "Response A",
    "response_b": "Response B",
    "chosen": "Chosen response",
    "rejected": "Rejected response",
    "winner": "Winner",
    "annotator": "Annotator",
    "model_a": "Model of A",
    "model_b": "Model of B",
    "id": "Id",
    "group": "Group",
}
_KEPT = ("system", "id", "group", "model_a", "model_b")
_PLACES = {"0": "tie", "1": "a", "2": "b"}


def problems(mapping: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with a mapping, by field; empty if rows can be read with it."""
    found = {name: "There is no such field." for name in mapping if name not in FIELDS}
    sides = {"response_a", "response_b"} & mapping.keys()
    compared = {"chosen", "rejected"} & mapping.keys()
    if sides and compared:
        found[min(compared)] = "Give either the two responses or chosen and rejected."
    elif not sides and not compared:
        found["response_a"] = "Say which columns hold the two responses, or chosen and rejected."
    for first, second in (("response_a", "response_b"), ("chosen", "rejected")):
        if (first in mapping) != (second in mapping):
            found[second if first in mapping else first] = "The other response needs a column too."
        elif first in mapping and mapping[first] == mapping[second]:
            found[second] = "Both responses are in the same column."
    if "prompt" not in mapping and not compared:
        found["prompt"] = "Say which column holds the prompt."
    return found


def mapped(raw: Mapping[str, Any], mapping: Mapping[str, str]) -> Row:
    """Read a row by the columns that a person named. Raises BadRow, with the field and its column."""
    given = {name: _value(raw, column) for name, column in mapping.items()}
    try:
        return to_row(*_canonical(raw, given))
    except BadRow as error:
        column = mapping.get(error.field)
        told = f"{error} (column {column!r})" if column and column != error.field else str(error)
        raise BadRow(told, error.field) from None


def _canonical(raw: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The row as one of the known layouts has it, and that layout."""
    kept = {name: whole(given[name]) for name in _KEPT if given.get(name) is not None}
    if isinstance(raw.get("meta"), dict):
        kept["meta"] = raw["meta"]
    if "prompt" in given:
        kept["prompt"] = given["prompt"]
    annotator = annotator_of(given)
    if "chosen" in given:
        sides = {"chosen": given["chosen"], "rejected": given["rejected"]}
        asked = given.get("prompt") is not None
        if not isinstance(sides["chosen"], str) or not isinstance(sides["rejected"], str) or not asked:
            return {**kept, **sides, "annotator": annotator}, "trl" if asked else "trl-implicit"
        return {**kept, **_drawn(sides, annotator)}, "tandem"
    row = {**kept, "response_a": given["response_a"], "response_b": given["response_b"]}
    label = _label(given, annotator)
    return ({**row, "labels": [label]} if label else row), "tandem"


def _drawn(sides: Mapping[str, str], annotator: str) -> dict[str, Any]:
    """Chosen and rejected in an order that tells nothing: that of their texts."""
    first, second = sorted([sides["chosen"], sides["rejected"]])
    choice = "a" if first == sides["chosen"] else "b"
    return {"response_a": first, "response_b": second, "labels": [{"annotator": annotator, "choice": choice}]}


def _label(given: Mapping[str, Any], annotator: str) -> dict[str, Any] | None:
    winner = given.get("winner")
    if winner is None or winner == "":
        return None
    said = _text(winner)
    choice, strength = _named(said, given) or _PLACES.get(said), None
    if choice is None:
        verdict = _verdict(winner)
        choice, strength = ("both_bad" if verdict.both_bad else verdict.choice), verdict.strength
    return {"annotator": annotator, "choice": choice, "strength": strength}


def _named(said: str, given: Mapping[str, Any]) -> str | None:
    """The side whose model is named as the winner; None where neither is, or both are."""
    sides = [side for side in ("a", "b") if (model := given.get(f"model_{side}")) and _text(model) == said]
    return sides[0] if len(sides) == 1 else None


def _verdict(winner: object) -> Verdict:
    if isinstance(winner, int | float) and not isinstance(winner, bool):
        told = f"winner: {winner!r:.60} is not 0 (tie), 1 (A) or 2 (B); signed numbers are read in the layout scale"
        raise BadRow(told, "winner")
    try:
        return verdict_of(winner, "winner")
    except EngineError as error:
        raise BadRow(str(error).replace("winner ", "winner: ", 1), "winner") from None


def _value(raw: Mapping[str, Any], column: str) -> Any:
    """The column's value; a dot leads into nested objects."""
    if column in raw:
        return raw[column]
    value: Any = raw
    for part in column.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def columns_of(raw: Mapping[str, Any]) -> list[str]:
    """The columns of a row that can be named, those of nested objects with a dot."""
    found: list[str] = []
    for name, value in raw.items():
        found.append(str(name))
        if isinstance(value, dict):
            found += [f"{name}.{inner}" for inner in value]
    return found


def _text(value: Any) -> str:
    return str(whole(value)).strip()
