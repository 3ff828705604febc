"""`manage.py run_tandem`: everything Tandem needs on this machine, in one terminal."""

import os
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import connections

from webapp.env import Env, read_env
from webapp.launch import broker, checks, prepare
from webapp.launch.errors import CannotLaunch
from webapp.launch.options import Address, read_address
from webapp.launch.processes import Program, programs
from webapp.launch.supervise import Supervision


class Command(BaseCommand):
    help = "Prepare the data folder, then run web server, workers, scheduler and broker until Ctrl-C."
    requires_system_checks = ()
    requires_migrations_checks = False

    def handle(self, *_args: Any, **_options: Any) -> None:
        try:
            self._launch(read_env(), settings.HOME)
        except CannotLaunch as error:
            sys.exit(str(error))
        except KeyboardInterrupt:
            sys.exit(130)

    def _launch(self, env: Env, home: Path) -> None:
        address = read_address(os.environ)
        checks.check_folder(home)
        lock = checks.lock_folder(home)
        checks.check_port(address)
        self.stdout.write(f"Tandem's data folder is {home}")
        embedded = _choose_broker(env, home)
        broker.send_nothing()
        prepare.prepare_folder(env, home)
        connections.close_all()
        if address.is_exposed:
            self.stdout.write(_exposure(address))
        supervision = Supervision(home, settings.BASE_DIR, embedded, programs(address))
        self.stdout.write("  Web server and workers …")
        self.stdout.flush()
        supervision.run(address.url, _child_environment(env, address, home), lock, lambda: self._say_ready(address))

    def _say_ready(self, address: Address) -> None:
        name, link = prepare.sign_in_link(address.url)
        connections.close_all()
        self.stdout.write(f"Tandem is ready: {address.url}")
        self.stdout.write(f"Sign in as {name} (this link works once): {link}")
        self.stdout.flush()


def _choose_broker(env: Env, home: Path) -> Program | None:
    if env.redis_url:
        broker.check_reachable(env.redis_url)
        broker.forget_embedded_address(home)
        return None
    return broker.embedded_broker(home)


def _exposure(address: Address) -> str:
    names = ", ".join(address.names())
    return (
        f"  HOST={address.host} lets other machines reach the sign-in page and the API, unencrypted, as {names}; "
        "put a TLS proxy in front of it, and name other hosts in TANDEM_ALLOWED_HOSTS."
    )


def _child_environment(env: Env, address: Address, home: Path) -> dict[str, str]:
    # Whatever names a proxy has: the launcher asks by this machine's own whether the web server answers.
    hosts = ",".join(dict.fromkeys([env.allowed_hosts, *address.own_names(), *address.names()]))
    return {
        **os.environ,
        "TANDEM_HOME": str(home),
        "TANDEM_ALLOWED_HOSTS": hosts,
        "PYTHONUNBUFFERED": "1",
        "REMAP_SIGTERM": "SIGQUIT",  # Celery: a task gets a few seconds to finish, then the worker goes
    }
