"""One line of an imported file → one pair with its labels, or the reason why not. Knows no database."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from labeling.models.labels import Choice

LONGEST_FIELD = 200_000
ROLES = ("system", "user", "assistant", "tool")


class BadRow(Exception):
    """The reason why a line is not taken; names the field."""


@dataclass(frozen=True)
class Row:
    """A pair as a file brings it, checked."""

    external_id: str
    prompt: list[dict[str, str]]
    response_a: str
    response_b: str
    labels: dict[str, str] = field(default_factory=dict)
    gold: str = ""
    meta: dict[str, Any] = field(default_factory=dict)
    model_a: str = ""
    model_b: str = ""

    @property
    def prompt_hash(self) -> str:
        return _sha256(self.prompt)

    @property
    def content_hash(self) -> str:
        """Of the prompt and both responses, whichever comes first: a mirrored pair is the same pair."""
        return _sha256([self.prompt, sorted([self.response_a, self.response_b])])

    @property
    def group_key(self) -> str:
        return str(self.meta.get("group_key") or self.prompt_hash)[:200]


def parse_line(line: bytes) -> dict[str, Any]:
    """The JSON object of a line. Raises BadRow."""
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadRow(f"not UTF-8 (byte {error.start + 1})") from None
    except (ValueError, RecursionError) as error:
        raise BadRow(f"not JSON: {error}") from None
    if not isinstance(row, dict):
        raise BadRow("not a JSON object")
    return row


def to_row(raw: dict[str, Any]) -> Row:
    """Read Tandem's own layout or TRL's `prompt/chosen/rejected` (explicit or implicit). Raises BadRow."""
    if "chosen" in raw and "rejected" in raw:
        return _from_trl(raw)
    prompt = _prompt(raw.get("prompt"))
    response_a, response_b = _response(raw, "response_a"), _response(raw, "response_b")
    _differ(response_a, response_b, "response_a, response_b")
    row = Row("", prompt, response_a, response_b)
    return Row(
        external_id=_id(raw) or row.content_hash[:32],
        prompt=prompt,
        response_a=response_a,
        response_b=response_b,
        labels=_labels(raw.get("labels")),
        gold=_gold(raw.get("gold")),
        meta=_meta(raw),
        model_a=str(raw.get("model_a") or "")[:200],
        model_b=str(raw.get("model_b") or "")[:200],
    )


def _from_trl(raw: dict[str, Any]) -> Row:
    """The chosen response becomes A or B by the content's hash, the file's choice a label of the annotator `file`."""
    chosen, rejected = raw["chosen"], raw["rejected"]
    if raw.get("prompt") is not None:
        prompt = _prompt(raw["prompt"])
        good, bad = _completion(chosen, "chosen"), _completion(rejected, "rejected")
    else:
        prompt, good, bad = _implicit(chosen, rejected)
    _differ(good, bad, "chosen, rejected")
    content = Row("", prompt, good, bad).content_hash
    chosen_is_a = int(content[:8], 16) % 2 == 0
    return Row(
        external_id=_id(raw) or content[:32],
        prompt=prompt,
        response_a=good if chosen_is_a else bad,
        response_b=bad if chosen_is_a else good,
        labels={"file": "a" if chosen_is_a else "b"},
        meta=_meta(raw),
    )


def _implicit(chosen: object, rejected: object) -> tuple[list[dict[str, str]], str, str]:
    """Both sides are whole conversations; what they share is the prompt, the last turn is the response."""
    if not isinstance(chosen, list) or not isinstance(rejected, list):
        raise BadRow("prompt: missing, and chosen and rejected are not conversations that hold it")
    first, second = _messages(chosen, "chosen"), _messages(rejected, "rejected")
    if len(first) < 2 or first[:-1] != second[:-1]:
        raise BadRow("chosen, rejected: the conversations differ before their last turn")
    return first[:-1], first[-1]["content"], second[-1]["content"]


def _prompt(value: object) -> list[dict[str, str]]:
    if isinstance(value, str):
        if not value.strip():
            raise BadRow("prompt: empty")
        return [{"role": "user", "content": _text(value, "prompt")}]
    if isinstance(value, list) and value:
        return _messages(value, "prompt")
    raise BadRow("prompt: missing" if value is None else "prompt: neither text nor a list of messages")


def _messages(value: list[object], name: str) -> list[dict[str, str]]:
    messages = []
    for number, message in enumerate(value, start=1):
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            raise BadRow(f"{name}: message {number} has no text content")
        role = message.get("role")
        if role not in ROLES:
            raise BadRow(f"{name}: message {number} has the unknown role {role!r}")
        messages.append({"role": str(role), "content": _text(message["content"], name)})
    return messages


def _completion(value: object, name: str) -> str:
    if isinstance(value, list):
        messages = _messages(value, name)
        if len(messages) != 1:
            raise BadRow(f"{name}: expected one message, found {len(messages)}")
        value = messages[0]["content"]
    return _response({name: value}, name)


def _response(raw: dict[str, Any], name: str) -> str:
    value = raw.get(name)
    if value is None:
        raise BadRow(f"{name}: missing")
    if not isinstance(value, str):
        raise BadRow(f"{name}: not text")
    if not value.strip():
        raise BadRow(f"{name}: empty")
    return _text(value, name)


def _text(value: str, name: str) -> str:
    if len(value) > LONGEST_FIELD:
        raise BadRow(f"{name}: {len(value):,} characters, the most are {LONGEST_FIELD:,}")
    if "\x00" in value:
        raise BadRow(f"{name}: contains a NUL character")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise BadRow(f"{name}: contains half of a surrogate pair") from None
    return value


def _differ(first: str, second: str, names: str) -> None:
    if first.strip() == second.strip():
        raise BadRow(f"{names}: the two responses are identical")


def _id(raw: dict[str, Any]) -> str:
    value = raw.get("id")
    if value is None or value == "":
        return ""
    if not isinstance(value, str | int):
        raise BadRow("id: neither text nor a number")
    text = _text(str(value), "id")
    if len(text) > 200:
        raise BadRow(f"id: {len(text)} characters, the most are 200")
    return text


def _labels(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, list):
        raise BadRow("labels: not a list")
    labels: dict[str, str] = {}
    for number, label in enumerate(value, start=1):
        if not isinstance(label, dict):
            raise BadRow(f"labels: entry {number} is not an object")
        annotator, choice = label.get("annotator"), label.get("choice")
        if not isinstance(annotator, str | int) or not str(annotator).strip():
            raise BadRow(f"labels: entry {number} names no annotator")
        if choice not in Choice.values:
            raise BadRow(f"labels: entry {number}: choice {choice!r} is not one of {', '.join(Choice.values)}")
        name = _text(str(annotator), "labels")[:150]
        if name in labels:
            raise BadRow(f"labels: two labels by {name}")
        labels[name] = str(choice)
    return labels


def _gold(value: object) -> str:
    if value is None or value == "":
        return ""
    if value not in Choice.values:
        raise BadRow(f"gold: {value!r} is not one of {', '.join(Choice.values)}")
    return str(value)


def _meta(raw: dict[str, Any]) -> dict[str, Any]:
    meta = raw.get("meta") or {}
    if not isinstance(meta, dict):
        raise BadRow("meta: not an object")
    if len(json.dumps(meta)) > LONGEST_FIELD:
        raise BadRow("meta: too large")
    if "\\u0000" in json.dumps(meta):
        raise BadRow("meta: contains a NUL character")
    source = raw.get("source")
    return {**meta, "source": str(source)} if source else dict(meta)


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
