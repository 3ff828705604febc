"""Check each pair's mark `closed`, which is stored for speed, against the labels that it is derived from."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from labeling.models import Project
from labeling.services import claims


class Command(BaseCommand):
    help = "Check whether each pair's mark `closed` is what its labels say, and name what differs; --fix mends it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--fix", action="store_true", help="write what the rows say")

    def handle(self, *_args: Any, fix: bool, **_options: Any) -> None:
        wrong = 0
        for project in Project.objects.all():
            ids = list(claims.wrongly_closed(project).values_list("external_id", flat=True))
            wrong += len(ids)
            for external_id in ids[:20]:
                self.stdout.write(f"{project.slug}: pair {external_id}: `closed` is not what its labels say")
            if ids and fix:
                claims.reopen(project)
        if wrong and not fix:
            raise CommandError(f"{wrong} pairs are wrong; --fix mends them.")
        self.stdout.write(f"{wrong} pairs mended." if wrong else "Everything agrees.")
