"""Where the rows of an export come from: one statement a source, read in chunks with flat memory.

Rows are plain tuples in the order of `fields.PAIR`, then how sure and how strong the choice is, then the provenance.
JSON columns are read as text: nothing parses them on their way out. All come in the order of their pairs, so that the
database need sort no texts.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from typing import Any

import numpy as np
from django.db.models import (
    Case,
    Exists,
    Expression,
    F,
    FilteredRelation,
    FloatField,
    Min,
    OuterRef,
    Q,
    TextField,
    Value,
    When,
)
from django.db.models.functions import Cast, Coalesce, NullIf

from genrm_engine.evaluation import calibration
from labeling.models import Consensus, Deployment, Judgement, Label, LabelRevision, Pair, Project, Rationale
from labeling.models.judges import WITH_VERDICT
from labeling.services import annotators, trust
from labeling.services.exports.asked import Asked
from labeling.services.exports.fields import PROVENANCE, Field, Row, provenance
from labeling.services.exports.reading import chunks

Method = Consensus.Method

HUMAN = provenance(
    ("annotator", "text"),
    ("origin", "text"),
    ("blind", "truth"),
    ("final_choice", "text"),
    ("strength", "whole", True),
    ("criteria", "json"),
    ("highlights", "json"),
    ("comment", "text"),
    ("seconds", "number", True),
    ("too_fast", "truth"),
    ("order_shown", "text", True),
    ("choice_shown", "text", True),
    ("revealed_judge", "text", True),
    ("revealed_at", "time", True),
    ("created_at", "time"),
)
JUDGE = provenance(
    ("judge", "text"),
    ("judge_sha256", "text"),
    ("judge_trusted", "truth"),
    ("prompt_version", "text"),
    ("prompt_hash", "text"),
    ("method", "text"),
    ("p_a", "number"),
    ("p_a_straight", "number"),
    ("p_a_swapped", "number"),
    ("confidence", "number"),
    ("p_a_calibrated", "number"),
    ("may_label_alone", "truth"),
    ("selective_threshold", "number", True),
    ("consistent", "truth"),
    ("order_shown", "text"),
    ("votes_a", "whole"),
    ("votes_b", "whole"),
    ("samples", "whole"),
    ("unparsed", "whole"),
    ("created_at", "time"),
)
RATIONALES = provenance(("rationales", "json"))
CONSENSUS = provenance(
    ("method", "text"), ("confidence", "number"), ("labels", "whole"), ("judge", "text", True), ("created_at", "time")
)
HYBRID = provenance(
    ("method", "text"),
    ("confidence", "number"),
    ("labels", "whole"),
    ("judge", "text", True),
    ("prompt_hash", "text", True),
    ("p_a", "number", True),
    ("p_a_calibrated", "number", True),
    ("created_at", "time"),
)


@dataclass(frozen=True, slots=True)
class Read:
    """Rows on their way: the columns of their provenance, and the chunks."""

    provenance: tuple[Field, ...]
    chunks: Iterator[list[Row]]


def read(project: Project, asked: Asked, deployment: Deployment | None, *, since: datetime | None) -> Read:
    """The rows that were asked for, in the order of their pairs; ``since``: those that came or changed from then on."""
    if asked.source == "human":
        return Read(HUMAN, _human(project, asked, since))
    if asked.source == "consensus":
        return Read(CONSENSUS, _consensus(project, asked, since))
    if asked.source == "hybrid":
        return Read(HYBRID, _hybrid(project, asked, deployment, since))
    columns = JUDGE + RATIONALES if asked.rationales else JUDGE
    return Read(columns, _judge(project, asked, deployment, since) if deployment else iter(()))


def read_prompts(project: Project, asked: Asked, deployment: Deployment | None) -> Read:
    """One row for each prompt of which the source has a label: its first pair's."""
    labelled = Pair.objects.filter(_has(asked.source, deployment), project=project)
    first = labelled.values("prompt_hash").annotate(first=Min("pk")).values("first")
    found = Pair.objects.filter(pk__in=first).order_by("pk")
    return Read((), chunks(found.values_list(*_pair("", choice=Value("")))))


def _has(source: str, deployment: Deployment | None) -> Q:
    """The pairs of which the source has something to say."""
    labels = Exists(Label.objects.filter(pair=OuterRef("pk"), withdrawn=False))
    agreed = Exists(Consensus.objects.filter(pair=OuterRef("pk")))
    if source in ("human", "consensus"):
        return Q(labels if source == "human" else agreed)
    said = Exists(
        Judgement.objects.filter(
            WITH_VERDICT,
            pair=OuterRef("pk"),
            judge=deployment.judge_id if deployment else None,
            method=deployment.counts if deployment else "",
        )
    )
    return Q(said) if source == "judge" else Q(agreed) | Q(said)


def human(project: Project, asked: Asked, since: datetime | None) -> Any:
    standing = Label.objects.filter(pair__project=project, withdrawn=False)
    final, strict = asked.verdict == "final", asked.profile == "strict"
    if asked.blind:
        standing = standing.filter(blind=True).exclude(source=Label.Source.ADJUDICATION)
        if final:
            standing = standing.filter(final_choice=F("choice"))  # another one was given after the judge was seen
    if strict:
        standing = standing.filter(pair__ambiguous=False)
    if since is not None:
        revised = LabelRevision.objects.filter(label=OuterRef("pk"), at__gte=since)
        changed = Q(stored_at__gte=since) | Q(Exists(revised))
        if strict:
            changed |= Q(pair__consensus__updated_at__gte=since)  # the pair may have been ambiguous until then
        standing = standing.filter(changed)
    by_claim = Q(claim__isnull=False)
    swapped = Q(claim__swapped=True)
    is_left = Q(choice="a", claim__swapped=False) | Q(choice="b", claim__swapped=True)
    # How strong the first verdict is says nothing of another one.
    strength = Case(When(final_choice=F("choice"), then=F("strength"))) if final else F("strength")
    blind = Case(When(final_choice=F("choice"), then=F("blind")), default=Value(value=False)) if final else F("blind")
    return standing.order_by("pair_id", "pk").values_list(
        *_pair("pair__", choice=F("final_choice" if final else "choice")),
        Value(None, output_field=FloatField()),
        strength,
        Coalesce("annotator__username", "external_annotator"),
        "source",
        blind,
        "final_choice",
        strength,
        _text("criteria"),
        _text("highlights"),
        "comment",
        "seconds",
        "too_fast",
        Case(When(by_claim & swapped, then=Value("ba")), When(by_claim, then=Value("ab"))),
        Case(
            When(is_left, then=Value("left")),
            When(by_claim & Q(choice__in=("a", "b")), then=Value("right")),
            When(by_claim, then=F("choice")),
        ),
        "revealed_judge__name",
        "revealed_at",
        "created_at",
    )


def _human(project: Project, asked: Asked, since: datetime | None) -> Iterator[list[Row]]:
    """People's labels; an imported name that is also a user's who labelled here is marked, so that it stays another."""
    users = annotators.labelling_in(project)
    named = cache(partial(annotators.as_exported, users=users))
    by, origin, imported = PROVENANCE, PROVENANCE + 1, Label.Source.IMPORT.value
    for chunk in chunks(human(project, asked, since)):
        for place, row in enumerate(chunk) if users else ():
            if row[origin] == imported and named(row[by]) != row[by]:
                chunk[place] = (*row[:by], named(row[by]), *row[by + 1 :])
        yield chunk


def _consensus(project: Project, asked: Asked, since: datetime | None) -> Iterator[list[Row]]:
    found = Consensus.objects.filter(pair__project=project)
    if asked.min_confidence is not None:
        found = found.filter(confidence__gte=asked.min_confidence)
    if asked.profile == "strict":
        found = found.exclude(method=Method.AMBIGUOUS)  # no verdict is right: it teaches nothing
    if since is not None:
        found = found.filter(updated_at__gte=since)
    return chunks(
        found.order_by("pair_id").values_list(
            *_pair("pair__", choice=F("choice")),
            "confidence",
            Value(None, output_field=FloatField()),
            "method",
            F("confidence"),
            "labels",
            "judge__name",
            "updated_at",
        )
    )


def _judge(project: Project, asked: Asked, deployment: Deployment, since: datetime | None) -> Iterator[list[Row]]:
    """The version's judgements by the method that counts; hold-out pairs too, and each says which part it is of.

    Where no verdict could be read there is no label.
    """
    made = Judgement.objects.filter(
        WITH_VERDICT, pair__project=project, judge=deployment.judge_id, method=deployment.counts
    )
    if since is not None:
        made = made.filter(created_at__gte=since)
    rows = made.order_by("pair_id").values_list(
        *_pair("pair__", choice=Case(When(p_a__gte=0.5, then=Value("a")), default=Value("b"))),
        "p_a",
        "p_a_straight",
        "p_a_swapped",
        "consistent",
        "votes_a",
        "votes_b",
        "samples",
        "unparsed",
        "created_at",
        "pk",
    )
    finish = _judged(asked, deployment)
    for chunk in chunks(rows, asks_between=asked.rationales):
        yield finish(chunk)


def _judged(asked: Asked, deployment: Deployment) -> Callable[[list[Row]], list[Row]]:
    """Adds what the deployment says of each judgement, and leaves out those that are not sure enough."""
    threshold = trust.labels_alone(deployment)
    least = asked.min_confidence or 0.0
    judge = deployment.judge
    before = (judge.name, judge.weights_sha256, deployment.trusted, judge.prompt_version, judge.prompt_hash)
    head = PROVENANCE - 2

    def finish(chunk: list[Row]) -> list[Row]:
        rows: list[Row] = []
        reasons = _rationales(chunk) if asked.rationales else {}
        for row, p in zip(chunk, _calibrated(deployment, [row[head] for row in chunk]), strict=True):
            sure = max(p, 1 - p)
            alone = threshold is not None and sure >= threshold
            if sure < least or (asked.selective and not alone):
                continue
            p_a, straight, swapped, consistent, *votes, created_at, pk = row[head:]
            said = (p_a, straight, swapped, max(p_a, 1 - p_a), p, alone, threshold, consistent, "both")
            own = (*row[:head], sure, None, *before, deployment.counts, *said, *votes, created_at)
            rows.append((*own, json.dumps(reasons.get(pk, []), ensure_ascii=False)) if asked.rationales else own)
        return rows

    return finish


def _hybrid(
    project: Project, asked: Asked, deployment: Deployment | None, since: datetime | None
) -> Iterator[list[Row]]:
    """People's consensus where there is one; else the judge's label, where it may label alone."""
    threshold = trust.labels_alone(deployment) if deployment else None
    judge = {"judgements__judge": 0, "judgements__method": ""}
    if deployment is not None and threshold is not None:
        judge = {"judgements__judge": deployment.judge_id, "judgements__method": deployment.counts}
    by_people = Q(consensus__isnull=False) & ~Q(consensus__method=Method.JUDGE)
    standing = Label.objects.filter(pair=OuterRef("pk"), withdrawn=False)
    left_alone = Q(part=Pair.Part.TRAIN, audit=False, ambiguous=False, extra_labels=0) & ~Q(Exists(standing))
    with_verdict = Q(said__unparsed=0) | Q(said__unparsed__lt=F("said__samples"))
    counted, alone = by_people, ~by_people & with_verdict & left_alone
    if asked.profile == "strict":
        counted &= ~Q(consensus__method=Method.AMBIGUOUS)
    if since is not None:
        undone = LabelRevision.objects.filter(
            label__pair=OuterRef("pk"), kind=LabelRevision.Kind.UNDO, at__gte=since
        )  # with the last label gone the judge may speak again
        counted &= Q(consensus__updated_at__gte=since)
        alone &= Q(said__created_at__gte=since) | Q(Exists(undone))
    pairs = Pair.objects.filter(project=project).annotate(said=FilteredRelation("judgements", condition=Q(**judge)))
    choice = Case(
        When(by_people, then=F("consensus__choice")), When(said__p_a__gte=0.5, then=Value("a")), default=Value("b")
    )
    rows = (
        pairs.filter(counted | alone)
        .order_by("pk")
        .values_list(
            *_pair("", choice=choice),
            Case(When(by_people, then=Value(value=True)), default=Value(value=False)),
            "consensus__method",
            "consensus__confidence",
            "consensus__labels",
            "said__p_a",
            Case(When(by_people, then=F("consensus__updated_at")), default=F("said__created_at")),
        )
    )
    finish = _merged(asked, deployment, threshold)
    for chunk in chunks(rows):
        yield finish(chunk)


def _merged(asked: Asked, deployment: Deployment | None, threshold: float | None) -> Callable[[list[Row]], list[Row]]:
    """Gives a hybrid row its provenance; the judge's labels only where it is sure enough to label alone."""
    least = asked.min_confidence or 0.0
    head = PROVENANCE - 2

    def finish(chunk: list[Row]) -> list[Row]:
        rows: list[Row] = []
        said = [row[head + 4] for row in chunk]
        calibrated = _calibrated(deployment, [0.5 if p is None else p for p in said]) if deployment else said
        for row, p in zip(chunk, calibrated, strict=True):
            by_people, method, confidence, labels, p_a, at = row[head:]
            if by_people:
                own: Row = (confidence, None, method, confidence, labels, None, None, None, None, at)
            else:
                assert deployment is not None, "only a judge labels where people did not"
                assert threshold is not None, "only a judge that may label alone does"
                confidence = max(p, 1 - p)
                judge = (deployment.judge.name, deployment.judge.prompt_hash)
                own = (confidence, None, Method.JUDGE.value, confidence, 0, *judge, p_a, p, at)
                if confidence < threshold:
                    continue
            if confidence >= least:
                rows.append((*row[:head], *own))
        return rows

    return finish


def _calibrated(deployment: Deployment, p_a: list[float]) -> list[float]:
    """All of a chunk at once, as `trust.calibrated` does one."""
    temperature = deployment.calibration.get("temperature")
    if temperature is None or not p_a:
        return p_a
    return list(calibration.scaled(np.array(p_a), temperature).tolist())


def _rationales(chunk: list[Row]) -> dict[int, list[dict[str, Any]]]:
    """The chains of these judgements, by judgement."""
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    chains = Rationale.objects.filter(judgement__in=[row[-1] for row in chunk]).order_by(
        "judgement", "swapped", "sample"
    )
    fields = ("judgement_id", "swapped", "sample", "text", "p_a", "verdict")
    for judgement, swapped, sample, text, p_a, verdict in chains.values_list(*fields):
        found[judgement].append(
            {
                "order_shown": "ba" if swapped else "ab",
                "sample": sample,
                "text": text,
                "p_a": p_a,
                "verdict": verdict or None,
            }
        )
    return found


def _pair(path: str, *, choice: Expression | F) -> tuple[Any, ...]:
    """The columns of `fields.PAIR`, of the pair that lies at this path."""
    names = ("response_a", "response_b", "model_a", "model_b")
    return (
        f"{path}external_id",
        _text(f"{path}prompt"),
        *(f"{path}{name}" for name in names),
        choice,
        f"{path}group_key",
        Coalesce(NullIf(f"{path}part", Value("")), Value("train")),
        f"{path}audit",
        NullIf(f"{path}gold", Value("")),
        _text(f"{path}meta"),
    )


def _text(column: str) -> Cast:
    """A JSON column as the text that the database keeps."""
    return Cast(F(column), TextField())
