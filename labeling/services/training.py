"""Training runs as rows: ask for one, take it, report on it, end it. The worker runs the engine; nothing here does."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone

from genrm_engine.training.config import BATCH_SIZE, EPOCHS, TrainConfig
from labeling import jobs
from labeling.errors import CannotRetrain, RunNotActive
from labeling.models import Pair, Project, TrainingRun
from labeling.models.judges import Method
from labeling.services import audit, datasets, judging

LEAST_TRAINING = 40
LEAST_GATE = 15
MAX_ATTEMPTS = 10
"""A restart of the installation in the middle of a run counts as one."""

COUNTS = {"genrm": Method.SCORE, "star-dpo": Method.COT}
"""The method by which a judge made this way is measured, and by which its judgements count."""

SECONDS_PER_PAIR = {"genrm": 5.0, "star-dpo": 7.5}
"""A first guess on two CPU cores, until a run of the installation has ended."""

LEAST_STEPS, MOST_EPOCHS = 200, 3.0
"""GenRM goes over few labels more often: with a hundred steps the judge has moved, but still follows the order."""

State = TrainingRun.State


@dataclass(frozen=True)
class Readiness:
    """Whether a run can start, and what to expect of it."""

    missing: list[str]
    training_pairs: int
    holdout_pairs: int
    gate_pairs: int
    methods: list[tuple[str, str, int]]


def readiness(project: Project) -> Readiness:
    """What stands between the project and a training run, as sentences; `methods` with the seconds to expect."""
    training, holdout = datasets.training_rows(project), datasets.holdout_rows(project)
    gate = [row for row in holdout if row.pair.part == Pair.Part.GATE]
    missing = _missing(project, len(training), len(gate))
    return Readiness(
        missing=missing,
        training_pairs=len(training),
        holdout_pairs=len(holdout),
        gate_pairs=len(gate),
        methods=[
            (value, label, expected_seconds(value, len(training))) for value, label in Project.RetrainMethod.choices
        ],
    )


def expected_seconds(method: str, training_pairs: int) -> int:
    """How long a run will take: as the installation's newest one of this method, per training pair."""
    done = TrainingRun.objects.filter(method=method, state__in=[State.PROMOTED, State.REJECTED], training_pairs__gt=0)
    last = done.order_by("-pk").first()
    per_pair = SECONDS_PER_PAIR[method]
    if last is not None and last.started_at and last.finished_at:
        per_pair = (last.finished_at - last.started_at).total_seconds() / last.training_pairs
    return round(per_pair * training_pairs)


def request_run(project: Project, *, method: str, trigger: str, by: User | None = None) -> TrainingRun:
    """Queue a retraining of the champion. Raises CannotRetrain with what is missing; one run at a time per project."""
    if method not in COUNTS:
        raise CannotRetrain(f"method: {method!r} is not one of {', '.join(COUNTS)}")
    ready = readiness(project)
    champion = judging.champion_of(project)
    if ready.missing or champion is None:
        raise CannotRetrain(" ".join(ready.missing))
    try:
        with transaction.atomic():
            run = TrainingRun.objects.create(
                project=project,
                trigger=trigger,
                requested_by=by,
                method=method,
                start=champion.judge,
                config=_config(project, method, champion.judge.weights, ready.training_pairs),
                training_pairs=ready.training_pairs,
                holdout_pairs=ready.holdout_pairs,
                blind_labels=datasets.blind_labels(project).count(),
                message="Waiting for the training worker",
            )
            audit.record("run.request", run, by=by, method=method, trigger=trigger)
            jobs.enqueue(jobs.TRAIN, run_id=run.pk)
    except IntegrityError:
        raise CannotRetrain("A run of this project is already active.") from None
    return run


def cancel_run(run: TrainingRun, *, by: User | None) -> None:
    """Stop a run: at once if it has not started, else at its next step. Raises RunNotActive."""
    queued = TrainingRun.objects.filter(pk=run.pk, state=State.QUEUED)
    if not queued.update(state=State.CANCELLED, message="Cancelled before it started", finished_at=timezone.now()):
        running = TrainingRun.objects.filter(pk=run.pk, state=State.RUNNING)
        if not running.update(cancel_requested=True, message="Stopping"):
            raise RunNotActive
    audit.record("run.cancel", run, by=by)


def take(run_id: int, *, lease: str) -> TrainingRun | None:
    """Compare-and-set: the run is this worker's if it was queued or its worker fell silent; None otherwise."""
    now = timezone.now()
    free = TrainingRun.objects.filter(pk=run_id).filter(
        Q(state=State.QUEUED) | Q(state=State.RUNNING, leased_until__lt=now)
    )
    taken = free.update(
        state=State.RUNNING, lease=lease, leased_until=_lease_end(), attempts=F("attempts") + 1, message="Starting"
    )
    if not taken:
        return None
    TrainingRun.objects.filter(pk=run_id, started_at=None).update(started_at=now)
    run = TrainingRun.objects.select_related("project", "start").get(pk=run_id)
    if run.attempts > MAX_ATTEMPTS:
        fail(run, "The run's worker died again and again; see the log of the training worker.")
        return None
    return run


def heartbeat(run: TrainingRun) -> bool:
    """Prolong the lease; False if the run is no longer this worker's."""
    own = TrainingRun.objects.filter(pk=run.pk, state=State.RUNNING, lease=run.lease)
    return bool(own.update(leased_until=_lease_end()))


def cancel_requested(run: TrainingRun) -> bool:
    return TrainingRun.objects.filter(pk=run.pk, cancel_requested=True).exists()


def report(run: TrainingRun, **fields: Any) -> None:
    """Write progress to the run's row while it is this worker's."""
    for name, value in fields.items():
        setattr(run, name, value)
    TrainingRun.objects.filter(pk=run.pk, lease=run.lease).update(**fields)


def finish(run: TrainingRun, state: str, message: str, **fields: Any) -> bool:
    """End the run; False if somebody else ended it before."""
    own = TrainingRun.objects.filter(pk=run.pk, state=State.RUNNING, lease=run.lease)
    return bool(
        own.update(
            state=state, message=message[:300], finished_at=timezone.now(), leased_until=None, lease="", **fields
        )
    )


def fail(run: TrainingRun, error: str) -> bool:
    """End the run as failed, with what went wrong."""
    return finish(run, State.FAILED, error.strip().splitlines()[-1] if error.strip() else "Failed", error=error[:5000])


def waiting_runs() -> list[int]:
    """Runs that a worker should take: queued ones and those whose worker fell silent."""
    silent = Q(state=State.RUNNING, leased_until__lt=timezone.now())
    return list(TrainingRun.objects.filter(Q(state=State.QUEUED) | silent).order_by("pk").values_list("pk", flat=True))


def apply_policies() -> list[TrainingRun]:
    """Start a run wherever a project's policy asks for one: n new blind labels since the last run was asked for."""
    started = []
    for project in Project.objects.filter(retrain_after__isnull=False):
        if new_blind_labels(project) < (project.retrain_after or 0):
            continue
        try:
            started.append(request_run(project, method=project.retrain_method, trigger=TrainingRun.Trigger.POLICY))
        except CannotRetrain:
            continue
    return started


def new_blind_labels(project: Project) -> int:
    """Blind labels since the newest run was asked for."""
    last = TrainingRun.objects.filter(project=project).order_by("-pk").first()
    return datasets.blind_labels(project).count() - (last.blind_labels if last else 0)


def _missing(project: Project, training: int, gate: int) -> list[str]:
    missing: list[str] = []
    champion = judging.champion_of(project)
    if champion is None:
        missing.append("The project has no judge yet.")
    elif not champion.judge.trainable:
        missing.append(f"The judge {champion.judge} cannot be trained here: it is not a local model.")
    if training < LEAST_TRAINING:
        missing.append(f"Label {LEAST_TRAINING - training} more pairs for training ({training} of {LEAST_TRAINING}).")
    if gate < LEAST_GATE:
        missing.append(
            f"Label {LEAST_GATE - gate} more hold-out pairs for the gate ({gate} of {LEAST_GATE}); "
            "they come up by themselves while labelling."
        )
    if TrainingRun.objects.filter(project=project, state__in=TrainingRun.ACTIVE).exists():
        missing.append("A run of this project is already active.")
    return missing


def _config(project: Project, method: str, weights: str, pairs: int) -> dict[str, Any]:
    config = TrainConfig(
        method="genrm" if method == "genrm" else "star-dpo",
        epochs=_epochs(pairs) if method == "genrm" else None,
        model=weights,
        device=settings.ENV.device,
        threads=settings.ENV.train_threads or None,
        rubric=judging.rubric_of(project),
    )
    return config.resolved().to_json()


def _epochs(pairs: int) -> float:
    """Passes over the pairs, each in both orders."""
    steps = 2 * pairs / BATCH_SIZE
    return round(min(MOST_EPOCHS, max(EPOCHS["genrm"], LEAST_STEPS / steps)), 2)


def _lease_end() -> Any:
    return timezone.now() + timedelta(seconds=settings.ENV.run_lease_seconds)
