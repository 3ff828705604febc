"""Judge what waits, in chunks far below every time-out, and send the job again while something is left."""

import time

import structlog
from django.conf import settings

from genrm_engine.backends.client import BadRequest
from genrm_engine.device import acquire_device
from genrm_engine.errors import EngineError
from genrm_engine.judge import judge
from labeling import jobs
from labeling.models import JudgingRequest
from labeling.queries import DEVICES
from labeling.services import judge_calls, judge_reading, judging
from workers import resident
from workers.app import app

BURST_SECONDS = 10.0
"""How long a job keeps judging before it lets others (a training run) have the device."""

REST_SECONDS = 60.0
"""How long a judge that failed for now is left alone, or as long as its failure took where that was longer."""

log = structlog.get_logger(__name__)

_rests: dict[int, float] = {}
"""By judge: until when it is left alone. Of this process and its clock only: afterwards the sweep asks again."""


@app.task(name=jobs.JUDGE)
def judge_waiting() -> int:
    """Judge chunks for a few seconds, on servers and on the device here; returns how many pairs were judged.

    A judge that has nothing left to do here leaves the device's memory to a training run, if one is at work. An
    unexpected error is raised when the other judges have had their turn.
    """
    broken: list[Exception] = []
    places = judging.places_waiting(without=_resting())
    done = sum(_on_servers(broken) if remote else _on_device(broken) for remote in places)
    resting = _resting()
    if done and judging.anything_waiting(without=resting):
        jobs.send(jobs.JUDGE, {})
    if False not in judging.places_waiting(without=resting):
        resident.make_room()
    if broken:
        raise broken[0]
    return done


def _on_servers(broken: list[Exception]) -> int:
    """A judge on a server needs no lease: it goes on while a training run holds the device."""
    return _burst(remote=True, broken=broken)


def _on_device(broken: list[Exception]) -> int:
    """Under the device's lease. If a training run holds it nothing is done: the sweep asks again."""
    lease = acquire_device(settings.HOME / DEVICES, settings.ENV.device, holder="judging", wait=False)
    if lease is None:
        resident.give_way()
        return 0
    with lease:
        return _burst(remote=False, broken=broken)


def _burst(*, remote: bool, broken: list[Exception]) -> int:
    """Chunk after chunk, until the time is up or somebody waits for the answer to a call.

    A judge that fails has had its turn, and the others go on.
    """
    until = time.monotonic() + BURST_SECONDS
    done, failed = 0, set[int]()
    while time.monotonic() < until and (requests := judging.lease_chunk(remote=remote, without=failed | _resting())):
        judged = _judge_chunk(requests, broken)
        if judged is None:
            failed.add(requests[0].judge_id)
        else:
            done += judged
        if judge_calls.waiting():
            break
    return done


def _judge_chunk(requests: list[JudgingRequest], broken: list[Exception]) -> int | None:
    """Judge one chunk; returns how many pairs were judged, or None if their judge failed.

    A failure is written to the requests and never loses them. An unexpected one is kept in ``broken`` too.
    """
    first, began = requests[0], time.monotonic()
    try:
        judged = judge(
            [judge_reading.to_engine(request.pair) for request in requests],
            backend=resident.judge_backend(first.judge),
            settings=judge_reading.settings_of(first.pair.project, first.method, backend=first.judge.backend),
        )
        judging.store(requests, judged)
    except EngineError as error:
        log.warning("judging failed", judge=first.judge.name, error=str(error))
        if isinstance(error, BadRequest) and len(requests) > 1:
            judging.give_back_refused(requests, error=str(error))
            return 0
        judging.give_back(requests, error=str(error), permanent=error.permanent)
        if not error.permanent:
            _rests[first.judge_id] = time.monotonic() + max(REST_SECONDS, time.monotonic() - began)
        return None
    except Exception as error:  # each pair goes on alone, so that only the one to blame fails
        log.exception("judging broke down", judge=first.judge.name)
        judging.give_back(requests, error=f"{type(error).__name__}: {error}")
        broken.append(error)
        return None
    return len(requests)


def _resting() -> set[int]:
    """The judges that are left alone for now."""
    return {judge_id for judge_id, until in _rests.items() if until > time.monotonic()}
