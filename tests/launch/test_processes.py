"""The process list and the files made of it: supervisord's, the compose file, the image."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from webapp.env import Env
from webapp.launch import processes
from webapp.launch.options import Address

ROOT = Path(__file__).resolve().parents[2]
WORKERS = ("default", "files", "judge", "train")


class ComposeLoader(yaml.SafeLoader):
    """YAML with the tags of compose."""


ComposeLoader.add_constructor("!reset", lambda _loader, _node: None)


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load((ROOT / name).read_text(), Loader=ComposeLoader)
    return loaded


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = load("docker-compose.yml")["services"]
    return found


def environment_names() -> set[str]:
    return {str(field.validation_alias or f"TANDEM_{name.upper()}") for name, field in Env.model_fields.items()}


def test_supervisord_reads_the_file_as_meant(tmp_path: Path) -> None:
    home = tmp_path / "100% of it"
    broker = processes.Program(name="valkey", command=["valkey-server", str(home / "valkey.conf")])
    rest = processes.programs(Address(host="127.0.0.1", port=8123))
    config = configparser.RawConfigParser()
    config.read_string(processes.render_config(home, ROOT, broker, rest))
    line = shlex.split(config["program:valkey"]["command"].replace("%%", "%"))
    assert line[-2:] == ["valkey-server", str(home / "valkey.conf")]
    assert config["group:tandem"]["programs"] == "web,worker-default,worker-files,worker-judge,worker-train,beat"
    assert int(config["program:valkey"]["priority"]) < int(config["group:tandem"]["priority"])
    assert "127.0.0.1:8123" in config["program:web"]["command"]


def test_judge_and_training_yield_to_the_web_server() -> None:
    by_name = {program.name: program for program in processes.programs(Address(host="127.0.0.1", port=8000))}
    assert by_name["worker-judge"].nice == by_name["worker-train"].nice == 10
    assert by_name["web"].nice == 0
    assert "--nice 10" in by_name["worker-judge"].line()


def test_compose_has_every_process_with_the_launchers_command(services: dict[str, Any]) -> None:
    assert services["web"]["command"] == processes.gunicorn("0.0.0.0:8000", workers=2)
    for queue in WORKERS:
        assert services[f"worker-{queue}"]["command"] == processes.worker(queue)
    assert services["beat"]["command"] == processes.beat()
    assert services["migrate"]["command"] == ["python", "manage.py", "prepare_tandem"]


def test_image_starts_the_same_web_server() -> None:
    [command] = re.findall(r"^CMD (.+)$", (ROOT / "Dockerfile").read_text(), re.M)
    assert json.loads(command) == processes.gunicorn("0.0.0.0:8000", workers=2)


def test_every_lasting_service_has_a_health_check(services: dict[str, Any]) -> None:
    lasting = set(services) - {"migrate"}
    assert lasting == {"web", *(f"worker-{queue}" for queue in WORKERS), "beat", "postgres", "redis"}
    for name in lasting:
        assert services[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}, name


def test_every_setting_in_compose_is_one_of_tandems(services: dict[str, Any]) -> None:
    for name in ("migrate", "web", *(f"worker-{queue}" for queue in WORKERS), "beat"):
        assert set(services[name]["environment"]) <= {*environment_names(), "HF_TOKEN"}
        assert services[name]["env_file"] == [{"path": ".env", "required": False}]
        assert {"DATABASE_URL", "REDIS_URL", "TANDEM_SECRET_KEY"} <= set(services[name]["environment"])


def test_compose_refuses_to_start_without_secrets(services: dict[str, Any]) -> None:
    assert "${POSTGRES_PASSWORD:?" in services["postgres"]["environment"]["POSTGRES_PASSWORD"]
    assert "${TANDEM_SECRET_KEY:?" in services["web"]["environment"]["TANDEM_SECRET_KEY"]


def test_compose_exposes_the_web_server_only_and_to_this_machine(services: dict[str, Any]) -> None:
    assert {name for name, service in services.items() if "ports" in service} == {"web"}
    assert services["web"]["ports"] == ["${HOST:-127.0.0.1}:${PORT:-8000}:8000"]


def test_broker_forgets_nothing_on_purpose(services: dict[str, Any]) -> None:
    command = " ".join(services["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_cpu_file_takes_the_gpus_away(services: dict[str, Any]) -> None:
    reserving = {name for name, service in services.items() if "deploy" in service}
    cpu = load("docker-compose.cpu.yml")["services"]
    assert (
        reserving == {"worker-judge", "worker-train"} == {name for name, service in cpu.items() if "deploy" in service}
    )
    assert all(cpu[name]["deploy"] is None for name in reserving)


def test_every_service_names_the_same_device(services: dict[str, Any]) -> None:
    ours = {name for name, service in services.items() if service["image"] == "tandem"}
    assert {services[name]["environment"]["TANDEM_DEVICE"] for name in ours} == {"${TANDEM_DEVICE:-cuda}"}
    cpu = load("docker-compose.cpu.yml")["services"]
    assert set(cpu) == ours
    assert {cpu[name]["environment"]["TANDEM_DEVICE"] for name in ours} == {"${TANDEM_DEVICE:-cpu}"}


def test_what_is_downloaded_lies_in_the_volume_of_all_services(services: dict[str, Any]) -> None:
    assert re.search(r"^ +HF_HOME=/data/", (ROOT / "Dockerfile").read_text(), re.M)
    assert services["worker-train"]["volumes"] == ["data:/data"]


def test_compose_itself_accepts_both_files() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed")
    for files in (["docker-compose.yml"], ["docker-compose.yml", "docker-compose.cpu.yml"]):
        ran = subprocess.run(
            [docker, "compose", *(word for name in files for word in ("-f", name)), "config", "--quiet"],
            cwd=ROOT,
            env={"PATH": "/usr/bin:/bin", "POSTGRES_PASSWORD": "secret", "TANDEM_SECRET_KEY": "secret"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
