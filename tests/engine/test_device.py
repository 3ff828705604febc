"""The device lease across real processes, killed ones too."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from genrm_engine.device import DeviceLease, acquire_device, device_holder, lease_name

HOLD = """
import sys, time
from pathlib import Path
from genrm_engine.device import DeviceLease
lease = DeviceLease.acquire(Path(sys.argv[1]), "cpu", holder=sys.argv[2], wait=True)
print("held", flush=True)
time.sleep(60)
"""
# Takes the device again as soon as it has released it, as a judge does after every chunk.
GREEDY = """
import sys, time
from pathlib import Path
from genrm_engine.device import DeviceLease
print("held", flush=True)
while True:
    with DeviceLease.acquire(Path(sys.argv[1]), "cpu", holder=sys.argv[2], wait=True):
        time.sleep(0.1)
"""


@contextmanager
def process(code: str, folder: Path, holder: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen([sys.executable, "-c", code, str(folder), holder], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        yield child
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def test_one_holds_and_the_other_sees_who(tmp_path: Path) -> None:
    with process(HOLD, tmp_path, "judge one") as child:
        found = device_holder(tmp_path, "cpu")
        assert found is not None
        assert (found.holder, found.pid) == ("judge one", child.pid)
        assert time.time() - found.since < 60
        assert acquire_device(tmp_path, "cpu", holder="me", wait=False) is None
        assert acquire_device(tmp_path, "cuda:1", holder="me", wait=False) is not None


def test_a_killed_holder_leaves_the_device_free(tmp_path: Path) -> None:
    with process(HOLD, tmp_path, "judge one") as child:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert device_holder(tmp_path, "cpu") is None
        lease = acquire_device(tmp_path, "cpu", holder="me", wait=False)
        assert lease is not None
        lease.release()


def test_what_a_dead_process_wrote_names_no_holder(tmp_path: Path) -> None:
    (tmp_path / "device-cpu.lock").write_text('{"holder": "ghost", "pid": 1, "since": 1.0}')
    assert device_holder(tmp_path, "cpu") is None
    with DeviceLease.acquire(tmp_path, "cpu", holder="me", wait=False) as lease:  # type: ignore[union-attr]
        found = device_holder(tmp_path, "cpu")
        assert found is not None
        assert found.holder == "me"
        assert lease.device == "cpu"
    assert device_holder(tmp_path, "cpu") is None


def test_a_waiting_trainer_goes_before_a_judge_that_keeps_taking_it(tmp_path: Path) -> None:
    with process(GREEDY, tmp_path, "judge"):
        for _ in range(5):
            started = time.monotonic()
            lease = acquire_device(tmp_path, "cpu", holder="trainer", wait=True)
            assert lease is not None
            assert time.monotonic() - started < 3
            time.sleep(0.05)
            lease.release()


def test_waiting_stops_when_told(tmp_path: Path) -> None:
    asked = []

    def stop() -> bool:
        asked.append(device_holder(tmp_path, "cpu"))
        return len(asked) > 2

    with process(HOLD, tmp_path, "judge"):
        assert acquire_device(tmp_path, "cpu", holder="me", wait=True, should_stop=stop) is None
    assert [found.holder for found in asked if found] == ["judge"] * 3
    lease = acquire_device(tmp_path, "cpu", holder="me", wait=False)
    assert lease is not None, "a given-up wait must leave the turnstile free"


def test_a_forked_child_does_not_keep_the_lease(tmp_path: Path) -> None:
    lease = acquire_device(tmp_path, "cpu", holder="me", wait=False)
    assert lease is not None
    child = os.fork()
    if child == 0:
        time.sleep(2)
        os._exit(0)
    try:
        lease.release()
        again = acquire_device(tmp_path, "cpu", holder="me", wait=False)
        assert again is not None
        again.release()
        again.release()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_two_leases_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    with DeviceLease.acquire(tmp_path, "cpu", holder="one", wait=False):  # type: ignore[union-attr]
        assert acquire_device(tmp_path, "cpu", holder="two", wait=False) is None


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [lease_name(name) for name in ("auto", "cuda", "cuda:2", "cpu")] == ["cpu", "cuda:0", "cuda:2", "cpu"]


def test_a_lock_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        acquire_device(tmp_path / "file", "cpu", holder="me", wait=False)
