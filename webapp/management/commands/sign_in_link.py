"""`manage.py sign_in_link`: a link that signs the administrator in once."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.launch.prepare import sign_in_link


class Command(BaseCommand):
    help = "Print a link that signs the administrator in once, within a day."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--base", default="http://127.0.0.1:8000", help="where Tandem is reached (%(default)s)")

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            _name, link = sign_in_link(options["base"].rstrip("/"))
        except User.DoesNotExist:
            raise CommandError("there is no administrator yet: manage.py createsuperuser") from None
        self.stdout.write(link)
