"""The REST API, entered by URL with a bearer token."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from labeling.models import ApiToken, Deployment, Project, TrainingRun
from labeling.services import training
from labeling.services.consensus import refresh
from labeling.services.labels import Given, commit_label
from labeling.services.tokens import create_token
from tests.factories import ClaimFactory, JudgementFactory, LabelFactory, PairFactory


def get(user: User | str, path: str) -> Any:
    secret = user if isinstance(user, str) else create_token(user)
    return Client().get(f"/api/v1{path}", headers={"Authorization": f"Bearer {secret}"})


def post(user: User | str, path: str, body: object = None) -> Any:
    secret = user if isinstance(user, str) else create_token(user)
    return Client().post(
        f"/api/v1{path}", data=body, content_type="application/json", headers={"Authorization": f"Bearer {secret}"}
    )


def rows(response: Any) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.content
    return [json.loads(line) for line in b"".join(response.streaming_content).splitlines()]


def test_only_valid_tokens_get_in(alice: User, project: Project) -> None:
    assert Client().get("/api/v1/projects").status_code == 401
    assert get("tandem_wrong", "/projects").status_code == 401
    secret = create_token(alice)
    assert get(secret, "/projects").status_code == 200
    token = ApiToken.objects.get()
    assert token.last_used_at is not None
    assert secret not in (token.sha256, token.name)
    ApiToken.objects.update(revoked_at=timezone.now())
    assert get(secret, "/projects").status_code == 401
    ApiToken.objects.update(revoked_at=None, expires_at=timezone.now() - timedelta(seconds=1))
    assert get(secret, "/projects").status_code == 401
    ApiToken.objects.update(expires_at=None)
    User.objects.update(is_active=False)
    assert get(secret, "/projects").status_code == 401


def test_the_command_prints_the_token_last(alice: User, capsys: pytest.CaptureFixture[str], project: Project) -> None:
    call_command("create_token", "alice")
    secret = capsys.readouterr().out.split()[-1]
    assert [row["slug"] for row in get(secret, "/projects").json()] == ["stories"]


def test_projects_show_progress_and_only_ones_own(alice: User, charlie: User, champion: Deployment) -> None:
    LabelFactory.create(pair=PairFactory.create(project=champion.project))
    refresh(champion.project.pairs.get())
    [row] = get(alice, "/projects").json()
    assert (row["slug"], row["pairs"], row["labelled"], row["labels"]) == ("stories", 1, 1, 1)
    assert (row["judge"], row["judge_trusted"], row["role"]) == (champion.judge.name, True, "manager")
    assert get(charlie, "/projects").json() == []


@pytest.mark.parametrize(("who", "status"), [("alice", 200), ("dora", 403), ("bob", 403), ("charlie", 404)])
def test_labels_are_the_managers(request: pytest.FixtureRequest, project: Project, who: str, status: int) -> None:
    user = request.getfixturevalue(who)
    assert get(user, f"/projects/{project.slug}/labels").status_code == status
    assert get(user, f"/projects/{project.slug}/training-runs").status_code == status


def test_human_labels_strict_and_full(alice: User, bob: User, project: Project) -> None:
    claim = ClaimFactory.create(pair__project=project, annotator=bob, swapped=True)
    commit_label(claim, choice="left", given=Given(comment="clearer", seconds=4.0))
    LabelFactory.create(pair=PairFactory.create(project=project), choice="tie", external_annotator="ada")
    strict = rows(get(alice, "/projects/stories/labels?source=human&profile=strict"))
    assert strict == [
        {
            "prompt": claim.pair.prompt,
            "chosen": [{"role": "assistant", "content": claim.pair.response_b}],
            "rejected": [{"role": "assistant", "content": claim.pair.response_a}],
        }
    ]
    full = rows(get(alice, "/projects/stories/labels?source=human&profile=full"))
    assert [row["choice"] for row in full] == ["b", "tie"]
    provenance = full[0]["provenance"]
    assert provenance["annotator"] == "bob"
    assert (provenance["order_shown"], provenance["choice_shown"], provenance["blind"]) == ("ba", "left", True)
    assert full[1]["provenance"]["annotator"] == "ada"


def test_synthetic_labels_are_the_champions_counted_judgements(alice: User, champion: Deployment) -> None:
    pair = PairFactory.create(project=champion.project)
    JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.2)
    JudgementFactory.create(pair=pair, judge=champion.judge, method="cot", p_a=0.9)
    JudgementFactory.create(pair=pair, p_a=0.9)
    [row] = rows(get(alice, "/projects/stories/labels?source=judge&profile=full"))
    assert (row["choice"], row["provenance"]["p_a"], row["provenance"]["method"]) == ("b", 0.2, "score")
    assert row["provenance"]["judge"] == champion.judge.name
    [strict] = rows(get(alice, "/projects/stories/labels?source=judge&profile=strict"))
    assert strict["chosen"][0]["content"] == pair.response_b


def test_the_consensus_says_how_it_came_about(alice: User, project: Project) -> None:
    pair = PairFactory.create(project=project)
    for choice in ("a", "a", "b"):
        LabelFactory.create(pair=pair, choice=choice)
    refresh(pair)
    [row] = rows(get(alice, "/projects/stories/labels?source=consensus"))
    assert row["choice"] == "a"
    assert row["provenance"]["confidence"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("query", ["source=robots", "profile=loose", "format=xml"])
def test_an_unknown_option_is_refused_by_name(alice: User, project: Project, query: str) -> None:
    response = get(alice, f"/projects/stories/labels?{query}")
    assert response.status_code == 422
    assert query.split("=")[0] in response.content.decode()


def test_an_export_reads_with_few_queries(alice: User, project: Project, django_assert_max_num_queries: Any) -> None:
    secret = create_token(alice)
    for pair in PairFactory.create_batch(30, project=project):
        LabelFactory.create(pair=pair)
    with django_assert_max_num_queries(8):
        assert len(rows(get(secret, "/projects/stories/labels"))) == 30


def test_a_run_over_the_api(alice: User, bob: User, champion: Deployment) -> None:
    project = champion.project
    path = f"/projects/{project.slug}/training-runs"
    refused = post(alice, path, {"method": "genrm"})
    assert refused.status_code == 409
    assert "Label 40 more pairs" in refused.json()["detail"]
    for part, count in (("", training.LEAST_TRAINING), ("gate", training.LEAST_GATE)):
        for pair in PairFactory.create_batch(count, project=project, part=part):
            LabelFactory.create(pair=pair)
    assert post(bob, path, {"method": "genrm"}).status_code == 403
    assert post(create_token(alice, scope="read"), path, {"method": "genrm"}).status_code == 403
    for body, field in (({"method": "magic"}, "method"), ({"methd": "grpo"}, "methd")):
        refused = post(alice, path, body)
        assert refused.status_code == 422
        assert [error["field"] for error in refused.json()["errors"]] == [field]
    started = post(alice, path, {"method": "star-dpo"})
    assert started.status_code == 202
    run = TrainingRun.objects.get()
    assert started.json()["id"] == run.pk
    assert get(alice, f"/training-runs/{run.pk}").json()["state"] == "queued"
    assert [row["id"] for row in get(alice, path).json()] == [run.pk]
    assert post(alice, f"/training-runs/{run.pk}/cancel").json()["state"] == "cancelled"
    assert post(alice, f"/training-runs/{run.pk}/cancel").status_code == 409
    assert get(bob, f"/training-runs/{run.pk}").status_code == 403


def test_the_admin_action_starts_a_run_or_says_what_is_missing(champion: Deployment) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    data = {"action": "retrain_genrm", "_selected_action": [champion.project.pk]}
    refused = client.post("/admin/labeling/project/", data, follow=True)
    assert "more pairs for training" in refused.content.decode()
    for part, count in (("", training.LEAST_TRAINING), ("gate", training.LEAST_GATE)):
        for pair in PairFactory.create_batch(count, project=champion.project, part=part):
            LabelFactory.create(pair=pair)
    assert "is queued" in client.post("/admin/labeling/project/", data, follow=True).content.decode()
    assert TrainingRun.objects.get().trigger == "admin"


def test_the_admin_leaves_alone_what_the_hold_out_is_drawn_by(champion: Deployment) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    page = client.get(f"/admin/labeling/project/{champion.project.pk}/change/").content.decode()
    new = client.get("/admin/labeling/project/add/").content.decode()
    for name in ("slug", "holdout_share", "audit_share"):
        assert f'name="{name}"' in new
        assert f'name="{name}"' not in page
