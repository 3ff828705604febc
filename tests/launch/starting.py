"""Start `manage.py run_tandem` for real, in a data folder of its own."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
SIGN_IN = re.compile(r"http://\S+/login/once/\S+")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Start:
    """One `run_tandem`, with what it printed."""

    def __init__(
        self, home: Path, port: int, log: Path, *, judge: tuple[str, str] = ("scripted", "scripted:longer")
    ) -> None:
        self.home, self.url, self.log = home, f"http://127.0.0.1:{port}", log
        environ = {name: value for name, value in os.environ.items() if name not in {"REDIS_URL", "DATABASE_URL"}}
        environ |= {
            "DJANGO_SETTINGS_MODULE": "webapp.settings",
            "TANDEM_HOME": str(home),
            "TANDEM_JUDGE_BACKEND": judge[0],
            "TANDEM_JUDGE_MODEL": judge[1],
            "PORT": str(port),
        }
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "run_tandem"],
                cwd=ROOT,
                env=environ,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def wait_until_ready(self, *, seconds: float = 90) -> str:
        """The sign-in link, once it is printed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            if f"Tandem is ready: {self.url}\n" in self.log.read_text() and (
                found := SIGN_IN.search(self.log.read_text())
            ):
                return found[0]
            time.sleep(0.1)
        pytest.fail(f"not ready:\n{self.log.read_text()}")

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)
