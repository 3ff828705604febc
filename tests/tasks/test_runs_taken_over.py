"""What a training run finds again on disk, and what it leaves there."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import DataError, OperationalError
from django.utils import timezone

from genrm_engine.errors import EXIT_CANCELLED, EXIT_FOR_NOW
from genrm_engine.files import append_row
from genrm_engine.types import Rationale
from genrm_engine.weights import write_manifest
from labeling import jobs
from labeling.models import Deployment, JudgeVersion, TrainingRun
from labeling.run_files import folder_of
from labeling.services import training
from tests.conftest import Sent
from tests.engine.conftest import make_judgement
from tests.factories import JudgeVersionFactory, labelled
from workers import run as runs
from workers.accounts import Clock
from workers.engine_process import Ended
from workers.run_lease import kept

State = TrainingRun.State


class Engine:
    """Leaves on disk what the real process would, checkpoints among it; `meanwhile` happens before it ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commands: list[str] = []
        self.limits: list[str] = []
        self.code = 0
        self.rationales: tuple[Rationale, ...] = ()
        self.champion_refuses = ""
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
            self.limits.append(arguments[arguments.index("--max-prompt-tokens") + 1])
            for row in Path(arguments[arguments.index("--data") + 1]).read_text().splitlines():
                judgement = make_judgement(json.loads(row)["id"], 0.9)
                if judgement.pair_id == self.champion_refuses and out.name == "champion":
                    append_row(out / "judgements.refused.jsonl", {"pair_id": judgement.pair_id, "error": "a filter"})
                    continue
                append_row(out / "judgements.jsonl", replace(judgement, rationales=self.rationales).to_json())
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


def failing(fault: type[Exception]) -> Callable[..., Any]:
    def fail(*_given: Any, **_named: Any) -> None:
        raise fault

    return fail


def moved(run: TrainingRun, home: Path, data: str = "these labels") -> Path:
    """The trained judge in its place, and no row of it."""
    folder = folder_of(run) / "training"
    folder.parent.mkdir(parents=True)
    runs._snapshot(run, folder.parent)
    folder.mkdir()
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


def test_a_pair_that_the_champion_cannot_judge_decides_nothing(taken: TrainingRun, engine: Engine) -> None:
    engine.champion_refuses = str(taken.project.pairs.filter(part="gate").values_list("pk", flat=True)[0])
    runs.execute(taken)
    taken.refresh_from_db()
    assert taken.state in (State.PROMOTED, State.REJECTED), taken.error
    assert taken.gate["n"] == 19
    assert "cannot judge 1 of the hold-out pairs, which decide nothing then: a filter" in str(taken.log)


def test_pairs_that_were_too_long_to_train_are_told(taken: TrainingRun, engine: Engine, home: Path) -> None:
    judge = moved(taken, home)
    about = json.loads((judge / "run.json").read_text())
    (judge / "run.json").write_text(json.dumps(about | {"metrics": {"pairs_left_out": 7}}))
    write_manifest(judge)
    runs.execute(taken)
    taken.refresh_from_db()
    assert "because they are longer than 1024 tokens (TANDEM_TRAINING_TOKENS): 7" in str(taken.log)


def test_both_judges_read_as_much_as_they_do_at_work_until_the_run_ends(
    taken: TrainingRun, engine: Engine, home: Path, settings: Any
) -> None:
    moved(taken, home)
    settings.ENV = settings.ENV.model_copy(update={"prompt_tokens": 700})

    def changed() -> None:
        settings.ENV = settings.ENV.model_copy(update={"prompt_tokens": 900})

    engine.meanwhile = changed
    runs.execute(taken)
    assert engine.limits == ["700", "700"]


def test_a_run_from_before_that_was_a_setting_goes_on_as_it_began(
    taken: TrainingRun, engine: Engine, home: Path, settings: Any
) -> None:
    moved(taken, home)
    settings.ENV = settings.ENV.model_copy(update={"prompt_tokens": 700})
    before = {"champion": "score", "candidate": "score", "samples": 2}
    (folder_of(taken) / "measured.json").write_text(json.dumps(before))
    runs.execute(taken)
    assert engine.limits == ["1536", "1536"]


@pytest.mark.parametrize(("code", "state"), [(0, State.REJECTED), (2, State.FAILED), (EXIT_CANCELLED, State.CANCELLED)])
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
    engine.code = EXIT_CANCELLED
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


def test_a_rationale_with_another_kind_of_line_break_is_read_whole(taken: TrainingRun, engine: Engine) -> None:
    engine.rationales = (Rationale(False, 0, "It is\u2028better\x85so.", 0.9, "a"),)
    runs.execute(taken)
    taken.refresh_from_db()
    assert taken.state in (State.PROMOTED, State.REJECTED), taken.error


def test_a_failure_that_may_pass_lets_the_run_rest_and_go_on(taken: TrainingRun, engine: Engine) -> None:
    engine.code = EXIT_FOR_NOW
    runs.execute(taken)
    taken.refresh_from_db()
    assert (taken.state, taken.lease) == (State.RUNNING, "")
    assert taken.message == "Goes on in 1 min: it broke"
    assert training.waiting_runs() == []
    assert checkpoints(taken).exists()
    TrainingRun.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    again = training.take(taken.pk, lease="again")
    assert again is not None
    engine.code = 0
    runs.execute(again)
    taken.refresh_from_db()
    assert taken.state in (State.PROMOTED, State.REJECTED), taken.error


def test_a_failure_that_does_not_pass_ends_the_run(taken: TrainingRun, engine: Engine) -> None:
    engine.code = EXIT_FOR_NOW
    taken.rests = len(training.PAUSES)
    runs.execute(taken)
    taken.refresh_from_db()
    assert (taken.state, taken.error) == (State.FAILED, "it broke")


def test_a_run_that_was_taken_over_rests_as_often_as_any_other(taken: TrainingRun, engine: Engine) -> None:
    engine.code = EXIT_FOR_NOW
    taken.attempts = 9
    runs.execute(taken)
    taken.refresh_from_db()
    assert (taken.state, taken.rests) == (State.RUNNING, 1)


def test_a_crash_of_the_engine_is_no_failure_that_may_pass(taken: TrainingRun, engine: Engine) -> None:
    engine.code = 1
    runs.execute(taken)
    taken.refresh_from_db()
    assert (taken.state, taken.error) == (State.FAILED, "it broke")


def test_a_resting_run_is_cancelled_without_waiting(taken: TrainingRun, engine: Engine) -> None:
    engine.code = EXIT_FOR_NOW
    runs.execute(taken)
    training.cancel_run(taken, by=None)
    taken.refresh_from_db()
    assert (taken.state, taken.lease) == (State.CANCELLED, "")
    assert not checkpoints(taken).exists()


def test_a_run_whose_worker_fell_silent_is_cancelled_and_its_candidate_kept(taken: TrainingRun, home: Path) -> None:
    moved(taken, home)
    candidate = runs._register(taken, folder_of(taken))
    TrainingRun.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    training.cancel_run(TrainingRun.objects.get(), by=None)
    taken.refresh_from_db()
    assert taken.state == State.CANCELLED
    assert Deployment.objects.filter(judge=candidate).exists()


def test_a_run_at_work_is_asked_to_stop(taken: TrainingRun) -> None:
    training.cancel_run(taken, by=None)
    taken.refresh_from_db()
    assert (taken.state, taken.cancel_requested) == (State.RUNNING, True)


def test_files_of_a_lost_run_with_the_same_number_are_not_taken_for_this_runs(
    taken: TrainingRun, engine: Engine, home: Path
) -> None:
    moved(taken, home)
    (folder_of(taken) / "train.jsonl").write_text("")
    TrainingRun.objects.update(snapshot_sha256="")  # the number of a run in a database that was lost comes again
    again = training.take(taken.pk, lease="mine") or TrainingRun.objects.get()
    runs.execute(again)
    again.refresh_from_db()
    assert again.training_pairs == training.LEAST_TRAINING
    assert (again.state, engine.commands) == (State.FAILED, [])
    assert "holds the judge of another run" in again.error


def test_a_run_whose_frozen_labels_are_gone_says_so(taken: TrainingRun, engine: Engine) -> None:
    folder_of(taken).mkdir(parents=True)
    runs._snapshot(taken, folder_of(taken))
    (folder_of(taken) / "older.jsonl").unlink()
    runs.execute(taken)
    taken.refresh_from_db()
    assert "are no longer in" in taken.error


def test_an_error_that_no_database_takes_is_told_without_its_odd_characters(taken: TrainingRun) -> None:
    training.fail(taken, "The server says:\nno\x00thing \ud800at all")
    taken.refresh_from_db()
    assert (taken.message, taken.state) == ("nothing at all", State.FAILED)


@pytest.mark.parametrize("fault", [ZeroDivisionError, DataError])
def test_a_fault_of_tandem_ends_the_run_and_is_said(
    taken: TrainingRun, engine: Engine, monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    monkeypatch.setattr(runs, "_figures", failing(fault))
    with pytest.raises(fault):
        runs.execute(taken)
    taken.refresh_from_db()
    assert taken.state == State.FAILED
    assert f"its own fault: {fault.__name__}" in taken.error


def test_a_database_that_is_away_ends_no_run(
    taken: TrainingRun, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_figures", failing(OperationalError))
    with pytest.raises(OperationalError):
        runs.execute(taken)
    taken.refresh_from_db()
    assert taken.state == State.RUNNING


def test_there_is_no_candidate_that_its_run_does_not_know(
    taken: TrainingRun, engine: Engine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved(taken, home)
    monkeypatch.setattr(training, "report", failing(OperationalError))
    with pytest.raises(OperationalError):
        runs._register(taken, folder_of(taken))
    assert not JudgeVersion.objects.filter(name=f"genrm-{taken.pk}").exists()


def test_a_worker_that_lost_the_run_writes_nothing_that_would_stop_the_next(taken: TrainingRun) -> None:
    tick = runs._ticker(taken, "training", Clock({}))
    assert tick([])
    TrainingRun.objects.update(lease="another")
    with pytest.raises(runs.Stopped):
        tick([])


@pytest.mark.django_db(transaction=True)
def test_progress_waits_for_a_database_that_is_away(taken: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    tick = runs._ticker(taken, "training", Clock({}))
    with monkeypatch.context() as away:
        away.setattr(training, "heartbeat", failing(OperationalError))
        assert tick([{"phase": "training", "message": "half", "fraction": 0.5}])
    assert tick([])
    taken.refresh_from_db()
    assert "half" in taken.log


def test_a_rejected_candidate_names_the_champion_that_reigns_by_now(
    taken: TrainingRun, engine: Engine, champion: Deployment
) -> None:
    crowned = JudgeVersionFactory(name="crowned")
    engine.meanwhile = lambda: Deployment.objects.filter(pk=champion.pk).update(judge=crowned)
    runs.execute(taken)
    taken.refresh_from_db()
    assert (taken.state, taken.message) == (State.REJECTED, "crowned stays champion")


@pytest.mark.django_db(transaction=True)
def test_the_lease_is_prolonged_while_one_step_takes_long(taken: TrainingRun, settings: Any) -> None:
    settings.ENV = settings.ENV.model_copy(update={"run_lease_seconds": 1})
    training.heartbeat(taken)
    with kept(taken):
        time.sleep(2)
        taken.refresh_from_db()
        assert taken.leased_until is not None
        assert taken.leased_until > timezone.now()
