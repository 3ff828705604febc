"""Trying a judge and judging with it: on a real HTTP server that answers as it is told, and on the device here."""

import json
import struct
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

pytest.importorskip("httpx2", reason="comes with the engine's libraries")

from genrm_engine.backends import client
from genrm_engine.device import acquire_device
from genrm_engine.errors import EngineError
from labeling import sealing
from labeling.models import Deployment, JudgeEndpoint, Judgement, JudgeTrial, JudgeVersion, JudgingRequest, Project
from labeling.queries import DEVICES
from labeling.services import deployments, judging, trials
from tests.engine.fake_server import FakeServer, Reply, serving
from tests.engine.test_openai_backend import said, token
from tests.factories import JudgeVersionFactory, LabelFactory, PairFactory
from workers import resident, trainable
from workers.tasks.judging import judge_waiting
from workers.tasks.trials import try_judge

KEY = "sk-not-a-real-key-0123456789"


@pytest.fixture(autouse=True)
def nobody_resident(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.01)
    yield
    resident.unload()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving(FakeServer(answer=likes_the_first)) as fake:
        yield fake


def likes_the_first(body: dict[str, Any]) -> Reply:
    """A judge that follows the order, more in its scores than in its reasons."""
    if "one letter" in body["messages"][0]["content"]:
        return said("A", tokens=[token("A", A=0.8, B=0.2)], usage=1)
    verdict = [token("It is clear.\nWinner: ["), token("A", A=0.6, B=0.4), token("]")]
    return said(*["It is clear.\nWinner: [A]"] * body["n"], tokens=verdict, usage=20 * body["n"])


def trial_of(project: Project, by: User, **fields: Any) -> JudgeTrial:
    PairFactory.create_batch(4, project=project)
    return trials.request_trial(project, by=by, **fields)


def on_server(project: Project, by: User, server: FakeServer) -> JudgeTrial:
    return trial_of(project, by, backend="openai", model="served", url=server.url, key=KEY)


def tried(trial: JudgeTrial) -> JudgeTrial:
    try_judge(trial.pk)
    trial.refresh_from_db()
    return trial


def remote_judge(server: FakeServer, key: str = KEY) -> JudgeVersion:
    judge = JudgeVersionFactory.create(backend="openai", base_model="served", weights="", trainable=False)
    JudgeEndpoint.objects.create(judge=judge, url=server.url, sealed_key=sealing.seal(key))
    return judge


def test_a_judge_on_a_server_is_tried_by_both_methods_in_both_orders(
    project: Project, alice: User, server: FakeServer, home: Path
) -> None:
    trial = tried(on_server(project, alice, server))
    assert trial.state == "passed", trial.error
    assert [(row["pair"], row["method"]) for row in trial.said] == [
        (pair.pk, method) for method in ("score", "cot") for pair in trials.pairs_of(project)
    ]
    score, cot = trial.said[0], trial.said[3]
    assert (score["p_a_straight"], score["p_a_swapped"]) == pytest.approx((0.8, 0.2))
    assert not score["consistent"]
    assert cot["rationale"] == "It is clear."
    assert (score["read"], score["tokens"]) == (100, 102)
    assert (cot["read"], cot["tokens"]) == (100, 180)
    assert all(row["seconds"] > 0 for row in trial.said)
    assert not trial.trainable
    assert "server" in trial.note
    assert {asked.headers["authorization"] for asked in server.asked} == {f"Bearer {KEY}"}
    assert {asked.body["model"] for asked in server.asked} == {"served"}
    assert not Judgement.objects.exists()
    sent = len(server.asked)
    assert tried(trial).state == "passed"
    assert len(server.asked) == sent


def test_what_a_server_is_sent_keeps_to_its_own_limit(
    project: Project, alice: User, server: FakeServer, home: Path, settings: Any, as_alice: Client
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"prompt_tokens": 300, "server_prompt_tokens": 2_000})
    LabelFactory.create(pair=PairFactory.create(project=project, response_a="a " * 5_000))
    trial = tried(on_server(project, alice, server))
    assert trial.state == "passed", trial.error
    assert sorted(row["shortened"] for row in trial.said) == [False] * 4 + [True] * 2
    sent = [len(asked.body["messages"][0]["content"].encode()) for asked in server.asked]
    assert 5_000 < max(sent) <= 3 * 2_000
    page = as_alice.get(f"/trials/{trial.pk}/").content.decode()
    assert page.count("texts shortened") == 2


def test_a_reason_that_no_database_takes_is_kept_without_its_odd_characters(
    project: Project, alice: User, server: FakeServer, home: Path
) -> None:
    server.answer = lambda body: said(*["It is \x00cl\ud800ear.\nWinner: [A]"] * body.get("n", 1))
    trial = tried(on_server(project, alice, server))
    assert trial.state == "passed", trial.error
    assert trial.said[3]["rationale"] == "It is clear."


def test_a_servers_error_is_kept_without_what_no_database_takes(
    project: Project, alice: User, server: FakeServer, home: Path
) -> None:
    server.answer = lambda _: Reply({"error": {"message": "It is \x00ov\ud800er."}}, 400)
    trial = tried(on_server(project, alice, server))
    assert trial.state == "failed"
    assert "It is over." in trial.error


def test_a_refused_key_ends_the_trial_in_a_sentence_without_the_key(
    project: Project, alice: User, server: FakeServer, home: Path
) -> None:
    padding = "Wrong. " * 39  # so that the quoted key is cut short
    server.answer = lambda _: Reply({"error": {"message": f"{padding}You sent: {KEY}"}}, 401)
    trial = tried(on_server(project, alice, server))
    assert trial.state == "failed"
    assert "refuses the API key (401)" in trial.error
    assert KEY[:8] not in trial.error
    assert trial.sealed_key == ""


def test_a_dead_server_and_a_foreign_seal_end_the_trial_in_a_sentence(
    project: Project, alice: User, server: FakeServer, home: Path, settings: Any
) -> None:
    gone = trial_of(project, alice, backend="openai", model="served", url="http://127.0.0.1:9/v1")
    assert "cannot be reached" in tried(gone).error
    foreign = trials.request_trial(project, by=alice, backend="openai", model="served", url=server.url, key=KEY)
    settings.SECRET_KEY = "another"
    assert "connect the judge again" in tried(foreign).error
    assert server.asked == []


def test_an_unexpected_error_ends_the_trial_too(
    project: Project, alice: User, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr("workers.trial.judge", broken)
    trial = trial_of(project, alice, backend="scripted", model="scripted:longer")
    with pytest.raises(RuntimeError):
        try_judge(trial.pk)
    trial.refresh_from_db()
    assert trial.state == "failed"
    assert "log of the judge worker" in trial.error


def test_a_local_judge_waits_for_the_device_and_takes_the_residents_place(
    champion: Deployment, alice: User, home: Path
) -> None:
    trial = trial_of(champion.project, alice, backend="scripted", model="scripted:longer")
    resident.judge_backend(champion.judge)
    lease = acquire_device(home / DEVICES, "auto", holder="training run 1", wait=False)
    assert lease is not None
    with lease:
        assert tried(trial).state == "waiting"
        assert resident._loaded
    assert tried(trial).state == "passed"
    assert not resident._loaded
    assert trial.said[0]["p_a"] < 0.5  # the longer one, as the scripted judge likes it
    assert {row["method"] for row in trial.said} == {"score", "cot"}


@pytest.mark.django_db(transaction=True)
def test_a_trial_stays_its_workers_however_long_its_model_is_downloaded(
    project: Project, alice: User, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def downloads_long(model: str, *_: object, **__: object) -> str:
        leases, deadline = {JudgeTrial.objects.get().leased_until}, time.monotonic() + 30
        while len(leases) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
            leases.add(JudgeTrial.objects.get().leased_until)
        assert len(leases) == 3, "prolonged twice"
        return model

    monkeypatch.setattr(trials, "LEASE", timedelta(seconds=1))
    monkeypatch.setattr("workers.trial.resolve_model", downloads_long)
    assert tried(trial_of(project, alice, backend="scripted", model="scripted:longer")).state == "passed"


def test_a_trial_on_a_server_needs_no_device(project: Project, alice: User, server: FakeServer, home: Path) -> None:
    lease = acquire_device(home / DEVICES, "auto", holder="training run 1", wait=False)
    assert lease is not None
    with lease:
        assert tried(on_server(project, alice, server)).state == "passed"


@pytest.mark.model
def test_a_name_that_is_not_in_the_cache_is_said_while_offline(project: Project, alice: User, home: Path) -> None:
    pytest.importorskip("transformers")
    trial = tried(trial_of(project, alice, backend="transformers", model="tandem-tests/not-there"))
    assert trial.state == "failed"
    assert "tandem-tests/not-there cannot be loaded" in trial.error


def test_a_connected_judge_judges_the_hold_out_while_training_holds_the_device(
    champion: Deployment, alice: User, server: FakeServer, home: Path
) -> None:
    project = champion.project
    trial = tried(on_server(project, alice, server))
    held_out = PairFactory.create(project=project, part="gate")
    shadow = trials.connect(trial, by=alice)
    server.asked.clear()
    judging.request_project(project)
    lease = acquire_device(home / DEVICES, "auto", holder="training run 1", wait=False)
    assert lease is not None
    with lease:
        assert judge_waiting() == 1
    [judgement] = Judgement.objects.filter(judge=shadow.judge)
    assert (judgement.pair, judgement.method) == (held_out, "score")
    assert (judgement.p_a_straight, judgement.p_a_swapped) == pytest.approx((0.8, 0.2))
    assert {asked.headers["authorization"] for asked in server.asked} == {f"Bearer {KEY}"}
    assert JudgingRequest.objects.filter(judge=champion.judge, state="waiting").count() == 10
    assert judge_waiting() == 10


def test_a_champion_on_a_server_judges_by_both_methods(
    project: Project, alice: User, server: FakeServer, home: Path
) -> None:
    deployments.promote(project, remote_judge(server), counts="score", gate={}, by=alice)
    PairFactory.create_batch(2, project=project)
    judging.request_project(project)
    assert judge_waiting() == 4
    cot = Judgement.objects.filter(method="cot").first()
    assert cot is not None
    assert cot.rationales.count() == 2 * project.samples_per_order
    assert {rationale.text for rationale in cot.rationales.all()} == {"It is clear."}


def test_the_resident_model_stays_loaded_beside_a_judge_on_a_server(
    judge: JudgeVersion, server: FakeServer, home: Path
) -> None:
    remote = remote_judge(server)
    local = resident.judge_backend(judge)
    connection = resident.judge_backend(remote)
    assert resident.judge_backend(judge) is local
    assert resident.judge_backend(remote) is connection


def test_an_unreadable_key_is_an_engine_error_that_the_requests_tell(
    project: Project, alice: User, server: FakeServer, home: Path, settings: Any
) -> None:
    deployments.promote(project, remote_judge(server), counts="score", gate={}, by=alice)
    PairFactory.create(project=project)
    judging.request_project(project)
    settings.SECRET_KEY = "another"
    assert judge_waiting() == 0
    failed = JudgingRequest.objects.filter(state="failed").first()
    assert failed is not None
    assert "connect the judge again" in failed.error


def test_a_pair_that_a_server_refuses_fails_alone(
    project: Project, alice: User, server: FakeServer, home: Path
) -> None:
    project.samples_per_order = 0
    project.save()
    deployments.promote(project, remote_judge(server), counts="score", gate={}, by=alice)
    _first, odd, *_others = PairFactory.create_batch(4, project=project)
    PairFactory.create_batch(20, project=project)
    judging.request_project(project)

    def refuses(body: dict[str, Any]) -> Reply:
        if odd.response_a in body["messages"][0]["content"]:
            return Reply({"error": {"message": "This is too long."}}, 400)
        return likes_the_first(body)

    server.answer = refuses
    assert [judge_waiting() for _ in range(2)] == [1, 22], "the others go on with the next job"
    failed = JudgingRequest.objects.get()
    assert (failed.pair, failed.state, failed.attempts, failed.priority) == (odd, "failed", 1, 10)
    assert "This is too long." in failed.error
    assert "beside it" not in failed.error
    assert Judgement.objects.count() == 23


def test_where_a_judge_runs(db: None, home: Path, server: FakeServer) -> None:
    (home / "judges" / "star-dpo-1").mkdir(parents=True)

    def model_of(backend: str, base_model: str, weights: str) -> str:
        judge = JudgeVersionFactory.create(backend=backend, base_model=base_model, weights=weights)
        return resident.spec_of(judge).model

    assert model_of("transformers", "org/name", "judges/star-dpo-1") == str(home / "judges" / "star-dpo-1")
    assert model_of("transformers", "/models/small", "/models/small") == "/models/small"
    assert model_of("vllm", "org/name", "org/name") == "org/name"
    assert model_of("transformers", "org/name", "judges/gone") == str(home / "judges" / "gone")
    spec = resident.spec_of(remote_judge(server))
    assert (spec.kind, spec.model, spec.url, spec.api_key) == ("openai", "served", server.url, KEY)
    assert KEY not in repr(spec)


# Whether a model could be trained here.


def model_in(folder: Path, *, parameters: int = 1000, **config: Any) -> Path:
    """A folder like a model's: a config, and weights of which only the header is there."""
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], **config}))
    header = json.dumps({"__metadata__": {}, "w": {"dtype": "BF16", "shape": [parameters // 10, 10]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return folder


def test_a_small_causal_model_can_be_trained_and_the_note_says_what_it_takes(tmp_path: Path) -> None:
    can, note = trainable.fitness(model_in(tmp_path, parameters=135_000_000), "cpu")
    assert can
    assert "135 million parameters need about 2.5 GiB" in note


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"parameters": 10**13}, "this device (cpu) has"),
        ({"architectures": ["BertForSequenceClassification"]}, "BertForSequenceClassification"),
        ({"tandem_head": "bradley-terry"}, "reward model"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
    ],
)
def test_what_cannot_be_trained_here_says_why(tmp_path: Path, fields: dict[str, Any], reason: str) -> None:
    can, note = trainable.fitness(model_in(tmp_path, **fields), "cpu")
    assert not can
    assert reason in note


def test_weights_that_are_missing_or_broken_are_said(tmp_path: Path) -> None:
    assert not trainable.fitness(None, "cpu")[0]
    model_in(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"short")
    with pytest.raises(EngineError, match="no readable safetensors"):
        trainable.fitness(tmp_path, "cpu")
    (tmp_path / "model.safetensors").unlink()
    assert "safetensors" in trainable.fitness(tmp_path, "cpu")[1]
    assert trainable.checksum_of(tmp_path) == ""
