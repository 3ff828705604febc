"""Answer what the API asks the judge about, in chunks; a second delivery finds the call taken and returns."""

from functools import partial

import structlog
from django.conf import settings

from genrm_engine.device import acquire_device
from genrm_engine.errors import EngineError
from genrm_engine.judge import judge
from labeling import jobs
from labeling.models import JudgeCall
from labeling.queries import DEVICES
from labeling.services import judge_calls, judge_reading, judging
from workers import lease, resident
from workers.app import app

UNEXPECTED = "An unexpected error ended the call; the log of the judge worker says more."

log = structlog.get_logger(__name__)


@app.task(name=jobs.JUDGE_CALL)
def judge_call(call_id: int) -> None:
    """Judge the call's pairs under the device's lease. While a training run holds it the sweep asks again."""
    call = judge_calls.waiting_call(call_id)
    if call is None:
        return
    if call.judge.backend in judging.REMOTE:
        _answer(call)
        return
    device = acquire_device(settings.HOME / DEVICES, settings.ENV.device, holder="judging", wait=False)
    if device is None:
        resident.give_way()
        return
    with device:
        _answer(call)


def _answer(call: JudgeCall) -> None:
    """Chunk after chunk; a failure is written to the call, which waits again unless the error is permanent.

    The call stays this worker's while a judge is loaded or a server makes it wait.
    """
    if not judge_calls.take(call):
        return
    prolong = partial(judge_calls.prolong, call)
    try:
        while pairs := judge_calls.next_chunk(call):
            with lease.kept(prolong, seconds=settings.ENV.judge_lease_seconds, of=f"call {call.pk}"):
                judged = judge(
                    pairs,
                    backend=resident.judge_backend(call.judge),
                    settings=judge_reading.settings_of(call.project, call.method, backend=call.judge.backend),
                )
            if not judge_calls.answer(call, judged):
                return
    except EngineError as error:
        log.warning("a call of the judge failed", call=call.pk, judge=call.judge.name, error=str(error))
        judge_calls.give_back(call, error=str(error), permanent=error.permanent)
    except Exception:
        judge_calls.give_back(call, error=UNEXPECTED, permanent=True)
        raise
