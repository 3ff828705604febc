"""How often each response model wins, by people and judge together, beside what people alone say. Reads only.

The labels are those of audit pairs alone: blind, and on pairs that were drawn at random, which routed pairs are not.
The predictions are the champion's on pairs whose labels never trained it, because on those it learnt from it agrees
with people more than elsewhere. So where any judge of its line was trained in this project, labels of the other pairs
may be in its weights, and only the audit pairs count; where none was, all pairs that were not drawn for the hold-out.
Audit pairs that have joined the gate since are as random and as little trained on as before, and go on counting.
People may have labelled more of one import than of another: within each the labelled audit pairs are a random part,
and stand for all of it. Imports of which no audit pair is labelled yet are left out.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from django.db.models import Q, QuerySet

from genrm_engine import types as engine
from genrm_engine.errors import EngineError
from genrm_engine.evaluation.prediction_powered import PoweredMean, win_rate
from genrm_engine.formats import DataRow, Label
from labeling.models import Deployment, Judgement, JudgingRequest, Pair, Project, TrainingRun
from labeling.services import judging, trust
from labeling.services.consensus import majority
from labeling.services.datasets import blind_labels, lines
from labeling.services.parts import joined_gate

LEAST_GROUPS = 10
"""Independent prompts with a label that a win rate takes: of fewer its interval says less than it seems to."""

Judged = tuple[DataRow, engine.Judgement, int | None]
"""A pair, the judgement of it that counts, and its import."""


@dataclass(frozen=True)
class ModelLine:
    """A response model's win rate; None, with what is ``missing``, where there are too few labels.

    ``left_out`` are judged pairs of imports of which no audit pair is labelled yet.
    """

    model: str
    found: PoweredMean | None
    missing: str = ""
    left_out: int = 0


def win_rates(project: Project) -> list[ModelLine]:
    """A line for each response model, the best first; empty without a champion or where no pair names its models.

    A tie, and two bad responses, are half a win for each.
    """
    champion = judging.champion_of(project)
    if champion is None:
        return []
    by_model: dict[str, list[Judged]] = defaultdict(list)
    for one in _judged(project, champion):
        for model in set(one[0].models or ()) - {""}:
            by_model[model].append(one)
    lines = [_line(model, judged) for model, judged in sorted(by_model.items())]
    return sorted(lines, key=lambda line: -line.found.estimate if line.found else 1.0)


def audit_only(project: Project, champion: Deployment) -> bool:
    """Whether only audit pairs may be predicted: a judge of the champion's line was trained here, or is still judging.

    As long as judgements wait, those that are made are not a random part: pairs that a person looks at come first.
    """
    line = lines()[champion.judge_id]
    if TrainingRun.objects.filter(project=project, candidate__in=line).exists():
        return True
    waiting = JudgingRequest.objects.filter(pair__project=project, judge=champion.judge_id, method=champion.counts)
    return waiting.exclude(state=JudgingRequest.State.FAILED).exists()


def population(project: Project, champion: Deployment) -> QuerySet[Pair]:
    """The pairs whose mean is estimated: a random part of them, the audit, is what people label for it.

    Groups that joined the gate stay whole, or their labelled pairs would weigh more than their share. Where gold
    questions are served out of turn they are left out, because people have labelled them more often.
    """
    joined = Q(group_key__in=joined_gate(project))
    pairs = Pair.objects.filter(Q(part=Pair.Part.TRAIN) | joined, project=project)
    if audit_only(project, champion):
        pairs = pairs.filter(audit=True)
    return pairs.filter(gold="") if project.gold_every else pairs


def _judged(project: Project, champion: Deployment) -> Iterator[Judged]:
    """The judged pairs of the population, those of the audit with people's label, and the calibrated judgements."""
    labels = _audit_labels(project)
    made = Judgement.objects.filter(
        pair__in=population(project, champion), judge=champion.judge_id, method=champion.counts
    )
    named = made.exclude(pair__model_a="", pair__model_b="").select_related("pair").order_by("pair")
    for judgement in named.defer("pair__prompt", "pair__response_a", "pair__response_b", "pair__meta"):
        pair, said = judgement.pair, trust.to_engine(judgement)
        known = engine.Pair(str(pair.pk), (), "", "", pair.group_key)
        row = DataRow(known, labels.get(pair.pk), models=(pair.model_a, pair.model_b))
        yield row, replace(said, p_a=trust.calibrated(champion, said.p_a)), pair.batch_id


def _audit_labels(project: Project) -> dict[int, Label]:
    """People's blind majority on the audit pairs."""
    votes: dict[int, list[str]] = defaultdict(list)
    drawn = blind_labels(project).filter(pair__audit=True)
    for pair_id, choice in drawn.values_list("pair_id", "choice"):
        votes[pair_id].append(choice)
    return {pair_id: _label(majority(choices)[0]) for pair_id, choices in votes.items()}


def _label(choice: str) -> Label:
    return engine.as_choice(choice) if choice in ("a", "b") else "tie"


def _line(model: str, judged: Sequence[Judged]) -> ModelLine:
    pairs = Counter(batch for _, _, batch in judged)
    labelled = Counter(batch for row, _, batch in judged if row.choice is not None)
    counted = [one for one in judged if labelled[one[2]]]
    drawn = {row.pair.id: labelled[batch] / pairs[batch] for row, _, batch in counted}
    try:
        if not counted:
            raise EngineError("no item has a human label")
        found = win_rate(model, [row for row, _, _ in counted], [said for _, said, _ in counted], probabilities=drawn)
        if found.groups < LEAST_GROUPS:
            raise EngineError(f"human labels are needed in at least {LEAST_GROUPS} groups, not {found.groups}")
    except EngineError as error:
        return ModelLine(model, None, str(error))
    return ModelLine(model, found, left_out=len(judged) - len(counted))
