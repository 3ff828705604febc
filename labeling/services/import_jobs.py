"""Imports by a worker or a command: taken by one, followed by everybody, stopped when asked, begun again if lost.

All pairs come in one transaction, so a worker that dies leaves nothing behind but the row that says it had begun.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import uuid4

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.db.models import Q
from django.utils import timezone

from labeling import jobs
from labeling.errors import ImportNotActive, ImportRefused
from labeling.models import ImportBatch, Project
from labeling.readers import Opened, Unreadable, open_file, storable
from labeling.services import audit, bulk, imports, sources, uploads
from labeling.services.checking import Chunk, Plan, prefetched, spooled

MOST_TRIES = 4
"""How often a worker may die on a file before it is given up."""
TOLD_EVERY = 1.0
"""Seconds between two reports of how far an import is."""
UNEXPECTED = "An unexpected error ended the import; the log of the worker says more."
BROKEN_OFF = "The command that imported this was broken off."

State = ImportBatch.State
log = structlog.get_logger(__name__)


class _Stopped(Exception):
    """The import was cancelled, or another worker has taken it."""


class Watch:
    """Tells others how far the import is, and hears whether it is to go on; through a connection beside its own."""

    def __init__(self, batch: ImportBatch) -> None:
        self._batch = batch
        self._told = 0.0
        self._beside = bulk.SideConnection() if bulk.on_postgres() else None

    def look(self, *, position: int = 0, force: bool = False) -> None:
        """Report, at most once a second. Raises _Stopped if the import is not to go on."""
        if not force and time.monotonic() < self._told + TOLD_EVERY:
            return
        self._told = time.monotonic()
        if not self._reported(position):
            raise _Stopped

    def close(self) -> None:
        if self._beside:
            self._beside.close()

    def _reported(self, position: int) -> bool:
        batch, until = self._batch, _lease_end()
        counts = (position, batch.imported, batch.duplicates, batch.rejected, batch.labels)
        if self._beside:
            found = self._beside.execute(_REPORT, [*counts, until, batch.pk, batch.lease])
            return bool(found) and not found[0][0]
        own = ImportBatch.objects.filter(pk=batch.pk, state=State.RUNNING, lease=batch.lease, cancel_requested=False)
        return bool(own.update(bytes_read=position, leased_until=until))


_REPORT = """
    UPDATE labeling_importbatch
    SET bytes_read = greatest(bytes_read, %s), imported = %s, duplicates = %s, rejected = %s, labels = %s,
        leased_until = %s
    WHERE id = %s AND state = 'running' AND lease = %s
    RETURNING cancel_requested
"""


def run(batch_id: int) -> ImportBatch | None:
    """Take the batch and bring it to its end; None if it is not free. What it could not read is written to its row.

    A database that is away ends nothing: the sweep hands the batch on when its lease has run out.
    """
    batch = take(batch_id, lease=uuid4().hex)
    if batch is None:
        return None
    try:
        if uploads.count_try(batch) > MOST_TRIES:
            raise ImportRefused(f"The import was begun {MOST_TRIES} times, and each time the worker died.")
        _import(batch)
    except _Stopped:
        _end(batch, State.CANCELLED)
    except (ImportRefused, Unreadable) as error:
        _end(batch, State.FAILED, error=str(error))
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        _end(batch, State.FAILED, error=UNEXPECTED)
        uploads.remove(batch)
        raise
    else:
        _after(batch)
    uploads.remove(batch)
    batch.refresh_from_db()
    return batch


def run_here(
    project: Project, opening: Callable[[], Opened], *, filename: str, sha256: str, size: int, plan: Plan
) -> ImportBatch:
    """Import at once what a command has made ready to be read; its row is there from the beginning, as a worker's is.

    The same again adds nothing and answers with the batch of the first time. Raises ImportRefused or Unreadable if it
    cannot be read or was cancelled. Of one that is killed a worker says so when its lease has run out.
    """
    imports.check(plan)
    batch, created = ImportBatch.objects.select_related("project").get_or_create(
        project=project,
        sha256=sha256,
        state__in=imports.STANDING,
        defaults={
            "filename": filename[:300],
            "state": State.RUNNING,
            "lease": uuid4().hex,
            "leased_until": _lease_end(),
            "mapping": plan.mapping,
            "bytes": size,
        },
    )
    if not created:
        return batch
    try:
        _store(batch, opening(), plan)
    except _Stopped:
        _end(batch, State.CANCELLED)
        raise ImportRefused("The import was cancelled.") from None
    except BaseException as error:
        _end(batch, State.FAILED, error=str(error) if isinstance(error, ImportRefused | Unreadable) else BROKEN_OFF)
        raise
    _after(batch)
    batch.refresh_from_db()
    return batch


def take(batch_id: int, *, lease: str) -> ImportBatch | None:
    """Become the one worker of a batch that waits, or whose worker has fallen silent."""
    now = timezone.now()
    free = Q(state=State.WAITING) | Q(state=State.RUNNING, leased_until__lt=now)
    taken = ImportBatch.objects.filter(free, pk=batch_id, cancel_requested=False).update(
        state=State.RUNNING,
        lease=lease,
        leased_until=_lease_end(),
        bytes_read=0,
        imported=0,
        duplicates=0,
        rejected=0,
        labels=0,
    )
    return ImportBatch.objects.select_related("project").get(pk=batch_id) if taken else None


def cancel(batch: ImportBatch, *, by: User | None) -> None:
    """Stop an import that waits or runs; nothing of it stays. Raises ImportNotActive if it has ended."""
    with transaction.atomic():
        mine = ImportBatch.objects.filter(pk=batch.pk)
        now = timezone.now()
        if mine.filter(state=State.WAITING).update(state=State.CANCELLED, cancel_requested=True, finished_at=now):
            uploads.remove(batch)
        elif not mine.filter(state=State.RUNNING).update(cancel_requested=True):
            raise ImportNotActive
        audit.record("pairs.import_cancelled", batch, by=by)


def waiting() -> list[int]:
    """Batches that a worker should take up: those that wait, and those whose worker has fallen silent."""
    silent = Q(state=State.RUNNING, leased_until__lt=timezone.now())
    lost = ImportBatch.objects.filter(silent, cancel_requested=True)
    lost.update(state=State.CANCELLED, lease="", leased_until=None, finished_at=timezone.now())
    found = ImportBatch.objects.filter(silent | Q(state=State.WAITING)).order_by("pk")
    return list(found.values_list("pk", flat=True))


def _import(batch: ImportBatch) -> None:
    plan = Plan("" if batch.mapping else batch.format.partition(", ")[0], dict(batch.mapping))
    with _opened(batch) as opened:
        _store(batch, opened, plan)


def _store(batch: ImportBatch, opened: Opened, plan: Plan) -> None:
    """Read and store all of it in one transaction that ends with the row saying so, if it is still this one's."""
    watch = Watch(batch)
    try:
        with _ahead(batch, opened, plan, watch) as chunks, transaction.atomic():
            while not bulk.try_lock(batch.project_id):
                watch.look()
                time.sleep(0.2)
            imports.fill(batch, batch.project, _watched(chunks, watch))
            watch.look(position=batch.bytes, force=bulk.on_postgres())
            _close(batch)
    finally:
        watch.close()


@contextmanager
def _opened(batch: ImportBatch) -> Iterator[Opened]:
    """The batch's file, or the folder or the data set that it names."""
    source = sources.source_of(batch)
    if source is not None:
        with source.opened() as opened:
            yield opened
        return
    path = uploads.path_of(batch)
    if not path.exists():
        raise ImportRefused("The uploaded file is gone from the data folder. Please upload it again.")
    with path.open("rb") as file:
        yield open_file(file, batch.filename).within(int(settings.ENV.unpacked_gib * 2**30))


@contextmanager
def _ahead(batch: ImportBatch, opened: Opened, plan: Plan, watch: Watch) -> Iterator[Iterator[Chunk]]:
    """The chunks; before SQLite's one writer is taken, the whole file is read, and that is when it can be told."""
    if bulk.on_postgres():
        with prefetched(imports.chunks_of(opened, plan, batch)) as chunks:
            yield chunks
        return

    def told(chunk: Chunk) -> None:
        watch.look(position=chunk.position)

    with spooled(imports.chunks_of(opened, plan, batch, told)) as chunks:
        watch.look(position=batch.bytes, force=True)
        yield chunks


def _watched(chunks: Iterator[Chunk], watch: Watch) -> Iterator[Chunk]:
    for chunk in chunks:
        yield chunk
        if bulk.on_postgres():
            watch.look(position=chunk.position)


def _close(batch: ImportBatch) -> None:
    own = ImportBatch.objects.filter(pk=batch.pk, state=State.RUNNING, lease=batch.lease, cancel_requested=False)
    done = own.update(
        state=State.DONE,
        lease="",
        leased_until=None,
        finished_at=timezone.now(),
        note=batch.note,
        format=batch.format,
        bytes_read=batch.bytes,
        imported=batch.imported,
        duplicates=batch.duplicates,
        rejected=batch.rejected,
        labels=batch.labels,
    )
    if not done:
        raise _Stopped
    audit.record("pairs.import", batch, by=batch.requested_by, imported=batch.imported, rejected=batch.rejected)


def _after(batch: ImportBatch) -> None:
    """The pairs are there; what follows from them is made up by the sweep if it fails here."""
    try:
        with transaction.atomic():
            imports.follow_up(batch)
    except DatabaseError as error:
        log.warning("left to the sweep", batch=batch.pk, error=str(error))
        if batch.labels:
            jobs.send(jobs.REFRESH_PROJECT, {"project_id": batch.project_id})


def _end(batch: ImportBatch, state: str, *, error: str = "") -> None:
    """Close a batch of which nothing was imported, if it is still this worker's."""
    ImportBatch.objects.filter(pk=batch.pk, state=State.RUNNING, lease=batch.lease).update(
        state=state,
        error=storable(error)[:2000],
        lease="",
        leased_until=None,
        finished_at=timezone.now(),
        imported=0,
        duplicates=0,
        rejected=0,
        labels=0,
    )


def _lease_end() -> datetime:
    return timezone.now() + timedelta(seconds=settings.ENV.run_lease_seconds)
