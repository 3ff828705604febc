"""`manage.py import_pairs PROJECT FILE`: the same importer as the upload page."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from labeling.errors import LabelingError
from labeling.models import Project
from labeling.services.imports import import_file

SHOWN = 20


class Command(BaseCommand):
    help = "Import pairs from a JSONL file (Tandem's layout or TRL's prompt/chosen/rejected; gzip is understood)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", help="slug of the project; created if it does not exist and --create is given")
        parser.add_argument("file", type=Path)
        parser.add_argument("--create", action="store_true", help="create the project if it does not exist")

    def handle(self, *_args: Any, project: str, file: Path, create: bool, **_options: Any) -> None:
        if create:
            found, _created = Project.objects.get_or_create(slug=project, defaults={"name": project})
        else:
            try:
                found = Project.objects.get(slug=project)
            except Project.DoesNotExist:
                known = ", ".join(Project.objects.values_list("slug", flat=True)) or "none"
                raise CommandError(f"There is no project {project!r} (there is: {known}). --create makes it.") from None
        try:
            with file.open("rb") as content:
                batch = import_file(found, file=content, filename=file.name)
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}") from None
        except LabelingError as error:
            raise CommandError(f"{file}: {error}") from None
        for line in batch.rejected_lines.all()[:SHOWN]:
            self.stderr.write(f"line {line.number}: {line.reason}")
        if batch.rejected > SHOWN:
            self.stderr.write(f"… and {batch.rejected - SHOWN} more rejected lines")
        self.stdout.write(
            f"{batch.imported} pairs imported with {batch.labels} labels, "
            f"{batch.duplicates} duplicates, {batch.rejected} lines rejected."
        )
