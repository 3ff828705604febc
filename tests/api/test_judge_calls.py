"""The judge as a reward model: calls over REST, and the job that answers them."""

import math
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from genrm_engine.backends import Backend
from genrm_engine.device import acquire_device
from labeling import jobs
from labeling.models import Deployment, JudgeCall, Judgement, JudgeVersion, Pair
from labeling.models.judges import Method
from labeling.queries import DEVICES
from labeling.services import housekeeping, judge_calls, judging
from tests.api.calling import Caller, caller, fields_of, problem_of
from tests.conftest import Sent
from tests.factories import JudgeVersionFactory, PairFactory
from workers import resident
from workers.tasks.calls import judge_call
from workers.tasks.judging import judge_waiting

PATH = "/projects/stories/judge"


@pytest.fixture(autouse=True)
def nobody_resident() -> None:
    resident.unload()


@pytest.fixture
def api(alice: User) -> Caller:
    return caller(alice, scope="label")


def pairs(count: int = 1) -> list[dict[str, Any]]:
    """The longer response, which the scripted judge likes, is A in every other pair."""
    short, long = "Yes.", "Yes, and this is why."
    return [
        {"prompt": f"Is it {n}?", "response_a": (long, short)[n % 2], "response_b": (short, long)[n % 2]}
        for n in range(count)
    ]


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any) -> None:
    """A judge worker that takes every call at once."""

    def at_once(call: JudgeCall, *, seconds: float) -> JudgeCall:
        judge_call(call.pk)
        call.refresh_from_db()
        return call

    monkeypatch.setattr(judge_calls, "wait", at_once)


def test_pairs_are_judged_in_their_order(api: Caller, champion: Deployment, home: Path, worker: None) -> None:
    answer = api.post(PATH, {"pairs": pairs(40)})
    assert answer.status_code == 200, answer.content
    found = answer.json()
    assert (found["state"], found["pairs"], found["judge"]) == ("done", 40, champion.judge.name)
    assert [said["p_a"] > 0.5 for said in found["results"]] == [n % 2 == 0 for n in range(40)]
    first = found["results"][0]
    assert first["margin"] == pytest.approx(math.log(first["p_a"] / (1 - first["p_a"])))
    assert (first["method"], first["consistent"], first["p_a_calibrated"]) == ("score", True, first["p_a"])
    assert first["tokens"] > 0
    assert api.get(found["url"]).json() == found
    assert not Pair.objects.exists()
    assert not Judgement.objects.exists()


def test_a_method_can_be_named_and_the_calibration_is_applied(
    api: Caller, champion: Deployment, home: Path, worker: None
) -> None:
    Deployment.objects.update(calibration={"temperature": 2.0})
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is it?"}]
    body = {"pairs": [{**pairs()[0], "prompt": talk}], "method": "cot"}
    [said] = api.post(PATH, body).json()["results"]
    assert said["method"] == "cot"
    assert 0.5 < said["p_a_calibrated"] < said["p_a"]


def test_without_waiting_the_answer_is_where_the_call_is(
    api: Caller, champion: Deployment, home: Path, sent: Sent, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        answer = api.post(f"{PATH}?wait=false", {"pairs": pairs(2)})
    assert answer.status_code == 202
    call = JudgeCall.objects.get()
    assert answer["Location"] == f"/api/v1{PATH}/{call.pk}"
    assert (answer.json()["state"], answer.json()["results"]) == ("waiting", [])
    assert (jobs.JUDGE_CALL, {"call_id": call.pk}) in sent
    judge_call(call.pk)
    found = api.get(answer["Location"]).json()
    assert (found["state"], len(found["results"])) == ("done", 2)


def test_nobody_waits_longer_than_asked_nor_for_many_pairs(api: Caller, champion: Deployment) -> None:
    assert api.post(f"{PATH}?timeout=0.05", {"pairs": pairs()}).status_code == 202
    assert api.post(f"{PATH}?timeout=30", {"pairs": pairs(65)}).status_code == 202


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"pairs": []}, "pairs"),
        ({}, "pairs"),
        ({"pairs": [{"prompt": "p", "response_a": "a"}]}, "pairs.0.response_b"),
        ({"pairs": [{"prompt": "p", "response_a": " ", "response_b": "b"}]}, "pairs.0.response_a"),
        ({"pairs": [{"prompt": "p", "response_a": "a\x00", "response_b": "b"}]}, "pairs.0.response_a"),
        ({"pairs": [{"prompt": "p", "response_a": "a", "response_b": "b"}], "method": "guess"}, "method"),
        ({"pairs": [{"prompt": "p", "response_a": "a", "response_b": "b"}] * 1001}, "pairs"),
    ],
)
def test_bad_pairs_are_named_and_nothing_is_asked(
    api: Caller, champion: Deployment, body: dict[str, Any], field: str
) -> None:
    assert fields_of(api.post(PATH, body)) == [field]
    assert not JudgeCall.objects.exists()


def test_there_must_be_a_judge_that_can(api: Caller, champion: Deployment) -> None:
    bradley = JudgeVersionFactory.create(method="bradley-terry")
    Deployment.objects.update(judge=bradley)
    assert "no rationales" in problem_of(api.post(PATH, {"pairs": pairs(), "method": "cot"}), 409)["detail"]
    Deployment.objects.update(state="retired")
    assert "no judge" in problem_of(api.post(PATH, {"pairs": pairs()}), 409)["detail"]


@pytest.mark.parametrize(("who", "status"), [("bob", 403), ("dora", 403), ("charlie", 404)])
def test_only_managers_ask(request: pytest.FixtureRequest, champion: Deployment, who: str, status: int) -> None:
    """An annotator who could ask the judge would not be blind."""
    api = caller(request.getfixturevalue(who))
    problem_of(api.post(PATH, {"pairs": pairs()}), status)
    problem_of(api.get(f"{PATH}/1"), status)


@pytest.fixture
def call(champion: Deployment, alice: User) -> JudgeCall:
    rows = [{**row, "prompt": [{"role": "user", "content": row["prompt"]}]} for row in pairs(20)]
    return judge_calls.request_call(champion.project, pairs=rows, by=alice)


def test_a_training_run_goes_first_and_nothing_is_lost(call: JudgeCall, home: Path, sent: Sent) -> None:
    lease = acquire_device(home / DEVICES, "auto", holder="training run 1", wait=False)
    assert lease is not None
    with lease:
        judge_call(call.pk)
        call.refresh_from_db()
        assert call.state == "waiting"
    sent.clear()
    housekeeping.sweep()
    assert (jobs.JUDGE_CALL, {"call_id": call.pk}) in sent
    judge_call(call.pk)
    call.refresh_from_db()
    assert call.state == "done"


def test_judging_lets_a_call_go_first_after_a_chunk(call: JudgeCall, home: Path, sent: Sent) -> None:
    PairFactory.create_batch(40, project=call.project)
    judging.request_project(call.project)
    sent.clear()
    assert judge_waiting() == judging.CHUNK[Method.SCORE]
    assert (jobs.JUDGE, {}) in sent, "the rest is judged after the call"
    judge_call(call.pk)
    assert judge_waiting() == 80 - judging.CHUNK[Method.SCORE]


def test_a_second_delivery_judges_nothing_twice(call: JudgeCall, home: Path) -> None:
    judge_call(call.pk)
    call.refresh_from_db()
    said, ended = call.said, call.finished_at
    judge_call(call.pk)
    call.refresh_from_db()
    assert (call.said, call.finished_at) == (said, ended)


def test_a_killed_workers_call_goes_on_where_it_was(call: JudgeCall, home: Path) -> None:
    assert judge_calls.take(call)
    done = {"p_a": 0.25, "p_a_calibrated": 0.25, "margin": -1.1, "consistent": True, "method": "score", "tokens": 1}
    JudgeCall.objects.update(said=[done] * 16, leased_until=timezone.now() - timedelta(seconds=1))
    assert judge_calls.expire() == 1
    judge_call(call.pk)
    call.refresh_from_db()
    assert (call.state, len(call.said)) == ("done", 20)
    assert call.said[15]["p_a"] == 0.25
    assert call.said[16]["p_a"] == 0.9


def test_a_worker_that_was_thought_dead_writes_nothing(call: JudgeCall) -> None:
    assert judge_calls.take(call)
    assert not judge_calls.take(JudgeCall.objects.get())
    JudgeCall.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    judge_calls.expire()
    assert not judge_calls.prolong(call)
    assert not judge_calls.answer(call, [])
    assert not judge_calls.give_back(call, error="late", permanent=True)


@pytest.mark.django_db(transaction=True)
def test_a_call_stays_its_workers_however_long_the_judge_is_loaded(
    call: JudgeCall, home: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"judge_lease_seconds": 1})
    load = resident.judge_backend

    def loads_long(judge: JudgeVersion) -> Backend:
        leases, deadline = {JudgeCall.objects.get().leased_until}, time.monotonic() + 30
        while len(leases) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
            leases.add(JudgeCall.objects.get().leased_until)
        assert len(leases) == 3, "prolonged twice"
        return load(judge)

    monkeypatch.setattr(resident, "judge_backend", loads_long)
    judge_call(call.pk)
    call.refresh_from_db()
    assert (call.state, len(call.said)) == ("done", 20)


def test_an_error_is_kept_without_what_no_database_takes(call: JudgeCall) -> None:
    assert judge_calls.take(call)
    assert judge_calls.give_back(call, error="Not \x00cl\ud800ear.", permanent=True)
    call.refresh_from_db()
    assert (call.state, call.error) == ("failed", "Not clear.")


def test_a_call_that_kills_its_worker_is_given_up(call: JudgeCall) -> None:
    judge_calls.take(call)
    old = timezone.now() - timedelta(minutes=16)
    JudgeCall.objects.update(created_at=old, leased_until=timezone.now() - timedelta(seconds=1))
    judge_calls.expire()
    call.refresh_from_db()
    assert (call.state, "died" in call.error) == ("failed", True)


@pytest.mark.parametrize(("model", "state"), [("scripted:broken", "failed"), ("scripted:crash", "waiting")])
def test_a_judge_that_fails_says_so_or_is_asked_again(
    api: Caller, champion: Deployment, home: Path, worker: None, model: str, state: str
) -> None:
    Deployment.objects.update(judge=JudgeVersionFactory.create(base_model=model))
    answer = api.post(PATH, {"pairs": pairs()})
    assert answer.json()["state"] == state
    assert answer.status_code == (200 if state == "failed" else 202)
    assert ("as it was told" in answer.json()["error"]) == (state == "failed")


def test_calls_are_forgotten_after_a_day(call: JudgeCall) -> None:
    assert judge_calls.forget() == 0
    JudgeCall.objects.update(created_at=timezone.now() - timedelta(days=1, seconds=1))
    assert judge_calls.forget() == 1


def test_a_certain_judge_has_a_finite_margin() -> None:
    assert judge_calls.margin(0.5) == 0
    assert math.isfinite(judge_calls.margin(1.0))
    assert judge_calls.margin(0.0) == pytest.approx(-judge_calls.margin(1.0))


def test_calls_go_before_the_judging_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the queue a smaller number comes first."""
    assert jobs.PRIORITY.get(jobs.JUDGE_CALL, 0) < jobs.PRIORITY[jobs.JUDGE]
