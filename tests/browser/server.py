"""A web server in a process of its own on the test's database, that can be killed and started again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
from django.conf import settings

from tests.launch.starting import free_port
from tests.resilience.conftest import database_url


class Server:
    """Gunicorn with the product's settings; sessions of the test process are valid in it."""

    def __init__(self, home: Path, broker: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / "web.log"
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "webapp.settings",
            "TANDEM_HOME": str(home),
            "DATABASE_URL": database_url(),
            "REDIS_URL": broker,
            "TANDEM_SECRET_KEY": settings.SECRET_KEY,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self._run("manage.py", "collectstatic", "--noinput", "-v", "0")

    def start(self) -> None:
        bind = f"127.0.0.1:{self.port}"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "webapp.wsgi", "-b", bind, "-k", "gthread", "--threads", "8"],
                cwd=settings.BASE_DIR,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                httpx2.get(f"{self.url}/login/", timeout=5)
                return
            except httpx2.TransportError:
                time.sleep(0.1)
        raise AssertionError(f"the server did not start:\n{self.log.read_text()}")

    def kill(self) -> None:
        """kill -9 of the server and its workers, in the middle of whatever they do."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def _run(self, *command: str) -> None:
        subprocess.run([sys.executable, *command], cwd=settings.BASE_DIR, env=self.environment, check=True)
