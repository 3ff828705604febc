"""Run an engine command in a process of its own, and follow its progress file. Knows no row: the caller reports."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrm_engine.errors import EXIT_CANCELLED

POLL_SECONDS = 1.0
GRACE_SECONDS = 30.0

ProgressLine = dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """How an engine process ended."""

    code: int
    errors: str

    @property
    def cancelled(self) -> bool:
        return self.code == EXIT_CANCELLED


def run_engine(
    arguments: Sequence[str],
    *,
    out: Path,
    tick: Callable[[list[ProgressLine]], bool],
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run `python -m genrm_engine …` to its end, calling `tick` every second with the new progress lines.

    When `tick` returns False the process is asked to stop (by the file `cancel`), and killed if it does not; when it
    raises, the process is killed. It dies with its parent, so a killed worker leaves no training behind.
    ``environment`` is added to this process's own.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "cancel").unlink(missing_ok=True)
    progress = _Tail(out / "progress.jsonl")
    with (out / "stderr.log").open("ab") as errors, _started(arguments, errors, environment or {}) as process:
        deadline: float | None = None
        while process.poll() is None:
            time.sleep(POLL_SECONDS)
            if not tick(progress.read()) and deadline is None:
                (out / "cancel").touch()
                deadline = time.monotonic() + GRACE_SECONDS
            if deadline is not None and time.monotonic() > deadline:
                process.kill()
        tick(progress.read())
    code = EXIT_CANCELLED if deadline is not None else process.returncode
    return Ended(code, _last_lines(out / "stderr.log"))


@contextmanager
def _started(arguments: Sequence[str], errors: Any, added: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "workers.child", str(os.getpid()), *arguments]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, env={**os.environ, **added}
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


class _Tail:
    """Reads the lines that were added to a JSONL file since the last look."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = path.stat().st_size if path.exists() else 0
        self.rest = b""

    def read(self) -> list[ProgressLine]:
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self.offset)
            added = file.read()
        self.offset += len(added)
        *lines, self.rest = (self.rest + added).split(b"\n")
        return [json.loads(line) for line in lines if line.strip()]


def _last_lines(path: Path, *, size: int = 4000) -> str:
    text = path.read_bytes()[-size:].decode("utf-8", errors="replace")
    return text.strip()
