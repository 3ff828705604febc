"""Which trackers the settings take, what they refuse by name, and that a training process is told."""

from pathlib import Path
from typing import Any

import pytest

from webapp.env import Env, read_env
from workers.engine_process import run_engine


def absent(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Make these libraries look as if they were not installed, and the engine's as if they were."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in names else object())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"TANDEM_TRACKING": "wandb"}, "TANDEM_TRACKING: .*'wandb' is not one of tensorboard, mlflow"),
        ({"TANDEM_TRACKING": "tensorboard"}, "TANDEM_TRACKING: .*tensorboard is not installed: pip install"),
        ({"TANDEM_TRACKING": "mlflow"}, "TANDEM_TRACKING_URI: .*sqlalchemy is not installed"),
    ],
)
def test_what_cannot_be_used_is_named_at_the_start(
    given: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent(monkeypatch, "tensorboard", "sqlalchemy")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=said):
        read_env()


def test_tensorboard_takes_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    absent(monkeypatch)
    monkeypatch.setenv("TANDEM_TRACKING", "tensorboard")
    monkeypatch.setenv("TANDEM_TRACKING_URI", "http://127.0.0.1:5000")
    with pytest.raises(SystemExit, match=r"TANDEM_TRACKING_URI: .*TensorBoard writes to a folder"):
        read_env()


def test_an_mlflow_server_needs_no_store_here_and_a_web_server_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    absent(monkeypatch, "sqlalchemy", "alembic")
    assert Env(tracking="mlflow", tracking_uri="http://127.0.0.1:5000").track == "mlflow:http://127.0.0.1:5000"
    absent(monkeypatch, "trl", "tensorboard")
    assert Env(tracking="tensorboard").track


def test_curves_go_to_the_data_folder_unless_it_is_said_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    absent(monkeypatch)
    settings: dict[str, Any] = {"home": tmp_path, "tracking": "tensorboard"}
    assert Env(**settings).track == f"tensorboard:{tmp_path}/tracking"
    assert Env(**settings, tracking_uri=str(tmp_path / "curves")).track == f"tensorboard:{tmp_path}/curves"
    assert Env(home=tmp_path).track == ""


def test_a_training_process_hears_of_its_tracker_before_it_looks_at_anything_else(tmp_path: Path) -> None:
    command = ["train", "--method", "genrm", "--model", "nowhere", "--train", "nothing.jsonl", "--out", str(tmp_path)]
    ended = run_engine(command, out=tmp_path, tick=lambda _: True, environment={"GENRM_TRACK": "wandb:there"})
    assert ended.code == 2
    assert "'wandb' is not one of" in ended.errors
