"""A run's page: its phases, place in the queue, end and frozen labels; and what to expect before one asks for one."""

import io
import json
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from labeling import run_files
from labeling.models import Deployment, Project, TrainingRun, WorkerHeartbeat
from labeling.services import claims, training
from labeling.services.tokens import create_token
from tests import factories
from tests.web.conftest import World

CONFIG = {"method": "star-dpo", "learning_rate": 3e-05, "soft_labels": True, "rubric": "Prefer <b>the</b> clearer one."}
FIGURES = {"n": 40, "accuracy": 0.7, "accuracy_low": 0.55, "accuracy_high": 0.83, "consistency": 0.9}
REJECTED = {
    "promote": False, "difference": -0.18, "low": -0.3, "high": 0.01, "groups": 20,
    "conditions": [
        {"name": "better", "met": False, "text": "Better with probability 0.04.", "champion": None, "candidate": 0.04},
        {"name": "consistency", "met": True, "text": "Same winner.", "champion": 0.9, "candidate": 0.9},
    ],
}  # fmt: skip


def text(client: Client, url: str, **headers: str) -> str:
    return " ".join(client.get(url, headers=headers).content.decode().split())


@pytest.fixture
def url(world: World) -> str:
    TrainingRun.objects.update(method="star-dpo", config=CONFIG, training_pairs=60, replay_pairs=30, holdout_pairs=25)
    return f"/runs/{world.run.pk}/"


def test_a_waiting_run_says_where_it_stands(as_alice: Client, world: World, url: str) -> None:
    judge = world.run.start
    secret = factories.ProjectFactory.create(name="Secret letters")
    ahead = TrainingRun(project=secret, trigger="api", method="genrm", start=judge, origin=judge, training_pairs=12)
    ahead.state, ahead.lease = "running", "x"
    ahead.save()
    page = text(as_alice, url)
    assert "Number <strong>2</strong> in the queue" in page
    assert f"Ahead of it run {ahead.pk} (under way)." in page
    assert "expected to wait 60 s" in page
    assert "Secret letters" not in page
    assert "No training worker is running" in page
    now = timezone.now()
    WorkerHeartbeat.objects.create(name="train@host", queues="train", pid=1, started_at=now, seen_at=now)
    assert "No training worker is running" not in text(as_alice, url)


def test_a_run_at_work_shows_its_phase_and_the_time_left(as_alice: Client, url: str) -> None:
    TrainingRun.objects.update(
        state="running", phase="sampling", progress=0.25, message="Sampled 12 of 40", seconds={"sampling": 600.0},
        started_at=timezone.now(), yields=[
            {"iteration": 0, "right": 3000, "wrong": 900, "unparsed": 100},
            {"iteration": 1, "right": 9, "wrong": 1, "unparsed": 0, "paired": 1, "all_right": 1234, "all_wrong": 0},
        ],
        examples=[{"text": "It is <i>clear</i>.", "right": True, "verdict": "a", "pair_id": "7"}],
    )  # fmt: skip
    page = text(as_alice, url)
    assert '<li class="now" aria-current="step"> <span class="phase-name">Sampling</span>' in page
    assert page.count('aria-current="step"') == 1
    assert "25 % of the whole run; about 30 min left." in page
    assert '<td class="num">3,000</td>' in page
    assert '<td class="num">75 %</td><td class="num" colspan="3">not counted</td>' in page
    assert '<td class="num">1,234</td><td class="num">0</td></tr>' in page
    assert 'href="/p/stories/pairs/7/"' in page
    assert "<i>clear" not in page
    part = text(as_alice, url, **{"HX-Request": "true", "HX-Target": "run"})
    assert part.startswith('<div id="run"')


def test_whoever_reads_a_rationale_is_not_asked_about_its_pair(
    as_alice: Client, alice: User, world: World, url: str
) -> None:
    """The page tells the judge's verdict, and whether it is that of people."""
    Project.objects.update(overlap=2)
    world.project.refresh_from_db()
    claims.reopen(world.project)
    other = factories.PairFactory.create(project=world.project)
    assert set(claims.open_pairs_of(world.project, alice)) == {world.pair, world.claim.pair, other}
    example = {"text": "It is clear.", "right": True, "verdict": "a"}
    TrainingRun.objects.update(examples=[{**example, "pair_id": str(world.pair.pk)}, example])
    for _ in range(2):
        assert "It is clear." in text(as_alice, url)
    assert set(claims.open_pairs_of(world.project, alice)) == {world.claim.pair, other}


def test_the_page_says_what_the_run_does_and_with_what(as_alice: Client, url: str) -> None:
    versions = {"torch": "2.13.0"}
    TrainingRun.objects.update(
        versions=versions, seconds={"training": 90.4, "gate": 2.0, "waiting": 500.0}, tokens=12345
    )
    page = text(as_alice, url)
    assert "trains on 60 labelled pairs that are new to" in page
    assert "repeats 30 that it has seen" in page
    assert "Only blind first verdicts count" in page
    assert "Hold-out and audit pairs never train." in page
    assert '<code>learning_rate</code></th><td>3e-05</td><td class="muted">Peak learning rate' in page
    assert "Prefer &lt;b&gt;the&lt;/b&gt; clearer one." in page
    assert "<dt>torch</dt><dd>2.13.0</dd>" in page
    assert '<td class="num"><strong>92 s</strong></td>' in page
    assert "<strong>12,345</strong> tokens" in page


def test_both_curves_are_drawn_where_both_are_there(as_alice: Client, url: str) -> None:
    curve: list[dict[str, Any]] = [{"stage": "star-0", "step": step, "loss": 1 / step} for step in (1, 2, 3)]
    TrainingRun.objects.update(curve=curve)
    page = text(as_alice, url)
    assert "Loss from 1.000 to 0.333 over 3 steps" in page
    assert "Reward margin" not in page
    TrainingRun.objects.update(curve=[{**point, "reward_margin": 0.1 * point["step"]} for point in curve])
    assert "Reward margin from 0.100 to 0.300 over 3 steps" in text(as_alice, url)


def test_a_rejection_says_what_failed_by_how_much_and_who_overruled_it(
    as_alice: Client, alice: User, world: World, url: str
) -> None:
    candidate = factories.JudgeVersionFactory.create(name="star-dpo-9")
    measured = {"gate": FIGURES, "test": {}, "all": FIGURES}
    TrainingRun.objects.update(
        state="rejected", candidate=candidate, gate=REJECTED, metrics={"champion": measured, "candidate": measured}
    )
    page = text(as_alice, url)
    assert "It did not meet 1 condition of the gate, so" in page
    assert "<strong>0.76 less than the 0.80 that is asked.</strong>" in page
    assert "Overruled" not in page
    Deployment.objects.create(
        project=world.project,
        judge=candidate,
        state="retired",
        overruled_by=alice,
        overruled_because="It reads <better>",
    )
    page = text(as_alice, url)
    assert "Overruled by alice:</strong> It reads &lt;better&gt;." in page
    assert "star-dpo-9 became the champion all the same" in page


def test_a_rejection_without_a_failed_condition_says_why(as_alice: Client, url: str) -> None:
    message = "Another judge has become champion meanwhile."
    TrainingRun.objects.update(state="rejected", message=message, gate={"promote": False, "conditions": []})
    assert message in text(as_alice, url)


@pytest.mark.parametrize(
    ("state", "fields", "wanted"),
    [
        ("promoted", {}, "met every condition of the gate and became the champion"),
        ("cancelled", {"message": "Cancelled"}, "Cancelled. Nothing was changed"),
        ("failed", {"error": "the GPU ran out of memory: <stop>"}, "Not enough memory.</strong> Stop what else"),
        ("failed", {"error": "KeyError: 'x'"}, "Asking again is safe"),
    ],
)
def test_every_end_is_clear(as_alice: Client, url: str, state: str, fields: dict[str, Any], wanted: str) -> None:
    TrainingRun.objects.update(state=state, phase="training", **fields)
    page = text(as_alice, url)
    assert wanted in page
    assert "every 2s" not in page
    assert "<stop>" not in page


def test_the_frozen_labels_come_as_a_zip_to_managers_alone(
    as_alice: Client, as_dora: Client, as_charlie: Client, world: World, url: str, home: Path
) -> None:
    assert "Download as zip" not in text(as_alice, url)
    folder = run_files.folder_of(world.run)
    folder.mkdir(parents=True)
    for name in run_files.SNAPSHOT:
        (folder / name).write_text(json.dumps({"id": name}) + "\n")
    TrainingRun.objects.update(snapshot_sha256="ab" * 32)
    assert "Download as zip" in text(as_alice, url)
    response: Any = as_alice.get(f"{url}snapshot/")
    assert response.streaming
    assert f'filename="run-{world.run.pk}-abababababab.zip"' in response["Content-Disposition"]
    assert "no-store" in response["Cache-Control"]
    with zipfile.ZipFile(io.BytesIO(b"".join(response.streaming_content))) as zipped:
        assert json.loads(zipped.read(f"run-{world.run.pk}/holdout.jsonl")) == {"id": "holdout.jsonl"}
        assert json.loads(zipped.read(f"run-{world.run.pk}/config.json")) == CONFIG
    assert [who.get(f"{url}snapshot/").status_code for who in (as_dora, as_charlie)] == [403, 404]


def test_the_panel_says_what_a_run_would_do_now(as_alice: Client, champion: Deployment) -> None:
    project = champion.project
    for part, count in (("", 42), ("gate", 16)):
        for pair in factories.PairFactory.create_batch(count, project=project, part=part):
            factories.LabelFactory.create(pair=pair)
    page = text(as_alice, "/p/stories/")
    assert f"starts from <strong>{champion.judge.name}</strong>, and trains on 42 labelled pairs new to it." in page
    assert "measured on 16 hold-out pairs that no judge trains on, of which 16 decide" in page
    assert page.count('<tr class="here" aria-current="true">') == 1
    assert "Trains on 42 pairs, about 5 min" in page
    assert "Never: no policy is set." in page
    assert "Measured for the embedded 135M judge" in page
    at = timezone.now() + timedelta(days=3)
    Project.objects.update(retrain_after=100, retrain_every_days=3, created_at=at - timedelta(days=3))
    page = text(as_alice, "/p/stories/")
    assert "A run starts after 100 new blind labels: 42 are missing." in page
    assert f"The schedule asks next on {at:%-d %b %Y, %H:%M} UTC, every 3 days." in page


def test_the_api_tells_what_a_run_starts_from_and_what_it_cost(
    alice: User, world: World, url: str, django_assert_max_num_queries: Any
) -> None:
    origin = factories.JudgeVersionFactory.create(name="the-base")
    TrainingRun.objects.update(origin=origin, seconds={"training": 3.5}, tokens=99)
    headers = {"Authorization": f"Bearer {create_token(alice)}"}
    row = Client().get(f"/api/v1/training-runs/{world.run.pk}", headers=headers).json()
    assert (row["origin"], row["start"], row["candidate"]) == ("the-base", world.run.start.name, "")
    assert (row["replay_pairs"], row["seconds"], row["tokens"]) == (30, {"training": 3.5}, 99)
    assert row["queue_position"] == 1
    for _ in range(20):
        TrainingRun.objects.create(
            project=world.project, trigger="api", method="genrm", start=origin, origin=origin, state="failed"
        )
    with django_assert_max_num_queries(9):
        rows = Client().get("/api/v1/projects/stories/training-runs", headers=headers).json()
    assert [row["queue_position"] for row in rows] == [None] * 20 + [1]


def test_the_time_of_a_run_is_expected_by_its_method() -> None:
    assert training.SECONDS_PER_PAIR.keys() == training.COUNTS.keys()
