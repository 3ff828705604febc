"""Project, disagreements, import, runs, health and sign-in through their addresses."""

import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from labeling.models import Consensus, Deployment, Flag, ImportBatch, Label, Pair, Project, TrainingRun, WorkerHeartbeat
from labeling.services import training
from tests import factories
from tests.web.conftest import World
from workers.tasks.housekeeping import sweep

FIGURES = {"n": 40, "accuracy": 0.7, "accuracy_low": 0.55, "accuracy_high": 0.83, "consistency": 0.9}
WORSE = FIGURES | {"accuracy": 0.52, "accuracy_low": 0.4}


def text(client: Client, url: str, **headers: str) -> str:
    return client.get(url, headers=headers).content.decode()


def test_the_project_page_says_that_no_judge_worker_runs(as_alice: Client, champion: Deployment) -> None:
    assert "No judge worker is running" in text(as_alice, "/p/stories/")
    now = timezone.now()
    WorkerHeartbeat.objects.create(name="judge@host", queues="judge", pid=1, started_at=now, seen_at=now)
    assert "No judge worker is running" not in text(as_alice, "/p/stories/")


def test_one_notice_says_that_the_judge_is_not_trusted(as_alice: Client, champion: Deployment) -> None:
    assert "Not trusted yet, so" not in text(as_alice, "/p/stories/")
    Deployment.objects.update(trusted=False)
    assert text(as_alice, "/p/stories/").count("Not trusted yet, so") == 1
    assert text(as_alice, "/p/stories/flags/").count("Not trusted yet, so") == 1


def test_the_project_page_reads_no_texts_to_count_pairs_and_its_pulse_no_label_twice(
    as_alice: Client, as_bob: Client, champion: Deployment
) -> None:
    Deployment.objects.update(trusted=False)
    factories.labelled(champion.project, training.LEAST_TRAINING - 2)
    factories.labelled(champion.project, training.LEAST_GATE, part="gate")
    pulse = {"HX-Request": "true", "HX-Target": "pulse"}

    def reads(client: Client, column: str, **headers: str) -> bool:
        with CaptureQueriesContext(connection) as made:
            text(client, "/p/stories/", **headers)
        return any(column in query["sql"] for query in made)

    assert not reads(as_alice, '"response_a"')
    assert not reads(as_bob, '"labeling_label"."choice"', **pulse)
    assert "Label about 2 more pairs" in text(as_bob, "/p/stories/", **pulse)
    [pair] = factories.labelled(champion.project, 1)
    assert reads(as_bob, '"labeling_label"."choice"', **pulse)
    assert "Label about 1 more pairs" in text(as_bob, "/p/stories/", **pulse)
    Pair.objects.filter(pk=pair.pk).update(ambiguous=True)
    assert "Label about 2 more pairs" in text(as_bob, "/p/stories/", **pulse)


def test_on_the_project_page_a_user_is_told_from_an_annotator_of_a_file(as_alice: Client, world: World) -> None:
    factories.LabelFactory.create(pair=world.pair, external_annotator="bob")
    page = text(as_alice, "/p/stories/")
    assert '<th scope="row">bob</th>' in page
    assert '<th scope="row">bob (imported)</th>' in page


def test_annotators_see_no_retraining(as_bob: Client, as_alice: Client, champion: Deployment) -> None:
    assert "Retrain the judge" in text(as_alice, "/p/stories/")
    page = text(as_bob, "/p/stories/")
    assert "Retrain the judge" not in page
    assert "Disagreements" not in page


def test_whoever_lacks_a_project_or_a_role_is_sent_to_those_who_can_give_it(as_charlie: Client, as_bob: Client) -> None:
    assert "Ask an administrator to add you" in text(as_charlie, "/")
    assert "Ask an administrator for the role" in text(as_bob, "/p/stories/settings/")


def test_progress_is_polled_as_a_part_of_the_page(as_alice: Client, world: World) -> None:
    headers = {"HX-Request": "true", "HX-Target": "pulse"}
    part = text(as_alice, "/p/stories/", **headers)
    assert part.strip().startswith('<div id="pulse"')
    assert 'hx-trigger="every 3s"' in part
    assert "<strong>0</strong> of 2 pairs labelled" in part


def test_retraining_says_what_is_missing(as_alice: Client, champion: Deployment) -> None:
    response = as_alice.post("/p/stories/retrain/", {"method": "genrm"})
    assert response.status_code == 422
    missing = training.readiness(champion.project).missing
    assert missing
    assert missing[0] in response.content.decode()
    assert not TrainingRun.objects.exists()


def test_the_retrain_button_starts_a_run(
    as_alice: Client, champion: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LEAST_TRAINING", "LEAST_GATE", "LEAST_GATE_GROUPS"):
        monkeypatch.setattr(training, name, 1)
    for part in ("", "gate"):
        factories.LabelFactory.create(pair=factories.PairFactory.create(project=champion.project, part=part))
    response = as_alice.post("/p/stories/retrain/", {"method": "star-dpo"})
    run = TrainingRun.objects.get()
    assert response["Location"] == f"/runs/{run.pk}/"
    assert (run.method, run.trigger, run.requested_by) == ("star-dpo", "button", User.objects.get(username="alice"))
    assert as_alice.post("/p/stories/retrain/", {"method": "nonsense"}).status_code == 422


def test_a_run_is_polled_until_it_has_ended(as_alice: Client, world: World) -> None:
    url = f"/runs/{world.run.pk}/"
    curve = [{"step": step, "loss": 1 / (step + 1)} for step in range(9)]
    TrainingRun.objects.update(state="running", phase="training", message="Step 8", progress=0.4, curve=curve)
    page = text(as_alice, url)
    assert 'hx-trigger="every 2s"' in page
    assert "Loss from 1.000 to 0.111 over 8 steps" in page
    TrainingRun.objects.update(
        state="rejected",
        metrics={"champion": {"gate": FIGURES, "test": {}, "all": FIGURES}, "candidate": {"gate": WORSE}},
        gate={"promote": False, "difference": -0.18, "low": -0.3, "high": 0.01, "conditions": [
            {"met": False, "text": "The candidate is better with probability 0.04."},
        ]},
    )  # fmt: skip
    page = text(as_alice, url)
    assert "every 2s" not in page
    for wanted in ("70 %", "52 %", "95 %: 55 % to 83 %", "−18.0 points", "probability 0.04", "Not met: "):
        assert wanted in page


def test_a_run_can_be_cancelled_once(as_alice: Client, world: World) -> None:
    url = f"/runs/{world.run.pk}/cancel/"
    as_alice.post(url)
    world.run.refresh_from_db()
    assert world.run.state == "cancelled"
    assert "ended already" in as_alice.post(url, follow=True).content.decode()


def flag(project: Project, **fields: object) -> Flag:
    pair = factories.PairFactory.create(project=project)
    return Flag.objects.create(pair=pair, kind="judge_disagrees", detail={"human": "a", "judge": "b"}, **fields)


def test_settling_leads_to_the_next_flag_and_then_to_the_list(as_dora: Client, project: Project) -> None:
    first, second = flag(project), flag(project)
    url = f"/p/stories/pairs/{first.pair_id}/"
    assert as_dora.post(url, {"reason": "no verdict"}).status_code == 422
    assert (
        as_dora.post(url, {"choice": "a", "reason": "it is right"})["Location"] == f"/p/stories/pairs/{second.pair_id}/"
    )
    assert (Consensus.objects.get().choice, Consensus.objects.get().method) == ("a", "adjudicated")
    again = as_dora.post(url, {"choice": "b"})
    assert again.status_code == 422
    assert "settled this pair already" in again.content.decode()
    assert as_dora.post(f"/p/stories/pairs/{second.pair_id}/", {"choice": "tie"})["Location"] == "/p/stories/flags/"


def test_the_dossier_shows_who_said_what(as_dora: Client, world: World, champion: Deployment) -> None:
    Label.objects.update(final_choice="b", revealed_at=timezone.now())
    factories.JudgementFactory.create(pair=world.pair, judge=champion.judge, p_a_straight=0.9, p_a_swapped=0.7)
    page = text(as_dora, f"/p/stories/pairs/{world.pair.pk}/")
    for wanted in ("bob", "A is better", "B is better", "90 %", "70 %", champion.judge.name):
        assert wanted in page


@pytest.mark.parametrize(("rows", "page"), [(3, 1), (60, 1), (60, 2)])
def test_the_list_of_flags_takes_few_queries(
    as_dora: Client, project: Project, champion: Deployment, rows: int, page: int, django_assert_max_num_queries: Any
) -> None:
    for _ in range(rows):
        flag(project, judge=champion.judge)
    with django_assert_max_num_queries(18):
        html = text(as_dora, f"/p/stories/flags/?page={page}")
    assert html.count('<h2><a href="/p/stories/pairs/') == (min(rows, 50) if page == 1 else rows - 50)


@pytest.mark.parametrize("number", [1, 30])
def test_the_list_of_projects_takes_few_queries(
    as_alice: Client, alice: User, number: int, django_assert_max_num_queries: Any
) -> None:
    for index in range(number):
        project = factories.ProjectFactory.create(slug=f"more-{index}")
        project.members.create(user=alice, role="annotator")
    with django_assert_max_num_queries(3):
        assert text(as_alice, "/").count('class="card"') == number + 1


@pytest.mark.parametrize("number", [1, 40])
def test_the_project_page_takes_few_queries(
    as_alice: Client, champion: Deployment, number: int, django_assert_max_num_queries: Any
) -> None:
    for index in range(number):
        pair = factories.PairFactory.create(project=champion.project)
        factories.LabelFactory.create(pair=pair, external_annotator=f"person-{index}")
        ImportBatch.objects.create(project=champion.project, filename=f"{index}.jsonl", sha256=str(index))
    with django_assert_max_num_queries(45):
        text(as_alice, "/p/stories/")


def test_an_upload_shows_every_rejected_line(as_alice: Client, project: Project) -> None:
    good = {"prompt": "Add 3 and 4.", "response_a": "7", "response_b": "8"}
    lines = [json.dumps(good), "{nonsense", json.dumps({"prompt": "x"})]
    file = io.BytesIO("\n".join(lines).encode())
    file.name = "sums.jsonl"
    page = as_alice.post("/p/stories/import/", {"file": file}, follow=True)
    batch = ImportBatch.objects.get()
    assert page.redirect_chain == [(f"/imports/{batch.pk}/", 302)]
    assert (batch.imported, batch.rejected) == (1, 2)
    for line in batch.rejected_lines.all():
        assert f'class="num">{line.number}</th>' in page.content.decode()


def test_an_unreadable_upload_says_why(as_alice: Client, project: Project) -> None:
    assert as_alice.post("/p/stories/import/").status_code == 422
    file = io.BytesIO(b"\xff\xfe\x00binary\x00")
    file.name = "picture.png"
    response = as_alice.post("/p/stories/import/", {"file": file})
    assert response.status_code in (302, 422)  # refused as a whole, or every line rejected with its reason
    assert not project.pairs.exists()


def test_rejected_lines_are_paged(as_alice: Client, world: World) -> None:
    for number in range(120):
        world.batch.rejected_lines.create(number=number + 1, reason="bad", excerpt="{")
    page = text(as_alice, f"/imports/{world.batch.pk}/?page=3")
    assert 'class="num">101</th>' in page
    assert "Page 3 of 3" in page


def test_health_names_silent_workers_and_a_dead_broker(as_bob: Client, world: World) -> None:
    now = timezone.now()
    WorkerHeartbeat.objects.create(name="judge@host", queues="judge", pid=1, started_at=now, seen_at=now)
    with patch("webapp.health._broker_answers", return_value=False):
        page = text(as_bob, "/health/")
    assert "judge@host" in page
    assert "The broker does not answer" in page


def test_health_names_the_queues_for_which_no_worker_is_there(as_bob: Client, world: World) -> None:
    now = timezone.now()
    WorkerHeartbeat.objects.create(name="one@host", queues="default,files", pid=1, started_at=now, seen_at=now)
    WorkerHeartbeat.objects.create(name="two@host", queues="judge,train", pid=1, started_at=now, seen_at=now)
    assert "No worker is there" not in text(as_bob, "/health/")
    WorkerHeartbeat.objects.filter(name="two@host").update(seen_at=now - timedelta(hours=1))
    assert "No worker is there for judge, train." in text(as_bob, "/health/")


def test_health_says_that_the_scheduler_is_dead_once_workers_have_waited_for_it(
    as_bob: Client, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.health._broker_answers", lambda: True)
    dead, now = "The scheduler seems to be dead", timezone.now()
    long_ago = now - timedelta(minutes=10)
    assert dead not in text(as_bob, "/health/")
    WorkerHeartbeat.objects.create(name="default@host", queues="default", pid=1, started_at=now, seen_at=now)
    assert dead not in text(as_bob, "/health/")
    WorkerHeartbeat.objects.update(started_at=long_ago)
    assert "has not run for about 10 min" in text(as_bob, "/health/")
    sweep()
    page = text(as_bob, "/health/")
    assert dead not in page
    assert page.count("ago</td>") == 1, "the worker, and nothing else"
    WorkerHeartbeat.objects.filter(name="sweep").update(seen_at=now - timedelta(minutes=5))
    assert "has not run for about 5 min" in text(as_bob, "/health/")
    WorkerHeartbeat.objects.filter(queues="default").update(started_at=now)
    assert dead not in text(as_bob, "/health/")
    sweep()
    assert WorkerHeartbeat.objects.filter(name="sweep").count() == 1


def test_health_needs_a_login_and_healthz_does_not(client: Client, db: None) -> None:
    assert client.get("/health/").status_code == 302
    assert client.get("/healthz").json() == {"status": "ok", "database": "ok"}
    with patch("webapp.health.connection.cursor", side_effect=DatabaseError):
        response = client.get("/healthz")
    assert (response.status_code, response.json()["status"]) == (503, "degraded")


def test_signing_in_and_out(client: Client, bob: User) -> None:
    wrong = client.post("/login/", {"username": "bob", "password": "no"})
    assert "correct username and password" in wrong.content.decode()
    right = {"username": "bob", "password": "bob-password", "next": "/p/stories/"}
    assert client.post("/login/", right)["Location"] == "/p/stories/"
    assert client.post("/logout/")["Location"] == "/login/"


def test_unknown_addresses_and_forbidden_pages_look_like_tandem(as_bob: Client, project: Project) -> None:
    missing, forbidden = as_bob.get("/p/nothing/"), as_bob.get("/p/stories/flags/")
    assert (missing.status_code, forbidden.status_code) == (404, 403)
    assert "There is nothing here" in missing.content.decode()
    assert "adjudicator" in forbidden.content.decode()


def test_a_crash_shows_a_page_without_details(as_bob: Client, project: Project) -> None:
    as_bob.raise_request_exception = False
    with patch("labeling.queries.progress_for", side_effect=RuntimeError("secret detail")):
        response = as_bob.get("/p/stories/")
    assert response.status_code == 500
    assert "Something broke on our side" in response.content.decode()
    assert "secret detail" not in response.content.decode()


def test_too_many_wrong_passwords_lock_the_sign_in_with_a_plain_message(
    client: Client, bob: User, settings: Any
) -> None:
    settings.AXES_ENABLED = True
    settings.AXES_FAILURE_LIMIT = 2
    settings.AXES_LOCKOUT_TEMPLATE = "lockout.html"
    for _ in range(3):
        response = client.post("/login/", {"username": "bob", "password": "no"})
    assert response.status_code == 429
    assert "Too many wrong passwords" in response.content.decode()
