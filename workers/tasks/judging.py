"""Judge what waits, in chunks far below every time-out, and send the job again while something is left."""

import time

import structlog
from django.conf import settings

from genrm_engine.device import acquire_device
from genrm_engine.errors import EngineError
from genrm_engine.judge import judge
from labeling import jobs
from labeling.models import JudgingRequest
from labeling.queries import DEVICES
from labeling.services import judge_calls, judging
from workers import resident
from workers.app import app

BURST_SECONDS = 10.0
"""How long a job keeps judging before it lets others (a training run) have the device."""

log = structlog.get_logger(__name__)


@app.task(name=jobs.JUDGE)
def judge_waiting() -> int:
    """Judge chunks for a few seconds, on servers and on the device here; returns how many pairs were judged.

    A judge that has nothing left to do here leaves the device's memory to a training run, if one is at work.
    """
    done = sum(_on_servers() if remote else _on_device() for remote in judging.places_waiting())
    if done and judging.anything_waiting():
        jobs.send(jobs.JUDGE, {})
    if False not in judging.places_waiting():
        resident.make_room()
    return done


def _on_servers() -> int:
    """A judge on a server needs no lease: it goes on while a training run holds the device."""
    return _burst(remote=True)


def _on_device() -> int:
    """Under the device's lease. If a training run holds it nothing is done: the sweep asks again."""
    lease = acquire_device(settings.HOME / DEVICES, settings.ENV.device, holder="judging", wait=False)
    if lease is None:
        resident.give_way()
        return 0
    with lease:
        return _burst(remote=False)


def _burst(*, remote: bool) -> int:
    """Chunk after chunk, until the time is up or somebody waits for the answer to a call."""
    until = time.monotonic() + BURST_SECONDS
    done = 0
    while time.monotonic() < until and (requests := judging.lease_chunk(remote=remote)):
        if not _judge_chunk(requests):
            break
        done += len(requests)
        if judge_calls.waiting():
            break
    return done


def _judge_chunk(requests: list[JudgingRequest]) -> bool:
    """Judge one chunk; a failure is written to its requests and never loses them. An unexpected one is raised too."""
    first = requests[0]
    try:
        judged = judge(
            [judging.to_engine(request.pair) for request in requests],
            backend=resident.judge_backend(first.judge),
            settings=judging.settings_of(first.pair.project, first.method),
        )
        judging.store(requests, judged)
    except EngineError as error:
        log.warning("judging failed", judge=first.judge.name, error=str(error))
        judging.give_back(requests, error=str(error), permanent=error.permanent)
        return False
    except Exception as error:  # each pair goes on alone, so that only the one to blame fails
        judging.give_back(requests, error=f"{type(error).__name__}: {error}")
        raise
    return True
