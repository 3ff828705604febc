"""The layouts of preference data, one reader each, and how to tell them apart; knows nothing of files.

A reader takes a row of its layout and returns a draft, or raises EngineError naming the field and what was expected.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from genrm_engine.errors import EngineError
from genrm_engine.formats.columns import prompt_column
from genrm_engine.formats.conversations import (
    Conversation,
    is_transcript,
    read_transcript,
    split,
    split_texts,
    until_turn,
)
from genrm_engine.formats.draft import Draft
from genrm_engine.formats.fields import (
    BOTH_BAD,
    Row,
    choice_of,
    labels_of,
    messages_of,
    models_of,
    number_of,
    pandalm_vote,
    present,
    text_of,
    turns_of,
    winner_of,
)
from genrm_engine.formats.rows import HumanLabel, Label
from genrm_engine.formats.scales import is_scale, is_unsigned, read_scale, said_winner
from genrm_engine.formats.tools import is_argilla, is_label_studio, read_argilla, read_label_studio
from genrm_engine.types import Message, said

_ARENA_ONLY = ("anony", "tstamp", "language", "conv_metadata")


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout's name, the sign by which a row of it is known, and its reader.

    ``votes``: a line is one person's vote, and its id names the vote, not the pair.
    """

    name: str
    fits: Callable[[Row], bool]
    read: Callable[[Row], Draft]
    votes: bool = False


def detect(row: Row) -> str:
    """The name of the layout that the row is in. Raises EngineError where it is in none."""
    name = known(row)
    if name is None:
        fields = ", ".join(sorted(map(str, row))) or "none"
        raise EngineError(f"in none of the layouts {', '.join(FORMATS)}; its fields are: {fields}")
    return name


def known(row: Row) -> str | None:
    """The name of the layout that the row is in, or None."""
    return next((layout.name for layout in LAYOUTS.values() if layout.fits(row)), None)


def read_row(row: Row, name: str) -> Draft:
    """The row as the layout ``name``, one of ``FORMATS``, has it."""
    layout = LAYOUTS[name]
    draft = _with_common(_by_name(layout.read(row), row), row)
    given = "" if layout.votes else said(row.get("id"))
    return replace(draft, id=given) if given else draft


def _tandem(row: Row) -> Draft:
    choice, labels = choice_of(row.get("choice"), "choice"), labels_of(row.get("labels"))
    annotator = _object(row, "provenance").get("annotator")
    if annotator and choice is not None and not labels:
        # An export of single labels: the choice is that annotator's, not the consensus.
        labels, choice = (HumanLabel(str(annotator), choice),), None
    winner = None if choice or labels else said_winner(row)
    draft = Draft(
        prompt=messages_of(present(row, "prompt"), "prompt"),
        response_a=text_of(present(row, "response_a"), "response_a"),
        response_b=text_of(present(row, "response_b"), "response_b"),
        stated=choice,
        labels=labels,
        gold=choice_of(row.get("gold"), "gold"),
        p_a=_probability(row),
        models=models_of(row) or models_of(_object(row, "meta")),
    )
    if winner is None:
        return draft
    return replace(draft, stated=winner.choice, strength=winner.strength, both_bad=winner.both_bad)


def _trl(row: Row) -> Draft:
    prompt = messages_of(present(row, "prompt"), "prompt")
    chosen, rejected = present(row, "chosen"), present(row, "rejected")
    if isinstance(chosen, str) and isinstance(rejected, str):
        return _chosen(row, prompt, text_of(chosen, "chosen"), text_of(rejected, "rejected"))
    sides = _completed(prompt, chosen, "chosen"), _completed(prompt, rejected, "rejected")
    return _chosen(row, *split(*sides, ("chosen", "rejected")))


def _trl_implicit(row: Row) -> Draft:
    chosen, rejected = present(row, "chosen"), present(row, "rejected")
    if isinstance(chosen, str) or isinstance(rejected, str):
        if is_transcript(chosen) and is_transcript(rejected):
            return _hh_rlhf(row)
        if "prompt" in row:
            return _trl(row)
        texts = text_of(chosen, "chosen"), text_of(rejected, "rejected")
        return _chosen(row, *split_texts(*texts, ("chosen", "rejected")))
    sides = messages_of(chosen, "chosen"), messages_of(rejected, "rejected")
    return _chosen(row, *split(*sides, ("chosen", "rejected")))


def _hh_rlhf(row: Row) -> Draft:
    sides = [read_transcript(text_of(present(row, name), name), name) for name in ("chosen", "rejected")]
    return _chosen(row, *split(sides[0], sides[1], ("chosen", "rejected")))


def _ultrafeedback(row: Row) -> Draft:
    """Equal scores are a tie: its chosen response was then taken by lot."""
    scores = [number_of(row, name) for name in ("score_chosen", "score_rejected")]
    draft = _trl_implicit(row) if row.get("prompt") is None else _trl(row)
    return replace(draft, stated="tie") if scores[0] is not None and scores[0] == scores[1] else draft


def _arena(row: Row) -> Draft:
    """Nobody is named, so the voter is called by the vote's id."""
    asked, *answers = turns_of(row, "prompt", "response_a", "response_b")
    sides = [_asked(asked, said, name) for said, name in zip(answers, ("response_a", "response_b"), strict=True)]
    prompt, response_a, response_b = split(sides[0], sides[1], ("response_a", "response_b"))
    voter = f"arena-{row['id']}" if row.get("id") is not None else ""
    return _voted(row, prompt, response_a, response_b, voter)


def _conversations(row: Row) -> Draft:
    sides = (
        messages_of(present(row, "conversation_a"), "conversation_a"),
        messages_of(present(row, "conversation_b"), "conversation_b"),
    )
    voter = row.get("judge") or row.get("evaluation_session_id") or row.get("question_id") or row.get("id") or ""
    return _voted(row, *split(*sides, ("conversation_a", "conversation_b")), str(voter))


def _mt_bench(row: Row) -> Draft:
    """``turn`` says how far the conversation had gone when it was judged. A ``judge`` that is a list is a model's."""
    turn = present(row, "turn")
    if isinstance(turn, bool) or not isinstance(turn, int) or turn < 1:
        raise EngineError(f"turn is not a number from 1 but {turn!r}")
    sides = [
        until_turn(messages_of(present(row, name), name), turn, name) for name in ("conversation_a", "conversation_b")
    ]
    prompt, response_a, response_b = split(sides[0], sides[1], ("conversation_a", "conversation_b"))
    judge = present(row, "judge")
    if isinstance(judge, list):
        return Draft(prompt, response_a, response_b, models=models_of(row))
    return _voted(row, prompt, response_a, response_b, str(judge))


def _pandalm(row: Row) -> Draft:
    """``cmp_key`` holds the two models; a missing ``input`` is null, empty or NaN."""
    instruction, given = text_of(present(row, "instruction"), "instruction"), row.get("input")
    more = given if isinstance(given, str) and given.strip() else ""
    names = sorted(name for name in row if name.startswith("annotator"))
    if not names:
        raise EngineError("annotator1 is missing")
    models = str(row.get("cmp_key") or "").split("_")
    return Draft(
        prompt=(Message("user", f"{instruction}\n\n{text_of(more, 'input')}" if more else instruction),),
        response_a=text_of(present(row, "response1"), "response1"),
        response_b=text_of(present(row, "response2"), "response2"),
        labels=tuple(HumanLabel(name, pandalm_vote(row[name], name)) for name in names),
        id=f"pandalm-{row['idx']}" if row.get("idx") is not None else "",
        models=(models[0], models[1]) if len(models) == 2 else None,
    )


def _chosen(row: Row, prompt: Conversation, chosen: str, rejected: str) -> Draft:
    """Two equal responses are a tie: there was nothing to prefer."""
    labels = row.get("labels")
    if isinstance(labels, list) and any(isinstance(label, dict) for label in labels):
        raise EngineError("labels is ambiguous beside chosen and rejected, which do not say what A and B are")
    return Draft(prompt, chosen, rejected, stated="tie" if chosen == rejected else "a").drawn()


def _voted(row: Row, prompt: Conversation, response_a: str, response_b: str, voter: str) -> Draft:
    choice: Label = winner_of(row)
    bad = row.get("winner") in BOTH_BAD
    draft = Draft(prompt, response_a, response_b, models=models_of(row))
    if not voter:
        return replace(draft, stated=choice, both_bad=bad)
    return replace(draft, labels=(HumanLabel(voter, choice, both_bad=bad),))


def _completed(prompt: Conversation, value: object, name: str) -> Conversation:
    """The side's whole conversation: some files repeat the prompt in it, also without its system message, others give
    the answer alone.
    """
    if isinstance(value, str):
        return (*prompt, Message("assistant", text_of(value, name)))
    messages = messages_of(value, name)
    if messages[0].role == "assistant":
        return (*prompt, *messages)
    return (*prompt[:1], *messages) if prompt[0].role == "system" and not _has_system(messages) else messages


def _asked(asked: list[str], answers: list[str], name: str) -> Conversation:
    if len(asked) != len(answers):
        raise EngineError(f"{name} has {len(answers)} turns, but prompt has {len(asked)}")
    turns = zip(asked, answers, strict=True)
    return tuple(message for turn in turns for message in (Message("user", turn[0]), Message("assistant", turn[1])))


def _by_name(draft: Draft, row: Row) -> Draft:
    """A choice beside ``annotator`` is that annotator's, not the consensus."""
    annotator = said(row.get("annotator"))
    if draft.stated is None or draft.labels or not annotator:
        return draft
    label = HumanLabel(annotator, draft.stated, draft.strength, draft.both_bad)
    return replace(draft, stated=None, strength=None, both_bad=False, labels=(label,))


def _has_system(messages: Conversation) -> bool:
    return any(message.role == "system" for message in messages)


def _with_common(draft: Draft, row: Row) -> Draft:
    """What any layout may carry beside its own fields."""
    system = row.get("system")
    if isinstance(system, str) and system.strip() and not _has_system(draft.prompt):
        draft = replace(draft, prompt=(Message("system", text_of(system, "system")), *draft.prompt))
    meta = _object(row, "meta")
    weight = number_of(row, "weight")
    if weight is not None and weight < 0:
        raise EngineError(f"weight is below 0: {weight}")
    return replace(
        draft,
        weight=1.0 if weight is None else weight,
        rationale=said(row.get("rationale")),
        group=said(meta.get("group_key")) or said(row.get("group")),
        split=said(meta.get("split")) or said(row.get("split")) or said(row.get("part")),
    )


def _probability(row: Row) -> float | None:
    p_a = number_of(row, "p_a")
    if p_a is not None and not 0 <= p_a <= 1:
        raise EngineError(f"p_a is not between 0 and 1 but {p_a}")
    return p_a


def _object(row: Row, name: str) -> dict[str, Any]:
    value = row.get(name)
    return value if isinstance(value, dict) else {}


def _compares(row: Row) -> bool:
    return "chosen" in row or "rejected" in row


def _are_texts(row: Row) -> bool:
    """Whether chosen or rejected is a text that is no transcript, and so does not say where its prompt ends."""
    return any(isinstance(row.get(name), str) for name in ("chosen", "rejected")) and not _is_transcripts(row)


def _is_trl(row: Row) -> bool:
    return _compares(row) and (row.get("prompt") is not None or ("prompt" in row and _are_texts(row)))


def _is_trl_implicit(row: Row) -> bool:
    """Texts that a column of another name may ask for are not split by the words that they share."""
    return _compares(row) and ("prompt" in row or not _are_texts(row) or prompt_column(map(str, row)) is None)


def _is_arena(row: Row) -> bool:
    return "winner_model_a" in row or {"winner", "model_a", "model_b", "response_a"} <= row.keys()


def _is_tandem(row: Row) -> bool:
    return ("response_a" in row or "response_b" in row) and not is_unsigned(row)


def _is_mt_bench(row: Row) -> bool:
    return {"conversation_a", "turn", "judge"} <= row.keys() and not any(name in row for name in _ARENA_ONLY)


def _is_transcripts(row: Row) -> bool:
    return is_transcript(row.get("chosen")) and is_transcript(row.get("rejected"))


# The first that fits is the row's, so a layout stands before those whose fields it has too.
LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout("label-studio", is_label_studio, read_label_studio),
        Layout("argilla", is_argilla, read_argilla),
        Layout("arena", _is_arena, _arena, votes=True),
        Layout("mt-bench", _is_mt_bench, _mt_bench, votes=True),
        Layout("arena-conversations", lambda row: "conversation_a" in row, _conversations, votes=True),
        Layout("scale", is_scale, read_scale),
        Layout("pandalm", lambda row: "response1" in row, _pandalm),
        Layout("ultrafeedback", lambda row: _is_trl_implicit(row) and "score_chosen" in row, _ultrafeedback),
        Layout("trl", _is_trl, _trl),
        Layout("hh-rlhf", _is_transcripts, _hh_rlhf),
        Layout("trl-implicit", _is_trl_implicit, _trl_implicit),
        Layout("tandem", _is_tandem, _tandem),
    )
}
FORMATS: tuple[str, ...] = tuple(sorted(LAYOUTS))
