"""The jobs: every name has a task, and the judging task does what the rows say."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.utils import timezone

from genrm_engine.device import acquire_device
from genrm_engine.errors import EngineError
from genrm_engine.judge import judge as engine_judge
from labeling import jobs
from labeling.models import Deployment, Judgement, JudgeVersion, JudgingRequest, TrainingRun
from labeling.queries import DEVICES
from labeling.services import housekeeping, judge_calls, judging
from tests.conftest import Sent
from tests.factories import DeploymentFactory, JudgeVersionFactory, PairFactory
from workers import resident
from workers.app import app
from workers.tasks.calls import judge_call
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


def test_what_beat_sends_does_not_pile_up_behind_a_long_job() -> None:
    for entry in app.conf.beat_schedule.values():
        assert entry["schedule"] <= entry["options"]["expires"] <= 3 * entry["schedule"]


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


@pytest.mark.parametrize("where", ["judge", "store"])
def test_one_pair_that_breaks_everything_fails_alone(
    champion: Deployment, home: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    champion.project.samples_per_order = 0
    champion.project.save()
    poison, *others = PairFactory.create_batch(6, project=champion.project)
    judging.request_project(champion.project)
    at = {"judge": "workers.tasks.judging.judge", "store": "labeling.services.judging.store_judgement"}[where]
    as_ever: Any = {"judge": engine_judge, "store": judging.store_judgement}[where]

    def break_down(first: Any, *rest: Any, **options: Any) -> Any:
        if poison.pk == first or (where == "judge" and str(poison.pk) in {pair.id for pair in first}):
            raise ValueError("poison")
        return as_ever(first, *rest, **options)

    monkeypatch.setattr(at, break_down)
    with pytest.raises(ValueError, match="poison"):
        judge_waiting()
    assert set(JudgingRequest.objects.values_list("state", "error")) == {("waiting", "ValueError: poison")}
    for _ in range(judging.MAX_ATTEMPTS - 1):
        with pytest.raises(ValueError, match="poison"):
            judge_waiting()
    failed = JudgingRequest.objects.get(state="failed")
    assert (failed.pair, failed.error) == (poison, "ValueError: poison")
    judge_waiting()
    assert set(Judgement.objects.values_list("pair", flat=True)) == {pair.pk for pair in others}


@pytest.fixture
def rival(champion: Deployment) -> Deployment:
    """Another project's champion, whose pair waits behind those of the champion."""
    rival = DeploymentFactory.create()
    for deployment, count in ((champion, 3), (rival, 1)):
        deployment.project.samples_per_order = 0
        deployment.project.save()
        PairFactory.create_batch(count, project=deployment.project)
        judging.request_project(deployment.project)
    return rival


def test_a_judge_that_fails_for_now_rests_and_holds_up_nobody(
    champion: Deployment, rival: Deployment, home: Path, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[JudgeVersion] = []
    rests: dict[int, float] = {}
    load = resident.judge_backend

    def load_one(judge: JudgeVersion) -> Any:
        loaded.append(judge)
        if judge == champion.judge and len(loaded) < 4:
            raise EngineError("out of memory", permanent=False)
        return load(judge)

    monkeypatch.setattr(resident, "judge_backend", load_one)
    monkeypatch.setattr("workers.tasks.judging._rests", rests)
    sent.clear()
    assert judge_waiting() == 1
    assert loaded == [champion.judge, rival.judge]
    assert (jobs.JUDGE, {}) not in sent, "nobody is left who could judge now"
    PairFactory.create(project=rival.project)
    judging.request_project(rival.project)
    assert judge_waiting() == 1
    assert judge_waiting() == 0
    assert loaded == [champion.judge, rival.judge, rival.judge], "not loaded again at every sweep"
    assert set(JudgingRequest.objects.values_list("judge", "attempts")) == {(champion.judge_id, 1)}
    sent.clear()
    housekeeping.sweep()
    assert (jobs.JUDGE, {}) in sent
    rests[champion.judge_id] -= 60
    assert judge_waiting() == 3


def test_a_judge_that_breaks_down_holds_up_nobody(
    champion: Deployment, rival: Deployment, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = resident.judge_backend

    def load_one(judge: JudgeVersion) -> Any:
        if judge == champion.judge:
            raise ValueError("poison")
        return load(judge)

    monkeypatch.setattr(resident, "judge_backend", load_one)
    with pytest.raises(ValueError, match="poison"):
        judge_waiting()
    assert Judgement.objects.get().judge == rival.judge
    assert set(JudgingRequest.objects.values_list("state", "error")) == {("waiting", "ValueError: poison")}


def test_another_judge_takes_the_place_of_the_resident_one(db: None, home: Path) -> None:
    first, second = (JudgeVersionFactory.create(base_model=f"scripted:{name}") for name in ("longer", "first"))
    backend = resident.judge_backend(first)
    assert resident.judge_backend(first) is backend
    assert resident.judge_backend(second) is not backend
    assert list(resident._loaded) == [resident.spec_of(second)]


def test_the_job_is_sent_again_while_something_waits(
    champion: Deployment, home: Path, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.tasks.judging.BURST_SECONDS", 0.0)
    monkeypatch.setattr("workers.tasks.judging._burst", lambda **_: 1)
    PairFactory.create(project=champion.project)
    judging.request_project(champion.project)
    judge_waiting()
    assert (jobs.JUDGE, {}) in sent


def run_at_work(champion: Deployment) -> TrainingRun:
    return TrainingRun.objects.create(
        project=champion.project,
        trigger="button",
        method="genrm",
        start=champion.judge,
        origin=champion.judge,
        config={},
        state="running",
        leased_until=timezone.now() + timedelta(minutes=1),
    )


def test_an_idle_judge_leaves_its_memory_to_a_training_run(champion: Deployment, home: Path) -> None:
    resident.judge_backend(champion.judge)
    judge_waiting()
    assert resident._loaded, "nobody else needs it"
    run = run_at_work(champion)
    judge_waiting()
    assert not resident._loaded
    PairFactory.create(project=champion.project)
    judging.request_project(champion.project)
    assert judge_waiting() == 2, "between two phases of the run it judges all the same"
    assert not resident._loaded
    TrainingRun.objects.filter(pk=run.pk).update(leased_until=timezone.now() - timedelta(seconds=1))
    resident.judge_backend(champion.judge)
    judge_waiting()
    assert resident._loaded, "a run whose worker died needs nothing"


def test_a_call_that_finds_the_device_taken_unloads_the_judge(champion: Deployment, alice: User, home: Path) -> None:
    pair = {"prompt": [], "response_a": "a", "response_b": "b"}
    call = judge_calls.request_call(champion.project, pairs=[pair], by=alice)
    resident.judge_backend(champion.judge)
    lease = acquire_device(home / DEVICES, "auto", holder="training run 1", wait=False)
    assert lease is not None
    with lease:
        judge_call(call.pk)
    assert not resident._loaded


def test_long_jobs_have_a_queue_of_their_own() -> None:
    for name in (jobs.IMPORT, jobs.FREEZE_DATASET):
        assert app.amqp.router.route({}, name)["queue"].name == "files"
    assert app.amqp.router.route({}, jobs.SWEEP)["queue"].name == "default"


def test_a_broker_that_does_not_answer_is_left_to_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(*_arguments: object, **_options: object) -> None:
        raise redis.exceptions.TimeoutError("Timeout reading from socket")

    monkeypatch.undo()  # the real `send`
    monkeypatch.setattr("labeling.jobs.current_app.send_task", hangs)
    jobs.send(jobs.JUDGE, {})


def test_nobody_waits_for_a_broker_that_hangs() -> None:
    patience = app.conf.broker_transport_options["socket_timeout"]
    assert 1 < patience < 10, "longer than a waiting worker's question, shorter than a person's patience"
