"""`manage.py create_token USER`: an API token; it is the last word printed."""

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from labeling import access
from labeling.models import ApiToken
from labeling.services.tokens import LONGEST_DAYS, create_token


class Command(BaseCommand):
    help = "Create an API token with a user's rights, or fewer. It is shown once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user")
        parser.add_argument("--name", default="", help="what it is for")
        parser.add_argument("--scope", choices=ApiToken.Scope.values, default=ApiToken.Scope.MANAGE)
        parser.add_argument("--project", default="", metavar="SLUG", help="open this project alone")
        parser.add_argument("--days", type=int, default=None, help="how long it is valid; without it for ever")

    def handle(
        self, *_args: Any, user: str, name: str, scope: str, project: str, days: int | None, **_options: Any
    ) -> None:
        owner = User.objects.filter(username=user).first()
        if owner is None:
            raise CommandError(f"There is no user {user!r}.")
        if days is not None and not 1 <= days <= LONGEST_DAYS:
            raise CommandError(f"--days: {days} is not between 1 and {LONGEST_DAYS}.")
        if len(name) > 100:
            raise CommandError("--name: 100 characters at most.")
        only = access.projects_for(owner).filter(slug=project).first() if project else None
        if project and only is None:
            raise CommandError(f"--project: {user} has no project {project!r}.")
        secret = create_token(owner, name=name, scope=scope, project=only, days=days)
        self.stdout.write(f"Token of {user}, shown only now: {secret}")
