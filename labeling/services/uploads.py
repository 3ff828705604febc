"""Uploaded files that wait in the data folder: to be looked at first, or for a worker. Knows nothing of their content.

A draft belongs to the project it was uploaded to and is forgotten after a day; a batch's file goes when it has ended.
"""

import hashlib
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import UUID, uuid4

from django.conf import settings

from labeling.errors import ImportRefused
from labeling.models import ImportBatch, Project

FOLDER = "imports"
FORGOTTEN_AFTER = 86_400.0
_BLOCK = 1 << 20


class UploadTooLarge(ImportRefused):
    """The stream is longer than the installation takes."""


class UploadCutOff(ImportRefused):
    """The stream ended before all that was announced had come."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An uploaded file that nothing has been imported from yet."""

    key: str
    project_id: int
    filename: str
    sha256: str
    size: int

    @property
    def path(self) -> Path:
        return _folder() / f"draft-{self.key}"

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        with self.path.open("rb") as file:
            yield file

    def discard(self) -> None:
        """Forget the file; what is gone already is no error."""
        self.path.unlink(missing_ok=True)
        _about(self.key).unlink(missing_ok=True)


def receive(project: Project, *, stream: BinaryIO, filename: str, length: int | None = None) -> Draft:
    """Write a stream to the data folder while its checksum is computed; nothing of it is held in memory.

    Keeps nothing of it and raises UploadTooLarge where it does not end in time, because the disk is everybody's, and
    UploadCutOff where it has another ``length`` than was announced.
    """
    key = uuid4().hex
    most = most_bytes()
    path = _folder() / f"draft-{key}"
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("wb") as file:
            while block := stream.read(_BLOCK):
                digest.update(block)
                size += file.write(block)
                if size > most:
                    raise UploadTooLarge(f"One upload may have {settings.ENV.upload_gib:g} GiB at most.")
        if length is not None and size != length:
            raise UploadCutOff(f"Of {length} bytes {size} came. Nothing was imported; please send it again.")
        draft = Draft(key, project.pk, filename[:300], digest.hexdigest(), size)
        _about(key).write_text(json.dumps(asdict(draft)), encoding="utf-8")
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return draft


def most_bytes() -> int:
    """The most that one upload may have."""
    return int(settings.ENV.upload_gib * 2**30)


def draft_of(project: Project, key: UUID) -> Draft | None:
    """The project's draft of that key, while it is there."""
    try:
        draft = Draft(**json.loads(_about(key.hex).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    return draft if draft.project_id == project.pk and draft.path.exists() else None


def path_of(batch: ImportBatch) -> Path:
    """Where the file of a batch lies that a worker is to import."""
    return _folder() / f"batch-{batch.pk}"


def source_path_of(batch: ImportBatch) -> Path:
    """Where it is written what a batch is imported from that is no uploaded file."""
    return _folder() / f"batch-{batch.pk}.source"


def hand_over(draft: Draft, batch: ImportBatch) -> None:
    """The draft's file becomes the batch's; call it before the batch's row is committed."""
    draft.path.replace(path_of(batch))
    _about(draft.key).unlink(missing_ok=True)


def remove(batch: ImportBatch) -> None:
    """The batch's file, and what is written of it."""
    path_of(batch).unlink(missing_ok=True)
    source_path_of(batch).unlink(missing_ok=True)
    _tries(batch).unlink(missing_ok=True)


def count_try(batch: ImportBatch) -> int:
    """How often a worker has begun with this batch, this time included."""
    path = _tries(batch)
    count = int(path.read_text()) + 1 if path.exists() else 1
    path.write_text(str(count))
    return count


def forget_old(now: float | None = None) -> int:
    """Remove drafts that nobody came back to, and files whose batch has ended; returns how many."""
    limit = (now or time.time()) - FORGOTTEN_AFTER
    old = [path for path in _folder().iterdir() if path.is_file() and _written_at(path) < limit]
    active = {ImportBatch.State.WAITING, ImportBatch.State.RUNNING}
    needed = (
        {path_of(batch).name for batch in ImportBatch.objects.filter(state__in=active).only("pk")} if old else set()
    )
    gone = [path for path in old if path.name.partition(".")[0] not in needed]
    for path in gone:
        path.unlink(missing_ok=True)
    return len(gone)


def _written_at(path: Path) -> float:
    """In seconds, as ``time.time()``; a file that has just gone is as new as any."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def _folder() -> Path:
    folder = Path(settings.HOME) / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _about(key: str) -> Path:
    return _folder() / f"draft-{key}.json"


def _tries(batch: ImportBatch) -> Path:
    return _folder() / f"batch-{batch.pk}.tries"
