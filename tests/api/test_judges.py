"""Judge versions over REST: figures for adjudicators, changes for managers with a token of that scope."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from labeling.models import Deployment
from labeling.services import trust
from labeling.services.datasets import holdout_rows
from labeling.services.tokens import create_token
from tests.api.calling import fields_of
from tests.factories import (
    DeploymentFactory,
    JudgementFactory,
    JudgeVersionFactory,
    LabelFactory,
    PairFactory,
    ProjectFactory,
)

PATH = "/api/v1/projects/stories/judges"


def get(user: User, path: str = "") -> Any:
    return Client().get(PATH + path, headers={"Authorization": f"Bearer {create_token(user)}"})


def post(user: User, path: str, body: object = None, *, scope: str = "manage") -> Any:
    headers = {"Authorization": f"Bearer {create_token(user, scope=scope)}"}
    sent = "" if body is None else body
    return Client().post(PATH + path, data=sent, content_type="application/json", headers=headers)


@pytest.fixture
def other(champion: Deployment) -> Deployment:
    """A rejected child of the champion; both have judged a test pair, the child rightly."""
    judge = JudgeVersionFactory.create(parent=champion.judge)
    made = DeploymentFactory.create(
        project=champion.project, judge=judge, state="rejected", gate={"promote": False, "difference": -0.1}
    )
    pair = PairFactory.create(project=champion.project, part="test")
    LabelFactory.create(pair=pair, choice="a")
    JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.1)
    JudgementFactory.create(pair=pair, judge=judge, p_a=0.9)
    return made


def test_versions_come_with_state_and_figures(dora: User, champion: Deployment, other: Deployment) -> None:
    newest, oldest = get(dora).json()
    assert (newest["id"], newest["state"], newest["parent"]) == (other.judge_id, "rejected", champion.judge.name)
    assert (oldest["state"], oldest["trusted"], oldest["pruned"]) == ("champion", True, False)
    figures = trust.figures_for(other, holdout_rows(other.project)).to_json()
    assert newest["figures"] == {"test": figures, "all": figures}
    assert oldest["figures"]["test"]["accuracy"] == 0


def test_one_version_with_gate_lineage_and_outside_sets(dora: User, champion: Deployment, other: Deployment) -> None:
    essays = ProjectFactory.create(slug="essays")
    champion.project.outside.add(essays)
    pair = PairFactory.create(project=essays, part="gate")
    LabelFactory.create(pair=pair, choice="b")
    JudgementFactory.create(pair=pair, judge=other.judge, p_a=0.2)
    found = get(dora, f"/{other.judge_id}").json()
    assert found["gate"] == {"promote": False, "difference": -0.1}
    assert found["lineage"] == [other.judge.name, champion.judge.name]
    assert {name: one["accuracy"] for name, one in found["outside"].items()} == {"essays": 1.0}
    assert get(dora, f"/{champion.judge_id}").json()["outside"] == {}


@pytest.mark.parametrize(("who", "look", "change"), [("bob", 403, 403), ("dora", 200, 403), ("charlie", 404, 404)])
def test_roles(request: pytest.FixtureRequest, other: Deployment, who: str, look: int, change: int) -> None:
    user = request.getfixturevalue(who)
    for path in ("", f"/{other.judge_id}"):
        assert get(user, path).status_code == look
    for path in ("/roll-back", *(f"/{other.judge_id}/{what}" for what in ("promote", "shadow", "renew", "retire"))):
        assert post(user, path).status_code == change


def test_a_token_to_read_changes_nothing(alice: User, other: Deployment) -> None:
    for path in ("/roll-back", *(f"/{other.judge_id}/{what}" for what in ("promote", "shadow", "renew", "retire"))):
        body = {"because": "so"} if path.endswith("promote") else None
        assert post(alice, path, body, scope="label").status_code == 403
    other.refresh_from_db()
    assert other.state == "rejected"


def test_promote_roll_back_shadow_and_retire(alice: User, champion: Deployment, other: Deployment) -> None:
    Deployment.objects.filter(pk=champion.pk).update(promoted_at=timezone.now())
    path = f"/{other.judge_id}"
    refused = post(alice, f"{path}/promote")
    assert refused.status_code == 409
    assert "say why" in refused.json()["detail"]
    assert fields_of(post(alice, f"{path}/promote", {"because": "x" * 501})) == ["because"]
    assert fields_of(post(alice, f"{path}/promote", {"becuase": "better on poems"})) == ["becuase"]
    done = post(alice, f"{path}/promote", {"because": "better on poems"})
    assert done.status_code == 200
    assert (done.json()["state"], done.json()["overruled_because"]) == ("champion", "better on poems")
    assert post(alice, "/roll-back", {"to": other.judge_id}).status_code == 409
    assert fields_of(post(alice, "/roll-back", {"too": other.judge_id})) == ["too"]
    back = post(alice, "/roll-back", {"to": champion.judge_id}).json()
    assert (back["id"], back["state"]) == (champion.judge_id, "champion")
    assert post(alice, f"{path}/shadow").json()["state"] == "shadow"
    assert post(alice, f"{path}/retire").json()["state"] == "retired"
    assert post(alice, f"{path}/retire").status_code == 409
    assert post(alice, f"/{champion.judge_id}/retire").status_code == 409
    assert post(alice, "/roll-back").json()["id"] == other.judge_id


def test_renew(alice: User, champion: Deployment) -> None:
    begun = post(alice, f"/{champion.judge_id}/renew")
    assert begun.status_code == 201
    found = begun.json()
    assert (found["state"], found["parent"]) == ("shadow", champion.judge.name)
    assert found["lineage"] == [f"{champion.judge.name}-renewed", champion.judge.name]
    again = post(alice, f"/{champion.judge_id}/renew")
    assert again.status_code == 409
    assert "beside the champion already" in again.json()["detail"]


def test_a_version_of_another_project_is_not_found(alice: User, champion: Deployment) -> None:
    stranger = DeploymentFactory.create()
    assert get(alice, f"/{stranger.judge_id}").status_code == 404
    assert post(alice, f"/{stranger.judge_id}/promote", {"because": "so"}).status_code == 404


@pytest.mark.parametrize("number", [1, 20])
def test_the_list_takes_few_queries(
    dora: User, champion: Deployment, number: int, django_assert_max_num_queries: Any
) -> None:
    for _ in range(number):
        DeploymentFactory.create(project=champion.project, state="rejected")
    headers = {"Authorization": f"Bearer {create_token(dora)}"}
    with django_assert_max_num_queries(14):
        assert len(Client().get(PATH, headers=headers).json()) == number + 1
