"""What a training run finds again on disk, and what it leaves there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genrm_engine.files import append_row
from genrm_engine.weights import write_manifest
from labeling import jobs
from labeling.models import Deployment, JudgeVersion, TrainingRun
from labeling.run_files import folder_of
from labeling.services import training
from tests.conftest import Sent
from tests.engine.conftest import make_judgement
from tests.factories import labelled
from workers import run as runs
from workers.engine_process import CANCELLED, Ended

State = TrainingRun.State


class Engine:
    """Leaves on disk what the real process would, checkpoints among it; `meanwhile` happens before it ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commands: list[str] = []
        self.code = 0
        self.meanwhile: Callable[[], object] = lambda: None
        monkeypatch.setattr(runs, "run_engine", self)

    def __call__(self, arguments: list[str], *, out: Path, **known: Any) -> Ended:
        self.commands.append(arguments[0])
        out.mkdir(parents=True, exist_ok=True)
        if arguments[0] == "train":
            (out / "checkpoints" / "genrm").mkdir(parents=True, exist_ok=True)
            (out / "started.json").write_text(json.dumps({"data_sha256": "these labels"}))
            if not self.code:
                write_judge(out / "judge", "these labels")
        else:
            for row in Path(arguments[arguments.index("--data") + 1]).read_text().splitlines():
                append_row(out / "judgements.jsonl", make_judgement(json.loads(row)["id"], 0.9).to_json())
        self.meanwhile()
        return Ended(self.code, "it broke" if self.code else "")


def write_judge(folder: Path, data: str) -> None:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "run.json").write_text(json.dumps({"data_sha256": data, "versions": {}, "python": "3.11"}))
    write_manifest(folder)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, home: Path) -> Engine:
    return Engine(monkeypatch)


@pytest.fixture
def taken(champion: Deployment, home: Path) -> TrainingRun:
    """A run that a worker has just taken."""
    labelled(champion.project, training.LEAST_TRAINING)
    labelled(champion.project, 20, part="gate")
    training.request_run(champion.project, method="genrm", trigger="button")
    found = training.take(TrainingRun.objects.get().pk, lease="mine")
    assert found is not None
    return found


def checkpoints(run: TrainingRun) -> Path:
    return folder_of(run) / "training" / "checkpoints"


def moved(run: TrainingRun, home: Path, data: str = "these labels") -> Path:
    """The trained judge in its place, and no row of it."""
    folder = folder_of(run) / "training"
    folder.mkdir(parents=True)
    (folder / "started.json").write_text(json.dumps({"data_sha256": "these labels"}))
    judge = home / "judges" / f"genrm-{run.pk}"
    write_judge(judge, data)
    return judge


def test_a_judge_that_lies_in_its_place_is_not_trained_again(taken: TrainingRun, engine: Engine, home: Path) -> None:
    moved(taken, home)
    runs.execute(taken)
    taken.refresh_from_db()
    assert taken.state in (State.PROMOTED, State.REJECTED), taken.error
    assert engine.commands == ["evaluate", "evaluate"]
    assert JudgeVersion.objects.get(name=f"genrm-{taken.pk}") == taken.candidate


def test_a_judge_of_another_run_in_that_place_is_not_taken_for_it(
    taken: TrainingRun, engine: Engine, home: Path
) -> None:
    judge = moved(taken, home, data="other labels")
    runs.execute(taken)
    taken.refresh_from_db()
    assert (taken.state, engine.commands) == (State.FAILED, [])
    assert f"{judge} holds the judge of another run" in taken.error


def test_a_damaged_judge_in_that_place_is_said(taken: TrainingRun, engine: Engine, home: Path) -> None:
    (moved(taken, home) / "model.safetensors").write_bytes(b"half")
    runs.execute(taken)
    taken.refresh_from_db()
    assert (taken.state, engine.commands) == (State.FAILED, [])
    assert "was changed after it was written" in taken.error


@pytest.mark.parametrize(("code", "state"), [(0, State.REJECTED), (1, State.FAILED), (CANCELLED, State.CANCELLED)])
def test_checkpoints_of_a_run_that_has_ended_are_deleted(
    taken: TrainingRun, engine: Engine, code: int, state: str
) -> None:
    engine.code = code
    runs.execute(taken)
    taken.refresh_from_db()
    assert taken.state in (state, State.PROMOTED)
    assert engine.commands[0] == "train"
    assert not checkpoints(taken).exists()


def test_another_worker_that_has_the_run_by_now_keeps_its_checkpoints(taken: TrainingRun, engine: Engine) -> None:
    engine.code = CANCELLED
    engine.meanwhile = lambda: TrainingRun.objects.update(lease="another")
    runs.execute(taken)
    taken.refresh_from_db()
    assert taken.state == State.RUNNING
    assert checkpoints(taken).exists()


def test_the_judge_is_told_before_the_process_starts(taken: TrainingRun, engine: Engine, sent: Sent) -> None:
    told: list[bool] = []
    engine.meanwhile = lambda: told.append((jobs.JUDGE, {}) in sent)
    runs.execute(taken)
    assert told
    assert all(told)
