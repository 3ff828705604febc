"""What must hold before anything starts: a free port, a data folder of one's own, some disk space."""

import fcntl
import os
import shutil
import signal
import socket
import time
from pathlib import Path

from webapp.launch.errors import CannotLaunch
from webapp.launch.options import Address

NEEDED_BYTES = 10**9
PREPARED = ("tandem.sqlite3", "static.stamp")
"""What a data folder holds from its first start on; without the first where the database is elsewhere."""
PATIENCE = 20.0  # seconds for a previous start that is still stopping


def check_port(address: Address) -> None:
    """Refuse a port that another program holds, naming the way out."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except PermissionError:
            raise CannotLaunch(f"Port {address.port} is reserved for the system; choose another: PORT=8000") from None
        except OSError as error:
            raise CannotLaunch(
                f"Port {address.port} on {address.host} cannot be used ({error.strerror}); "
                f"choose another: PORT={address.port % 65535 + 1} make run"
            ) from None


def check_folder(home: Path) -> None:
    """Refuse a data folder that cannot be written, or a new one without space; a full one is warned of.

    Where Tandem was before it starts: its pages are where weights are deleted.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o700)
        probe = home / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CannotLaunch(f"The data folder {home} cannot be written ({error.strerror}); set TANDEM_HOME") from None
    free = shutil.disk_usage(home).free
    if free >= NEEDED_BYTES:
        return
    short = f"The data folder {home} has {free / 1e9:.1f} GB free, Tandem needs 1 GB"
    if not any((home / name).exists() for name in PREPARED):
        raise CannotLaunch(f"{short}; set TANDEM_HOME")
    print(f"Warning: {short}. Delete weights that are no longer needed, on a project's page of judge versions.")


def lock_folder(home: Path) -> int:
    """Hold the data folder for this start; the descriptor is handed on to the process manager.

    A start that was killed may have left its process manager behind: it is told to stop and waited for.
    """
    descriptor = os.open(home / "run.lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + PATIENCE
    while not _try_lock(descriptor):
        owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        if _is_alive(owner) or time.monotonic() > deadline:
            os.close(descriptor)
            raise CannotLaunch(f"Tandem already runs on the data folder {home} (process {owner}); stop it first")
        _tell_leftover_to_stop(home / "supervisord.pid")
        time.sleep(0.5)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(pid: str) -> bool:
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _tell_leftover_to_stop(pid_file: Path) -> None:
    """Safe while the folder's lock is held by someone: that someone is the process in the file."""
    try:
        os.kill(int(pid_file.read_text()), signal.SIGTERM)
    except (OSError, ValueError):
        return
