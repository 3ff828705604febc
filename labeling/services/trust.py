"""How far a judge is trusted: measured and calibrated on the blind hold-out, and no further."""

import numpy as np
from django.db.models import Count, Max, Q
from django.utils import timezone

from genrm_engine.evaluation import calibration, metrics, selective
from genrm_engine.evaluation.agreement import label_of
from genrm_engine.types import Judgement as EngineJudgement
from genrm_engine.types import as_choice
from labeling import jobs
from labeling.models import Deployment, Judgement, Label, LabelRevision, Pair
from labeling.services.datasets import LabelledRow, holdout_rows

LEAST_PAIRS = 20
LEAST_GROUPS = 5  # of one or two prompts, resampling shows no error at all
LEAST_ACCURACY = 0.6
LEAST_CONSISTENCY = 0.5

FITTED_ON = Pair.Part.CALIBRATION
TESTED_ON = (Pair.Part.CALIBRATION, Pair.Part.TEST)
"""The threshold is tested on the parts that decide no promotion: the gate chose this judge, so it flatters it.

The labels that fitted the temperature may test as well: dividing by it never changes which pair is surer than which.
"""


def measure(deployment: Deployment) -> bool:
    """Measure the deployment on the hold-out pairs labelled and judged so far; returns whether it is trusted.

    Trusted means: at least 20 pairs of at least 5 prompts, accuracy of at least 0.6 with the lower end of its 95 %
    interval above one half, and the same winner after the swap in at least half of the pairs. The calibration and the
    confidence from which on the judge may label alone are brought up to date too.
    """
    measured_of = fingerprint(deployment)
    every = holdout_rows(deployment.project, undecided=True)
    rows = [row for row in every if row.choice in ("a", "b")]
    said = counted(deployment, every)
    known = {str(row.pair.pk) for row in rows}
    judged = [one for one in said if one.pair_id in known]
    figures = _figures(judged, rows)
    trusted = (
        figures.n >= LEAST_PAIRS
        and figures.groups >= LEAST_GROUPS
        and (figures.accuracy or 0) >= LEAST_ACCURACY
        and (figures.accuracy_low or 0) > 0.5
        and (figures.consistency or 0) >= LEAST_CONSISTENCY
    )
    before = (deployment.trusted, deployment.calibration, deployment.thresholds)
    deployment.trusted, deployment.measured, deployment.measured_of = trusted, figures.to_json(), measured_of
    deployment.calibration = _calibration(judged, rows)
    deployment.thresholds = _thresholds(deployment, said, every)
    changed = ["trusted", "measured", "measured_of", "calibration", "thresholds"]
    moved = (deployment.calibration, deployment.thresholds) != before[1:]
    if trusted != before[0]:
        deployment.follow_up = timezone.now()  # the sweep makes up for a job that is lost with the broker
        changed.append("follow_up")
    mark = _labels_mark(deployment) if moved and trusted == before[0] else {}
    deployment.save(update_fields=changed)
    if trusted != before[0]:
        jobs.enqueue(jobs.REFRESH_PROJECT, project_id=deployment.project_id)
    elif moved:
        jobs.enqueue(jobs.JUDGE_LABELS, project_id=deployment.project_id, **mark)
    return trusted


def is_stale(deployment: Deployment) -> bool:
    """Whether hold-out labels or judgements have come, gone or changed since the deployment was measured."""
    return bool(deployment.measured_of != fingerprint(deployment))


def fingerprint(deployment: Deployment) -> list[int]:
    """Changes whenever hold-out labels or the deployment's judgements of them come, go or change."""
    held_out = ~Q(pair__part=Pair.Part.TRAIN)
    labels = Label.objects.filter(held_out, pair__project=deployment.project_id).aggregate(
        count=Count("pk"), last=Max("pk"), withdrawn=Count("pk", filter=Q(withdrawn=True))
    )
    revised = LabelRevision.objects.filter(label__pair__project=deployment.project_id).aggregate(last=Max("pk"))
    judged = Judgement.objects.filter(held_out, pair__project=deployment.project_id, judge=deployment.judge_id)
    return [labels["count"], labels["last"] or 0, labels["withdrawn"], revised["last"] or 0, judged.count()]


def _labels_mark(deployment: Deployment) -> dict[str, str]:
    """What the job that brings the judge's labels up to date clears. Nothing where more than they waits already."""
    now = timezone.now()
    settled = Deployment.objects.filter(pk=deployment.pk, follow_up=None)
    if not deployment.project.judge_labels or not settled.update(follow_up=now):
        return {}
    deployment.follow_up = now
    return {"answers": now.isoformat()}


def calibrated(deployment: Deployment, p_a: float) -> float:
    """P(A) after the deployment's calibration; as the judge said it where nothing could be fitted."""
    temperature = deployment.calibration.get("temperature")
    return p_a if temperature is None else float(calibration.scaled(np.array([p_a]), temperature)[0])


def labels_alone(deployment: Deployment) -> float | None:
    """The calibrated confidence from which on the judge may label alone; None if it may not."""
    threshold: float | None = deployment.thresholds.get("threshold")
    return threshold if deployment.trusted else None


def figures_for(deployment: Deployment, rows: list[LabelledRow]) -> metrics.Metrics:
    """The engine's own figures on the judgements that count for this deployment."""
    return _figures(counted(deployment, rows), rows)


def counted(deployment: Deployment, rows: list[LabelledRow]) -> list[EngineJudgement]:
    """The judgements of these rows by the method that counts for this deployment."""
    judged = Judgement.objects.filter(
        judge=deployment.judge_id, method=deployment.counts, pair__in=[row.pair.pk for row in rows]
    )
    return [to_engine(judgement) for judgement in judged]


def to_engine(judgement: Judgement) -> EngineJudgement:
    """A stored judgement as the engine's figures read it (without its rationales)."""
    return EngineJudgement.from_json(
        {
            "pair_id": str(judgement.pair_id),
            "method": judgement.method,
            "p_a": judgement.p_a,
            "p_a_straight": judgement.p_a_straight,
            "p_a_swapped": judgement.p_a_swapped,
            "consistent": judgement.consistent,
            "votes_a": judgement.votes_a,
            "votes_b": judgement.votes_b,
            "samples": judgement.samples,
            "unparsed": judgement.unparsed,
            "tokens": judgement.tokens,
            "seconds": judgement.seconds,
        }
    )


def _figures(judged: list[EngineJudgement], rows: list[LabelledRow]) -> metrics.Metrics:
    return metrics.evaluate(
        judged,
        {str(row.pair.pk): as_choice(row.choice) for row in rows},
        {str(row.pair.pk): row.pair.group_key for row in rows},
        lengths={str(row.pair.pk): (len(row.pair.response_a), len(row.pair.response_b)) for row in rows},
    )


def _calibration(judged: list[EngineJudgement], rows: list[LabelledRow]) -> dict[str, object]:
    """Fitted on the calibration part, measured on the other two; empty until both have a judged label."""
    fitted = [row.to_labelled() for row in rows if row.pair.part == FITTED_ON]
    measured = [row.to_labelled() for row in rows if row.pair.part != FITTED_ON]
    said = {judgement.pair_id for judgement in judged}
    if not all(any(row.pair.id in said for row in part) for part in (fitted, measured)):
        return {}
    return calibration.calibrate(judged, measured, others=(judged, fitted)).to_json()


def _thresholds(deployment: Deployment, judged: list[EngineJudgement], rows: list[LabelledRow]) -> dict[str, object]:
    """What selective labelling found; empty until there is a judged label in its parts.

    The judge names one response or none, so where people's verdict is a tie it does not agree with them.
    """
    choices = {str(row.pair.pk): row.choice for row in rows if row.pair.part in TESTED_ON}
    p_a = {one.pair_id: calibrated(deployment, one.p_a) for one in judged if one.pair_id in choices}
    if not p_a:
        return {}
    found = selective.select(
        {item: max(p, 1 - p) for item, p in p_a.items()},
        {item: label_of(p) == choices[item] != "tie" for item, p in p_a.items()},
        wished=deployment.project.wished_agreement,
        groups={str(row.pair.pk): row.pair.group_key for row in rows},
    )
    return {**found.to_json(), "parts": list(TESTED_ON)}
