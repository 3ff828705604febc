"""What a run's progress says of its tokens: each step's are told once, and together they are what was trained on."""

from pathlib import Path

import pytest

from genrm_engine.files import read_appended
from genrm_engine.progress import Progress
from genrm_engine.training.config import TrainConfig
from tests.engine.conftest import make_labelled

pytestmark = pytest.mark.model


@pytest.mark.parametrize("method", ["genrm", "star-sft", "star-dpo", "bradley-terry", "grpo"])
def test_the_tokens_of_all_steps_are_those_trained_on(tiny_model: Path, tmp_path: Path, method: str) -> None:
    from genrm_engine.training.run import train

    quick = {"learning_rate": 3e-3, "epochs": 2, "max_rationale_tokens": 6, "rationale_share": 0.0}
    config = TrainConfig.from_json({"method": method, "model": str(tiny_model), **quick, "device": "cpu", "threads": 1})
    about = train(config, make_labelled(12), tmp_path, progress=Progress(tmp_path))
    told = read_appended(tmp_path / "progress.jsonl")
    steps = [row["tokens"] for row in told if row["phase"] == "training" and "loss" in row]
    assert steps
    assert min(steps) > 0
    assert sum(steps) == about["metrics"]["tokens"]
    assert len({row["stage"] for row in told if "loss" in row}) == 1
    sampled = [row for row in told if row["phase"] == "sampling"]
    assert bool(sampled) is method.startswith("star")
    assert all(row["tokens"] > 0 for row in sampled)
    assert all(len({one["right"] for one in row["examples"]}) == len(row["examples"]) for row in sampled)
