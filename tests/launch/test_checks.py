"""What is refused before anything starts."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from webapp.launch import broker, checks
from webapp.launch.errors import CannotLaunch
from webapp.launch.options import Address

ROOT = Path(__file__).resolve().parents[2]


def test_taken_port_is_named_with_the_way_out() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CannotLaunch, match=rf"^Port {port} on 127.0.0.1 cannot be used \(.+\); .*PORT=\d+"):
            checks.check_port(Address(host="127.0.0.1", port=port))
    checks.check_port(Address(host="127.0.0.1", port=port))


def test_data_folder_is_private(tmp_path: Path) -> None:
    checks.check_folder(tmp_path / "new" / "home")
    assert (tmp_path / "new" / "home").stat().st_mode & 0o777 == 0o700


def test_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotLaunch, match=r"file/home cannot be written \(Not a directory\); set TANDEM_HOME"):
        checks.check_folder(tmp_path / "file" / "home")


def test_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=3 * 10**8))
    with pytest.raises(CannotLaunch, match=r"has 0\.3 GB free, Tandem needs 1 GB"):
        checks.check_folder(tmp_path)


@pytest.mark.parametrize("name", ["tandem.sqlite3", "static.stamp"])
def test_full_disk_does_not_keep_an_installation_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Weights are deleted on its pages. With PostgreSQL the data folder holds no database."""
    (tmp_path / name).touch()
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=3 * 10**8))
    checks.check_folder(tmp_path)
    assert "has 0.3 GB free, Tandem needs 1 GB. Delete weights" in capsys.readouterr().out
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=3 * 10**9))
    checks.check_folder(tmp_path)
    assert capsys.readouterr().out == ""


def test_second_start_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    first = checks.lock_folder(tmp_path)
    try:
        with pytest.raises(CannotLaunch, match=rf"already runs on the data folder .* \(process {os.getpid()}\)"):
            checks.lock_folder(tmp_path)
    finally:
        os.close(first)
    os.close(checks.lock_folder(tmp_path))


def test_leftover_of_a_killed_start_is_stopped_and_waited_for(tmp_path: Path) -> None:
    lock = checks.lock_folder(tmp_path)
    leftover = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=[lock])
    try:
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        (tmp_path / "run.lock").write_text(str(dead.pid))
        (tmp_path / "supervisord.pid").write_text(str(leftover.pid))
        os.close(lock)
        os.close(checks.lock_folder(tmp_path))
        assert leftover.wait(timeout=5) < 0
    finally:
        leftover.kill()
        leftover.wait()


def test_unreachable_redis_is_named_without_its_password() -> None:
    with pytest.raises(CannotLaunch, match=r"^REDIS_URL: no Redis answers at 127\.0\.0\.1:1/0") as caught:
        broker.check_reachable("redis://:hunter2@127.0.0.1:1/0")
    assert "hunter2" not in str(caught.value)


def test_embedded_broker_keeps_its_password_private(tmp_path: Path) -> None:
    program = broker.embedded_broker(tmp_path)
    address, configuration = tmp_path / "redis_url", tmp_path / "valkey" / "valkey.conf"
    password = address.read_text().split(":")[2].split("@")[0]
    assert f"requirepass {password}\n" in configuration.read_text()
    assert "appendonly yes" in configuration.read_text()
    assert not any(password in word for word in program.command)
    for path in (address, configuration):
        assert path.stat().st_mode & 0o777 == 0o600
    broker.forget_embedded_address(tmp_path)
    assert not address.exists()


@pytest.mark.parametrize(
    ("name", "value"), [("TANDEM_LOG_LEVEL", "LOUD"), ("TANDEM_LEASE_SECONDS", "soon"), ("TANDEM_JUDGE_BACKEND", "gpt")]
)
def test_bad_setting_names_its_variable(name: str, value: str, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "manage.py", "run_tandem"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "webapp.settings", "TANDEM_HOME": str(tmp_path), name: value},
    )
    assert ran.returncode == 1
    assert f"{name}: " in ran.stderr
    assert "Traceback" not in ran.stderr
