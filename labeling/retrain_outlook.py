"""What a retraining would do now, what it would do with more labels, and when one comes by itself. Writes nothing."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count

from genrm_engine.evaluation import gate
from labeling.models import Pair, Project, TrainingRun
from labeling.services import training

STEPS = (0, 20, 200, 2_000)
"""Labelled pairs of which the table tells."""
GATE_SHARE = 0.5
"""Of the hold-out; the rest calibrates or is only reported."""
DIFFERING = 0.4
"""The share of pairs of which just one of two judges is taken to be right, until a gate of the project measures it."""
LEAST_DIFFERING = 0.1
Z95 = 1.96


@dataclass(frozen=True, slots=True)
class Measured:
    """Agreement with people before and after training, with 95 % intervals, as docs/results.md reports it."""

    judge: str
    data: str
    pairs: int
    labels: int
    before: tuple[float, float, float]
    after: tuple[float, float, float]


MEASURED = Measured("the embedded 135M judge", "PandaLM", 745, 500, (0.546, 0.50, 0.59), (0.764, 0.72, 0.81))
"""Of GenRM, the method by which it learnt most."""


@dataclass(frozen=True, slots=True)
class Milestone:
    """What a run does with so many labelled pairs; ``here`` is where the project stands.

    It trains on ``training`` of them: all that may train, or with the judge of now those new to it and some older ones
    again. ``detectable`` is the difference in accuracy that the gate would see four times out of five.
    """

    labels: int
    here: bool
    training: int
    gate: int
    training_missing: int
    gate_missing: int
    prompts_missing: int
    seconds: float
    detectable: float | None


@dataclass(frozen=True, slots=True)
class Outlook:
    """The milestones with the project's own place among them; ``measured`` tells where ``differing`` is from."""

    milestones: list[Milestone]
    differing: float
    measured: bool
    figures: Measured


@dataclass(frozen=True, slots=True)
class Policy:
    """When runs start by themselves: at a date, or after so many labels, of which some are missing yet."""

    at: datetime | None
    after: int | None
    missing: int


def outlook_of(project: Project, ready: training.Readiness, *, labelled: int) -> Outlook:
    """What happens at each of the steps, and with the ``labelled`` pairs of now."""
    known = _differing(project)
    differing = DIFFERING if known is None else known
    prompts = _prompts_per_pair(project)
    pace = training.expected_seconds(project.retrain_method, 1_000) / 1_000

    def milestone(labels: int, trains: int, trains_missing: int, decides: int, *, here: bool) -> Milestone:
        groups = round(decides * prompts)
        gate_missing = max(0, training.LEAST_GATE - decides)
        prompts_missing = max(0, training.LEAST_GATE_GROUPS - groups)
        starts = not (trains_missing or gate_missing or prompts_missing)
        return Milestone(
            labels,
            here,
            trains,
            decides,
            trains_missing,
            gate_missing,
            prompts_missing,
            seconds=pace * trains,
            detectable=gate.detectable(groups, differing=differing) if starts else None,
        )

    def ahead(labels: int) -> Milestone:
        trains, decides = round(labels * _training_share(project)), round(labels * _gate_share(project))
        return milestone(labels, trains, max(0, training.LEAST_TRAINING - trains), decides, here=False)

    trains = ready.training_pairs + ready.replay_pairs
    now = milestone(labelled, trains, _missing_now(ready), ready.gate_pairs, here=True)
    steps = [ahead(labels) for labels in STEPS if labels != labelled]
    return Outlook(sorted([*steps, now], key=lambda one: one.labels), differing, known is not None, MEASURED)


def policy_of(project: Project) -> Policy:
    """What the project's policies ask for next."""
    after = project.retrain_after
    missing = 0 if after is None else max(0, after - training.new_blind_labels(project))
    return Policy(training.next_by_schedule(project), after, missing)


def _missing_now(ready: training.Readiness) -> int:
    """Labelled pairs that a run lacks: of all that may train, or of those that are new to its judge."""
    if ready.labelled_pairs < training.LEAST_TRAINING:
        return training.LEAST_TRAINING - ready.labelled_pairs
    return max(0, training.LEAST_NEW - ready.training_pairs) if ready.training_pairs < ready.labelled_pairs else 0


def _training_share(project: Project) -> float:
    return (1 - project.holdout_share) * (1 - project.audit_share)


def _gate_share(project: Project) -> float:
    return GATE_SHARE * project.holdout_share


def _prompts_per_pair(project: Project) -> float:
    """Independent prompts, by which the gate counts, for each pair; 1 where there is none yet."""
    found = Pair.objects.filter(project=project).aggregate(pairs=Count("pk"), groups=Count("group_key", distinct=True))
    return found["groups"] / found["pairs"] if found["pairs"] else 1.0


def _differing(project: Project) -> float | None:
    """The share of pairs on which the last gate's two judges differed in being right, by the width of its interval."""
    last = TrainingRun.objects.filter(project=project).exclude(gate={}).order_by("-pk").first()
    if last is None or not {"low", "high", "groups"} <= last.gate.keys():
        return None
    error = (float(last.gate["high"]) - float(last.gate["low"])) / (2 * Z95)
    return min(1.0, max(LEAST_DIFFERING, error**2 * int(last.gate["groups"])))
