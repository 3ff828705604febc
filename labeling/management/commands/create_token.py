"""`manage.py create_token USER`: an API token; it is the last word printed."""

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from labeling.models import ApiToken
from labeling.services.tokens import create_token


class Command(BaseCommand):
    help = "Create an API token with a user's rights. It is shown once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("user")
        parser.add_argument("--name", default="")
        parser.add_argument("--scope", choices=ApiToken.Scope.values, default=ApiToken.Scope.MANAGE)

    def handle(self, *_args: Any, user: str, name: str, scope: str, **_options: Any) -> None:
        owner = User.objects.filter(username=user).first()
        if owner is None:
            raise CommandError(f"There is no user {user!r}.")
        self.stdout.write(f"Token of {user}, shown only now: {create_token(owner, name=name, scope=scope)}")
