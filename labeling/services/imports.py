"""Import files of pairs: streamed, atomic per file, idempotent, every rejected row with its number and reason.

The page, the command and the API all end here. A small file is imported at once; what is large waits for a worker
(`import_jobs`). Nothing of an import is seen before all of it is there.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Count, Min
from django.utils import timezone

from genrm_engine.formats import FORMATS
from labeling import jobs
from labeling.errors import ImportRefused
from labeling.models import ImportBatch, JudgingRequest, Label, Pair, Project
from labeling.readers import Opened, TooLarge, Unreadable, holds_at_most, is_packed, open_file
from labeling.services import audit, bulk, deployments, judging, pairs, uploads
from labeling.services.checking import Chunk, Plan, checked, prefetched, spooled
from labeling.services.claims import close_settled
from labeling.services.mapping import problems
from labeling.services.parts import part_of

__all__ = [
    "AT_ONCE",
    "PACKED_AT_ONCE",
    "DryRun",
    "Plan",
    "dry_run",
    "import_draft",
    "import_file",
    "import_opened",
    "import_stream",
    "part_of",
]

AT_ONCE = 5_000_000
"""Bytes up to which a file is imported while the person waits."""
PACKED_AT_ONCE = 500_000
"""The same for what is compressed; it must also unpack to no more than AT_ONCE."""
LOOKED_INTO = 64 * 2**20
"""Unpacked bytes of which a trial on a page reads no more, however fast."""
MANY = 1_000
"""New pairs after which the database should look at its tables again."""
PATIENCE = 20.0
"""Seconds to wait for another import into the same project."""
STANDING = (ImportBatch.State.WAITING, ImportBatch.State.RUNNING, ImportBatch.State.DONE)
DETECT = Plan()

OnChunk = Callable[[Chunk], None]


class ProjectBusy(ImportRefused):
    """Another import into the project has gone on for longer than one waits for it."""

    message = "Another file is being imported into this project. Please try again when it is done."


@dataclass(slots=True)
class DryRun:
    """What an import would do; ``complete`` is False where the time was up before the file was read."""

    batch: ImportBatch
    reasons: list[tuple[str, str, int, int]] = field(default_factory=list)
    complete: bool = True


def import_file(
    project: Project, *, file: BinaryIO, filename: str, by: User | None = None, plan: Plan = DETECT
) -> ImportBatch:
    """Add the pairs of a file and the labels that they carry: all of it or nothing.

    The same file again adds nothing and answers with the batch of the first time; pairs that the project has already
    are counted as duplicates. Raises ImportRefused if the file cannot be read at all.
    """
    digest, size = measured(file)
    return import_opened(project, lambda: open_file(file, filename), filename, identity(digest, plan), size, by, plan)


def import_opened(
    project: Project,
    opening: Callable[[], Opened],
    filename: str,
    sha256: str,
    size: int,
    by: User | None,
    plan: Plan = DETECT,
) -> ImportBatch:
    """The same for whatever has been made ready to be read; ``sha256`` says what is the same again."""
    known = standing(project, sha256)
    if known is not None:
        return known
    check(plan)
    batch = ImportBatch(project=project, filename=filename[:300], sha256=sha256, bytes=size, bytes_read=size)
    batch.requested_by, batch.mapping = by, plan.mapping
    try:
        with _refusing(), _ahead(opening, plan, batch) as chunks, transaction.atomic():
            _wait_for_turn(project)
            batch.save()
            fill(batch, project, chunks)
            batch.finished_at = timezone.now()
            batch.save()
            audit.record("pairs.import", batch, by=by, imported=batch.imported, rejected=batch.rejected)
            follow_up(batch)
    except IntegrityError:
        known = standing(project, sha256)  # the same file, sent twice at once
        if known is None:
            raise
        return known
    return batch


def import_stream(
    project: Project,
    *,
    stream: BinaryIO,
    filename: str,
    length: int | None = None,
    by: User | None = None,
    plan: Plan = DETECT,
) -> ImportBatch:
    """Import what comes in a stream. A large one is left to a worker: the batch that is returned then waits.

    Raises ImportRefused as `import_file` and `uploads.receive` do.
    """
    draft = uploads.receive(project, stream=stream, filename=filename, length=length)
    try:
        return import_draft(project, draft, by=by, plan=plan)
    finally:
        draft.discard()


def import_draft(project: Project, draft: uploads.Draft, *, by: User | None, plan: Plan = DETECT) -> ImportBatch:
    """Import a file that lies in the data folder: at once if it is small and nothing else is under way."""
    sha256 = identity(draft.sha256, plan)
    known = standing(project, sha256)
    if known is not None:
        return known
    busy = project.batches.filter(state__in=(ImportBatch.State.WAITING, ImportBatch.State.RUNNING)).exists()
    if _is_small(draft) and not busy:
        with suppress(ProjectBusy), draft.opened() as file:  # whom others keep waiting is left to a worker, too
            return import_file(project, file=file, filename=draft.filename, by=by, plan=plan)
    check(plan)
    with transaction.atomic():
        batch, created = ImportBatch.objects.get_or_create(
            project=project,
            sha256=sha256,
            state__in=STANDING,
            defaults={
                "filename": draft.filename,
                "state": ImportBatch.State.WAITING,
                "format": plan.layout,
                "mapping": plan.mapping,
                "bytes": draft.size,
                "requested_by": by,
            },
        )
        if created:
            audit.record("pairs.import_asked", batch, by=by, bytes=draft.size)
            uploads.hand_over(draft, batch)
            jobs.enqueue(jobs.IMPORT, batch_id=batch.pk)
    return batch


def dry_run(
    project: Project, opening: Callable[[], Opened], *, plan: Plan = DETECT, seconds: float | None = None
) -> DryRun:
    """Do the import and take it back: what would be added, and how many rows are turned away for which reason.

    A project that is not stored yet is stored for it and goes with the rest.
    ``seconds`` bounds the reading, and then no more is unpacked than LOOKED_INTO: somebody waits for the page. Raises
    ImportRefused if the file cannot be read at all.
    """
    check(plan)
    result = DryRun(ImportBatch(project=project, filename="dry run", sha256=f"dry run {time.time_ns()}"))
    until = None if seconds is None else time.monotonic() + seconds

    def bounded(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        some = False
        try:
            for chunk in chunks:
                yield chunk
                some = True
                if until is not None and time.monotonic() > until:
                    result.complete = False
                    return
        except TooLarge:
            if not some:
                raise
            result.complete = False

    def opened() -> Opened:
        return opening() if until is None else opening().within(LOOKED_INTO)

    with _refusing(), _ahead(opened, plan, result.batch, around=bounded) as chunks, transaction.atomic():
        if project.pk is None:
            project.save()
        _wait_for_turn(project)
        result.batch.save()
        fill(result.batch, project, chunks)
        result.reasons = reasons(result.batch)
        transaction.set_rollback(True)
    return result


def fill(batch: ImportBatch, project: Project, chunks: Iterator[Chunk]) -> None:
    """Store chunk by chunk inside the caller's transaction; the batch's counts go up and are not saved."""
    for chunk in chunks:
        pairs.store(batch, project, chunk.outcomes)
        batch.note = batch.note or chunk.note
        batch.format = _format(chunk.layout, batch.format)
        batch.bytes_read = chunk.position
    if not (batch.imported or batch.duplicates or batch.rejected):
        raise ImportRefused("The file has no rows." if batch.note else "The file has no lines.")
    if batch.labels:
        _follow_overlap(batch, project)
    batch.bytes_read, batch.format = batch.bytes, batch.format.strip(", ")


def _follow_overlap(batch: ImportBatch, project: Project) -> None:
    """Close the batch's pairs by the overlap of now: it may have changed since the project was read.

    Of a change that is committed between here and the import's commit the refresh of the project hears.
    """
    if Project.objects.values_list("overlap", flat=True).get(pk=project.pk) != project.overlap:
        close_settled(Pair.objects.filter(batch=batch))


def follow_up(batch: ImportBatch) -> None:
    """What new pairs and labels call for: a judge, judgements, and consensus of what has labels."""
    large = batch.imported >= MANY
    if large:
        bulk.analyze(Pair, Label)
    deployments.ensure_champion(batch.project)
    judging.request_project(batch.project)
    if large:
        bulk.analyze(JudgingRequest)
    if batch.labels:
        jobs.enqueue(jobs.REFRESH_PROJECT, project_id=batch.project_id)


def standing(project: Project, sha256: str) -> ImportBatch | None:
    """The import of the same content that is there or on its way."""
    return ImportBatch.objects.filter(project=project, sha256=sha256, state__in=STANDING).first()


def identity(sha256: str, plan: Plan) -> str:
    """By what a file is known again: its content, and how a person said that it is to be read."""
    if plan == DETECT:
        return sha256
    return hashlib.sha256(json.dumps([sha256, plan.layout, sorted(plan.mapping.items())]).encode()).hexdigest()


def reasons(batch: ImportBatch, most: int = 30) -> list[tuple[str, str, int, int]]:
    """Field, reason, how many rows, and the first row's number; the most frequent first."""
    grouped = batch.rejected_lines.order_by().values_list("field", "reason").annotate(rows=Count("pk"))
    return list(grouped.annotate(first=Min("number")).order_by("-rows", "first")[:most])


def chunks_of(opened: Opened, plan: Plan, batch: ImportBatch, on_chunk: OnChunk | None = None) -> Iterator[Chunk]:
    """The file's chunks; what holds the rows is noted on the batch."""
    batch.format = f"{plan.layout}, {opened.container}" if plan.layout else f", {opened.container}"
    return checked(opened, plan, on_chunk)


def _format(layout: str, noted: str) -> str:
    """Layout and container, as "trl, csv"; the first row whose layout is known decides."""
    before, _, container = noted.partition(", ")
    return f"{before or layout}, {container}"[:30]


@contextmanager
def _ahead(
    opening: Callable[[], Opened],
    plan: Plan,
    batch: ImportBatch,
    around: Callable[[Iterator[Chunk]], Iterator[Chunk]] = iter,
) -> Iterator[Iterator[Chunk]]:
    chunks = around(chunks_of(opening(), plan, batch))
    with (prefetched if bulk.on_postgres() else spooled)(chunks) as taken:
        yield taken


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except Unreadable as error:
        raise ImportRefused(str(error)) from None


def _wait_for_turn(project: Project) -> None:
    """Imports into one project go one after the other, so that what one adds the next one knows."""
    until = time.monotonic() + PATIENCE
    while not bulk.try_lock(project.pk):
        if time.monotonic() > until:
            raise ProjectBusy
        time.sleep(0.05)


def _is_small(draft: uploads.Draft) -> bool:
    with draft.opened() as file:
        if not is_packed(file.read(8)):
            return draft.size <= AT_ONCE
        return draft.size <= PACKED_AT_ONCE and holds_at_most(file, draft.filename, AT_ONCE)


def check(plan: Plan) -> None:
    """Raises ImportRefused if nothing can be read so."""
    if plan.layout and plan.layout not in FORMATS:
        raise ImportRefused(f"layout: {plan.layout!r} is not one of {', '.join(FORMATS)}")
    if plan.mapping and (wrong := problems(plan.mapping)):
        raise ImportRefused("; ".join(f"{name}: {what}" for name, what in wrong.items()))


def measured(file: BinaryIO) -> tuple[str, int]:
    """The file's checksum and size; it is at its beginning again."""
    digest, size = hashlib.sha256(), 0
    while block := file.read(1 << 20):
        digest.update(block)
        size += len(block)
    file.seek(0)
    return digest.hexdigest(), size
