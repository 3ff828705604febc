"""One row of an imported file → one pair with its labels, or the reason why not. Knows no database.

Tandem's own layout is read here, with all that an export says of a label; every other layout is the engine's.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from genrm_engine.errors import EngineError
from genrm_engine.formats.draft import Draft
from genrm_engine.formats.layouts import known, read_row
from genrm_engine.formats.rows import HumanLabel
from genrm_engine.formats.scales import is_unsigned
from genrm_engine.types import whole
from labeling.models.labels import Choice
from labeling.services.flat_exports import is_flat, nested, parsed
from labeling.services.given_labels import FILE, LONGEST_NAME, GivenLabel, labels_of, without_idle_strength
from labeling.services.texts import LONGEST_FIELD, BadRow, clean_text

ROLES = ("system", "user", "assistant", "tool")
OWN = "tandem"

_NOT_OWN = {
    "winner",
    "winner_model_a",
    "preference",
    "preference_strength",
    "overall_preference",
    "fields",
    "responses",
}
_SIDE_FIELDS = (
    ("chosen", "rejected"),
    ("conversation_a", "conversation_b"),
    ("response1", "response2"),
    ("response_1", "response_2"),
    ("response_a", "response_b"),
)
_SAID = re.compile(r"^(?P<field>\w+)(?: and (?P<other>\w+))?(?: is\b|,)? ?(?P<rest>.*)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Row:
    """A pair as a file brings it, checked, with the hashes by which it is known again."""

    external_id: str
    prompt: list[dict[str, str]]
    response_a: str
    response_b: str
    prompt_hash: str
    content_hash: str
    group_key: str
    labels: tuple[GivenLabel, ...] = ()
    gold: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    model_a: str = ""
    model_b: str = ""


def layout_of(raw: Mapping[str, Any]) -> str | None:
    """The name of the layout that the row is in; None where it is in none that is known."""
    if "response_a" in raw and "response_b" in raw and _NOT_OWN.isdisjoint(raw):
        return OWN
    return known(raw)


def to_row(raw: Mapping[str, Any], layout: str | None = None) -> Row:
    """Read a row in its layout, the detected one unless one is named. Raises BadRow."""
    name = layout or layout_of(raw)
    if name == OWN:
        return _own(raw)
    if name is None:
        raise _unknown(raw)
    try:
        draft = read_row(raw, name)
    except EngineError as error:
        raise _named(str(error), raw) from None
    return _drafted(raw, draft)


def _own(raw: Mapping[str, Any]) -> Row:
    if is_flat(raw):
        raw = nested(raw)
    prompt = _instructed(_prompt(raw.get("prompt")), raw.get("system"))
    response_a, response_b = _response(raw, "response_a"), _response(raw, "response_b")
    return _row(raw, prompt, response_a, response_b, labels=labels_of(raw), gold=_gold(raw.get("gold")))


def _drafted(raw: Mapping[str, Any], draft: Draft) -> Row:
    """The engine's reading of the row, with the checks of every pair."""
    prompt = _messages([{"role": one.role, "content": one.content} for one in draft.prompt], "prompt")
    names = next((names for names in _SIDE_FIELDS if names[0] in raw), _SIDE_FIELDS[-1])
    both = ", ".join(names)
    name_a, name_b = (both, both) if "chosen" in raw else names  # which of chosen and rejected is A is drawn
    response_a = _response({name_a: draft.response_a}, name_a)
    response_b = _response({name_b: draft.response_b}, name_b)
    if response_a.strip() == response_b.strip():
        raise BadRow(f"{both}: the two responses are identical")
    models = draft.models or ("", "")
    named = {**raw, "model_a": models[0], "model_b": models[1], "id": draft.id, "group": draft.group}
    return _row(named, prompt, response_a, response_b, labels=_labels(draft), gold=draft.gold or "")


def _row(
    raw: Mapping[str, Any],
    prompt: list[dict[str, str]],
    response_a: str,
    response_b: str,
    *,
    labels: tuple[GivenLabel, ...],
    gold: str,
) -> Row:
    if response_a.strip() == response_b.strip():
        raise BadRow("response_a, response_b: the two responses are identical", "response_a, response_b")
    written = _written(prompt)
    first, second = (response_a, response_b) if response_a < response_b else (response_b, response_a)
    content_hash = _sha256(f"[{written}, {_written([first, second])}]")
    prompt_hash = _sha256(written)
    meta = _meta(raw)
    group = str(meta.get("group_key") or raw.get("group") or "")
    return Row(
        external_id=_id(raw) or content_hash[:32],
        prompt=prompt,
        response_a=response_a,
        response_b=response_b,
        prompt_hash=prompt_hash,
        content_hash=content_hash,
        group_key=clean_text(group, "group")[:200] if group else prompt_hash,
        labels=labels,
        gold=gold,
        meta=meta,
        model_a=_name(raw, "model_a"),
        model_b=_name(raw, "model_b"),
    )


def _unknown(raw: Mapping[str, Any]) -> BadRow:
    if is_unsigned(raw):
        shown = f"{raw['preference']!r:.60}"
        return BadRow(f"preference: {shown} has no sign; choose the layout scale, or say which columns hold what")
    try:
        _own(raw)
    except BadRow as error:
        names = ", ".join(sorted(map(str, raw)))[:200] or "none"
        return BadRow(f"{error}; the row's fields are: {names}", error.field)
    return BadRow("in no known layout", "")


def _named(reason: str, raw: Mapping[str, Any]) -> BadRow:
    """The engine's sentence with the field before a colon, as all reasons are written."""
    match = _SAID.match(reason)
    if match is None or (match["field"] not in raw and not reason.endswith("missing")):
        return BadRow(reason, "")
    both = f"{match['field']}, {match['other']}" if match["other"] else match["field"]
    return BadRow(f"{both}: {match['rest'].lstrip(', ')}", both)


def _labels(draft: Draft) -> tuple[GivenLabel, ...]:
    """The draft's labels. Names that differ may be the same once they are stripped and cut."""
    given = draft.labels or ([HumanLabel(FILE, draft.stated, draft.strength, draft.both_bad)] if draft.stated else [])
    labels = [GivenLabel(*_said(one.annotator, one.choice, one.both_bad), strength=one.strength) for one in given]
    names = [label.annotator for label in labels]
    if len(set(names)) < len(names):
        raise BadRow(f"labels: two labels by {next(name for name in names if names.count(name) > 1)}")
    return tuple(map(without_idle_strength, labels))


def _said(annotator: str, choice: str, both_bad: bool) -> tuple[str, str]:
    name = clean_text(annotator, "labels").strip()[:LONGEST_NAME] or FILE
    return name, Choice.BOTH_BAD.value if both_bad else choice


def _prompt(value: object) -> list[dict[str, str]]:
    if isinstance(value, str):
        if not value.strip():
            raise BadRow("prompt: empty")
        return [{"role": "user", "content": clean_text(value, "prompt")}]
    if isinstance(value, list) and value:
        return _messages(value, "prompt")
    raise BadRow("prompt: missing" if value is None else "prompt: neither text nor a list of messages")


def _instructed(prompt: list[dict[str, str]], system: object) -> list[dict[str, str]]:
    """The prompt after the text of the column `system`, unless it has a system message of its own."""
    if not isinstance(system, str) or not system.strip() or any(one["role"] == "system" for one in prompt):
        return prompt
    return [{"role": "system", "content": clean_text(system, "system")}, *prompt]


def _messages(value: list[Any], name: str) -> list[dict[str, str]]:
    messages = []
    for number, message in enumerate(value, start=1):
        if isinstance(message, dict) and (message.get("tool_calls") or message.get("function_call")):
            raise BadRow(f"{name}: message {number} calls a tool, which a judge cannot read")
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise BadRow(f"{name}: message {number} has no text content")
        role = message.get("role")
        if role not in ROLES:
            raise BadRow(f"{name}: message {number} has the unknown role {role!r}")
        messages.append({"role": str(role), "content": clean_text(message["content"], name)})
    if not any(message["content"].strip() for message in messages):
        raise BadRow(f"{name}: empty")
    return messages


def _response(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name)
    if value is None:
        raise BadRow(f"{name}: missing")
    if not isinstance(value, str):
        raise BadRow(f"{name}: not text")
    if not value or value.isspace():
        raise BadRow(f"{name}: empty")
    return clean_text(value, name)


def _name(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name)
    return clean_text(str(value), name)[:200] if value else ""


def _id(raw: Mapping[str, Any]) -> str:
    value = whole(raw.get("id"))
    if value is None or value == "":
        return ""
    if not isinstance(value, str | int):
        raise BadRow("id: neither text nor a whole number")
    text = clean_text(str(value), "id")
    if len(text) > 200:
        raise BadRow(f"id: {len(text)} characters, the most are 200")
    return text


def _gold(value: object) -> str:
    if value is None or value == "":
        return ""
    if value not in Choice.values:
        raise BadRow(f"gold: {value!r:.60} is not one of {', '.join(Choice.values)}")
    return str(value)


def _meta(raw: Mapping[str, Any]) -> dict[str, Any]:
    meta = parsed(raw.get("meta"), "meta") or {}
    if not isinstance(meta, dict):
        raise BadRow("meta: not an object")
    if meta:
        try:
            written = json.dumps(meta, allow_nan=False)
        except (ValueError, TypeError, RecursionError):
            raise BadRow("meta: holds something that is no JSON") from None
        if len(written) > LONGEST_FIELD:
            raise BadRow("meta: too large")
        if "\\u0000" in written:
            raise BadRow("meta: contains a NUL character")
    source = raw.get("source")
    return {**meta, "source": clean_text(str(source), "source")} if source else dict(meta)


_written = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
