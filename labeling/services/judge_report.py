"""How good a judge version is and what it would be worth to trust it: the engine's figures on the hold-out. Reads only.

What costs seconds on a large hold-out is kept in the cache under a digest of the rows and judgements it was computed
from, so that it is never older than they are.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.core.cache import cache

from genrm_engine import types as engine
from genrm_engine.evaluation import metrics, planner
from genrm_engine.evaluation.agreement import Figure, human_ceiling
from genrm_engine.evaluation.bias import BiasReport, bias_report
from genrm_engine.formats import Label
from labeling.masking import mask
from labeling.models import Consensus, Deployment, Pair, Project, TrainingRun
from labeling.services import trust
from labeling.services.datasets import LabelledRow, blind_labels, holdout_rows, how_many, learnt_by, lines

KEPT_SECONDS = 24 * 3600
MORE = 100
CONFIDENCE = 0.8
"""What a plan asks for unless somebody says otherwise."""


@dataclass(frozen=True)
class Held:
    """A deployment's labelled hold-out, and the judgements of it that count.

    ``rows`` are the pairs of which people prefer one response, ``every`` and ``said`` those with ties as well.
    """

    deployment: Deployment
    every: list[LabelledRow]
    said: list[engine.Judgement]

    @cached_property
    def rows(self) -> list[LabelledRow]:
        return [row for row in self.every if row.choice in ("a", "b")]

    @cached_property
    def judged(self) -> list[engine.Judgement]:
        known = {str(row.pair.pk) for row in self.rows}
        return [one for one in self.said if one.pair_id in known]


@dataclass(frozen=True)
class Report:
    """The headline figures and the leanings; None where no labelled hold-out pair is judged."""

    figures: metrics.Metrics
    bias: BiasReport | None


@dataclass(frozen=True)
class Plan:
    """What ``more`` labels would bring, and what accepting the judge's from ``chosen.threshold`` on would.

    ``steps`` are other thresholds, from strict to loose. ``human_share`` is the share of the project's pairs that
    people will have labelled with the new labels. ``labels_missing`` is what the project's wish still takes.
    """

    more: int
    forecast: planner.Forecast
    human_share: float
    chosen: planner.Accepted | None
    steps: list[planner.Accepted]
    ceiling: Figure | None
    labels_missing: int | None


def held_out(deployment: Deployment) -> Held:
    every = holdout_rows(deployment.project, undecided=True)
    return Held(deployment, every, trust.counted(deployment, every))


def report_of(held: Held) -> Report:
    """The figures of these rows, computed once."""
    key = f"judge-report-{_digest(held)}"
    found: Report | None = cache.get(key)
    if found is None:
        found = _report(held)
        cache.set(key, found, KEPT_SECONDS)
    return found


def plan_of(held: Held, *, more: int = MORE, confidence: float | None = None) -> Plan:
    """Both ways on. The default confidence is the one from which on the wish is kept, where there is one.

    Measured is on the hold-out's parts that selective labelling is tested on.
    """
    deployment = held.deployment
    sure, agrees, groups = _confidences(held)
    ceiling = human_ceiling(*_labels_by_annotator(deployment.project))
    if confidence is None:
        confidence = deployment.thresholds.get("threshold") or CONFIDENCE
    thresholds = [confidence, *planner.steps(sure)]
    accepted = planner.accepting(sure, agrees, groups, thresholds=thresholds, ceiling=ceiling)
    return Plan(
        more=more,
        forecast=planner.more_labels(history_of(deployment.project), more, now=how_many(deployment.project)[0]),
        human_share=_human_share(deployment.project, more),
        chosen=accepted[0] if accepted else None,
        steps=accepted[1:],
        ceiling=ceiling,
        labels_missing=deployment.thresholds.get("labels_missing"),
    )


def history_of(project: Project) -> list[planner.Version]:
    """The project's judge versions as they were last measured, with the labelled pairs that each one's line learnt.

    One curve has one beginning: only versions that were trained here from the same judge as the champion, and that
    judge itself. A run from before that was written down began with all its pairs.
    """
    known, champion, asked = lines(), None, dict[int, int]()
    learnt = learnt_by(project, known)
    figures: dict[int, Mapping[str, Any]] = {}
    for run in TrainingRun.objects.filter(project=project, candidate__isnull=False).order_by("pk"):
        assert run.candidate_id is not None
        asked[run.candidate_id] = run.training_pairs
        figures[run.start_id] = (run.metrics.get("champion") or {}).get("all") or {}
        figures[run.candidate_id] = (run.metrics.get("candidate") or {}).get("all") or {}
    for deployment in Deployment.objects.filter(project=project).order_by("pk"):
        if deployment.state == Deployment.State.CHAMPION:
            champion = deployment.judge_id
        if deployment.measured.get("n"):
            figures[deployment.judge_id] = deployment.measured
    # The newest of each line, the judge itself included, that was not trained here.
    begun = {judge: next((one for one in line if one not in asked), line[-1]) for judge, line in known.items()}
    return [
        planner.Version(
            learnt[judge] or asked.get(judge, 0), one["accuracy"], one["accuracy_low"], one["accuracy_high"]
        )
        for judge, one in figures.items()
        if one.get("n") and (champion is None or begun[judge] == begun[champion])
    ]


def _report(held: Held) -> Report:
    rows = [row.to_labelled() for row in held.rows]
    sides = {str(row.pair.pk): side for row in held.rows if (side := names_itself(row.pair))}
    return Report(metrics.measure(rows, held.judged), bias_report(held.judged, rows, names_itself=sides))


def names_itself(pair: Pair) -> engine.Choice | None:
    """The response that says what model or company it is from, where exactly one does."""
    names = (pair.model_a, pair.model_b)
    a, b = (mask(text, names).count > 0 for text in (pair.response_a, pair.response_b))
    if a == b:
        return None
    return "a" if a else "b"


def _digest(held: Held) -> str:
    rows = [(row.pair.pk, row.choice) for row in held.rows]
    return hashlib.sha256(repr((rows, sorted(held.judged, key=lambda one: one.pair_id))).encode()).hexdigest()


def _confidences(held: Held) -> tuple[dict[str, float], dict[str, float], dict[str, str]]:
    """Of the pairs that selective labelling is tested on: calibrated confidence, whether people agree, and group."""
    rows = {str(row.pair.pk): row for row in held.every if row.pair.part in trust.TESTED_ON}
    p_a = {one.pair_id: trust.calibrated(held.deployment, one.p_a) for one in held.said if one.pair_id in rows}
    return (
        {item: max(p, 1 - p) for item, p in p_a.items()},
        {item: metrics.correct(p, choice) if (choice := _sided(rows[item])) else 0.0 for item, p in p_a.items()},
        {item: rows[item].pair.group_key for item in p_a},
    )


def _sided(row: LabelledRow) -> engine.Choice | None:
    return engine.as_choice(row.choice) if row.choice in ("a", "b") else None


def _labels_by_annotator(project: Project) -> tuple[dict[str, dict[str, Label]], dict[str, str]]:
    """People's blind labels on the hold-out by pair and annotator, and the pairs' groups."""
    labels: dict[str, dict[str, Label]] = defaultdict(dict)
    groups: dict[str, str] = {}
    given = blind_labels(project).exclude(pair__part=Pair.Part.TRAIN).order_by("pk")
    fields = "pair_id", "pair__group_key", "annotator_id", "external_annotator", "choice"
    for pair_id, group, annotator, external, choice in given.values_list(*fields):
        label: Label = engine.as_choice(choice) if choice in ("a", "b") else "tie"
        labels[str(pair_id)][f"user {annotator}" if annotator else f"file {external}"] = label
        groups[str(pair_id)] = group
    return labels, groups


def _human_share(project: Project, more: int) -> float:
    """The share of the pairs that people have labelled, and will have with so many more."""
    pairs = Pair.objects.filter(project=project).count()
    labelled = Consensus.objects.filter(pair__project=project).exclude(method=Consensus.Method.JUDGE).count()
    return min(1.0, (labelled + more) / pairs) if pairs else 0.0
