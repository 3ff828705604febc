"""Checked rows into the project: new pairs, labels for new and known ones, and what was rejected. Knows no file."""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Q
from django.utils import timezone

from labeling.models import ImportBatch, Label, Pair, Project, RejectedLine
from labeling.readers import Raw, as_text
from labeling.services import annotators, bulk
from labeling.services.claims import close_settled
from labeling.services.given_labels import ADJUDICATION, CONSENSUS, GivenLabel
from labeling.services.parts import is_audited, joined_gate, part_of, place_of
from labeling.services.rows import Row

MOST_RAW = 1_000_000
"""Characters of a rejected row that are kept for its download."""

_PAIR = (
    *("id", "project", "batch", "external_id", "prompt", "response_a", "response_b", "model_a", "model_b", "meta"),
    *("gold", "prompt_hash", "content_hash", "group_key", "part", "audit", "shuffle", "route_score", "route_reason"),
    *("extra_labels", "ambiguous", "closed", "created_at"),
)
_LABEL = (
    *("pair", "external_annotator", "source", "choice", "final_choice", "strength", "criteria", "highlights"),
    *("comment", "seconds", "too_fast", "blind", "withdrawn", "created_at", "stored_at"),
)
_REJECTED = ("batch", "number", "field", "reason", "excerpt", "raw")
_written = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that is not taken: where it stands, why, and what it was."""

    number: int
    reason: str
    field: str
    text: str


Outcome = tuple[Raw, Row | Rejected]
"""A row as it was read, and what became of it."""

_Said = defaultdict[str, set[str]]
"""What is there of a pair: by the name that a file has for an annotator, their first verdicts."""


@dataclass(slots=True)
class _Sorted:
    """What is new of a chunk, what goes to pairs that are there, and what is turned away."""

    fresh: list[Row] = field(default_factory=list)
    added: dict[str, list[tuple[Row, Raw]]] = field(default_factory=lambda: defaultdict(list))
    rejected: list[Rejected] = field(default_factory=list)
    duplicates: int = 0


def store(batch: ImportBatch, project: Project, outcomes: Sequence[Outcome]) -> None:
    """Insert what is new, add labels to pairs that are known, count duplicates, keep what is rejected.

    Inside the import's transaction. The batch's counts go up; it is not saved.
    """
    found = _sorted(project, outcomes)
    now = timezone.now()
    ids = bulk.reserve_ids(Pair, len(found.fresh)) if found.fresh else []
    joined = set(joined_gate(project)) if found.fresh else set()
    pairs = (_pair(batch, project, key, row, joined, now) for key, row in zip(ids, found.fresh, strict=True))
    bulk.insert(Pair, _PAIR, pairs)
    fresh = {key: row.labels for key, row in zip(ids, found.fresh, strict=True) if row.labels}
    more = _labels_to_add(project, found, fresh) if found.added else {}
    rows = [_label(key, label, now) for each in (fresh, more) for key, labels in each.items() for label in labels]
    if rows:
        bulk.insert(Label, _LABEL, rows)
        batch.labels += len(rows)
    if more:
        close_settled(Pair.objects.filter(pk__in=more))
    if found.rejected:
        bulk.insert(RejectedLine, _REJECTED, (_rejected(batch, each) for each in found.rejected))
    batch.imported += len(found.fresh)
    batch.duplicates += found.duplicates
    batch.rejected += len(found.rejected)


def _sorted(project: Project, outcomes: Sequence[Outcome]) -> _Sorted:
    found = _Sorted()
    rows = [outcome for _raw, outcome in outcomes if isinstance(outcome, Row)]
    ids, contents = _known(project, rows)
    for raw, outcome in outcomes:
        if isinstance(outcome, Rejected):
            found.rejected.append(outcome)
        elif outcome.content_hash in contents:
            found.duplicates += 1
            if outcome.labels:
                found.added[outcome.content_hash].append((outcome, raw))
        elif outcome.external_id in ids:
            reason = f"id: the project has another pair with the id {outcome.external_id!r}"
            found.rejected.append(Rejected(raw.number, reason, "id", as_text(raw)))
        else:
            ids.add(outcome.external_id)
            contents.add(outcome.content_hash)
            found.fresh.append(outcome)
    return found


def _known(project: Project, rows: list[Row]) -> tuple[set[str], set[str]]:
    of_project = ("project", project.pk)
    ids = bulk.matching(Pair, of_project, "external_id", [row.external_id for row in rows])
    contents = bulk.matching(Pair, of_project, "content_hash", [row.content_hash for row in rows])
    return {found for (found,) in ids}, {found for (found,) in contents}


def _labels_to_add(
    project: Project, found: _Sorted, fresh: Mapping[int, Sequence[GivenLabel]]
) -> dict[int, list[GivenLabel]]:
    """Labels for pairs that are known: new annotators' are added, the same again is nothing, another is rejected.

    A label that somebody gave here is known by their name, as an export has it.
    """
    pairs = bulk.matching(Pair, ("project", project.pk), "content_hash", list(found.added), "id", "response_a")
    known = {content: (key, first) for content, key, first in pairs}
    there = _said(project, found, [key for key, _first in known.values()])
    for key, labels in fresh.items():
        _add(there[key], labels)
    more: dict[int, list[GivenLabel]] = defaultdict(list)
    for content, brought in found.added.items():
        key, first = known[content]
        for row, raw in brought:
            labels = [label if row.response_a == first else label.mirrored() for label in row.labels]
            if reason := _against(there[key], labels):
                found.rejected.append(Rejected(raw.number, reason, "labels", as_text(raw)))
                found.duplicates -= 1
                continue
            new = [one for one in labels if one.annotator not in there[key]]
            _add(there[key], new)
            if new:
                more[key].extend(new)
    return more


def _against(there: _Said, labels: Sequence[GivenLabel]) -> str:
    """Why these labels cannot join those that are there; empty if they can."""
    for one in labels:
        if one.annotator in there and one.choice not in there[one.annotator]:
            return f"labels: {one.annotator} has labelled this pair before, and differently"
        if one.annotator == CONSENSUS and there and CONSENSUS not in there:
            return "labels: this pair has labels by people already, and a consensus is not one more"
    return ""


def _add(there: _Said, labels: Sequence[GivenLabel]) -> None:
    for one in labels:
        there[one.annotator].add(one.choice)


def _said(project: Project, found: _Sorted, pairs: list[int]) -> dict[int, _Said]:
    """By pair: the imported labels, and those given here that stand."""
    brought = (label for rows in found.added.values() for row, _raw in rows for label in row.labels)
    marked = any(label.annotator.endswith(annotators.IMPORTED) for label in brought)
    users = annotators.labelling_in(project) if marked else frozenset()
    there: dict[int, _Said] = defaultdict(lambda: defaultdict(set))
    labels = Label.objects.filter(Q(source=Label.Source.IMPORT) | Q(withdrawn=False), pair__in=pairs)
    fields = ("pair_id", "source", "annotator__username", "external_annotator", "choice")
    for key, source, user, external, choice in labels.values_list(*fields):
        name = external if user is None else user
        there[key][f"{name}{ADJUDICATION}" if source == Label.Source.ADJUDICATION else name].add(choice)
        if user is None and users:
            there[key][annotators.as_exported(name, users)].add(choice)
    return there


def _rejected(batch: ImportBatch, each: Rejected) -> tuple[object, ...]:
    raw = each.text if len(each.text) <= MOST_RAW else ""
    return (batch.pk, each.number, each.field[:60], each.reason[:500], each.text[:200].strip(), raw)


def _pair(
    batch: ImportBatch, project: Project, key: int, row: Row, joined: Collection[str], now: datetime
) -> tuple[Any, ...]:
    drawn = part_of(project, row.group_key)
    part = Pair.Part.GATE if row.group_key in joined else drawn
    content = row.content_hash
    return (
        key,
        project.pk,
        batch.pk,
        row.external_id,
        _written(row.prompt),
        row.response_a,
        row.response_b,
        row.model_a,
        row.model_b,
        _written(row.meta) if row.meta else "{}",
        row.gold,
        row.prompt_hash,
        content,
        row.group_key,
        part.value,
        drawn == Pair.Part.TRAIN and is_audited(project, content),  # the audit stays a random part, joined or not
        place_of(project, content),
        0.0,
        "",
        0,
        False,
        len(row.labels) >= project.overlap,  # as `claims.close_settled` would have it
        now,
    )


def _label(key: int, label: GivenLabel, now: datetime) -> tuple[Any, ...]:
    return (
        key,
        label.annotator,
        Label.Source.IMPORT.value,
        label.choice,
        label.final_choice or label.choice,
        label.strength,
        _written(label.criteria),
        _written(label.highlights),
        label.comment,
        label.seconds,
        label.too_fast,
        label.blind,
        False,
        label.created_at or now,
        now,
    )
