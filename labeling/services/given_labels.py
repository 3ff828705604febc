"""The labels that a row of an imported file carries, with all that an export says of each. Knows no database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from genrm_engine.errors import EngineError
from genrm_engine.formats.fields import finite
from genrm_engine.formats.scales import said_winner
from genrm_engine.types import whole
from labeling.models.labels import Choice
from labeling.services.flat_exports import parsed
from labeling.services.texts import LONGEST_FIELD, BadRow, clean_text

LONGEST_NAME = 150
MOST_LABELS = 1_000
FILE = "file"
"""Who is named as the annotator where a file says which response is better and not who said so."""
CONSENSUS = "consensus"
"""Who is named where a row is the consensus of several people, as Tandem exports it."""
ADJUDICATION = " (adjudication)"
"""What follows the name of whoever settled a pair, which they may have labelled too."""
MIRRORED = {"a": "b", "b": "a", "tie": "tie", "both_bad": "both_bad"}

_SIDES = ("a", "b", "tie")
_BY_PEOPLE = ("majority", "dawid_skene", "adjudicated")
_STRENGTHS = {"1": 1, "2": 2, "1.0": 1, "2.0": 2}
"""As text: data frames hold 1 as 1.0 where another row has none."""


@dataclass(frozen=True, slots=True)
class GivenLabel:
    """A label as a file brings it, in the order in which the file has the responses."""

    annotator: str
    choice: str
    final_choice: str = ""
    strength: int | None = None
    criteria: Mapping[str, str] = field(default_factory=dict)
    highlights: Sequence[Mapping[str, Any]] = ()
    comment: str = ""
    seconds: float | None = None
    too_fast: bool = False
    blind: bool = True
    created_at: datetime | None = None

    def mirrored(self) -> "GivenLabel":
        """The same with the responses exchanged."""
        return replace(
            self,
            choice=MIRRORED[self.choice],
            final_choice=self.final_choice and MIRRORED[self.final_choice],
            criteria={name: MIRRORED[said] for name, said in self.criteria.items()},
            highlights=[{**one, "response": MIRRORED[one["response"]]} for one in self.highlights],
        )


def labels_of(raw: Mapping[str, Any]) -> tuple[GivenLabel, ...]:
    """The row's `labels`, or the one label that an exported row is, or the bare `choice` or `winner` of the file."""
    value = raw.get("labels")
    if value is None or value == []:
        return _single(raw)
    if not isinstance(value, list):
        raise BadRow("labels: not a list")
    if len(value) > MOST_LABELS:
        raise BadRow(f"labels: {len(value):,}, the most are {MOST_LABELS:,}")
    labels: dict[str, GivenLabel] = {}
    for number, entry in enumerate(value, start=1):
        if not isinstance(entry, dict):
            raise BadRow(f"labels: entry {number} is not an object")
        annotator = whole(entry.get("annotator"))
        if not isinstance(annotator, str | int) or not str(annotator).strip():
            raise BadRow(f"labels: entry {number} names no annotator")
        label = _label(str(annotator), entry.get("choice"), entry, f"labels: entry {number}: ")
        if label.annotator in labels:
            raise BadRow(f"labels: two labels by {label.annotator}")
        labels[label.annotator] = label
    return tuple(labels.values())


def _single(raw: Mapping[str, Any]) -> tuple[GivenLabel, ...]:
    """Of a consensus only what people decided is a label, and nothing that a judge said ever is.

    A consensus is of final verdicts, some given after the judge was shown, and so is not taken for blind.
    """
    choice = raw.get("choice")
    if choice is None or choice == "":
        return _won(raw)
    about = raw.get("provenance")
    if about is None:
        about = {}
    if not isinstance(about, dict):
        raise BadRow("provenance: not an object")
    annotator = about.get("annotator")
    if annotator:
        said = f"{annotator}{ADJUDICATION}" if about.get("origin") == "adjudication" else str(annotator)
    elif about.get("method") in _BY_PEOPLE:
        said, about = CONSENSUS, {**about, "blind": False}
    elif about:
        return ()
    else:
        said = annotator_of(raw)
    return (_label(said, choice, about, ""),)


def _won(raw: Mapping[str, Any]) -> tuple[GivenLabel, ...]:
    try:
        verdict = said_winner(raw)
    except EngineError as error:
        raise BadRow(str(error).replace("winner ", "winner: ", 1)) from None
    if verdict is None:
        return ()
    choice = Choice.BOTH_BAD.value if verdict.both_bad else verdict.choice
    return (replace(_label(annotator_of(raw), choice, {}, ""), strength=verdict.strength),)


def annotator_of(row: Mapping[str, Any]) -> str:
    """Whom the row's `annotator` names, else the file."""
    name = whole(row.get("annotator"))
    return FILE if name is None or name == "" else str(name)


def _label(annotator: str, choice: object, given: Mapping[str, Any], where: str) -> GivenLabel:
    """One label with all that is known of it; ``where`` stands before the reasons in a list of labels."""
    if choice not in Choice.values:
        place = f"{where}choice" if where else "choice:"
        raise BadRow(f"{place} {choice!r:.60} is not one of {', '.join(Choice.values)}")
    name = clean_text(annotator, "labels").strip()[:LONGEST_NAME] or FILE
    if len(given) <= 2:
        return GivenLabel(name, str(choice))
    final = given.get("final_choice") or choice
    if final not in Choice.values:
        raise BadRow(f"{where or 'provenance: '}final_choice {final!r:.60} is not one of {', '.join(Choice.values)}")
    where = where or "provenance: "
    return without_idle_strength(
        GivenLabel(
            annotator=name,
            choice=str(choice),
            final_choice=str(final),
            strength=_strength(given.get("strength"), where),
            criteria=_criteria(parsed(given.get("criteria"), "criteria"), where),
            highlights=_highlights(parsed(given.get("highlights"), "highlights"), where),
            comment=clean_text(str(given.get("comment") or ""), "comment"),
            seconds=_seconds(given.get("seconds"), where),
            too_fast=given.get("too_fast") is True,
            blind=given.get("blind") is not False,
            created_at=_moment(given.get("created_at"), where),
        )
    )


def _strength(value: object, where: str) -> int | None:
    if value is None or value == "":
        return None
    strength = _STRENGTHS.get(str(value))
    if strength is None:
        raise BadRow(f"{where}strength {value!r:.60} is not 1 (better) or 2 (much better)")
    return strength


def _seconds(value: object, where: str) -> float | None:
    if value is None:
        return None
    seconds = finite(value)
    if seconds is None or seconds < 0:
        raise BadRow(f"{where}seconds {value!r:.60} is not a time")
    return seconds


def _criteria(value: object, where: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or any(said not in _SIDES for said in value.values()):
        raise BadRow(f"{where}criteria: each must be a, b or tie")
    return {clean_text(str(name), "criteria")[:LONGEST_NAME]: said for name, said in value.items()}


def _highlights(value: object, where: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(map(_is_passage, value)):
        raise BadRow(f"{where}highlights: each needs response (a or b), start, end and quote")
    return [{name: one[name] for name in ("response", "start", "end", "quote")} for one in value]


def _is_passage(one: object) -> bool:
    if not isinstance(one, dict) or not {"response", "start", "end", "quote"} <= one.keys():
        return False
    numbers = all(isinstance(one[name], int) and not isinstance(one[name], bool) for name in ("start", "end"))
    quoted = isinstance(one["quote"], str) and "\x00" not in one["quote"] and len(one["quote"]) <= LONGEST_FIELD
    return numbers and one["response"] in ("a", "b") and quoted


def _moment(value: object, where: str) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or not 1970 <= moment.year <= 9000:
        raise BadRow(f"{where}created_at {value!r:.60} is not a time with its zone")
    return moment


def without_idle_strength(label: GivenLabel) -> GivenLabel:
    return label if label.choice in ("a", "b") or label.strength is None else replace(label, strength=None)
