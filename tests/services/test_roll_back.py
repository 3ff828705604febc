"""A change of reign is whole: flags, labels, routes and exports go with the judge and come back with it."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from labeling import jobs
from labeling.errors import CannotReign
from labeling.models import (
    AuditEvent,
    Consensus,
    Deployment,
    Flag,
    JudgeVersion,
    JudgingRequest,
    Label,
    Pair,
    Project,
    PrunedWeights,
)
from labeling.services import deployments, exports, flags, housekeeping, judge_labels, judging, trust
from tests.conftest import Sent
from tests.factories import (
    DeploymentFactory,
    JudgementFactory,
    JudgeVersionFactory,
    LabelFactory,
    PairFactory,
    ProjectFactory,
    UserFactory,
)
from tests.services.test_deployments import NO, State, champion, promoted, rival

__all__ = ["champion", "rival"]  # fixtures of a change of reign


def judged(pair: Pair, said: dict[JudgeVersion, float], **fields: object) -> Pair:
    for judge, p_a in said.items():
        JudgementFactory.create(pair=pair, judge=judge, p_a=p_a, **fields)
    return pair


@pytest.fixture
def reign(champion: Deployment, rival: JudgeVersion) -> Project:
    """A trusted champion that labels alone and flags, and a rival as good that says other things."""
    Project.objects.update(wished_agreement=0.8, judge_labels=True, samples_per_order=0)
    project = Project.objects.get()
    mine = champion.judge
    for part in ("calibration", "test", "gate"):
        for number in range(40):
            pair = PairFactory.create(project=project, part=part)
            LabelFactory.create(pair=pair, choice="b" if number % 20 == 0 else "a")
            judged(pair, {mine: 0.97 - number / 400, rival: 0.99 - number / 200})
    for number in range(12):  # where nobody has labelled: the champion is sure here, the rival there
        judged(PairFactory.create(project=project), {mine: 0.03, rival: 0.45 if number % 2 else 0.99})
        judged(PairFactory.create(project=project), {mine: 0.58, rival: 0.01})
    for number in range(6):
        pair = PairFactory.create(project=project, gold="b" if number == 0 else "")
        LabelFactory.create(pair=pair, choice="a")
        judged(pair, {mine: 0.05 if number % 2 else 0.95, rival: 0.95 if number % 2 else 0.05})
    split = PairFactory.create(project=project)
    for choice in ("a", "b"):
        LabelFactory.create(pair=split, choice=choice)
    for flipping in (split, PairFactory.create(project=project)):
        JudgementFactory.create(pair=flipping, judge=mine, p_a=0.95, consistent=False)
        JudgementFactory.create(pair=flipping, judge=rival, p_a=0.9)
    Flag.objects.create(pair=split, kind="reported", detail={"by": "bob", "comment": "odd"}, value=0.8)
    trust.measure(champion)
    housekeeping.refresh_project(project.pk)
    housekeeping.refresh_pairs(list(Pair.objects.values_list("pk", flat=True)))
    assert {kind for _pair, kind, *_rest in standing(project)["flags"]} >= {"judge_disagrees", "annotators_split"}
    assert Consensus.objects.filter(judge=mine).count() > 10
    return project


def standing(project: Project) -> dict[str, list[Any]]:
    """All that a judge has a say in, as far as it is no time of writing and no number of a row."""
    raised = Flag.objects.filter(state="open").order_by("pair", "kind")
    return {
        "consensus": list(
            Consensus.objects.order_by("pair").values_list("pair", "choice", "confidence", "method", "judge", "labels")
        ),
        "flags": list(raised.values_list("pair", "kind", "detail", "value", "judge")),
        "routes": list(
            Pair.objects.filter(closed=False).order_by("pk").values_list("pk", "route_score", "route_reason")
        ),
        "human": lines(project, "human"),
        "judge": lines(project, "judge"),
        "labels": lines(project, "consensus"),
    }


def lines(project: Project, source: Any) -> list[str]:
    """The exported lines, without the time at which a consensus was written again."""
    found = []
    for row in exports.export(project, source=source, profile="full"):
        row["provenance"].pop("created_at")
        found.append(json.dumps(row, sort_keys=True))
    return sorted(found)


def test_a_promotion_takes_flags_labels_and_requests_of_the_former_judge_with_it(
    reign: Project, champion: Deployment, rival: JudgeVersion, alice: User
) -> None:
    before = standing(reign)
    PairFactory.create(project=reign)
    judging.request_project(reign)
    deployment = promoted(reign, rival, by=alice)
    assert not Flag.objects.filter(state="open", kind__in=flags.BY_JUDGE).exists()
    assert not Consensus.objects.filter(method="judge").exists()
    assert set(JudgingRequest.objects.values_list("judge", flat=True)) == {rival.pk}
    of_people = [row for row in before["consensus"] if row[3] != "judge"]
    assert standing(reign)["consensus"] == of_people
    assert [row[1] for row in standing(reign)["flags"]] == ["annotators_split", "reported"]
    champion.refresh_from_db()
    assert (champion.state, deployment.state) == (State.RETIRED, State.CHAMPION)
    assert champion.retired_at is not None
    event = AuditEvent.objects.get(action="judge.promote")
    assert (event.actor, event.detail["former"]) == (alice, str(champion.judge))


def test_an_error_in_the_middle_of_a_promotion_leaves_everything_as_it_was(
    reign: Project, champion: Deployment, rival: JudgeVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging.request_project(reign)
    before, requests = standing(reign), list(JudgingRequest.objects.order_by("pk").values())

    def breaks(project: Project) -> int:
        assert not Consensus.objects.filter(method="judge").exists(), "the labels have been withdrawn by then"
        raise ConnectionError

    monkeypatch.setattr(judging, "request_project", breaks)
    with pytest.raises(ConnectionError):
        promoted(reign, rival)
    assert standing(reign) == before
    assert list(JudgingRequest.objects.order_by("pk").values()) == requests
    assert list(Deployment.objects.values_list("judge", "state")) == [(champion.judge_id, "champion")]
    assert not AuditEvent.objects.exists()


def test_a_roll_back_restores_labels_flags_routes_and_exports_exactly(
    reign: Project, champion: Deployment, rival: JudgeVersion, alice: User
) -> None:
    before = standing(reign)
    promoted(reign, rival)
    housekeeping.refresh_project(reign.pk)
    between = standing(reign)
    for name in ("consensus", "flags", "routes", "judge", "labels"):
        assert between[name] != before[name], f"the rival says the same: nothing to restore in {name}"
    assert between["human"] == before["human"]
    assert Deployment.objects.get(judge=rival).trusted
    deployments.roll_back(reign, by=alice)
    assert not Consensus.objects.filter(method="judge").exists()
    housekeeping.refresh_project(reign.pk)
    after = standing(reign)
    for name, rows in before.items():
        assert after[name] == rows, name
    champion.refresh_from_db()
    assert (champion.state, Deployment.objects.get(judge=rival).state) == (State.CHAMPION, State.RETIRED)


def test_what_people_did_meanwhile_outlives_the_roll_back(
    reign: Project, rival: JudgeVersion, alice: User, dora: User
) -> None:
    was = Consensus.objects.filter(method="judge").order_by("pair")[0]
    settled = Flag.objects.filter(kind="judge_disagrees", state="open")[0].pair
    promoted(reign, rival)
    housekeeping.refresh_project(reign.pk)
    LabelFactory.create(pair=was.pair, choice="a")
    flags.refresh(settled)
    Flag.objects.get_or_create(pair=settled, kind="reported", state="open")
    flags.settle(settled, by=dora, choice="tie", reason="as good")
    deployments.roll_back(reign, by=alice)
    housekeeping.refresh_project(reign.pk)
    assert Consensus.objects.get(pair=was.pair).method == "majority"
    assert Consensus.objects.get(pair=settled).choice == "tie"
    assert not Flag.objects.filter(pair=settled, state="open").exists()


def test_rolling_back_twice_returns_to_the_later_judge(champion: Deployment, rival: JudgeVersion, alice: User) -> None:
    project = champion.project
    promoted(project, rival)
    assert deployments.roll_back(project, by=alice).judge == champion.judge
    assert deployments.roll_back(project, by=alice).judge == rival
    assert [event.detail["because"] for event in AuditEvent.objects.filter(action="judge.promote")] == [""] * 3


def test_there_must_be_a_former_champion_with_its_weights(
    champion: Deployment, rival: JudgeVersion, alice: User
) -> None:
    project = champion.project
    deployments.reject(project, rival, counts="score", gate=NO, by=None)
    with pytest.raises(CannotReign, match="no former champion"):
        deployments.roll_back(project, by=alice)
    promoted(project, rival)
    PrunedWeights.objects.create(judge=champion.judge, by=alice, bytes=1)
    with pytest.raises(CannotReign, match="no former champion"):
        deployments.roll_back(project, by=alice)


def test_a_former_champion_that_judges_beside_its_successor_is_still_the_one_to_return_to(
    champion: Deployment, rival: JudgeVersion, alice: User
) -> None:
    promoted(champion.project, JudgeVersionFactory.create())
    former = promoted(champion.project, rival)
    promoted(champion.project, JudgeVersionFactory.create())
    deployments.shadow(former, by=alice)
    restored = deployments.roll_back(champion.project, by=alice)
    assert (restored.judge, restored.shadow_since) == (rival, None)


def test_the_sweep_makes_up_for_a_message_that_was_lost(
    reign: Project, champion: Deployment, rival: JudgeVersion, alice: User, sent: Sent
) -> None:
    """A change of reign whose job never came: the broker was away."""
    before = standing(reign)
    promoted(reign, rival)
    deployments.roll_back(reign, by=alice)
    refresh = (jobs.REFRESH_PROJECT, {"project_id": reign.pk})
    sent.clear()
    housekeeping.sweep()
    assert refresh not in sent, "the job may still be on its way"
    Deployment.objects.filter(pk=champion.pk).update(follow_up=timezone.now() - deployments.FOLLOW_UP_AFTER)
    for _ in range(2):
        housekeeping.sweep()
    assert sent.count(refresh) == 1, "and is not sent at every sweep"
    housekeeping.refresh_project(reign.pk)
    assert standing(reign) == before
    assert Deployment.objects.get(pk=champion.pk).follow_up is None


def test_what_a_later_reign_waits_for_is_not_ticked_off_by_a_former_one(
    champion: Deployment, rival: JudgeVersion, alice: User
) -> None:
    promoted(champion.project, rival)
    former = judging.champion_of(champion.project)
    assert former is not None
    deployments.roll_back(champion.project, by=alice)
    deployments.roll_back(champion.project, by=alice)
    deployments.followed_up(former)
    assert Deployment.objects.get(judge=rival).follow_up is not None


def test_the_judgements_of_the_former_judge_stay(reign: Project, champion: Deployment, rival: JudgeVersion) -> None:
    said = champion.judge.judgements.count()
    promoted(reign, rival)
    housekeeping.refresh_project(reign.pk)
    assert champion.judge.judgements.count() == said > 0
    assert judge_labels.apply(reign) > 0
    assert set(Consensus.objects.filter(method="judge").values_list("judge", flat=True)) == {rival.pk}
    assert not Label.objects.filter(source="judge").exists()


@pytest.mark.django_db(transaction=True)
def test_of_two_roll_backs_at_the_same_moment_one_happens() -> None:
    project = ProjectFactory.create()
    first = DeploymentFactory.create(project=project, promoted_at=timezone.now())
    promoted(project, JudgeVersionFactory.create())
    users = UserFactory.create_batch(2)
    together = Barrier(2)

    def back(user: User) -> str:
        try:
            together.wait()
            former = deployments.former_champion(project)
            assert former is not None
            together.wait()
            return deployments.crown(former, by=user).state
        except CannotReign as error:
            return str(error)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        ends = sorted(pool.map(back, users))
    assert ends == sorted(["champion", f"{first.judge} is the champion already."])
    champion = judging.champion_of(project)
    assert champion is not None
    assert champion.judge == first.judge
