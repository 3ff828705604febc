"""Import files of pairs: streamed, atomic per file, idempotent, every rejected line with its number and reason."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from django.contrib.auth.models import User
from django.db import transaction

from labeling import jobs
from labeling.errors import ImportRefused
from labeling.models import ImportBatch, Label, Pair, Project, RejectedLine
from labeling.services import audit, deployments, judging
from labeling.services.claims import close_settled
from labeling.services.rows import BadRow, Row, parse_line, to_row

LONGEST_LINE = 8 * 1024 * 1024
_CHUNK = 500
_GZIP_MAGIC = b"\x1f\x8b"

Numbered = tuple[int, Row | BadRow, bytes]


@transaction.atomic
def import_file(project: Project, *, file: BinaryIO, filename: str, by: User | None = None) -> ImportBatch:
    """Add the pairs of a JSONL file (plain or gzip; Tandem's layout or TRL's) and the labels they carry.

    All of the file or nothing. The same file again adds nothing and answers with the batch of the first time; pairs
    that the project has already are counted as duplicates. Raises ImportRefused if the file cannot be read at all.
    """
    digest = _sha256(file)
    known = ImportBatch.objects.filter(project=project, sha256=digest).first()
    if known is not None:
        return known
    batch = ImportBatch.objects.create(project=project, filename=filename[:300], sha256=digest)
    file.seek(0)
    lines = _numbered(_opened(file), batch)
    while chunk := list(islice(lines, _CHUNK)):
        _store(batch, chunk)
    if not (batch.imported or batch.duplicates or batch.rejected):
        raise ImportRefused("The file has no lines.")
    batch.save()
    audit.record("pairs.import", batch, by=by, imported=batch.imported, rejected=batch.rejected)
    deployments.ensure_champion(project)
    judging.request_project(project)
    if batch.labels:
        jobs.enqueue(jobs.REFRESH_PROJECT, project_id=project.pk)
    return batch


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _opened(file: BinaryIO) -> gzip.GzipFile | BinaryIO:
    magic = file.read(2)
    file.seek(0)
    return gzip.open(file) if magic == _GZIP_MAGIC else file


def _numbered(file: gzip.GzipFile | BinaryIO, batch: ImportBatch) -> Iterator[Numbered]:
    """Every line with its number, read and checked; a header on the first line goes to the batch's note."""
    number = 0
    while True:
        number += 1
        try:
            line = file.readline(LONGEST_LINE + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise ImportRefused(f"The compressed file is damaged at line {number}: {error}") from None
        if not line:
            return
        if len(line) > LONGEST_LINE:
            raise ImportRefused(f"Line {number} is longer than {LONGEST_LINE // 2**20} MiB; is this a JSONL file?")
        if not line.strip():
            continue
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        try:
            raw = parse_line(line)
            if number == 1 and isinstance(raw.get("header"), dict):
                batch.note = str(raw["header"].get("note") or "")
                continue
            yield number, to_row(raw), line
        except BadRow as error:
            yield number, error, line


def _store(batch: ImportBatch, chunk: list[Numbered]) -> None:
    """Insert what is new of a chunk, count duplicates, keep the rejected lines."""
    rejected: list[RejectedLine] = []
    fresh: dict[str, Row] = {}
    rows = [(number, row, line) for number, row, line in chunk if isinstance(row, Row)]
    ids, contents = _known(batch.project, [row for _number, row, _line in rows])
    for number, outcome, line in chunk:
        if isinstance(outcome, BadRow):
            rejected.append(_rejected(batch, number, str(outcome), line))
        elif outcome.content_hash in contents:
            batch.duplicates += 1
        elif outcome.external_id in ids:
            reason = f"id: the project has another pair with the id {outcome.external_id!r}"
            rejected.append(_rejected(batch, number, reason, line))
        else:
            ids.add(outcome.external_id)
            contents.add(outcome.content_hash)
            fresh[outcome.external_id] = outcome
    pairs = Pair.objects.bulk_create(_pair(batch, row) for row in fresh.values())
    labels = [
        Label(
            pair=pair,
            source=Label.Source.IMPORT,
            external_annotator=annotator,
            choice=choice,
            final_choice=choice,
            blind=True,
        )
        for pair in pairs
        for annotator, choice in fresh[pair.external_id].labels.items()
    ]
    Label.objects.bulk_create(labels)
    if labels:
        fresh_ones = Pair.objects.filter(pk__in=[pair.pk for pair in pairs])
        close_settled(fresh_ones, overlap=batch.project.overlap)
    RejectedLine.objects.bulk_create(rejected)
    batch.imported += len(pairs)
    batch.labels += len(labels)
    batch.rejected += len(rejected)


def _known(project: Project, rows: list[Row]) -> tuple[set[str], set[str]]:
    of_project = Pair.objects.filter(project=project)
    ids = of_project.filter(external_id__in=[row.external_id for row in rows]).values_list("external_id", flat=True)
    contents = of_project.filter(content_hash__in=[row.content_hash for row in rows])
    return set(ids), set(contents.values_list("content_hash", flat=True))


def _rejected(batch: ImportBatch, number: int, reason: str, line: bytes) -> RejectedLine:
    excerpt = line[:200].decode("utf-8", errors="replace").replace("\x00", "�").strip()
    return RejectedLine(batch=batch, number=number, reason=reason[:500], excerpt=excerpt[:200])


def _pair(batch: ImportBatch, row: Row) -> Pair:
    project = batch.project
    part = part_of(project, row.group_key)
    return Pair(
        project=project,
        batch=batch,
        external_id=row.external_id,
        prompt=row.prompt,
        response_a=row.response_a,
        response_b=row.response_b,
        model_a=row.model_a,
        model_b=row.model_b,
        meta=row.meta,
        gold=row.gold,
        prompt_hash=row.prompt_hash,
        content_hash=row.content_hash,
        group_key=row.group_key,
        part=part,
        audit=part == Pair.Part.TRAIN and _unit(project, "audit", row.content_hash) < project.audit_share,
        shuffle=int(_unit(project, "order", row.content_hash) * (2**31 - 1)),
    )


def part_of(project: Project, group_key: str) -> Pair.Part:
    """The hold-out is drawn by the group's hash, so that all pairs of a group, also later ones, are on one side.

    Of the hold-out's groups a quarter calibrates, half decides at the gate, a quarter is only reported.
    """
    place = _unit(project, "hold-out", group_key)
    if place >= project.holdout_share:
        return Pair.Part.TRAIN
    inside = place / project.holdout_share
    if inside < 0.25:
        return Pair.Part.CALIBRATION
    return Pair.Part.GATE if inside < 0.75 else Pair.Part.TEST


def _unit(project: Project, purpose: str, key: str) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{project.slug}/{purpose}/{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
