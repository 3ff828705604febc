"""Where a run's frozen labels lie, and the same as one zip, made while it is sent. Knows no request."""

import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from labeling.models import TrainingRun

SNAPSHOT = ("train.jsonl", "older.jsonl", "holdout.jsonl")
"""Pairs new to the judge that is trained further, those it has seen, and those no judge trains on."""

_CHUNK = 1 << 16


def folder_of(run: TrainingRun) -> Path:
    """What the run keeps in the data folder."""
    return Path(settings.HOME, "runs", str(run.pk))


def frozen(run: TrainingRun) -> bool:
    """Whether the run's labels are frozen and still there."""
    return bool(run.snapshot_sha256) and all((folder_of(run) / name).is_file() for name in SNAPSHOT)


def drop_checkpoints(run: TrainingRun) -> None:
    """Delete what the training of a run that has ended would go on from."""
    shutil.rmtree(folder_of(run) / "training" / "checkpoints", ignore_errors=True)


def archive(run: TrainingRun) -> Iterator[bytes]:
    """A zip of the frozen rows and the configuration, piece by piece: no row names an annotator."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name in SNAPSHOT:
            with (folder_of(run) / name).open("rb") as file, zipped.open(_entry(name, run), "w") as entry:
                while chunk := file.read(_CHUNK):
                    entry.write(chunk)
                    yield pipe.taken()
        zipped.writestr(_entry("config.json", run), json.dumps(run.config, indent=2, ensure_ascii=False) + "\n")
    yield pipe.taken()


def _entry(name: str, run: TrainingRun) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(f"run-{run.pk}/{name}", date_time=run.created_at.timetuple()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


class _Pipe(io.RawIOBase):
    """What is written to it is taken out once."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self._waiting += memoryview(data)  # type: ignore[arg-type]
        return len(memoryview(data))  # type: ignore[arg-type]

    def taken(self) -> bytes:
        found = bytes(self._waiting)
        self._waiting.clear()
        return found
