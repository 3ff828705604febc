"""How far a judge is trusted: measured on the blind hold-out, and no further."""

from genrm_engine.evaluation import metrics
from genrm_engine.types import Judgement as EngineJudgement
from genrm_engine.types import as_choice
from labeling import jobs
from labeling.models import Deployment, Judgement
from labeling.services.datasets import LabelledRow, holdout_rows

LEAST_PAIRS = 20
LEAST_ACCURACY = 0.6
LEAST_CONSISTENCY = 0.5


def measure(deployment: Deployment) -> bool:
    """Measure the deployment on the hold-out pairs labelled and judged so far; returns whether it is trusted.

    Trusted means: at least 20 pairs, accuracy of at least 0.6 with the lower end of its 95 % interval above one half,
    and the same winner after the swap in at least half of the pairs.
    """
    figures = figures_for(deployment, holdout_rows(deployment.project))
    trusted = (
        figures.n >= LEAST_PAIRS
        and (figures.accuracy or 0) >= LEAST_ACCURACY
        and (figures.accuracy_low or 0) > 0.5
        and (figures.consistency or 0) >= LEAST_CONSISTENCY
    )
    changed = trusted != deployment.trusted
    deployment.trusted = trusted
    deployment.measured = figures.to_json()
    deployment.save(update_fields=["trusted", "measured"])
    if changed:
        jobs.enqueue(jobs.REFRESH_PROJECT, project_id=deployment.project_id)
    return trusted


def figures_for(deployment: Deployment, rows: list[LabelledRow]) -> metrics.Metrics:
    """The engine's own figures on the judgements that count for this deployment."""
    judged = Judgement.objects.filter(
        judge=deployment.judge_id, method=deployment.counts, pair__in=[row.pair.pk for row in rows]
    )
    return metrics.evaluate(
        [to_engine(judgement) for judgement in judged],
        {str(row.pair.pk): as_choice(row.choice) for row in rows},
        {str(row.pair.pk): row.pair.group_key for row in rows},
        lengths={str(row.pair.pk): (len(row.pair.response_a), len(row.pair.response_b)) for row in rows},
    )


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
