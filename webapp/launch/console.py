"""What a person reads while Tandem starts and runs: progress lines, and the lines of the logs that need attention."""

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

NEEDS_ATTENTION = re.compile(r"\[(warning|error|critical)\s*\]|\b(WARNING|ERROR|CRITICAL)\b")
HARMLESS = re.compile(r"Memory overcommit must be enabled")
TIME_OF_DAY = re.compile(r"\d\d:\d\d:\d\d(\.\d+)?")
REPEAT_SECONDS = 300.0


class Step:
    """One step of the start; `result` may say more than that it is done."""

    result = "done"


@contextmanager
def step(title: str, out: TextIO = sys.stdout) -> Iterator[Step]:
    """Say what is being done, then how it went, with the seconds if it took any."""
    print(f"  {title} …", end="", file=out, flush=True)
    start, current = time.monotonic(), Step()
    try:
        yield current
    except BaseException:
        print(file=out, flush=True)
        raise
    seconds = time.monotonic() - start
    print(f" {current.result}" + (f" ({seconds:.0f} s)" if seconds >= 1 else ""), file=out, flush=True)


class LogFollower:
    """The new lines of a log file, also when it is rotated."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._inode, self._position, self._rest = 0, 0, b""
        if path.exists():
            status = path.stat()
            self._inode, self._position = status.st_ino, status.st_size

    def lines(self) -> list[str]:
        """The complete lines written since the last call."""
        if not self.path.exists():
            return []
        status = self.path.stat()
        if status.st_ino != self._inode or status.st_size < self._position:
            self._inode, self._position, self._rest = status.st_ino, 0, b""
        if status.st_size == self._position:
            return []
        with self.path.open("rb") as file:
            file.seek(self._position)
            new = file.read()
        self._position += len(new)
        *complete, self._rest = (self._rest + new).split(b"\n")
        return [line.decode(errors="replace") for line in complete]


class Attention:
    """Which log lines reach the terminal: warnings and errors, each text once in a while."""

    def __init__(self) -> None:
        self._shown: dict[str, float] = {}

    def wants(self, line: str) -> bool:
        if not NEEDS_ATTENTION.search(line) or HARMLESS.search(line):
            return False
        text, now = TIME_OF_DAY.sub("", line), time.monotonic()
        if now - self._shown.get(text, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return False
        self._shown[text] = now
        return True


def last_lines(path: Path, count: int) -> str:
    """The end of a log, for the reason of a failure."""
    if not path.exists():
        return ""
    return "\n".join(path.read_text(errors="replace").splitlines()[-count:])
