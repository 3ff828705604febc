"""One run by two processes: real ones, started as a user starts them, against the same run by one."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from genrm_engine.errors import EngineError
from genrm_engine.training.config import TrainConfig
from tests.engine.test_training_order import varied

pytest.importorskip("transformers", reason="the web parts alone are installed")

from genrm_engine.training.loop import batches, is_main, world_size

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]
LAUNCH = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1", "--mixed_precision", "no"]
LOSS_TOLERANCE = 1e-3
"""Relative. The processes add the gradients of the same micro-batches in another order, in fp32."""
MOVE_TOLERANCE = 0.02
"""Of the way that the weights went from where they started, as a share: judges are stored in bf16."""


def start(config: TrainConfig, folder: Path, *, processes: int) -> dict[str, Any]:
    """Train by the command line in so many processes; what ``run.json`` says."""
    done = ran(config, folder, processes=processes)
    assert done.returncode == 0, done.stderr[-4000:]
    about: dict[str, Any] = json.loads((folder / "out" / "judge" / "run.json").read_text())
    return about


def ran(config: TrainConfig, folder: Path, *, processes: int) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(config.dumps())
    (folder / "train.jsonl").write_text("".join(json.dumps(row.to_json()) + "\n" for row in varied(50)))
    given = ["--config", str(folder / "config.json"), "--train", str(folder / "train.jsonl")]
    launch: list[str] = []
    if processes > 1:
        port = free_port()
        launch = [*LAUNCH, "--num_processes", str(processes), "--main_process_port", str(port)]
    return subprocess.run(
        [sys.executable, *launch, "-m", "genrm_engine", "train", *given, "--out", str(folder / "out"), "--json"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""},
    )


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def config_of(model: Path, method: str, **changes: Any) -> TrainConfig:
    quick = {"learning_rate": 1e-3, "epochs": 2, "rationale_share": 0.25, "max_rationale_tokens": 6}
    row = {"method": method, "model": str(model), "device": "cpu", "threads": 1, **quick, **changes}
    return TrainConfig.from_json(row)


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}


def moved(start: dict[str, Any], one: dict[str, Any], other: dict[str, Any]) -> float:
    """How far two runs ended from each other, as a share of the way that the first one went."""
    apart = sum(float(((one[name] - other[name]) ** 2).sum()) for name in one)
    went = sum(float(((one[name] - start[name]) ** 2).sum()) for name in one if name in start)
    return float((apart / went) ** 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["genrm", "star-dpo"])
def test_two_processes_train_the_judge_that_one_trains(tiny_model: Path, tmp_path: Path, method: str) -> None:
    config = config_of(tiny_model, method)
    one = start(config, tmp_path / "one", processes=1)
    two = start(config, tmp_path / "two", processes=2)
    for name in ("steps", "rows", "pairs"):
        assert two["metrics"].get(name) == one["metrics"].get(name)
    for name in ("loss_first", "loss_last"):
        assert two["metrics"][name] == pytest.approx(one["metrics"][name], rel=LOSS_TOLERANCE)
    judges = [weights(tmp_path / name / "out" / "judge") for name in ("one", "two")]
    assert moved(weights(tiny_model), *judges) < MOVE_TOLERANCE
    told = [json.loads(line) for line in (tmp_path / "two" / "out" / "progress.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in told if row["phase"] == "training" and "step" in row]
    assert steps == list(range(1, two["metrics"]["steps"] + 1)), "one process tells"


@pytest.mark.slow
def test_two_processes_go_on_in_the_second_epoch_where_they_were_cancelled(tiny_model: Path, tmp_path: Path) -> None:
    """The judge is the one that one process trains without a break."""
    config = config_of(tiny_model, "genrm", checkpoints=30)
    whole = start(config, tmp_path / "one", processes=1)
    parts = tmp_path / "two"
    command = Thread(target=lambda: ran(config, parts, processes=2))
    command.start()
    steps = parts / "out" / "checkpoints" / "genrm"
    while not (found := list(steps.glob("checkpoint-*/complete"))) or last(found) < whole["metrics"]["steps"] // 2 + 2:
        assert command.is_alive(), "it ended before it could be cancelled"
        time.sleep(0.02)
    (parts / "out" / "cancel").touch()
    command.join()
    assert not (parts / "out" / "judge").exists()
    (parts / "out" / "cancel").unlink()
    about = start(config, parts, processes=2)
    assert about["metrics"]["resumed_from"].startswith("checkpoint-")
    assert about["metrics"]["loss_last"] == pytest.approx(whole["metrics"]["loss_last"], rel=0.05)
    judges = [weights(folder / "out" / "judge") for folder in (tmp_path / "one", parts)]
    assert moved(weights(tiny_model), *judges) < MOVE_TOLERANCE


def last(found: list[Path]) -> int:
    """The newest of some checkpoints."""
    return max(int(path.parent.name.rpartition("-")[2]) for path in found)


def test_a_step_that_cannot_be_shared_is_refused_by_the_processes(tiny_model: Path, tmp_path: Path) -> None:
    config = config_of(tiny_model, "genrm", rationale_share=0.0, batch_size=1, micro_batch_size=1)
    done = ran(config, tmp_path / "two", processes=2)
    assert done.returncode != 0
    assert "batch_size 1 cannot be shared equally by 2 processes" in done.stdout + done.stderr


def test_a_step_is_shared_equally(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig(method="genrm", model="m", batch_size=8, micro_batch_size=4)
    assert (world_size(), is_main(), batches(config)) == (1, True, (4, 2))
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("RANK", "1")
    for processes, expected in ((2, (4, 1)), (4, (2, 1)), (8, (1, 1))):
        monkeypatch.setenv("WORLD_SIZE", str(processes))
        assert batches(config) == expected
    assert not is_main()
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(EngineError, match="batch_size 8 cannot be shared equally by 3 processes"):
        batches(config)
