"""The curves of small real trainings, read back from TensorBoard's files and MLflow's store."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from genrm_engine.api import train
from genrm_engine.cli import main
from genrm_engine.errors import EngineError
from genrm_engine.progress import Progress
from genrm_engine.training.config import TrainConfig
from genrm_engine.training.tracking import Tracking
from tests.engine.conftest import make_labelled

NO_MLFLOW = "mlflow is not installed: it is in the extra `tracking`, not in `dev`, because it brings 110 MB"
needs_mlflow = pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason=NO_MLFLOW)
model = pytest.mark.model


def config_of(model: Path, method: str, **changes: Any) -> TrainConfig:
    quick = {"learning_rate": 3e-3, "epochs": 1, "max_rationale_tokens": 6, "samples_per_order": 2}
    row = {"method": method, "model": str(model), **quick, "rationale_share": 0.0, "device": "cpu", "threads": 1}
    return TrainConfig.from_json({**row, **changes})


def curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [(point.step, point.value) for point in events.Scalars(tag)]


def told(out: Path) -> list[tuple[int, float]]:
    """The losses of the progress file."""
    rows = [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in rows if "loss" in row]


def interrupted(config: TrainConfig, out: Path, track: str, *, after: int) -> None:
    """Train until a step beyond the last checkpoint, and stop as a killed process would: without an end."""
    from genrm_engine.training.run import train as run
    from genrm_engine.training.trackers import tracked

    class Killed(BaseException):
        pass

    class Watched(Progress):
        def say(self, phase: str, fraction: float, message: str, **known: Any) -> None:
            super().say(phase, fraction, message, **known)
            if known.get("step") == after and "loss" in known:
                raise Killed

    progress = Watched(out)
    tracking = Tracking.parse(track, name=out.name)
    with pytest.raises(Killed), tracked(tracking, config, out, progress):
        run(config, make_labelled(12), out, progress=progress)


def test_another_tracker_and_a_wrong_place_are_refused_by_name() -> None:
    with pytest.raises(EngineError, match="'wandb' is not one of tensorboard, mlflow"):
        Tracking.parse("wandb:there", name="run")
    with pytest.raises(EngineError, match="name the folder"):
        Tracking.parse("tensorboard", name="run")
    with pytest.raises(EngineError, match="TensorBoard writes to a folder"):
        Tracking.parse("tensorboard:http://127.0.0.1:5000", name="run")


def test_a_missing_library_ends_the_command_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("genrm_engine.training.tracking.importlib.util.find_spec", lambda name: None)
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row.to_json()) + "\n" for row in make_labelled(4)))
    command = ["train", "--method", "genrm", "--model", "nowhere", "--train", str(data), "--out", str(tmp_path / "out")]
    assert main([*command, "--track", f"mlflow:{tmp_path}"]) == 2
    assert "track: mlflow, sqlalchemy, alembic is not installed: pip install" in capsys.readouterr().err
    assert not (tmp_path / "out" / "started.json").exists()


@model
@pytest.mark.parametrize("method", ["genrm", "bradley-terry", "grpo"])
def test_tensorboard_has_a_run_by_its_name_with_curves_and_configuration(
    tiny_model: Path, tmp_path: Path, method: str
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out, folder = tmp_path / "my-judge", tmp_path / "tracking"
    batch = 4 if method == "grpo" else 8
    config = config_of(tiny_model, method, batch_size=batch, rubric="A long text.")
    train(config, make_labelled(8), out, track=f"tensorboard:{folder}")
    drawn, said = curve(folder / "my-judge", "train/loss"), told(out)
    assert [step for step, _ in drawn] == [step for step, _ in said]
    assert [loss for _, loss in drawn] == pytest.approx([loss for _, loss in said])
    assert max(rate for _, rate in curve(folder / "my-judge", "train/learning_rate")) == pytest.approx(3e-3)
    events = EventAccumulator(str(folder / "my-judge"))
    tags = events.Reload().Tags()
    assert "config/text_summary" in tags["tensors"]
    compared = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert method.encode() in compared
    assert b"A long text." not in compared


@model
def test_stars_iterations_are_told_apart(tiny_model: Path, tmp_path: Path) -> None:
    out, folder = tmp_path / "star", tmp_path / "tracking"
    config = config_of(tiny_model, "star-dpo", iterations=2, samples_per_order=4)
    train(config, make_labelled(12), out, track=f"tensorboard:{folder}")
    assert sorted(path.name for path in (folder / "star").iterdir()) == ["star-0", "star-1"]
    for stage in ("star-0", "star-1"):
        assert curve(folder / "star" / stage, "train/loss")
        assert curve(folder / "star" / stage, "train/rewards/margins")


@model
def test_a_resumed_run_goes_on_in_its_curve(tiny_model: Path, tmp_path: Path) -> None:
    out, folder = tmp_path / "killed", tmp_path / "tracking"
    config = config_of(tiny_model, "genrm", epochs=4)
    interrupted(config, out, f"tensorboard:{folder}", after=8)
    before = [step for step, _ in curve(folder / "killed", "train/loss")]
    assert before[-1] > 6, "beyond the last checkpoint"
    about = train(config, make_labelled(12), out, track=f"tensorboard:{folder}")
    assert about["metrics"]["resumed_from"] == "checkpoint-6"
    assert [path.name for path in folder.iterdir()] == ["killed"]
    assert [step for step, _ in curve(folder / "killed", "train/loss")] == [*range(1, 13)], "each step once"


@model
def test_a_second_run_of_the_same_name_has_its_own_curves(tiny_model: Path, tmp_path: Path) -> None:
    folder, config = tmp_path / "tracking", config_of(tiny_model, "bradley-terry")
    for number in ("first", "second"):
        train(config, make_labelled(8), tmp_path / number / "judge", track=f"tensorboard:{folder}")
    assert sorted(path.name for path in folder.iterdir()) == ["judge", "judge-2"]
    assert curve(folder / "judge", "train/loss") == curve(folder / "judge-2", "train/loss")


@model
@needs_mlflow
def test_mlflow_has_one_run_with_parameters_and_every_stage(tiny_model: Path, tmp_path: Path) -> None:
    import mlflow

    out, folder = tmp_path / "star", tmp_path / "tracking"
    config = config_of(tiny_model, "star-dpo", iterations=2, samples_per_order=4)
    train(config, make_labelled(12), out, track=f"mlflow:{folder}")
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    [run] = client.search_runs([client.get_experiment_by_name("tandem").experiment_id])
    assert (run.info.run_name, run.info.status) == ("star", "FINISHED")
    assert run.data.params["method"] == "star-dpo"
    assert run.data.params["beta"] == "0.1", "the method's default is written in"
    for stage in ("star-0", "star-1"):
        assert {f"{stage}/loss", f"{stage}/learning_rate", f"{stage}/rewards/margins"} <= set(run.data.metrics)


@model
@needs_mlflow
def test_a_resumed_run_goes_on_in_mlflow(tiny_model: Path, tmp_path: Path) -> None:
    import mlflow

    out, folder = tmp_path / "killed", tmp_path / "tracking"
    config = config_of(tiny_model, "genrm", epochs=4)
    interrupted(config, out, f"mlflow:{folder}", after=8)
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("tandem").experiment_id
    assert [run.info.status for run in client.search_runs([experiment])] == ["FAILED"]
    train(config, make_labelled(12), out, track=f"mlflow:{folder}")
    [run] = client.search_runs([experiment])
    assert run.info.status == "FINISHED"
    steps = sorted(point.step for point in client.get_metric_history(run.info.run_id, "loss"))
    assert steps == [*range(1, 13)], "each step once"


@model
@needs_mlflow
def test_a_server_that_does_not_answer_is_named_before_the_run_and_not_with_its_password(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(EngineError, match="MLflow cannot be used") as caught:
        train(config_of(tiny_model, "genrm"), make_labelled(8), tmp_path, track="mlflow:http://me:hunter2@127.0.0.1:1")
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "started.json").exists()
