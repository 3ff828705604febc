"""Changes of reign: at one moment, by one at a time, and with a reason where the gate said no."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from labeling import jobs
from labeling.errors import CannotReign
from labeling.models import AuditEvent, Deployment, JudgeVersion, JudgingRequest, Project, PrunedWeights
from labeling.services import deployments, judging
from tests.conftest import Sent
from tests.factories import DeploymentFactory, JudgeVersionFactory, PairFactory, ProjectFactory, UserFactory

State = Deployment.State
YES, NO = {"promote": True}, {"promote": False, "reasons": ["not better"]}


def promoted(project: Project, judge: JudgeVersion, **fields: Any) -> Deployment:
    return deployments.promote(project, judge, **{"counts": "score", "gate": YES, "by": None, **fields})


@pytest.fixture
def champion(project: Project, judge: JudgeVersion) -> Deployment:
    return DeploymentFactory.create(project=project, judge=judge, trusted=True, promoted_at=timezone.now())


@pytest.fixture
def rival(db: None) -> JudgeVersion:
    return JudgeVersionFactory.create()


def test_overruling_the_gate_needs_a_reason_and_is_kept(champion: Deployment, rival: JudgeVersion, alice: User) -> None:
    project = champion.project
    rejected = deployments.reject(project, rival, counts="cot", gate=NO, by=None)
    for because in ("", "  \n"):
        with pytest.raises(CannotReign, match="say why"):
            deployments.crown(rejected, by=alice, because=because)
    with pytest.raises(CannotReign, match="because: at most 500"):
        deployments.crown(rejected, by=alice, because="x" * 501)
    assert judging.champion_of(project) == champion
    crowned = deployments.crown(rejected, by=alice, because=" It reads poems. ")
    crowned.refresh_from_db()
    assert (crowned.overruled_because, crowned.overruled_by) == ("It reads poems.", alice)
    assert (crowned.gate, crowned.counts, crowned.state) == (NO, "cot", State.CHAMPION)
    event = AuditEvent.objects.get(action="judge.promote")
    assert (event.actor, event.detail["because"], event.detail["gate"]) == (alice, "It reads poems.", NO)


def test_the_reason_stands_when_the_overruled_version_returns_and_goes_when_the_gate_says_yes(
    champion: Deployment, rival: JudgeVersion, alice: User
) -> None:
    project = champion.project
    rejected = deployments.reject(project, rival, counts="score", gate=NO, by=None)
    deployments.crown(rejected, by=alice, because="It reads poems.")
    deployments.roll_back(project, by=alice)
    assert deployments.roll_back(project, by=alice).overruled_because == "It reads poems."
    deployments.roll_back(project, by=alice)
    assert promoted(project, rival).overruled_because == ""


def test_where_the_gate_said_yes_no_reason_is_asked_for_or_kept(
    champion: Deployment, rival: JudgeVersion, alice: User
) -> None:
    compared = [champion.judge_id]
    waiting = DeploymentFactory.create(
        project=champion.project, judge=rival, state="shadow", gate=YES, weighed_of=compared
    )
    crowned = deployments.crown(waiting, by=alice, because="as it says")
    assert (crowned.overruled_because, crowned.overruled_by) == ("", None)


def test_neither_a_pruned_version_nor_the_champion_itself_is_crowned(champion: Deployment, alice: User) -> None:
    pruned = DeploymentFactory.create(project=champion.project, state="rejected", gate=YES)
    PrunedWeights.objects.create(judge=pruned.judge, by=alice, bytes=1)
    with pytest.raises(CannotReign, match="were deleted"):
        deployments.crown(pruned, by=alice)
    stale = Deployment.objects.get(pk=champion.pk)
    stale.state = State.RETIRED
    with pytest.raises(CannotReign, match="champion already"):
        deployments.crown(stale, by=alice)
    assert judging.champion_of(champion.project) == champion


def test_a_candidate_is_promoted_only_over_the_judge_that_it_has_beaten(
    champion: Deployment, rival: JudgeVersion
) -> None:
    project = champion.project
    other = promoted(project, JudgeVersionFactory.create())
    with pytest.raises(CannotReign, match=f"but {other.judge} reigns by now"):
        promoted(project, rival, beaten=champion.judge)
    assert judging.champion_of(project) == other
    assert not Deployment.objects.filter(judge=rival).exists()
    assert promoted(project, rival, beaten=other.judge).state == State.CHAMPION


def test_retiring(champion: Deployment, rival: JudgeVersion, alice: User) -> None:
    project = champion.project
    with pytest.raises(CannotReign, match="promote another version"):
        deployments.retire(champion, by=alice)
    PairFactory.create(project=project, part="gate")
    beside = deployments.connect(project, rival, counts="score", by=alice)
    assert JudgingRequest.objects.filter(judge=rival).exists()
    deployments.retire(beside, by=alice)
    assert not JudgingRequest.objects.filter(judge=rival).exists()
    assert JudgingRequest.objects.filter(judge=champion.judge_id).exists()
    with pytest.raises(CannotReign, match="rests already"):
        deployments.retire(beside, by=alice)
    assert [event.action for event in AuditEvent.objects.order_by("pk")][-1] == "judge.retire"
    assert judging.champion_of(project) == champion


def test_what_follows_a_promotion_is_asked_for_on_commit(
    champion: Deployment, rival: JudgeVersion, sent: Sent, django_capture_on_commit_callbacks: Any
) -> None:
    project = champion.project
    PairFactory.create_batch(2, project=project)
    with django_capture_on_commit_callbacks(execute=True):
        promoted(project, rival)
        assert sent == []
    assert (jobs.REFRESH_PROJECT, {"project_id": project.pk}) in sent
    assert (jobs.JUDGE, {}) in sent
    assert JudgingRequest.objects.filter(judge=rival, method="score").count() == 2


@pytest.mark.django_db(transaction=True)
def test_of_promotions_at_the_same_moment_one_judge_reigns_in_the_end() -> None:
    """Six managers crown six versions at once: each change happens whole, one after the other, nobody fails."""
    project = ProjectFactory.create()
    DeploymentFactory.create(project=project)
    users = UserFactory.create_batch(6)
    waiting = [DeploymentFactory.create(project=project, state="rejected", gate=YES) for _user in users]
    together = Barrier(len(users))

    def crown(number: int) -> str:
        try:
            together.wait()
            return deployments.crown(waiting[number], by=users[number]).state
        finally:
            connection.close()

    with ThreadPoolExecutor(len(users)) as pool:
        assert list(pool.map(crown, range(len(users)))) == [State.CHAMPION] * len(users)
    assert Deployment.objects.filter(state=State.CHAMPION).count() == 1
    assert Deployment.objects.filter(state=State.RETIRED, retired_at__isnull=False).count() == len(users)
    formers = [event.detail["former"] for event in AuditEvent.objects.filter(action="judge.promote")]
    assert len(set(formers)) == len(users), "two changes have retired the same champion"


# The first judge


def test_the_first_judge_is_made_once(db: None) -> None:
    first = deployments.first_judge(backend="transformers", model="org/judge")
    assert (first.name, first.weights, first.trainable) == ("judge", "org/judge", True)
    assert deployments.first_judge(backend="transformers", model="org/judge") == first


def test_a_connected_judge_of_the_same_name_is_not_taken_for_the_first_one(db: None) -> None:
    theirs = JudgeVersionFactory.create(name="judge", backend="openai", base_model="org/judge", weights="")
    JudgeVersionFactory.create(name="judge-2", backend="transformers", base_model="other/judge", weights="other/judge")
    first = deployments.first_judge(backend="transformers", model="org/judge")
    assert first != theirs
    assert (first.name, first.backend, first.base_model) == ("judge-3", "transformers", "org/judge")
    assert deployments.first_judge(backend="transformers", model="org/judge") == first
    long = deployments.first_judge(backend="scripted", model="scripted:" + "x" * 200)
    assert len(long.name) == 100
