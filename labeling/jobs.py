"""The names of the background jobs and how they are sent: after the commit, and only as a hint.

The rows say what is to be done; the sweep sends again what a lost message left waiting. So a broker that cannot be
reached is logged, never an error for the person.
"""

import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial

import structlog
from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError
from redis import RedisError

JUDGE = "judging.judge_waiting"
TRY_JUDGE = "judging.try_judge"
JUDGE_CALL = "judging.judge_call"
TRAIN = "training.train"
REFRESH_PAIRS = "housekeeping.refresh_pairs"
REFRESH_PROJECT = "housekeeping.refresh_project"
JUDGE_LABELS = "housekeeping.judge_labels"
ROUTE = "housekeeping.route"
FIT_CONSENSUS = "housekeeping.fit_consensus"
FREEZE_DATASET = "datasets.freeze"
IMPORT = "imports.import_batch"
SWEEP = "housekeeping.sweep"
APPLY_POLICIES = "housekeeping.apply_retraining_policies"

ALL = (
    JUDGE,
    TRY_JUDGE,
    JUDGE_CALL,
    TRAIN,
    REFRESH_PAIRS,
    REFRESH_PROJECT,
    JUDGE_LABELS,
    ROUTE,
    FIT_CONSENSUS,
    FREEZE_DATASET,
    IMPORT,
    SWEEP,
    APPLY_POLICIES,
)

LAST = 9
PRIORITY = {JUDGE: LAST}
"""Jobs that let every other one of their queue go first: somebody waits for the answer to a call."""

GATHERED_SECONDS = 0.1
"""How long pairs to refresh are gathered into one job: many labels a second are not as many jobs."""

_expires: ContextVar[float | None] = ContextVar("expires", default=None)

log = structlog.get_logger(__name__)


def enqueue(name: str, **kwargs: object) -> None:
    """Send the job once the current transaction has committed."""
    transaction.on_commit(partial(send, name, kwargs))


def send(name: str, kwargs: dict[str, object]) -> None:
    """Send the job now; an unreachable broker, or one that does not answer, is logged and left to the sweep."""
    priority, expires = PRIORITY.get(name, 0), _expires.get()
    try:
        current_app.send_task(name, kwargs=kwargs, retry=False, ignore_result=True, priority=priority, expires=expires)
    except (OperationalError, ConnectionError, RedisError) as error:
        log.warning("broker unreachable, left to the sweep", job=name, error=str(error))


@contextmanager
def expiring(seconds: float) -> Iterator[None]:
    """What is sent meanwhile is dropped where no worker has taken it after so long: for what is sent again anyway."""
    before = _expires.set(seconds)
    try:
        yield
    finally:
        _expires.reset(before)


def refresh(pair_ids: Iterable[int]) -> None:
    """Ask for `REFRESH_PAIRS` of these once the current transaction has committed.

    At once, or with all that are asked for until so long after the last time; what ends this process in between
    leaves it to the sweep.
    """
    transaction.on_commit(partial(_gathered.add, tuple(pair_ids)))


class _Gathered:
    """The pairs of this process whose refresh is still to be asked for. Thread-safe."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start anew: in a forked child the pairs and the timer are the parent's."""
        self._lock = threading.Lock()
        self._pairs: set[int] = set()
        self._waiting = False
        self._sent = float("-inf")

    def add(self, pair_ids: Iterable[int]) -> None:
        with self._lock:
            self._pairs.update(pair_ids)
            if self._waiting:
                return
            wait = self._sent + GATHERED_SECONDS - time.monotonic()
            self._waiting = wait > 0
        if wait > 0:
            threading.Timer(wait, self._send).start()
        else:
            self._send()

    def _send(self) -> None:
        with self._lock:
            pairs, self._pairs = sorted(self._pairs), set()
            self._waiting, self._sent = False, time.monotonic()
        if pairs:
            send(REFRESH_PAIRS, {"pair_ids": pairs})


_gathered = _Gathered()
os.register_at_fork(after_in_child=_gathered.forget)
