"""Reads of a project's judge versions: their family tree, their figures on fixed sets of pairs, what a shadow lacks.

All figures are the engine's own. Writes nothing, and knows no drawing.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from django.core.cache import cache
from django.db.models import QuerySet

from genrm_engine import types as engine
from genrm_engine.evaluation import metrics
from labeling.models import Deployment, Judgement, Pair, Project, TrainingRun
from labeling.services import datasets, deployments, outside, renewal, trust
from labeling.services.datasets import LabelledRow

KEPT_SECONDS = 24 * 3600
NOBODY = metrics.Metrics(n=0)
REPORTED = Pair.Part.TEST
"""The hold-out's part that is only reported: it chose no version and calibrates none."""

Said = dict[int, list[engine.Judgement]]
"""Judgements by version, each by the method that counts for it."""


@dataclass(frozen=True)
class Version:
    """A judge in a project, numbered in the order in which the project got its versions.

    ``test`` and ``whole`` are its figures on the hold-out's reported part and on all of it. Of the ``gate_pairs`` it
    has still to judge ``gate_missing``, the champion ``champion_missing``. To crown it overrules the gate where it
    ``needs_reason``.
    """

    number: int
    deployment: Deployment
    run: TrainingRun | None
    test: metrics.Metrics
    whole: metrics.Metrics
    gate_pairs: int
    gate_missing: int
    champion_missing: int
    weighed: bool
    needs_reason: bool

    @property
    def reigned(self) -> bool:
        """Whether it was champion once and is none now."""
        one = self.deployment
        return one.promoted_at is not None and one.retired_at is not None and one.state != Deployment.State.CHAMPION

    @property
    def may_shadow(self) -> bool:
        return not self.pruned and self.deployment.state not in (Deployment.State.CHAMPION, Deployment.State.SHADOW)

    @property
    def may_renew(self) -> bool:
        reads_text = self.deployment.judge.method != renewal.READS_NO_TEXT
        return reads_text and not self.pruned and self.deployment.state != Deployment.State.SHADOW

    @property
    def may_retire(self) -> bool:
        return self.deployment.state not in (Deployment.State.CHAMPION, Deployment.State.RETIRED)

    @property
    def may_reign(self) -> bool:
        return not self.pruned and self.deployment.state != Deployment.State.CHAMPION

    @property
    def pruned(self) -> bool:
        return hasattr(self.deployment.judge, "pruned")


@dataclass(frozen=True)
class Node:
    """A version in the family tree, written from top to bottom: after it a level opens, or so many levels close."""

    version: Version
    parent: Version | None
    children: int
    closes: range

    @property
    def opens(self) -> bool:
        return self.children > 0


@dataclass(frozen=True)
class MeasuredSet:
    """The versions that have judged a set of labelled pairs, with their figures on it; ``key`` is the set's own."""

    key: str
    name: str
    pairs: int
    measured: list[tuple[Version, metrics.Metrics]]


@dataclass(frozen=True)
class Overview:
    """A project's versions, oldest first; the reported part of the hold-out; the sets outside the project."""

    versions: list[Version]
    holdout: MeasuredSet
    outside: list[MeasuredSet]
    former: Deployment | None

    @property
    def tree(self) -> list[Node]:
        return family(self.versions)

    @property
    def champion(self) -> Version | None:
        reigning = (one for one in self.versions if one.deployment.state == Deployment.State.CHAMPION)
        return next(reigning, None)


def versions_for(project: Project) -> QuerySet[Deployment]:
    """The project's versions, oldest first."""
    related = "judge__parent", "judge__pruned", "overruled_by"
    return Deployment.objects.select_related(*related).filter(project=project).order_by("pk")


def overview_for(project: Project) -> Overview:
    """Everything on the versions, in as many queries for thirty as for one."""
    known = list(versions_for(project))
    for one in known:
        one.project = project
    rows = datasets.holdout_rows(project)
    said = said_by(known, rows)
    versions = _versions(project, known, rows, said)
    reported = [row for row in rows if row.pair.part == REPORTED]
    holdout = MeasuredSet(
        REPORTED.value, "The hold-out’s test part", len(reported), [(one, one.test) for one in versions if one.test.n]
    )
    sets = [_measured_set(other, versions) for other in project.outside.all()]
    return Overview(versions, holdout, sets, deployments.former_champion(project))


def said_by(known: Collection[Deployment], rows: Sequence[LabelledRow]) -> Said:
    """What each version said of these pairs, by the method that counts for it."""
    counts = {one.judge_id: one.counts for one in known}
    said: Said = defaultdict(list)
    found = Judgement.objects.filter(judge__in=counts.keys(), pair__in=[row.pair.pk for row in rows])
    for judgement in found:
        if judgement.method == counts[judgement.judge_id]:
            said[judgement.judge_id].append(trust.to_engine(judgement))
    return said


def measure(rows: Sequence[LabelledRow], judged: Iterable[engine.Judgement]) -> metrics.Metrics:
    """The engine's figures on these rows; its resamples are kept in the cache under a digest of what they are of."""
    choices = [(str(row.pair.pk), row.choice) for row in rows]
    asked = dict(choices)
    held = sorted((one for one in judged if one.pair_id in asked), key=lambda one: one.pair_id)
    if not held:
        return NOBODY
    key = f"version-figures-{hashlib.sha256(repr((choices, held)).encode()).hexdigest()}"
    found: metrics.Metrics | None = cache.get(key)
    if found is None:
        found = metrics.measure([row.to_labelled() for row in rows], held)
        cache.set(key, found, KEPT_SECONDS)
    return found


def family(versions: Sequence[Version]) -> list[Node]:
    """The versions so that each stands under its parent; one whose parent is not of the project is a root."""
    by_judge = {one.deployment.judge_id: one for one in versions}
    children: dict[int | None, list[Version]] = defaultdict(list)
    for one in versions:
        parent = one.deployment.judge.parent_id
        children[parent if parent in by_judge else None].append(one)
    waiting = [(one, 0) for one in reversed(children[None])]
    placed: list[tuple[Version, int]] = []
    while waiting:  # without recursion: a line of descent may be long
        one, depth = waiting.pop()
        placed.append((one, depth))
        waiting += [(child, depth + 1) for child in reversed(children[one.deployment.judge_id])]
    following = [depth for _, depth in placed[1:]] + [0]
    return [
        Node(
            version=one,
            parent=by_judge.get(one.deployment.judge.parent_id or 0),
            children=len(children[one.deployment.judge_id]),
            closes=range(max(0, depth - after)),
        )
        for (one, depth), after in zip(placed, following, strict=True)
    ]


def _versions(project: Project, known: Sequence[Deployment], rows: Sequence[LabelledRow], said: Said) -> list[Version]:
    made = TrainingRun.objects.filter(project=project, candidate__isnull=False)
    runs = {run.candidate_id: run for run in made}
    champion = next((one for one in known if one.state == Deployment.State.CHAMPION), None)
    reigns = champion.judge_id if champion else 0
    gate = {str(row.pair.pk) for row in rows if row.pair.part == Pair.Part.GATE}
    missing = {one.judge_id: len(gate - {each.pair_id for each in said[one.judge_id]}) for one in known}
    test = [row for row in rows if row.pair.part == REPORTED]
    return [
        Version(
            number=number,
            deployment=one,
            run=runs.get(one.judge_id),
            test=measure(test, said[one.judge_id]),
            whole=measure(rows, said[one.judge_id]),
            gate_pairs=len(gate),
            gate_missing=missing[one.judge_id],
            champion_missing=missing.get(reigns, 0),
            weighed=bool(one.weighed_of) and one.weighed_of[0] == reigns,
            needs_reason=deployments.needs_reason(one, champion),
        )
        for number, one in enumerate(known, start=1)
    ]


def _measured_set(other: Project, versions: Sequence[Version]) -> MeasuredSet:
    rows = outside.rows_of(other)
    said = said_by([one.deployment for one in versions], rows)
    figures = [(one, measure(rows, said[one.deployment.judge_id])) for one in versions]
    return MeasuredSet(other.slug, other.name, len(rows), [(one, found) for one, found in figures if found.n])
