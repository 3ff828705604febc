"""Every worker process says every few seconds, in the database, that it is there and which queues it serves."""

import os
import socket
import threading
from typing import Any

import structlog
from celery.signals import worker_ready, worker_shutdown
from django.db import DatabaseError, connection
from django.utils import timezone

from labeling.models import WorkerHeartbeat

INTERVAL = 5.0  # seconds
_stop = threading.Event()
log = structlog.get_logger(__name__)


@worker_ready.connect
def begin(sender: Any, **_kwargs: Any) -> None:
    """Start the thread that says so."""
    queues = sorted(sender.app.amqp.queues.consume_from)
    _stop.clear()
    name = f"{sender.hostname}:{os.getpid()}"
    threading.Thread(target=_beat, args=(name, ",".join(queues)), name="heartbeat", daemon=True).start()


@worker_shutdown.connect
def end(**_kwargs: Any) -> None:
    """A worker that leaves in order takes its row with it; a killed one just falls silent."""
    _stop.set()
    WorkerHeartbeat.objects.filter(name__endswith=f":{os.getpid()}", name__contains=socket.gethostname()).delete()
    connection.close()


def _beat(name: str, queues: str) -> None:
    started = timezone.now()
    while not _stop.is_set():
        try:
            now = timezone.now()
            WorkerHeartbeat.objects.update_or_create(
                name=name,
                defaults={"queues": queues, "pid": os.getpid(), "seen_at": now},
                create_defaults={"queues": queues, "pid": os.getpid(), "seen_at": now, "started_at": started},
            )
        except DatabaseError as error:
            log.warning("heartbeat not written", error=str(error))
            connection.close()
        _stop.wait(INTERVAL)
    connection.close()
