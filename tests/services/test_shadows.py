"""Judges beside the champion: what they judge, when they are weighed, and what they never do."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from genrm_engine.evaluation import gate
from labeling.errors import CannotReign
from labeling.models import (
    AuditEvent,
    Consensus,
    Deployment,
    Flag,
    Judgement,
    JudgeVersion,
    JudgingRequest,
    Label,
    Pair,
    Project,
    PrunedWeights,
)
from labeling.services import deployments, housekeeping, judging
from tests.factories import JudgementFactory, JudgeVersionFactory, LabelFactory, PairFactory

Priority = JudgingRequest.Priority


@pytest.fixture
def rival(db: None) -> JudgeVersion:
    return JudgeVersionFactory.create()


@pytest.fixture
def shadow(champion: Deployment, rival: JudgeVersion, alice: User) -> Deployment:
    return deployments.connect(champion.project, rival, counts="score", by=alice)


def gate_pairs(project: Project, count: int = 20) -> list[Pair]:
    pairs = PairFactory.create_batch(count, project=project, part="gate")
    for pair in pairs:
        LabelFactory.create(pair=pair, choice="a")
    return pairs


def says(judge: JudgeVersion, pairs: list[Pair], p_a: float, method: str = "score") -> None:
    for pair in pairs:
        JudgementFactory.create(pair=pair, judge=judge, p_a=p_a, method=method)


def asked_of(judge: JudgeVersion) -> set[tuple[int, str, int]]:
    return set(JudgingRequest.objects.filter(judge=judge).values_list("pair", "method", "priority"))


def test_a_shadow_judges_the_hold_out_and_new_pairs_only_and_last(
    champion: Deployment, rival: JudgeVersion, alice: User
) -> None:
    project = champion.project
    PairFactory.create_batch(3, project=project)
    Pair.objects.update(created_at=timezone.now() - timedelta(days=1))
    held_out = [PairFactory.create(project=project, part=part) for part in ("gate", "test", "calibration")]
    Pair.objects.exclude(part="").update(created_at=timezone.now() - timedelta(days=1))
    deployments.connect(project, rival, counts="cot", by=alice)
    assert asked_of(rival) == {(pair.pk, "cot", Priority.SHADOW) for pair in held_out}
    new = PairFactory.create(project=project)
    judging.request_project(project)
    assert asked_of(rival) == {(pair.pk, "cot", Priority.SHADOW) for pair in [*held_out, new]}
    judges = [request.judge_id for request in in_order()]
    assert judges[-1] == rival.pk
    assert judges == sorted(judges, key=lambda judge: judge == rival.pk), "the champion's go first, all of them"


def in_order() -> list[JudgingRequest]:
    """What workers take, chunk by chunk, until nothing waits."""
    found: list[JudgingRequest] = []
    while chunk := judging.lease_chunk():
        found += chunk
    return found


def test_it_neither_flags_nor_labels_nor_routes(shadow: Deployment, rival: JudgeVersion) -> None:
    project = shadow.project
    Project.objects.update(judge_labels=True)
    Deployment.objects.filter(pk=shadow.pk).update(trusted=True, thresholds={"threshold": 0.6})
    labelled, silent = PairFactory.create_batch(2, project=project)
    LabelFactory.create(pair=labelled, choice="b")
    says(rival, [labelled, silent], 0.99)
    housekeeping.refresh_pairs([labelled.pk, silent.pk])
    housekeeping.refresh_project(project.pk)
    assert not Flag.objects.exists()
    assert not Consensus.objects.filter(method="judge").exists()
    assert set(Pair.objects.values_list("route_score", flat=True)) == {0.0}


def test_the_sweep_weighs_it_once_both_have_judged_the_gate_part(shadow: Deployment, champion: Deployment) -> None:
    pairs = gate_pairs(shadow.project)
    PairFactory.create(project=shadow.project, part="gate")  # nobody has labelled it: not waited for
    says(champion.judge, pairs, 0.2)
    says(shadow.judge, pairs[:-1], 0.9)
    housekeeping.sweep()
    shadow.refresh_from_db()
    assert shadow.gate == {}
    says(shadow.judge, pairs[-1:], 0.9)
    housekeeping.sweep()
    shadow.refresh_from_db()
    assert (shadow.gate["promote"], shadow.gate["n"]) == (True, 20)
    assert (shadow.gate["champion_accuracy"], shadow.gate["candidate_accuracy"]) == (0.0, 1.0)
    assert shadow.state == Deployment.State.SHADOW, "a person promotes it"
    assert judging.champion_of(shadow.project) == champion


def test_a_pair_that_one_of_the_two_cannot_judge_is_left_out_and_counted(
    shadow: Deployment, champion: Deployment, as_alice: Client
) -> None:
    pairs = gate_pairs(shadow.project)
    says(champion.judge, pairs[1:], 0.2)
    says(shadow.judge, pairs[:-1], 0.9)
    judging.request_project(shadow.project)
    counts = JudgingRequest.objects.filter(method="score")
    failing = [counts.get(pair=pairs[0], judge=champion.judge), counts.get(pair=pairs[-1], judge=shadow.judge)]
    for request, state in zip(failing * 2, ["failed", "waiting", "failed", "leased"], strict=True):
        JudgingRequest.objects.filter(pk=request.pk).update(state=state)
        assert not deployments.weigh(shadow), "it may still come"
    counts.update(state="failed")
    assert deployments.weigh(shadow)
    shadow.refresh_from_db()
    assert (shadow.gate["n"], shadow.gate["left_out"]) == (18, 2)
    page = as_alice.get("/p/stories/versions/").content.decode()
    assert "Left out: 2 pairs that one of the two could not judge." in page
    assert not deployments.weigh(shadow), "nothing has changed"
    says(shadow.judge, pairs[-1:], 0.9)
    assert deployments.weigh(shadow)
    shadow.refresh_from_db()
    assert (shadow.gate["n"], shadow.gate["left_out"]) == (19, 1)


def test_without_a_pair_that_both_have_judged_nothing_is_weighed(shadow: Deployment, champion: Deployment) -> None:
    first, second = gate_pairs(shadow.project, 2)
    says(champion.judge, [first], 0.2)
    says(shadow.judge, [second], 0.9)
    JudgingRequest.objects.update(state="failed")
    assert not deployments.weigh(shadow)
    shadow.refresh_from_db()
    assert shadow.gate == {}


def test_each_is_weighed_by_the_method_that_counts_for_it(
    champion: Deployment, rival: JudgeVersion, alice: User
) -> None:
    pairs = gate_pairs(champion.project)
    beside = deployments.connect(champion.project, rival, counts="cot", by=alice)
    says(champion.judge, pairs, 0.9)
    says(rival, pairs, 0.9, "score")
    assert not deployments.weigh(beside), "its rationales are still to come"
    says(rival, pairs, 0.1, "cot")
    assert deployments.weigh(beside)
    beside.refresh_from_db()
    assert (beside.gate["champion_accuracy"], beside.gate["candidate_accuracy"]) == (1.0, 0.0)


@pytest.fixture
def weighed(shadow: Deployment, champion: Deployment) -> Deployment:
    pairs = gate_pairs(shadow.project)
    says(champion.judge, pairs, 0.2)
    says(shadow.judge, pairs, 0.9)
    assert deployments.weigh(shadow)
    shadow.refresh_from_db()
    return shadow


def test_it_is_not_weighed_again_while_nothing_has_changed(
    weighed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[str] = []

    def decide(*_arguments: object, **_fields: object) -> None:
        times.append("weighed")
        raise AssertionError

    monkeypatch.setattr(gate, "decide", decide)
    assert not deployments.weigh(weighed)
    housekeeping.sweep()
    assert times == []
    LabelFactory.create(pair=PairFactory.create(project=weighed.project), choice="b")
    housekeeping.sweep()
    assert times == [], "labels outside the hold-out weigh nothing"


@pytest.mark.parametrize("change", ["a label", "a withdrawal", "another champion"])
def test_it_is_weighed_anew_when_labels_or_the_champion_changed(weighed: Deployment, change: str) -> None:
    before = weighed.gate["n"]
    if change == "a label":
        [pair] = gate_pairs(weighed.project, 1)
        for deployment in Deployment.objects.all():
            says(deployment.judge, [pair], 0.9)
        before += 1
    elif change == "a withdrawal":
        Label.objects.filter(pk=Label.objects.all()[0].pk).update(withdrawn=True)
        before -= 1
    else:
        other = JudgeVersionFactory.create()
        says(other, list(Pair.objects.filter(part="gate")), 0.9)
        deployments.promote(weighed.project, other, counts="score", gate={}, by=None)
    housekeeping.sweep()
    compared = weighed.weighed_of
    weighed.refresh_from_db()
    assert weighed.weighed_of != compared
    assert weighed.gate["n"] == before
    assert weighed.gate["promote"] is (change != "another champion")


def test_the_decision_of_a_champion_is_not_written_over(weighed: Deployment, alice: User) -> None:
    """The sweep had read the shadow before a person crowned it."""
    stale = Deployment.objects.select_related("project", "judge").get(pk=weighed.pk)
    deployments.crown(weighed, by=alice)
    gate_pairs(weighed.project, 1)
    [pair] = Pair.objects.order_by("-pk")[:1]
    says(weighed.judge, [pair], 0.1)
    assert not deployments.weigh(stale)
    stale.refresh_from_db()
    assert (stale.state, stale.gate) == ("champion", weighed.gate)


def test_its_comparison_holds_for_the_champion_that_it_was_compared_with(
    weighed: Deployment, rival: JudgeVersion, alice: User
) -> None:
    other = JudgeVersionFactory.create()
    deployments.promote(weighed.project, other, counts="score", gate={"promote": True}, by=None)
    with pytest.raises(CannotReign, match="say why"):
        deployments.crown(weighed, by=alice)
    deployments.retire(weighed, by=alice)
    with pytest.raises(CannotReign, match="say why"):
        deployments.crown(weighed, by=alice)
    deployments.shadow(weighed, by=alice)
    says(other, list(Pair.objects.filter(part="gate")), 0.3)
    weighed.refresh_from_db()
    assert deployments.weigh(weighed)
    assert deployments.crown(weighed, by=alice).state == Deployment.State.CHAMPION


def test_without_labels_in_the_gate_part_nothing_is_decided(shadow: Deployment) -> None:
    PairFactory.create(project=shadow.project, part="gate")
    LabelFactory.create(pair=PairFactory.create(project=shadow.project, part="test"))
    assert not deployments.weigh(shadow)
    shadow.refresh_from_db()
    assert (shadow.gate, shadow.weighed_of) == ({}, [])


def test_who_may_shadow(champion: Deployment, shadow: Deployment, alice: User) -> None:
    pruned = deployments.reject(champion.project, JudgeVersionFactory.create(), counts="score", gate={}, by=None)
    PrunedWeights.objects.create(judge=pruned.judge, by=alice, bytes=1)
    for deployment in (champion, shadow, pruned):
        with pytest.raises(CannotReign, match="cannot judge beside the champion"):
            deployments.shadow(deployment, by=alice)
    pruned.refresh_from_db()
    assert pruned.state == "rejected"
    rejected = deployments.reject(champion.project, JudgeVersionFactory.create(), counts="score", gate={}, by=None)
    assert deployments.shadow(rejected, by=alice).shadow_since is not None
    assert AuditEvent.objects.filter(action="judge.shadow").count() == 2


def test_connecting_a_judge_again_changes_nothing(shadow: Deployment, rival: JudgeVersion, alice: User) -> None:
    deployments.retire(shadow, by=alice)
    again = deployments.connect(shadow.project, rival, counts="cot", by=alice)
    assert (again.pk, again.state, again.counts) == (shadow.pk, "retired", "score")


def test_a_crowned_shadow_has_everything_judged_and_counts_as_before(weighed: Deployment, alice: User) -> None:
    new, held = PairFactory.create_batch(2, project=weighed.project)
    judging.request_project(weighed.project)
    JudgingRequest.objects.filter(pair=held, judge=weighed.judge).update(state=JudgingRequest.State.LEASED)
    old = PairFactory.create(project=weighed.project)
    Pair.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=1))
    judging.request_project(weighed.project)
    assert (old.pk, "score", Priority.SHADOW) not in asked_of(weighed.judge)
    crowned = deployments.crown(weighed, by=alice)
    assert (crowned.shadow_since, crowned.counts, crowned.overruled_because) == (None, "score", "")
    wanted: set[Any] = {(old.pk, "score", Priority.NEW_SCORE), (old.pk, "cot", Priority.NEW_COT)}
    wanted |= {(new.pk, "score", Priority.NEW_SCORE), (held.pk, "score", Priority.SHADOW)}
    assert wanted <= asked_of(weighed.judge), "only what a worker is at keeps its place"
    assert Judgement.objects.filter(judge=weighed.judge).count() == 20
