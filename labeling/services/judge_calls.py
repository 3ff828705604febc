"""Pairs that the API asks the judge about once, as rows: ask, take, answer, forget. Nothing of them enters the project.

A worker does the judging; nothing here knows a model.
"""

import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from genrm_engine import types as engine
from genrm_engine.training.config import HEADS
from labeling import jobs
from labeling.errors import LabelingError
from labeling.models import Deployment, JudgeCall, Project
from labeling.models.judges import Method
from labeling.services import judging, trust
from labeling.services.texts import storable

KEPT = timedelta(days=1)
"""How long a call and its answer can be read."""
GIVE_UP = timedelta(minutes=15)
"""A call whose worker died is tried again until it is that old: it may be what the workers die of."""
POLL_SECONDS = 0.05
SURE = 1e-6
"""The margin is cut where the judge leaves the other response less than this."""
NO_REASONS = "method: this project's judge gives no rationales; use score."
SILENT = "The judge worker died again and again on this call."

State = JudgeCall.State
Row = dict[str, Any]


class CannotJudge(LabelingError):
    message = "This project has no judge yet."


@transaction.atomic
def request_call(project: Project, *, pairs: Sequence[Row], by: User, method: str = "") -> JudgeCall:
    """Ask the project's champion about these pairs, by the method that counts unless another is named.

    Raises CannotJudge where the project has no champion, or one that does not judge so.
    """
    champion = judging.champion_of(project)
    if champion is None:
        raise CannotJudge
    wanted = Method(method or champion.counts)
    if wanted == Method.COT and champion.judge.method in HEADS:
        raise CannotJudge(NO_REASONS)
    call = JudgeCall.objects.create(
        project=project, judge=champion.judge, requested_by=by, method=wanted, pairs=list(pairs)
    )
    jobs.enqueue(jobs.JUDGE_CALL, call_id=call.pk)
    return call


def wait(call: JudgeCall, *, seconds: float) -> JudgeCall:
    """The call as it is once it has ended, or after so many seconds."""
    deadline = time.monotonic() + seconds
    while call.state in (State.WAITING, State.RUNNING) and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(POLL_SECONDS, left))
        call.refresh_from_db(fields=["state", "said", "error", "finished_at"])
    return call


def waiting() -> list[int]:
    """Calls that a judge worker should take."""
    return list(JudgeCall.objects.filter(state=State.WAITING).order_by("pk").values_list("pk", flat=True))


def waiting_call(call_id: int) -> JudgeCall | None:
    """The call if nobody has taken it yet."""
    return JudgeCall.objects.select_related("judge", "project").filter(pk=call_id, state=State.WAITING).first()


def take(call: JudgeCall) -> bool:
    """Compare-and-set: the call is this worker's if it was waiting. What was said of it before stays."""
    until = _lease()
    taken = JudgeCall.objects.filter(pk=call.pk, state=State.WAITING).update(state=State.RUNNING, leased_until=until)
    call.leased_until = until
    return bool(taken)


def prolong(call: JudgeCall) -> bool:
    """The call stays this worker's for another lease; False if it is no longer."""
    until = _lease()
    if not _own(call).update(leased_until=until):
        return False
    call.leased_until = until
    return True


def next_chunk(call: JudgeCall) -> list[engine.Pair]:
    """The pairs of the call that come next, as the engine sees them; empty when all are answered."""
    first = len(call.said)
    chunk = call.pairs[first : first + judging.CHUNK[Method(call.method)]]
    return [engine.Pair.from_json({**row, "id": str(first + place)}) for place, row in enumerate(chunk)]


def answer(call: JudgeCall, judged: Sequence[engine.Judgement]) -> bool:
    """Write what was said of the next pairs and prolong the lease; False if the call is no longer this worker's."""
    deployment = Deployment.objects.filter(project=call.project_id, judge=call.judge_id).first()
    said = [*call.said, *(_said(one, deployment) for one in judged)]
    until = _lease()
    ended: Row = {"said": said, "leased_until": until}
    if len(said) == len(call.pairs):
        ended = {"said": said, "leased_until": None, "state": State.DONE, "finished_at": timezone.now()}
    if not _own(call).update(**ended):
        return False
    call.said, call.leased_until = said, until
    return True


def give_back(call: JudgeCall, *, error: str, permanent: bool) -> bool:
    """The judge failed: the call waits again, or has failed where the error will not pass or the call is old."""
    if permanent or call.created_at < timezone.now() - GIVE_UP:
        ended = {"state": State.FAILED, "error": storable(error).strip()[:2000], "finished_at": timezone.now()}
        return bool(_own(call).update(leased_until=None, **ended))
    return bool(_own(call).update(state=State.WAITING, leased_until=None))


def expire() -> int:
    """Calls whose worker fell silent wait again, or have failed if they are old by now; returns how many."""
    now = timezone.now()
    silent = JudgeCall.objects.filter(state=State.RUNNING, leased_until__lt=now)
    failed = silent.filter(created_at__lt=now - GIVE_UP).update(
        state=State.FAILED, leased_until=None, error=SILENT, finished_at=now
    )
    return failed + silent.update(state=State.WAITING, leased_until=None)


def forget() -> int:
    """Delete calls that are older than a day; returns how many."""
    deleted, _by_model = JudgeCall.objects.filter(created_at__lt=timezone.now() - KEPT).delete()
    return deleted


def margin(p_a: float) -> float:
    """The reward of A over B: log(p / (1 - p)), finite where the judge is certain."""
    p = min(max(p_a, SURE), 1 - SURE)
    return math.log(p / (1 - p))


def _said(judged: engine.Judgement, deployment: Deployment | None) -> Mapping[str, object]:
    return {
        "p_a": judged.p_a,
        "p_a_calibrated": judged.p_a if deployment is None else trust.calibrated(deployment, judged.p_a),
        "margin": margin(judged.p_a),
        "consistent": judged.consistent,
        "method": judged.method,
        "tokens": judged.tokens,
    }


def _own(call: JudgeCall) -> QuerySet[JudgeCall]:
    """The row, if it is still as this worker has leased it."""
    return JudgeCall.objects.filter(pk=call.pk, state=State.RUNNING, leased_until=call.leased_until)


def _lease() -> datetime:
    return timezone.now() + timedelta(seconds=settings.ENV.judge_lease_seconds)
