"""`manage.py import_pairs PROJECT FILE`: the same importer as the upload page, and folders of data sets too."""

from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from genrm_engine.formats import FORMATS
from labeling.errors import LabelingError
from labeling.models import ImportBatch, Project
from labeling.readers import Opened, Unreadable, folder_identity, open_file, open_folder
from labeling.services import import_jobs, imports
from labeling.services.checking import Plan
from labeling.services.mapping import FIELDS

SHOWN = 20


class Command(BaseCommand):
    help = (
        "Import pairs from a file (JSON Lines, JSON, CSV, TSV, Parquet, Arrow; gzip and zstd are understood) or from a "
        "folder that Hugging Face datasets saved."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", help="slug of the project; created if it does not exist and --create is given")
        parser.add_argument("file", type=Path, help="a file, or a folder of data files")
        parser.add_argument("--create", action="store_true", help="create the project if it does not exist")
        parser.add_argument("--layout", choices=FORMATS, default="", help="layout of the rows; none: detected")
        parser.add_argument(
            "--column",
            action="append",
            default=[],
            metavar="FIELD=COLUMN",
            help=f"which column holds a field ({', '.join(FIELDS)}); may be given several times",
        )
        parser.add_argument("--split", default="", help="of a folder only this split")
        parser.add_argument("--dry-run", action="store_true", help="say what would be imported, and import nothing")

    def handle(self, *_args: Any, project: str, file: Path, create: bool, **options: Any) -> None:
        plan = Plan(options["layout"], _mapping(options["column"]))
        found = _project(project, create=create, keep=not options["dry_run"])
        try:
            if options["dry_run"]:
                self._told(_tried(found, file, options["split"], plan))
            else:
                self._report(_imported(found, file, options["split"], plan))
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror or error}") from None
        except (LabelingError, Unreadable) as error:
            raise CommandError(f"{file}: {error}") from None

    def _report(self, batch: ImportBatch) -> None:
        if batch.state != ImportBatch.State.DONE:
            self.stdout.write("This file is being imported already; the import page says how far it is.")
            return
        for line in batch.rejected_lines.all()[:SHOWN]:
            self.stderr.write(f"line {line.number}: {line.reason}")
        if batch.rejected > SHOWN:
            self.stderr.write(f"… and {batch.rejected - SHOWN} more rejected lines")
        self.stdout.write(f"{_counts(batch, 'imported')}.")

    def _told(self, trial: imports.DryRun) -> None:
        for _field, reason, rows, first in trial.reasons:
            self.stderr.write(f"{rows} × {reason} (first: line {first})")
        self.stdout.write(f"{_counts(trial.batch, 'would be imported')}. Nothing was imported.")


def _counts(batch: ImportBatch, word: str) -> str:
    return (
        f"{batch.imported} pairs {word} with {batch.labels} labels, "
        f"{batch.duplicates} duplicates, {batch.rejected} lines rejected"
    )


def _project(slug: str, *, create: bool, keep: bool) -> Project:
    """The project of this slug; a new one is stored only if it is to be kept."""
    if create and keep:
        return Project.objects.get_or_create(slug=slug, defaults={"name": slug})[0]
    if create:
        return Project.objects.filter(slug=slug).first() or Project(slug=slug, name=slug)
    try:
        return Project.objects.get(slug=slug)
    except Project.DoesNotExist:
        known = ", ".join(Project.objects.values_list("slug", flat=True)) or "none"
        raise CommandError(f"There is no project {slug!r} (there is: {known}). --create makes it.") from None


def _mapping(given: list[str]) -> dict[str, str]:
    found = {}
    for one in given:
        name, equals, column = one.partition("=")
        if not equals or name not in FIELDS or not column:
            raise CommandError(f"--column {one}: give FIELD=COLUMN, the field one of {', '.join(FIELDS)}.")
        found[name] = column
    return found


def _imported(project: Project, path: Path, split: str, plan: Plan) -> ImportBatch:
    if path.is_dir():
        sha256, size = folder_identity(path, split)
        return _run(project, lambda: open_folder(path, split), path, sha256, size, plan)
    with path.open("rb") as content:
        return _run(project, lambda: open_file(content, path.name), path, *imports.measured(content), plan)


def _run(
    project: Project, opening: Callable[[], Opened], path: Path, sha256: str, size: int, plan: Plan
) -> ImportBatch:
    identity = imports.identity(sha256, plan)
    return import_jobs.run_here(project, opening, filename=path.name, sha256=identity, size=size, plan=plan)


def _tried(project: Project, path: Path, split: str, plan: Plan) -> imports.DryRun:
    if path.is_dir():
        return imports.dry_run(project, lambda: open_folder(path, split), plan=plan)
    with path.open("rb") as content:
        return imports.dry_run(project, lambda: open_file(content, path.name), plan=plan)
