"""Runs the processes under supervisord, says what a person should know, and stops everything together."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

from webapp.env import write_private
from webapp.launch.console import Attention, LogFollower, last_lines
from webapp.launch.errors import CannotLaunch
from webapp.launch.processes import CHILD, STOP_SECONDS, Program, render_config

READY_SECONDS = 90.0
EXITED = re.compile(r" exited: (\S+) \((.+?)(?:; (?:not )?expected)?\)")
GAVE_UP = re.compile(r" gave up: (\S+) entered FATAL")
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy the environment names


class Supervision:
    """The process manager of one start, from its first process to its last."""

    def __init__(self, home: Path, root: Path, broker: Program | None, rest: Sequence[Program]) -> None:
        self._logs = home / "logs"
        self._logs.mkdir(exist_ok=True)
        self._config = home / "supervisord.conf"
        write_private(self._config, render_config(home, root, broker, rest))
        names = [program.name for program in ([broker] if broker else []) + list(rest)]
        self._followers = {name: LogFollower(self._log(name)) for name in names}
        self._events = LogFollower(self._log("supervisord"))
        self._attention = Attention()
        self._stop_asked = 0
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, url: str, environ: Mapping[str, str], lock: int, on_ready: Callable[[], None]) -> None:
        """Start everything and stay until a person or a failure ends it; then nothing is left running."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask_to_stop)
        self._process = self._start(environ, lock)
        try:
            self._watch(self._process, url, on_ready)
        finally:
            self._stop(self._process)

    def _start(self, environ: Mapping[str, str], lock: int) -> subprocess.Popen[bytes]:
        manager = [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "--configuration", str(self._config)]
        return subprocess.Popen(
            [sys.executable, "-I", str(CHILD), "--", *manager],
            env=dict(environ),
            pass_fds=[lock],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _watch(self, process: subprocess.Popen[bytes], url: str, on_ready: Callable[[], None]) -> None:
        ready, deadline = False, time.monotonic() + READY_SECONDS
        while not self._stop_asked:
            if process.poll() is not None:
                raise CannotLaunch(f"The process manager ended; see {self._log('supervisord')}")
            self._show_news()
            if not ready and _answers(url + "/healthz"):
                ready = True
                on_ready()
            if not ready and time.monotonic() > deadline:
                raise CannotLaunch(self._web_failure(f"The web server does not answer within {READY_SECONDS:.0f} s"))
            time.sleep(0.2)

    def _show_news(self) -> None:
        for line in self._events.lines():
            if found := EXITED.search(line):
                print(f"{found[1]} ended ({found[2]}), it is started again; see {self._log(found[1])}", flush=True)
            elif found := GAVE_UP.search(line):
                self._gave_up(found[1])
        for name, follower in self._followers.items():
            for line in follower.lines():
                if self._attention.wants(f"{name} {line}"):
                    print(f"{name} | {line}", flush=True)

    def _gave_up(self, name: str) -> None:
        if name == "web":
            raise CannotLaunch(self._web_failure("The web server cannot start"))
        print(f"{name} cannot stay up and is left stopped; see {self._log(name)}", flush=True)

    def _web_failure(self, what: str) -> str:
        return f"{what}; the last lines of {self._log('web')}:\n{last_lines(self._log('web'), 8)}"

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _ask_to_stop(self, number: int, _frame: FrameType | None) -> None:
        self._stop_asked += 1
        if self._stop_asked == 1:
            os.write(1, b"\nStopping \xe2\x80\xa6\n")
        elif self._process and number == signal.SIGINT:
            self._process.kill()  # its children end with it

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(timeout=STOP_SECONDS + 5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        with DIRECTLY.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
