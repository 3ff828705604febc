"""The jobs: every name has a task, and the judging task does what the rows say."""

from pathlib import Path

import pytest

from genrm_engine.device import acquire_device
from labeling import jobs
from labeling.models import Deployment, Judgement, JudgingRequest
from labeling.queries import DEVICES
from labeling.services import judging
from tests.conftest import Sent
from tests.factories import DeploymentFactory, JudgeVersionFactory, PairFactory
from workers import resident
from workers.app import app
from workers.tasks.judging import judge_waiting


@pytest.fixture(autouse=True)
def nobody_resident() -> None:
    resident.unload()


def test_every_job_name_has_a_registered_task() -> None:
    app.loader.import_default_modules()
    assert set(jobs.ALL) <= set(app.tasks)


def test_beat_sends_only_registered_tasks() -> None:
    app.loader.import_default_modules()
    assert {entry["task"] for entry in app.conf.beat_schedule.values()} <= set(app.tasks)


def test_everything_waiting_is_judged_by_both_methods(champion: Deployment, home: Path) -> None:
    PairFactory.create_batch(10, project=champion.project)
    judging.request_project(champion.project)
    assert judge_waiting() == 20
    assert Judgement.objects.filter(method="score").count() == Judgement.objects.filter(method="cot").count() == 10
    judgement = Judgement.objects.filter(method="cot").first()
    assert judgement is not None
    assert judgement.winner == "b"  # the longer one, as the scripted judge likes it
    assert judgement.rationales.count() == 4
    assert not JudgingRequest.objects.exists()
    assert judge_waiting() == 0


def test_while_training_holds_the_device_nothing_is_judged_and_nothing_lost(champion: Deployment, home: Path) -> None:
    PairFactory.create(project=champion.project)
    judging.request_project(champion.project)
    lease = acquire_device(home / DEVICES, "auto", holder="training run 1", wait=False)
    assert lease is not None
    with lease:
        assert judge_waiting() == 0
    assert JudgingRequest.objects.filter(state="waiting").count() == 2
    assert judge_waiting() == 2


def test_a_judge_that_cannot_be_loaded_is_said_in_the_requests(project: object, home: Path) -> None:
    missing = JudgeVersionFactory.create(backend="scripted", base_model="scripted:no-such-thing")
    deployment = DeploymentFactory.create(project=project, judge=missing)
    PairFactory.create(project=deployment.project)
    judging.request_project(deployment.project)
    judge_waiting()
    assert "no-such-thing" in JudgingRequest.objects.filter(state="failed")[0].error
    assert not Judgement.objects.exists()


def test_another_judge_takes_the_place_of_the_resident_one(db: None, home: Path) -> None:
    first, second = JudgeVersionFactory.create_batch(2)
    backend = resident.judge_backend(first)
    assert resident.judge_backend(first) is backend
    assert resident.judge_backend(second) is not backend
    assert list(resident._loaded) == [second.pk]


def test_the_job_is_sent_again_while_something_waits(
    champion: Deployment, home: Path, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.tasks.judging.BURST_SECONDS", 0.0)
    monkeypatch.setattr("workers.tasks.judging._burst", lambda **_: 1)
    PairFactory.create(project=champion.project)
    judging.request_project(champion.project)
    judge_waiting()
    assert (jobs.JUDGE, {}) in sent
