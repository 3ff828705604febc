"""A training run stays this worker's while it works, however long one of its steps takes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from django.conf import settings
from django.db import DatabaseError, connection

from labeling.models import TrainingRun
from labeling.services import training

BEATS = 4
"""How often the lease is prolonged while it would last."""

log = structlog.get_logger(__name__)


@contextmanager
def kept(run: TrainingRun) -> Iterator[None]:
    """Prolong the run's lease from a thread until the block is left, or until the run is somebody else's."""
    left = threading.Event()
    interval = settings.ENV.run_lease_seconds / BEATS
    thread = threading.Thread(target=_beat, args=(run, interval, left), name="run lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()


def _beat(run: TrainingRun, interval: float, left: threading.Event) -> None:
    while not left.wait(interval):
        try:
            if not training.heartbeat(run):
                break
        except DatabaseError as error:
            log.warning("lease not prolonged", run=run.pk, error=str(error))
        finally:
            connection.close()
