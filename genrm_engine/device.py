"""A host-wide lease on a device, so that one PyTorch process runs on it at a time; knows nothing of PyTorch.

The lease is a ``flock`` on a file: the kernel drops it when its process dies, however it dies. Whoever wants the
device first passes a turnstile lock and keeps it while waiting, so a waiting trainer goes before a judge that
releases and takes the device again after every chunk.
"""

import fcntl
import json
import os
import re
import time
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

POLL_SECONDS = 0.05
_PROBE_TRIES = 5  # a look at the holder takes a shared lock for microseconds; one try could meet it


@dataclass(frozen=True, slots=True)
class DeviceHolder:
    holder: str
    pid: int
    since: float


class DeviceLease:
    """The right to use a device until ``release`` or the end of the process."""

    def __init__(self, descriptor: int, device: str) -> None:
        self.device = device
        self._descriptor: int | None = descriptor
        _live.add(self)

    @classmethod
    def acquire(
        cls,
        folder: Path,
        device: str,
        *,
        holder: str,
        wait: bool,
        should_stop: Callable[[], bool] | None = None,
    ) -> Self | None:
        """Take the lease, or return None where it is taken (``wait=False``) or ``should_stop`` says so."""
        name = lease_name(device)
        turnstile = _locked(_file(folder, name, "turnstile"), wait=wait, should_stop=should_stop)
        if turnstile is None:
            return None
        try:
            descriptor = _locked(_file(folder, name, "lock"), wait=wait, should_stop=should_stop)
        finally:
            os.close(turnstile)
        if descriptor is None:
            return None
        _write_holder(descriptor, DeviceHolder(holder=holder, pid=os.getpid(), since=time.time()))
        return cls(descriptor, name)

    def release(self) -> None:
        """Give the device back; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.ftruncate(descriptor, 0)
            os.close(descriptor)

    def forget(self) -> None:
        """Close a forked child's copy of the lock without giving the parent's lease back."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


_live: weakref.WeakSet[DeviceLease] = weakref.WeakSet()


def _forget_in_child() -> None:
    for lease in list(_live):
        lease.forget()


os.register_at_fork(after_in_child=_forget_in_child)

acquire_device = DeviceLease.acquire


def device_holder(folder: Path, device: str) -> DeviceHolder | None:
    """Who holds the device now, or None if it is free; the lock decides, not what a dead process left written."""
    path = _file(folder, lease_name(device), "lock")
    for _ in range(_PROBE_TRIES):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except BlockingIOError:
            found = _read_holder(descriptor)
        finally:
            os.close(descriptor)
        if found is not None and _alive(found.pid):
            return found
        time.sleep(0.01)  # just taken: the new holder's line is about to be written
    return found or DeviceHolder(holder="unknown", pid=0, since=time.time())


def lease_name(device: str) -> str:
    """The device a spec means, resolved alike in every process and without loading PyTorch."""
    if device == "auto":
        return "cuda:0" if _has_cuda() else "cpu"
    return "cuda:0" if device == "cuda" else device


def _has_cuda() -> bool:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible not in ("", "-1") and Path("/dev/nvidiactl").exists()


def _file(folder: Path, name: str, suffix: str) -> Path:
    return folder / f"device-{re.sub(r'[^A-Za-z0-9]+', '-', name)}.{suffix}"


def _locked(path: Path, *, wait: bool, should_stop: Callable[[], bool] | None) -> int | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    tries = 0
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                tries += 1
            stopped = should_stop is not None and should_stop()
            if stopped or (not wait and tries >= _PROBE_TRIES):
                os.close(descriptor)
                return None
            time.sleep(POLL_SECONDS if wait else 0.004)
    except BaseException:
        _close_quietly(descriptor)
        raise


def _close_quietly(descriptor: int) -> None:
    try:
        os.close(descriptor)
    except OSError:
        return


def _write_holder(descriptor: int, holder: DeviceHolder) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(holder)).encode(), 0)


def _read_holder(descriptor: int) -> DeviceHolder | None:
    try:
        row = json.loads(os.pread(descriptor, 4096, 0))
        return DeviceHolder(holder=str(row["holder"]), pid=int(row["pid"]), since=float(row["since"]))
    except (ValueError, KeyError, TypeError):
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
