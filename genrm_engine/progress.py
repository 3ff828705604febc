"""How a run tells what it is doing, in ``progress.jsonl``, and learns that it should stop, by a file ``cancel``."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from genrm_engine.device import DeviceLease, device_holder
from genrm_engine.errors import Cancelled
from genrm_engine.files import append_row

SAY_AGAIN_SECONDS = 10.0


class Progress:
    """One JSON object a line: time, phase, fraction of the whole run, message, and what else is known."""

    def __init__(self, out: Path, *, echo: Callable[[str], None] | None = None, silent: bool = False) -> None:
        """``echo`` hears each message; a ``silent`` one tells nothing, for all processes of a run but the main one."""
        out.mkdir(parents=True, exist_ok=True)
        self.silent = silent
        self.file = out / "progress.jsonl"
        self.cancel_file = out / "cancel"
        self.echo = echo
        self.listening: Callable[[str], Any] | None = None
        """Makes the callback by which a stage's trainer tells its steps to others too (``training.trackers``)."""

    def say(self, phase: str, fraction: float, message: str, **known: Any) -> None:
        if self.silent:
            return
        row = {"time": time.time(), "phase": phase, "fraction": round(min(1.0, max(0.0, fraction)), 4)}
        append_row(self.file, {**row, "message": message, **known})
        if self.echo is not None:
            self.echo(f"{fraction:4.0%} {message}")

    def cancelled(self) -> bool:
        return self.cancel_file.exists()

    def check(self) -> None:
        if self.cancelled():
            raise Cancelled


def wait_for_device(folder: Path, device: str, *, holder: str, progress: Progress) -> DeviceLease:
    """Take the device lease, telling who holds it meanwhile; raises Cancelled where the run is cancelled first."""
    said: tuple[str, float] = ("", 0.0)

    def waiting() -> bool:
        nonlocal said
        now = device_holder(folder, device)
        name = now.holder if now else ""
        if now and (name != said[0] or time.monotonic() - said[1] > SAY_AGAIN_SECONDS):
            said = (name, time.monotonic())
            progress.say("waiting", 0.0, f"Waiting for the device: {name} uses it", holder=name)
        return progress.cancelled()

    lease = DeviceLease.acquire(folder, device, holder=holder, wait=True, should_stop=waiting)
    if lease is None:
        raise Cancelled
    return lease
