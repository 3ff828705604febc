"""Projects come and go. What people have labelled is never deleted with one."""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from labeling import run_files
from labeling.errors import LabelingError
from labeling.models import Deployment, ImportBatch, Label, Member, Project, TrainingRun
from labeling.services import audit, dataset_versions, deployments, storage


class SlugTaken(LabelingError):
    message = "There is a project with this slug already."


class CannotDelete(LabelingError):
    """The project cannot be deleted; the message says what it holds."""


def create_project(*, by: User, slug: str, **fields: object) -> Project:
    """A new project with its first judge; whoever makes it manages it. Raises SlugTaken."""
    try:
        with transaction.atomic():
            project = Project.objects.create(slug=slug, **fields)
            Member.objects.create(project=project, user=by, role=Member.Role.MANAGER)
            deployments.ensure_champion(project)
            audit.record("project.create", project, by=by, slug=slug)
    except IntegrityError:
        if Project.objects.filter(slug=slug).exists():
            raise SlugTaken from None
        raise
    return project


@transaction.atomic
def delete_project(project: Project, *, by: User) -> None:
    """Delete a project with its pairs and whatever came with them from files; then its frozen exports and run files.

    The weights of judges that were trained in it go as well, unless they are needed elsewhere.
    Raises CannotDelete where people have labelled in it, or where a run or an import is under way.
    """
    Project.objects.select_for_update().get(pk=project.pk)
    given = Label.objects.filter(pair__project=project).exclude(source=Label.Source.IMPORT).count()
    if given:
        raise CannotDelete(f"People have given labels here ({given}); they are history, and are not deleted.")
    if TrainingRun.objects.filter(project=project, state__in=TrainingRun.ACTIVE).exists():
        raise CannotDelete("A training run is under way; cancel it first.")
    if project.batches.filter(state__in=(ImportBatch.State.WAITING, ImportBatch.State.RUNNING)).exists():
        raise CannotDelete("An import is under way; cancel it first.")
    audit.record("project.delete", project, by=by, slug=project.slug)
    runs = list(TrainingRun.objects.filter(project=project).order_by("-pk"))
    trained = [run.candidate for run in runs if run.candidate is not None]
    folders = [dataset_versions.project_folder(project.pk), *(run_files.folder_of(run) for run in runs)]
    project.delete()
    for judge in trained:  # the newest first: an adapter needs the weights that it was made from
        if not Deployment.objects.filter(judge__in=storage.same_model(judge)).exists():
            with suppress(storage.CannotPrune):
                storage.prune(judge, by=by)
    transaction.on_commit(partial(_remove, folders))


def _remove(folders: Iterable[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
