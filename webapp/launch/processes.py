"""The processes that make up Tandem, and the process manager's file that lists them. Starts nothing itself."""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from webapp.launch.options import Address

CHILD = Path(__file__).with_name("child.py")
WEB_THREADS = 8
LOW_PRIORITY = 10  # nice value: labelling stays quick while the judge works
STOP_SECONDS = 8


@dataclass(frozen=True, kw_only=True)
class Program:
    """One long-running process: how it is started and when it counts as failed."""

    name: str
    command: Sequence[str]
    nice: int = 0
    settle_seconds: int = 5
    retries: int = 60  # each waits a second longer than the one before

    def line(self) -> str:
        """The command line that also ties the process to its parent's life."""
        nice = ["--nice", str(self.nice)] if self.nice else []
        return shlex.join([sys.executable, "-I", str(CHILD), *nice, "--", *self.command])


def gunicorn(bind: str, *, workers: int = 1) -> list[str]:
    """The web server's command; one process is enough for SQLite, which has one writer at a time."""
    options = f"--worker-class gthread --workers {workers} --threads {WEB_THREADS} --timeout 60 --graceful-timeout 3"
    return [
        "gunicorn",
        "webapp.wsgi",
        "--bind",
        bind,
        *options.split(),
        "--log-level",
        "warning",
        "--no-control-socket",
    ]


def worker(queue: str) -> list[str]:
    """A Celery worker's command.

    The judge stays in the process's own memory (solo: a CUDA context does not survive a fork); a training task is
    one light process that watches the real one. Imports and frozen exports take long: they have threads of their
    own, and what is left is short and shares a few.
    """
    pool = {
        "default": "--pool threads --concurrency 2",
        "files": "--pool threads --concurrency 2",
        "judge": "--pool solo",
        "train": "--pool prefork --concurrency 1 --max-tasks-per-child 1",
    }[queue]
    options = f"--queues {queue} --hostname {queue}@%h {pool} --loglevel INFO --without-gossip --without-mingle"
    return ["celery", "--app", "workers.app", "--quiet", "worker", *options.split()]


def beat() -> list[str]:
    """The scheduler's command; its own file in the data folder is named in the settings."""
    return ["celery", "--app", "workers.app", "--quiet", "beat", "--pidfile=", "--loglevel", "INFO"]


def programs(address: Address) -> list[Program]:
    """All of Tandem but the broker."""
    return [
        Program(name="web", command=_python(gunicorn(address.bind)), settle_seconds=10, retries=1),
        Program(name="worker-default", command=_python(worker("default"))),
        Program(name="worker-files", command=_python(worker("files"))),
        Program(name="worker-judge", command=_python(worker("judge")), nice=LOW_PRIORITY),
        Program(name="worker-train", command=_python(worker("train")), nice=LOW_PRIORITY),
        Program(name="beat", command=_python(beat())),
    ]


def _python(command: list[str]) -> list[str]:
    return [sys.executable, "-m", *command]


def render_config(home: Path, root: Path, broker: Program | None, rest: Sequence[Program]) -> str:
    """The file that `supervisord` reads: the broker starts first and stops last, the rest together."""
    sections = [_manager_section(home)]
    if broker:
        sections.append(_program_section(broker, home, root, priority=1))
    sections += [_program_section(program, home, root, priority=10) for program in rest]
    sections.append(f"[group:tandem]\nprograms={','.join(program.name for program in rest)}\npriority=10\n")
    return "\n".join(sections)


def _manager_section(home: Path) -> str:
    user = "user=root\n" if os.geteuid() == 0 else ""
    return (
        f"[supervisord]\nlogfile={_escaped(home / 'logs' / 'supervisord.log')}\nlogfile_maxbytes=1MB\n"
        f"logfile_backups=1\npidfile={_escaped(home / 'supervisord.pid')}\n{user}"
    )


def _program_section(program: Program, home: Path, root: Path, *, priority: int) -> str:
    lines = {
        "command": _escaped(program.line()),
        "directory": _escaped(root),
        "priority": priority,
        "autorestart": "true",
        "startsecs": program.settle_seconds,
        "startretries": program.retries,
        "stopwaitsecs": STOP_SECONDS,
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": _escaped(home / "logs" / f"{program.name}.log"),
        "stdout_logfile_maxbytes": "5MB",
        "stdout_logfile_backups": 2,
    }
    return f"[program:{program.name}]\n" + "".join(f"{key}={value}\n" for key, value in lines.items())


def _escaped(text: str | Path) -> str:
    return str(text).replace("%", "%%")
