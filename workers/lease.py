"""What a worker has taken stays its own while it works, however long one of its steps takes. Knows no row."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from django.db import DatabaseError, connection

BEATS = 4
"""How often a lease is prolonged while it would last."""

log = structlog.get_logger(__name__)


@contextmanager
def kept(prolong: Callable[[], bool], *, seconds: float, of: str) -> Iterator[None]:
    """Prolong a lease of so many seconds from a thread until the block is left, or until it is somebody else's.

    ``prolong`` says whether it still is this worker's. Nothing calls it any more once the block is left.
    """
    left = threading.Event()
    thread = threading.Thread(target=_beat, args=(prolong, seconds / BEATS, left, of), name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        thread.join()


def _beat(prolong: Callable[[], bool], interval: float, left: threading.Event, of: str) -> None:
    while not left.wait(interval):
        try:
            if not prolong():
                break
        except DatabaseError as error:
            log.warning("lease not prolonged", of=of, error=str(error))
        finally:
            connection.close()
