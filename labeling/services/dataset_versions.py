"""Exports frozen under a name: asked for, written by a worker, and from then on always the same bytes.

The row is the truth: a worker that dies leaves a lease that runs out, and the sweep sends the job again. A file counts
only once it is whole, under its last name, with its hash in the row.
"""

import hashlib
import os
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from labeling import dataset_card, jobs
from labeling.errors import ExportRefused, LabelingError
from labeling.models import Consensus, DatasetVersion, Deployment, Project
from labeling.services import audit, exports, trust

FOLDER = "datasets"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
RENEW_SECONDS = 5.0

State = DatasetVersion.State


def freeze(project: Project, *, name: str, by: User | None, **options: Any) -> DatasetVersion:
    """Ask for a named version of an export; a worker writes it. The champion of this moment speaks, if any does.

    Raises ExportRefused, naming what is wrong. A name whose writing failed may be used again.
    """
    if not NAME.fullmatch(name):
        raise ExportRefused("name", "letters, digits, dot, hyphen and underscore, beginning with a letter or digit")
    if options.get("since"):
        raise ExportRefused("since", "a frozen version holds all rows; increments are for exports")
    asked = exports.ask(**options)
    deployment = exports.deployment_of(project, asked)
    filters = asked.to_json() | ({"judge": deployment.judge.name} if deployment else {})
    try:
        with transaction.atomic():
            dataset = _row(project, name, filters, by)
            audit.record("dataset.freeze", dataset, by=by, filters=filters)
            jobs.enqueue(jobs.FREEZE_DATASET, dataset_id=dataset.pk)
    except IntegrityError:
        raise ExportRefused("name", f"the project has a version {name!r} already") from None
    return dataset


def _row(project: Project, name: str, filters: dict[str, Any], by: User | None) -> DatasetVersion:
    """A new row, or the one of this name that failed, to be tried again."""
    failed = DatasetVersion.objects.filter(project=project, name=name, state=State.FAILED)
    if failed.update(state=State.WAITING, filters=filters, requested_by=by, error="", finished_at=None):
        return DatasetVersion.objects.get(project=project, name=name)
    return DatasetVersion.objects.create(project=project, name=name, filters=filters, requested_by=by)


def write(dataset_id: int) -> bool:
    """Write the file if nobody else is at it; False if there was nothing to do or it went wrong."""
    dataset = _take(dataset_id)
    if dataset is None:
        return False
    for left in folder_of(dataset).glob(f".{dataset.pk}.*"):  # by a worker that was killed; the version is ours now
        left.unlink(missing_ok=True)
    temporary = folder_of(dataset) / f".{dataset.pk}.{dataset.leased_until:%Y%m%d%H%M%S%f}"
    try:
        return _write(dataset, temporary)
    except (LabelingError, OSError) as error:
        _own(dataset).update(state=State.FAILED, error=str(error)[:2000], leased_until=None, finished_at=timezone.now())
        return False
    finally:
        temporary.unlink(missing_ok=True)


def waiting() -> list[int]:
    """Versions that a worker should write: those that wait and those whose worker fell silent."""
    return list(_free().order_by("pk").values_list("pk", flat=True))


def path_of(dataset: DatasetVersion) -> Path | None:
    """The file, if it is written and still lies there."""
    if dataset.state != State.DONE or not dataset.path:
        return None
    path: Path = settings.HOME / dataset.path
    return path if path.is_file() else None


def folder_of(dataset: DatasetVersion) -> Path:
    return project_folder(dataset.project_id)


def project_folder(project_id: int) -> Path:
    """Where the versions of a project lie."""
    folder: Path = settings.HOME / FOLDER / str(project_id)
    return folder


def _free() -> QuerySet[DatasetVersion]:
    silent = Q(state=State.RUNNING, leased_until__lt=timezone.now())
    return DatasetVersion.objects.filter(Q(state=State.WAITING) | silent)


def _take(dataset_id: int) -> DatasetVersion | None:
    """Compare-and-set. The end of the lease is its token: it is moved by nobody but its holder."""
    until = _lease_end()
    if not _free().filter(pk=dataset_id).update(state=State.RUNNING, leased_until=until):
        return None
    dataset = DatasetVersion.objects.select_related("project").get(pk=dataset_id)
    return dataset if dataset.leased_until == until else None


def _own(dataset: DatasetVersion) -> QuerySet[DatasetVersion]:
    return DatasetVersion.objects.filter(pk=dataset.pk, state=State.RUNNING, leased_until=dataset.leased_until)


def _lease_end() -> datetime:
    return timezone.now() + timedelta(seconds=settings.ENV.run_lease_seconds)


def _write(dataset: DatasetVersion, temporary: Path) -> bool:
    found = exports.open_export(dataset.project, exports.ask_again(dataset.filters))
    temporary.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with _leased(dataset), temporary.open("wb") as file:
        for piece in found.pieces():
            digest.update(piece)
            size += file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    path = folder_of(dataset) / f"{dataset.pk}-{dataset.name}.{found.asked.format}"
    manifest = manifest_of(dataset, found) | {"file": path.name, "sha256": digest.hexdigest(), "bytes": size}
    if not _renew(dataset):
        return False
    temporary.replace(path)
    return bool(
        _own(dataset).update(
            state=State.DONE,
            manifest=manifest,
            card=dataset_card.card_of(manifest),
            path=str(path.relative_to(settings.HOME)),
            sha256=digest.hexdigest(),
            bytes=size,
            leased_until=None,
            finished_at=timezone.now(),
        )
    )


@contextmanager
def _leased(dataset: DatasetVersion) -> Iterator[None]:
    """Prolong the lease beside the writing, on a connection of its own: the other one is reading all the while."""
    done = threading.Event()

    def beat() -> None:
        try:
            while not done.wait(RENEW_SECONDS) and _renew(dataset):
                pass
        finally:
            connection.close()

    beating = threading.Thread(target=beat, daemon=True)
    beating.start()
    try:
        yield
    finally:
        done.set()
        beating.join()


def _renew(dataset: DatasetVersion) -> bool:
    until = _lease_end()
    renewed = _own(dataset).update(leased_until=until)
    if renewed:
        dataset.leased_until = until
    return bool(renewed)


def manifest_of(dataset: DatasetVersion, found: exports.Export) -> dict[str, Any]:
    """What the file holds and where it comes from. Nothing in it hangs on when it was written."""
    by_choice: Counter[str] = Counter()
    by_part: Counter[str] = Counter()
    for (choice, part), count in sorted(found.read.items()):
        by_choice[choice] += count
        by_part[part] += count
    return {
        "name": dataset.name,
        "project": dataset.project.slug,
        "title": dataset.project.name,
        "filters": dataset.filters,
        "rows": found.written,
        "labels": sum(by_choice.values()),
        "by_choice": {choice: count for choice, count in by_choice.items() if choice},
        "by_part": dict(by_part),
        "columns": [{"name": field.path, "kind": field.kind, "empty": field.empty} for field in found.fields],
        "judges": [_judge(one) for one in _judges(dataset.project, found)],
    }


def _judges(project: Project, found: exports.Export) -> list[Deployment]:
    """The versions whose labels are in the file."""
    if found.deployment is not None:
        return [found.deployment]
    if found.asked.source != "consensus":
        return []
    labelled = Consensus.objects.filter(pair__project=project, method=Consensus.Method.JUDGE)
    known = Deployment.objects.select_related("judge").filter(project=project, judge__in=labelled.values("judge"))
    return list(known.order_by("judge"))


def _judge(deployment: Deployment) -> dict[str, Any]:
    judge = deployment.judge
    return {
        "name": judge.name,
        "made_by": judge.method,
        "base_model": judge.base_model,
        "weights_sha256": judge.weights_sha256,
        "prompt_version": judge.prompt_version,
        "prompt_hash": judge.prompt_hash,
        "counts": deployment.counts,
        "trusted": deployment.trusted,
        "temperature": deployment.calibration.get("temperature"),
        "selective_threshold": trust.labels_alone(deployment),
    }
