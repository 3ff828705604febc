"""Data sets that are no uploaded file: folders on the server and names on the hub, where the settings allow it.

A source is written beside the place where an uploaded file would lie, so that whoever imports finds either there.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from labeling import jobs
from labeling.errors import ImportRefused
from labeling.models import ImportBatch, Project
from labeling.readers import Opened, Raw, Unreadable, open_folder
from labeling.readers.folders import data_files
from labeling.readers.tables import plain
from labeling.services import audit, uploads
from labeling.services.checking import Plan


@dataclass(frozen=True, slots=True)
class Source:
    """A folder or a name on the hub, and which split of it."""

    folder: str = ""
    hub: str = ""
    split: str = ""

    def __str__(self) -> str:
        return (self.folder or self.hub) + (f" [{self.split}]" if self.split else "")

    @contextmanager
    def opened(self) -> Iterator[Opened]:
        """Its rows. Raises Unreadable."""
        if self.hub and not offered()["hub"]:
            raise Unreadable("This installation imports nothing from the hub.")
        yield open_folder(_folder(self.folder), self.split) if self.folder else _from_hub(self.hub, self.split)


def offered() -> dict[str, bool]:
    """Which kinds of source the installation's settings allow."""
    return {"folder": bool(settings.ENV.datasets_folder), "hub": settings.ENV.hub_datasets}


def request(project: Project, source: Source, *, by: User | None, plan: Plan) -> ImportBatch:
    """Leave the import of a source to a worker. Raises ImportRefused where it is not allowed or not there."""
    if source.folder:
        if not offered()["folder"]:
            raise ImportRefused("folder: this installation imports no folders (TANDEM_DATASETS_FOLDER is not set).")
        try:
            size = sum(file.stat().st_size for file in data_files(_folder(source.folder), source.split))
        except (Unreadable, OSError) as error:
            raise ImportRefused(f"folder: {error}") from None
    elif not offered()["hub"]:
        raise ImportRefused("hub: this installation imports nothing from the hub (TANDEM_HUB_DATASETS is not set).")
    else:
        size = 0
    with transaction.atomic():
        batch = ImportBatch.objects.create(
            project=project,
            filename=str(source)[:300],
            sha256=uuid4().hex,  # what stands under the name may change, and pairs are known by their content
            state=ImportBatch.State.WAITING,
            format=plan.layout,
            mapping=plan.mapping,
            bytes=size,
            requested_by=by,
        )
        audit.record("pairs.import_asked", batch, by=by, source=str(source))
        content = {"folder": source.folder, "hub": source.hub, "split": source.split}
        uploads.source_path_of(batch).write_text(json.dumps(content), encoding="utf-8")
        jobs.enqueue(jobs.IMPORT, batch_id=batch.pk)
    return batch


def source_of(batch: ImportBatch) -> Source | None:
    """The source that the batch is to be imported from; None where it is an uploaded file."""
    path = uploads.source_path_of(batch)
    return Source(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def _folder(name: str) -> Path:
    """The folder of that name; names that lead out of the folder of data sets lead nowhere."""
    root = Path(settings.ENV.datasets_folder or os.devnull).resolve()
    found = (root / name).resolve()
    if not found.is_relative_to(root) or found == root or not found.is_dir():
        raise Unreadable(f"There is no folder {name!r} among this installation's data sets.")
    return found


def _from_hub(name: str, split: str) -> Opened:
    """Rows as the hub streams them, through the `datasets` library, which takes a bare name for a folder here too."""
    try:
        import datasets
    except ImportError:
        raise Unreadable("The hub needs the datasets library, which this worker does not have.") from None
    try:
        loaded: Any = datasets.load_dataset(f"hf://datasets/{name}", split=split or None, streaming=True)
    except Exception as error:  # noqa: BLE001  the library raises whatever its loaders and the network raise
        raise Unreadable(f"The hub gives no data set {name!r}: {str(error)[:300]}") from None
    parts = loaded.values() if isinstance(loaded, dict) else [loaded]
    return Opened("hub", "", _numbered(parts), lambda: 0)


def _numbered(parts: Any) -> Iterator[Raw]:
    number = 0
    try:
        for part in parts:
            for row in part:
                number += 1
                yield Raw(number, {str(column): plain(value) for column, value in row.items()})
    except Exception as error:  # noqa: BLE001  as above
        raise Unreadable(f"The hub's data set breaks off after row {number}: {str(error)[:300]}") from None
