"""Trials of judges before they are connected, as rows: ask for one, take it, end it, connect what has passed.

A worker does the judging; nothing here knows a model. The key of a server is kept sealed, and only until the trial has
failed or the judge is connected.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from genrm_engine.prompts import PROMPT_VERSION, prompt_hash
from genrm_engine.starter import FOLDERS
from labeling import jobs, sealing
from labeling.errors import CannotConnect, SealBroken
from labeling.models import Deployment, JudgeEndpoint, JudgeTrial, JudgeVersion, Label, Pair, Project
from labeling.models.judges import Method
from labeling.services import audit, deployments, judging
from labeling.services.texts import storable

PAIRS = 3
LEASE = timedelta(minutes=15)
"""How long a worker may be silent; it prolongs that while it works, also while it downloads a model."""
SILENT = "The judge worker died while it tried this judge; the model may need more memory than there is."
NO_PAIRS = "There is nothing to try it on: import pairs first. Hold-out and audit pairs are not used for that."

State = JudgeTrial.State
Row = dict[str, Any]


def pairs_of(project: Project) -> list[Pair]:
    """The pairs that a trial judges: labelled ones first, none of the hold-out or the audit, which stay unseen."""
    label = Label.objects.filter(pair=OuterRef("pk"), withdrawn=False)
    ordinary = Pair.objects.filter(project=project, part=Pair.Part.TRAIN, audit=False)
    return list(ordinary.order_by(Exists(label).desc(), "shuffle", "pk")[:PAIRS])


@transaction.atomic
def request_trial(project: Project, *, backend: str, model: str, by: User, url: str = "", key: str = "") -> JudgeTrial:
    """Ask for a trial of a judge. Raises CannotConnect where the project has nothing to try it on."""
    if not pairs_of(project):
        raise CannotConnect(NO_PAIRS)
    trial = JudgeTrial.objects.create(
        project=project, requested_by=by, backend=backend, model=model, url=url, sealed_key=sealing.seal(key)
    )
    audit.record("judge.try", trial, by=by, backend=backend, url=url)
    jobs.enqueue(jobs.TRY_JUDGE, trial_id=trial.pk)
    return trial


def waiting() -> list[int]:
    """Trials that a judge worker should take."""
    return list(JudgeTrial.objects.filter(state=State.WAITING).order_by("pk").values_list("pk", flat=True))


def waiting_trial(trial_id: int) -> JudgeTrial | None:
    """The trial if nobody has taken it yet."""
    return JudgeTrial.objects.filter(pk=trial_id, state=State.WAITING).first()


def take(trial: JudgeTrial) -> JudgeTrial | None:
    """Compare-and-set: the trial is this worker's if it was waiting; None if somebody else has it."""
    free = JudgeTrial.objects.filter(pk=trial.pk, state=State.WAITING)
    if not free.update(state=State.RUNNING, leased_until=timezone.now() + LEASE):
        return None
    return JudgeTrial.objects.select_related("project").get(pk=trial.pk)


def prolong(trial: JudgeTrial) -> bool:
    """The trial stays this worker's for another lease; False if it is no longer."""
    return bool(_own(trial).update(leased_until=timezone.now() + LEASE))


def report(trial: JudgeTrial, said: Sequence[Row]) -> bool:
    """Write what was said so far, and prolong the lease; False if the trial is no longer this worker's."""
    shown = [_shown(trial, row) for row in said]
    return bool(_own(trial).update(said=shown, leased_until=timezone.now() + LEASE))


def finish(trial: JudgeTrial, said: Sequence[Row], *, trainable: bool, note: str) -> bool:
    """The trial has passed; False if it is no longer this worker's."""
    shown = [_shown(trial, row) for row in said]
    return _end(trial, state=State.PASSED, said=shown, trainable=trainable, note=storable(note)[:300])


def fail(trial: JudgeTrial, error: str) -> bool:
    """The trial has failed, with a sentence that never holds the key; False if it is no longer this worker's."""
    text = storable(error).strip()[:2000]
    return _end(trial, state=State.FAILED, error=sealing.without(_key(trial), text), sealed_key="")


def expire() -> int:
    """Trials whose worker fell silent have failed; returns how many. They are not tried again: it may be the cause."""
    silent = JudgeTrial.objects.filter(state=State.RUNNING, leased_until__lt=timezone.now())
    return silent.update(state=State.FAILED, error=SILENT, sealed_key="", leased_until=None, finished_at=timezone.now())


def counted(trial: JudgeTrial) -> Method:
    """The method that will count: the score where it comes with probabilities, else the verdict after a rationale.

    A server that lists no candidates for a letter scores every pair with 1 or 0, which says nothing of how sure it is.
    """
    scored = [row for row in trial.said if row["method"] == Method.SCORE]
    reasons = any(row["method"] == Method.COT for row in trial.said)
    graded = any(
        0 < row[order] < 1 and not (row["unparsed"] and row[order] == 0.5)
        for row in scored
        for order in ("p_a_straight", "p_a_swapped")
    )
    return Method.SCORE if graded or not reasons else Method.COT


@transaction.atomic
def connect(trial: JudgeTrial, *, by: User) -> Deployment:
    """Make the judge of a passed trial a version of the installation and a shadow in the project, once.

    Raises CannotConnect if the trial has not passed.
    """
    found = JudgeTrial.objects.select_for_update().get(pk=trial.pk)
    if found.state != State.PASSED:
        raise CannotConnect("Only a judge whose trial has passed can be connected.")
    if found.judge_id is not None:
        return Deployment.objects.get(project=found.project_id, judge=found.judge_id)
    judge = _version(found)
    if found.url:
        JudgeEndpoint.objects.create(judge=judge, url=found.url, sealed_key=found.sealed_key)
    if not JudgeTrial.objects.filter(pk=found.pk, judge=None).update(judge=judge, sealed_key=""):
        raise CannotConnect("Somebody else is connecting this judge right now.")
    return deployments.connect(found.project, judge, counts=counted(found), by=by)


def _version(trial: JudgeTrial) -> JudgeVersion:
    """The tried judge as an immutable version, named after the model; numbered where that name is taken."""
    local = trial.backend not in judging.REMOTE
    told = trial.said[0] if trial.said else {}
    short = trial.model.rstrip("/").rsplit("/", 1)[-1][:80]
    fields = {
        "method": told.get("made", "base"),
        "backend": trial.backend,
        "base_model": trial.model,
        "weights": FOLDERS.get(trial.model, trial.model) if local else "",
        "weights_sha256": told.get("weights_sha256", ""),
        "prompt_version": PROMPT_VERSION,
        "prompt_hash": prompt_hash(),
        "trainable": trial.trainable,
    }
    try:
        with transaction.atomic():
            return JudgeVersion.objects.create(name=short, **fields)
    except IntegrityError:
        return JudgeVersion.objects.create(name=f"{short}-{trial.pk}", **fields)


def _own(trial: JudgeTrial) -> QuerySet[JudgeTrial]:
    """The row, while it runs: it is taken once, so that it is this worker's until it has ended."""
    return JudgeTrial.objects.filter(pk=trial.pk, state=State.RUNNING)


def _end(trial: JudgeTrial, **fields: Any) -> bool:
    return bool(_own(trial).update(leased_until=None, finished_at=timezone.now(), **fields))


def _shown(trial: JudgeTrial, row: Row) -> Row:
    """What was said without the key, in case the server repeats it."""
    return {**row, "rationale": sealing.without(_key(trial), str(row.get("rationale", "")))}


def _key(trial: JudgeTrial) -> str:
    try:
        return sealing.unseal(trial.sealed_key)
    except SealBroken:
        return ""
