"""`manage.py prepare_tandem`: what `run_tandem` does before it starts anything, for other process managers."""

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from webapp.env import read_env
from webapp.launch.checks import check_folder
from webapp.launch.errors import CannotLaunch
from webapp.launch.prepare import prepare_folder


class Command(BaseCommand):
    help = "Bring database, static files, embedded judge, demo project and administrator into being, each once."
    requires_system_checks = ()
    requires_migrations_checks = False

    def handle(self, *_args: Any, **_options: Any) -> None:
        try:
            check_folder(settings.HOME)
            prepare_folder(read_env(), settings.HOME)
        except CannotLaunch as error:
            sys.exit(str(error))
