"""Training runs as rows: ask for one, take it, report on it, end it. The worker runs the engine; nothing here does."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from genrm_engine.evaluation.gate import GateSettings
from genrm_engine.training.config import BATCH_SIZE, EPOCHS, HEADS, STAR, TrainConfig, TrainMethod
from labeling import jobs
from labeling.errors import CannotRetrain, RunNotActive
from labeling.models import Deployment, JudgeVersion, Pair, Project, TrainedPair, TrainingRun
from labeling.models.judges import Method
from labeling.run_files import drop_checkpoints
from labeling.services import audit, datasets, deployments, judge_reading, judging
from labeling.services.texts import storable

LEAST_TRAINING = 40
"""Labelled pairs that may train, old and new together."""
LEAST_NEW = 10
"""Of them pairs that are new to the judge which is trained further, if it was trained on the others."""
LEAST_GATE = 15
LEAST_GATE_GROUPS = GateSettings().least_groups
MAX_ATTEMPTS = 10
"""A restart of the installation in the middle of a run counts as one."""
PAUSES = (60, 300, 1_500)
"""Seconds that a run rests after a failure that may pass, the first time and after; after the last it has failed."""

COUNTS = {
    "star-dpo": Method.COT,
    "star-sft": Method.COT,
    "genrm": Method.SCORE,
    "bradley-terry": Method.SCORE,
    "grpo": Method.COT,
}
"""The method by which a judge made this way is measured, and by which its judgements count."""

SECONDS_PER_PAIR = {"star-dpo": 7.5, "star-sft": 6.0, "genrm": 5.0, "bradley-terry": 4.0, "grpo": 20.0}
"""A first guess on two CPU cores, until a run of the installation has ended."""

MOST_EPOCHS = 3.0
"""GenRM goes over few labels more often: with a hundred steps the judge has moved, but still follows the order."""

State = TrainingRun.State


@dataclass(frozen=True)
class Readiness:
    """Whether a run can start, and what to expect of it.

    ``missing`` are sentences, ``methods`` pairs of value and label with the seconds to expect. Of the
    ``labelled_pairs`` that may train, ``training_pairs`` are new to the judge ``origin`` that is trained further;
    ``replay_pairs`` of the older ones are repeated.
    """

    missing: list[str]
    origin: JudgeVersion | None
    labelled_pairs: int
    training_pairs: int
    replay_pairs: int
    holdout_pairs: int
    gate_pairs: int
    methods: list[tuple[str, str, int]]


def readiness(project: Project, *, method: str = "") -> Readiness:
    """What stands between the project and a training run by ``method`` (empty: by the project's)."""
    champion = judging.champion_of(project)
    origin = origin_of(project, champion, method=method or project.retrain_method) if champion else None
    labelled, holdout = datasets.places(project)
    seen = datasets.trained_by(origin, project) if origin is not None else set()
    new = sum(one.pair not in seen for one in labelled)
    gate = [one for one in holdout if one.part == Pair.Part.GATE]
    replay = min(len(labelled) - new, round(project.replay_share * new))
    return Readiness(
        missing=_missing(project, champion, origin, len(labelled), new, gate),
        origin=origin,
        labelled_pairs=len(labelled),
        training_pairs=new,
        replay_pairs=replay,
        holdout_pairs=len(holdout),
        gate_pairs=len(gate),
        methods=[
            (value, label, expected_seconds(value, new + replay)) for value, label in Project.RetrainMethod.choices
        ],
    )


def origin_of(project: Project, champion: Deployment, *, method: str) -> JudgeVersion:
    """The judge whose weights a run starts from: the champion, or by the project's policy the first of its line.

    Of a champion that cannot be trained here, the judge that the project began with. A reward model cannot learn to
    write: other methods start from its newest ancestor that can.
    """
    judge = champion.judge if champion.judge.trainable else _first_trainable(project) or champion.judge
    line = datasets.ancestry(judge)
    if project.retrain_from == Project.RetrainFrom.BASE:
        return line[-1]
    return line[0] if method in HEADS else next((one for one in line if one.method not in HEADS), line[-1])


def divided(
    rows: list[datasets.LabelledRow], origin: JudgeVersion | None, project: Project
) -> tuple[list[datasets.LabelledRow], list[datasets.LabelledRow]]:
    """The rows that are new to the judge that a run starts from, and the older ones."""
    seen = datasets.trained_by(origin, project) if origin is not None else set()
    return [row for row in rows if row.pair.pk not in seen], [row for row in rows if row.pair.pk in seen]


def _first_trainable(project: Project) -> JudgeVersion | None:
    first = Deployment.objects.select_related("judge").filter(project=project, judge__trainable=True).order_by("pk")
    return next((one.judge for one in first), None)


def expected_seconds(method: str, training_pairs: int) -> int:
    """How long a run will be at work: as the installation's newest one of this method, per pair trained on."""
    done = TrainingRun.objects.filter(method=method, state__in=[State.PROMOTED, State.REJECTED], training_pairs__gt=0)
    last = done.order_by("-pk").first()
    per_pair = SECONDS_PER_PAIR[method]
    if last is not None and last.started_at and last.finished_at:
        took = seconds_at_work(last) or (last.finished_at - last.started_at).total_seconds()
        per_pair = took / (last.training_pairs + last.replay_pairs)
    return round(per_pair * training_pairs)


def seconds_at_work(run: TrainingRun) -> float:
    """What the run's phases took, without the wait for the device and what it rested; 0 where that was not counted."""
    return float(sum(seconds for phase, seconds in run.seconds.items() if phase != "waiting"))


def request_run(project: Project, *, method: str, trigger: str, by: User | None = None) -> TrainingRun:
    """Queue a retraining of the champion. Raises CannotRetrain with what is missing; one run at a time per project."""
    if method not in COUNTS:
        raise CannotRetrain(f"method: {method!r} is not one of {', '.join(COUNTS)}")
    ready = readiness(project, method=method)
    champion = judging.champion_of(project)
    if ready.missing or champion is None or ready.origin is None:
        raise CannotRetrain(" ".join(ready.missing))
    try:
        with transaction.atomic():
            run = TrainingRun.objects.create(
                project=project,
                trigger=trigger,
                requested_by=by,
                method=method,
                start=champion.judge,
                origin=ready.origin,
                config=_config(project, method, ready.origin.weights, ready.training_pairs + ready.replay_pairs),
                training_pairs=ready.training_pairs,
                replay_pairs=ready.replay_pairs,
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
    """Stop a run: at once if no worker is at it, else at its next step. Raises RunNotActive."""
    now = timezone.now()
    queued = TrainingRun.objects.filter(pk=run.pk, state=State.QUEUED)
    running = TrainingRun.objects.filter(pk=run.pk, state=State.RUNNING)
    nobodys = running.filter(Q(lease="") | Q(leased_until__lt=now))
    run.refresh_from_db(fields=["candidate"])
    if queued.update(state=State.CANCELLED, message="Cancelled before it started", finished_at=now):
        pass
    elif _end(nobodys, run, State.CANCELLED, "Cancelled"):
        drop_checkpoints(run)
    elif not running.update(cancel_requested=True, message="Stopping"):
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
    run = TrainingRun.objects.select_related("project", "start", "origin").get(pk=run_id)
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


def samples(config: Mapping[str, Any]) -> bool:
    """Whether a run with this configuration begins by sampling rationales of the judge that it starts from."""
    return config.get("method") in STAR or (config.get("method") == "genrm" and bool(config.get("rationale_share")))


def trains_on(run: TrainingRun, pairs: Collection[int]) -> None:
    """Note the pairs that are new to the run's judge: a later run from it counts them as old.

    Said again it changes nothing; pairs deleted meanwhile are passed over.
    """
    known = set(Pair.objects.filter(project=run.project_id).values_list("pk", flat=True))
    rows = [TrainedPair(run=run, pair_id=pair) for pair in pairs if pair in known]
    TrainedPair.objects.bulk_create(rows, batch_size=1_000, ignore_conflicts=True)


def finish(run: TrainingRun, state: str, message: str, **fields: Any) -> bool:
    """End the run; False if somebody else ended it before, or if it was to be decided and somebody has cancelled it.

    A candidate on which nobody will decide any more is kept among the versions, where its weights can be deleted.
    """
    own = TrainingRun.objects.filter(pk=run.pk, state=State.RUNNING, lease=run.lease)
    if state in (State.PROMOTED, State.REJECTED):
        own = own.filter(cancel_requested=False)
    return _end(own, run, state, message, **fields)


def _end(which: QuerySet[TrainingRun], run: TrainingRun, state: str, message: str, **fields: Any) -> bool:
    """End the run if it is one of ``which``; whether it was."""
    with transaction.atomic():
        ended = which.update(
            state=state,
            message=storable(message)[:300],
            finished_at=timezone.now(),
            leased_until=None,
            lease="",
            **fields,
        )
        if ended and run.candidate is not None and state in (State.FAILED, State.CANCELLED):
            deployments.keep(run.project, run.candidate, counts=COUNTS[run.method])
    return bool(ended)


def fail(run: TrainingRun, error: str) -> bool:
    """End the run as failed, with what went wrong."""
    return finish(run, State.FAILED, _last_line(error) or "Failed", error=storable(error)[:5000])


def put_off(run: TrainingRun, error: str) -> bool:
    """Let the run rest after a failure that may pass, and go on where it was; False where it has rested often enough.

    True too if the run is another worker's by now, which decides itself.
    """
    if run.rests >= len(PAUSES):
        return False
    seconds = PAUSES[run.rests]
    own = TrainingRun.objects.filter(pk=run.pk, state=State.RUNNING, lease=run.lease)
    own.update(
        lease="",
        leased_until=timezone.now() + timedelta(seconds=seconds),
        rests=F("rests") + 1,
        message=f"Goes on in {seconds // 60} min: {_last_line(error) or 'it failed'}"[:300],
    )
    return True


def _last_line(error: str) -> str:
    return storable(error).strip().rpartition("\n")[2]


def waiting_runs() -> list[int]:
    """Runs that a worker should take: queued ones and those whose worker fell silent."""
    silent = Q(state=State.RUNNING, leased_until__lt=timezone.now())
    return list(TrainingRun.objects.filter(Q(state=State.QUEUED) | silent).order_by("pk").values_list("pk", flat=True))


def apply_policies() -> list[TrainingRun]:
    """Start a run wherever a project's policy asks for one: enough new blind labels, or so many days gone by."""
    started = []
    asked = Q(retrain_after__isnull=False) | Q(retrain_every_days__isnull=False)
    for project in Project.objects.filter(asked):
        trigger = _due(project)
        if trigger is None:
            continue
        try:
            started.append(request_run(project, method=project.retrain_method, trigger=trigger))
        except CannotRetrain:
            continue
    return started


def next_by_schedule(project: Project) -> datetime | None:
    """When the schedule asks for the next run: so many days after the last one was asked for; None without one."""
    if project.retrain_every_days is None:
        return None
    last = TrainingRun.objects.filter(project=project).order_by("-pk").first()
    since = last.created_at if last is not None else project.created_at
    return since + timedelta(days=project.retrain_every_days)


def _due(project: Project) -> str | None:
    """What asks for a run of this project now, if anything does."""
    if project.retrain_after is not None and new_blind_labels(project) >= project.retrain_after:
        return TrainingRun.Trigger.POLICY
    at = next_by_schedule(project)
    if at is None or at > timezone.now() or not _anything_new(project):
        return None
    return TrainingRun.Trigger.SCHEDULE


def _anything_new(project: Project) -> bool:
    """Whether another run may end otherwise than the last one: that failed, or labels have come since."""
    last = TrainingRun.objects.filter(project=project).order_by("-pk").first()
    decided = last is not None and last.state in (State.PROMOTED, State.REJECTED)
    return not decided or new_blind_labels(project) > 0


def new_blind_labels(project: Project) -> int:
    """Blind labels since the newest run was asked for."""
    last = TrainingRun.objects.filter(project=project).order_by("-pk").first()
    return datasets.blind_labels(project).count() - (last.blind_labels if last else 0)


def _missing(
    project: Project,
    champion: Deployment | None,
    origin: JudgeVersion | None,
    labelled: int,
    new: int,
    gate: list[datasets.Place],
) -> list[str]:
    missing: list[str] = []
    groups = len({one.group for one in gate})
    if champion is None or origin is None:
        missing.append("The project has no judge yet.")
    elif not origin.trainable:
        missing.append(f"The judge {origin} cannot be trained here: it is not a local model.")
    elif hasattr(origin, "pruned"):
        missing.append(f"The weights of {origin} were deleted: start from the judge that the project began with.")
    if labelled < LEAST_TRAINING:
        missing.append(f"Label {LEAST_TRAINING - labelled} more pairs for training ({labelled} of {LEAST_TRAINING}).")
    elif new < labelled and new < LEAST_NEW:
        missing.append(f"Label {LEAST_NEW - new} more pairs that {origin} has not been trained on ({new} so far).")
    if len(gate) < LEAST_GATE:
        missing.append(
            f"Label {LEAST_GATE - len(gate)} more hold-out pairs for the gate ({len(gate)} of {LEAST_GATE}); "
            "they come up by themselves while labelling."
        )
    elif groups < LEAST_GATE_GROUPS:
        missing.append(
            f"Label hold-out pairs for the gate of {LEAST_GATE_GROUPS - groups} more prompts ({groups} of "
            f"{LEAST_GATE_GROUPS}); where there are none, import pairs of more prompts."
        )
    if TrainingRun.objects.filter(project=project, state__in=TrainingRun.ACTIVE).exists():
        missing.append("A run of this project is already active.")
    return missing


def _config(project: Project, method: str, weights: str, pairs: int) -> dict[str, Any]:
    config = TrainConfig(
        method=cast("TrainMethod", method),
        epochs=_epochs(pairs) if method == "genrm" else None,
        model=weights,
        device=settings.ENV.device,
        threads=settings.ENV.train_threads or None,
        max_tokens=settings.ENV.training_tokens,
        rubric=judge_reading.rubric_of(project),
        soft_labels=project.retrain_labels == Project.RetrainLabels.SOFT,
        replay_share=project.replay_share,
    )
    # Left open where nobody chose one: the engine fills it in, and refuses to where the model is too large for it.
    return replace(config.resolved(), learning_rate=settings.ENV.learning_rate or None).to_json()


def _epochs(pairs: int) -> float:
    """Passes over the pairs, each in both orders."""
    steps = 2 * pairs / BATCH_SIZE
    return round(min(MOST_EPOCHS, max(EPOCHS["genrm"], settings.ENV.least_steps / steps)), 2)


def _lease_end() -> Any:
    return timezone.now() + timedelta(seconds=settings.ENV.run_lease_seconds)
