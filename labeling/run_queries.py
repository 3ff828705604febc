"""One training run as its page tells it: phases, place in the queue, time left, yields, cost. Writes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.contrib.auth.models import User

from labeling import access
from labeling.models import Deployment, Pair, Project, TrainingRun
from labeling.services import training

State = TrainingRun.State
PHASES = {
    "waiting": "Waiting",
    "snapshot": "Snapshot",
    "sampling": "Sampling",
    "training": "Training",
    "champion": "Measuring the champion",
    "candidate": "Measuring the candidate",
    "gate": "Gate",
}
LEAST_PROGRESS, LEAST_SECONDS = 0.05, 20.0
"""From there on a run's own pace tells more than those of earlier runs."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of the strip: ``done``, ``now``, ``stopped`` or ``ahead``, and how long it took so far."""

    name: str
    label: str
    state: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Ahead:
    """A run that comes before: its project only for those who may see it, its page for those who manage it."""

    run_id: int
    running: bool
    project: str
    managed: bool


@dataclass(frozen=True, slots=True)
class Queue:
    """Where a waiting run stands; ``seconds`` is the wait to expect."""

    position: int
    ahead: list[Ahead]
    seconds: float


@dataclass(frozen=True, slots=True)
class Yield:
    """What an iteration's sampled rationales led to: verdicts, and questions that gave a pair or were one-sided.

    The questions are None for runs from before they were counted.
    """

    iteration: int
    right: int
    wrong: int
    unparsed: int
    share: float | None
    paired: int | None
    all_right: int | None
    all_wrong: int | None


def phases_of(run: TrainingRun) -> list[Phase]:
    """The strip of phases; sampling only for methods that sample before they train."""
    names = [name for name in PHASES if name != "sampling" or training.samples(run.config) or name in run.seconds]
    now = _place(run, names)
    stopped = run.state in (State.FAILED, State.CANCELLED)
    return [
        Phase(
            name,
            PHASES[name],
            "done" if place < now else "ahead" if place > now else "stopped" if stopped else "now",
            _took(run, name),
        )
        for place, name in enumerate(names)
    ]


def seconds_left(run: TrainingRun) -> float | None:
    """How long an active run will still take: at its own pace where that is known, else as earlier runs took."""
    if not run.active:
        return None
    spent = training.seconds_at_work(run)
    if run.progress >= LEAST_PROGRESS and spent >= LEAST_SECONDS:
        return spent * (1 - run.progress) / run.progress
    return max(0.0, training.expected_seconds(run.method, run.training_pairs + run.replay_pairs) - spent)


def ahead_of(run: TrainingRun) -> list[TrainingRun]:
    """Active runs of the installation that are under way or were asked for earlier; runs are taken in this order."""
    active = TrainingRun.objects.select_related("project").filter(state__in=TrainingRun.ACTIVE).exclude(pk=run.pk)
    before = [one for one in active if one.state == State.RUNNING or one.pk < run.pk]
    return sorted(before, key=lambda one: (one.state != State.RUNNING, one.pk))


def queue_position(run: TrainingRun) -> int | None:
    """A waiting run's place among all active ones, those under way included; None for one that does not wait."""
    return len(ahead_of(run)) + 1 if run.state == State.QUEUED else None


def queue_for(run: TrainingRun, viewer: User) -> Queue | None:
    """The queue before a waiting run as the viewer may see it; None for one that does not wait."""
    if run.state != State.QUEUED:
        return None
    before = ahead_of(run)
    seconds = sum(seconds_left(one) or 0.0 for one in before)
    return Queue(len(before) + 1, [_ahead(one, viewer) for one in before], seconds)


def yields_of(run: TrainingRun) -> list[Yield]:
    """Right, wrong and unparsed verdicts by iteration, counted from 1."""
    return [
        Yield(
            int(row.get("iteration", place)) + 1,
            right := int(row.get("right", 0)),
            wrong := int(row.get("wrong", 0)),
            unparsed := int(row.get("unparsed", 0)),
            right / total if (total := right + wrong + unparsed) else None,
            row.get("paired"),
            row.get("all_right"),
            row.get("all_wrong"),
        )
        for place, row in enumerate(run.yields)
    ]


def example_pairs(run: TrainingRun) -> list[Pair]:
    """The pairs of the rationales that the page shows, with the judge's verdict and whether people's is the same."""
    named = [int(example["pair_id"]) for example in run.examples if example.get("pair_id")]
    return list(Pair.objects.filter(project=run.project_id, pk__in=named))


def costs_of(run: TrainingRun) -> tuple[list[tuple[str, float]], float]:
    """Seconds by phase in their order, without the wait for the device, and in all."""
    rows = [(PHASES[name], float(run.seconds[name])) for name in PHASES if name != "waiting" and name in run.seconds]
    return rows, sum(seconds for _, seconds in rows)


def deployment_of(run: TrainingRun) -> Deployment | None:
    """What became of the run's candidate in its project."""
    if run.candidate_id is None:
        return None
    found = Deployment.objects.select_related("overruled_by").filter(project=run.project, judge=run.candidate_id)
    return found.first()


def _place(run: TrainingRun, names: Sequence[str]) -> int:
    if run.state in (State.PROMOTED, State.REJECTED):
        return len(names)
    if run.state == State.QUEUED or run.phase not in names:
        return 0
    return names.index(run.phase)


def _took(run: TrainingRun, name: str) -> float | None:
    """Waiting is the time in the queue and the time for the device."""
    seconds: Mapping[str, float] = run.seconds
    if name != "waiting" or run.started_at is None:
        return seconds.get(name)
    return (run.started_at - run.created_at).total_seconds() + seconds.get("waiting", 0.0)


def _ahead(run: TrainingRun, viewer: User) -> Ahead:
    project: Project = run.project
    role = access.role_in(viewer, project)
    name = project.name if role is not None else ""
    return Ahead(run.pk, run.state == State.RUNNING, name, role == access.Role.MANAGER)
