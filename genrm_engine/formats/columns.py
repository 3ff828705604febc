"""Guessing what the columns of an unknown table hold from their names; knows nothing of their values.

Two columns whose names differ only in their last part (``answer_a`` and ``answer_b``, ``text1`` and ``text2``) are
the two responses, of several such couples the one whose name says most.
"""

import re
from collections.abc import Iterable

PROMPTS = ("prompt", "instruction", "question", "query", "context", "conversation", "dialogue", "post", "input", "task")
WINNERS = ("winner", "preference", "preferred", "choice", "label", "verdict", "better", "selected", "comparison")
ANNOTATORS = ("annotator", "annotator_id", "judge", "rater", "worker", "worker_id", "labeler", "user", "completed_by")
IDS = ("id", "pair_id", "external_id", "uid", "uuid", "idx")
GROUPS = ("group", "group_key", "prompt_id", "question_id", "topic")
SYSTEMS = ("system", "system_prompt", "system_message")
CHOSEN = ("chosen", "accepted", "preferred_response", "better_response", "win", "positive")
REJECTED = ("rejected", "refused", "dispreferred_response", "worse_response", "lose", "negative")

_STEMS = (
    "response",
    "answer",
    "completion",
    "output",
    "reply",
    "generation",
    "summary",
    "candidate",
    "text",
    "item",
    "",
)
_COUPLES = {"a": "b", "1": "2", "left": "right", "first": "second"}
_NUMBERED = re.compile(r"^(?P<stem>.*?)(?P<gap>[-_ .]?)(?P<part>a|1|left|first)$")


def couples(names: Iterable[str]) -> list[tuple[str, str]]:
    """Columns that come in twos, those first whose name says that they are responses."""
    plain = {name.lower(): name for name in names}
    found: list[tuple[int, str, str]] = []
    for low, name in plain.items():
        match = _NUMBERED.match(low)
        other = match and plain.get(f"{match['stem']}{match['gap']}{_COUPLES[match['part']]}")
        stem = match["stem"].rstrip("-_ .") if match else ""
        rank = next((place for place, word in enumerate(_STEMS) if word in stem), len(_STEMS) if not stem else None)
        if other and rank is not None:
            found.append((rank, name, other))
    return [(first, second) for _rank, first, second in sorted(found, key=lambda each: each[0])]


def prompt_column(names: Iterable[str]) -> str | None:
    """The column that most likely holds the prompt."""
    return _named(names, PROMPTS)


def guess_columns(names: Iterable[str]) -> dict[str, str]:
    """``{field: column}`` for the prompt, the responses (or chosen and rejected), the winner and what else is known."""
    given = list(names)
    found: dict[str, str | None] = {"prompt": prompt_column(given)}
    chosen, rejected = _named(given, CHOSEN), _named(given, REJECTED)
    sides = couples(name for name in given if "model" not in name.lower())
    if chosen and rejected:
        found |= {"chosen": chosen, "rejected": rejected}
    elif sides:
        found |= {"response_a": sides[0][0], "response_b": sides[0][1]}
    models = {name.lower(): name for name in given}
    for first, second in (("model_a", "model_b"), ("model_1", "model_2"), ("model1", "model2")):
        if first in models and second in models:
            found |= {"model_a": models[first], "model_b": models[second]}
    found |= {"winner": _named(given, WINNERS), "annotator": _named(given, ANNOTATORS)}
    found |= {"id": _named(given, IDS), "group": _named(given, GROUPS), "system": _named(given, SYSTEMS)}
    return {field: column for field, column in found.items() if column is not None}


def _named(names: Iterable[str], wanted: tuple[str, ...]) -> str | None:
    plain = {re.sub(r"[-_ .]+", "_", name.strip().lower()): name for name in names}
    return next((plain[word] for word in wanted if word in plain), None)
