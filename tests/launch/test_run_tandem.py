"""`manage.py run_tandem` for real: from an empty data folder to the ready line, and back to nothing running."""

import http.cookiejar
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.launch.starting import ROOT, Start, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def leftovers(family: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    _gone, alive = psutil.wait_procs(family, timeout=seconds)
    return alive


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def start(tmp_path: Path, port: int) -> Iterator[list[Start]]:
    """The starts of a test; whatever is left of them at its end is killed."""
    starts: list[Start] = []
    families: list[psutil.Process] = []
    yield starts
    for one in starts:
        if one.process.poll() is None:
            families += one.family()
            one.process.kill()
            one.process.wait()
    for process in families:
        if process.is_running():
            process.kill()


def command_line(process: psutil.Process) -> str:
    """Empty for a process that is just ending."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def names(family: list[psutil.Process]) -> str:
    return "\n".join(map(command_line, family))


def judges(one: Start) -> list[int]:
    """The judge workers' process ids."""
    return [process.pid for process in one.family() if "--queues judge" in command_line(process)]


def test_from_nothing_to_ready_and_again(tmp_path: Path, port: int, start: list[Start]) -> None:
    home = tmp_path / "home"
    start.append(Start(home, port, tmp_path / "first.log"))
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    with browser.open(start[-1].wait_until_ready()) as page:
        assert page.status == 200
        assert page.url == f"{start[-1].url}/"
    with browser.open(f"{start[-1].url}/admin/") as page:
        assert page.url.endswith("/admin/"), "signed in as an administrator"
    family = start[-1].family()
    queues = [f"queues {queue}" for queue in ("default", "files", "judge", "train")]
    for part in ("gunicorn", *queues, " beat ", "valkey-server"):
        assert part in names(family)

    second = subprocess.run(
        [sys.executable, "manage.py", "run_tandem"],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "webapp.settings", "TANDEM_HOME": str(home), "PORT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 1
    assert re.fullmatch(r"Tandem already runs on the data folder .* \(process \d+\); stop it first\n", second.stderr)

    stopped = time.monotonic()
    start[-1].process.send_signal(signal.SIGINT)
    assert start[-1].process.wait(timeout=15) == 0
    assert time.monotonic() - stopped < 12
    assert leftovers(family, 1) == []

    start.append(Start(home, port, tmp_path / "second.log"))
    start[-1].wait_until_ready()
    with browser.open(f"{start[-1].url}/admin/") as page:
        assert page.url.endswith("/admin/"), "still signed in"
    start[-1].process.terminate()
    assert start[-1].process.wait(timeout=15) == 0


def test_its_first_steps_ask_no_broker(tmp_path: Path, port: int, start: list[Start]) -> None:
    """The address of its own is not known yet when the settings are read, and nothing answers there so early."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "redis_url").write_text("redis://127.0.0.1:1/0")  # of an earlier start
    start.append(Start(tmp_path / "home", port, tmp_path / "log"))
    start[-1].wait_until_ready()
    steps = start[-1].log.read_text().partition("Web server and workers")[0]
    assert "Demo project …" in steps
    assert "broker" not in steps


def test_killed_worker_is_started_again_and_a_killed_start_leaves_nothing(
    tmp_path: Path, port: int, start: list[Start]
) -> None:
    home = tmp_path / "home"
    start.append(Start(home, port, tmp_path / "first.log"))
    start[-1].wait_until_ready()
    [judge] = judges(start[-1])
    os.kill(judge, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while judges(start[-1]) in ([], [judge]):
        assert time.monotonic() < deadline, start[-1].log.read_text()
        time.sleep(0.2)
    time.sleep(0.5)
    assert "worker-judge ended (terminated by SIGKILL), it is started again" in start[-1].log.read_text()

    family = start[-1].family()
    start[-1].process.kill()
    start[-1].process.wait()
    start.append(Start(home, port, tmp_path / "second.log"))
    start[-1].wait_until_ready()
    if sys.platform == "linux":
        assert leftovers(family, 1) == []


def test_web_server_that_cannot_start_ends_everything_with_its_reason(tmp_path: Path, port: int) -> None:
    blocker = socket.socket()
    home = tmp_path / "home"
    run = Start(home, port, tmp_path / "log")
    try:
        while "Web server and workers" not in run.log.read_text() and run.process.poll() is None:
            if "Database …" in run.log.read_text() and blocker.getsockname()[1] == 0:
                blocker.bind(("127.0.0.1", port))  # after the check, before the web server
                blocker.listen()
            time.sleep(0.02)
        assert run.process.wait(timeout=60) == 1
    finally:
        blocker.close()
        run.process.kill()
        run.process.wait()
    said = run.log.read_text()
    assert "The web server cannot start; the last lines of" in said
    assert "Address already in use" in said or "in use" in said
    assert "Tandem is ready" not in said
