"""What changed between two versions: which verdicts flipped, what people say of it, and the reasons of both."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from labeling.models import Claim, Consensus, Deployment, Judgement, Pair, Rationale
from labeling.services import changes, claims
from labeling.services.consensus import refresh
from tests.factories import (
    DeploymentFactory,
    JudgementFactory,
    JudgeVersionFactory,
    LabelFactory,
    PairFactory,
)


@pytest.fixture
def new(champion: Deployment) -> Deployment:
    """The champion's child; its rationales count."""
    judge = JudgeVersionFactory.create(parent=champion.judge)
    return DeploymentFactory.create(project=champion.project, judge=judge, state="rejected", counts="cot")


def said(pair: Pair, deployment: Deployment, p_a: float) -> Judgement:
    return JudgementFactory.create(pair=pair, judge=deployment.judge, method=deployment.counts, p_a=p_a)


def pair_of(old: Deployment, new: Deployment, before: float, after: float, people: str = "", **fields: Any) -> Pair:
    pair = PairFactory.create(project=old.project, **fields)
    said(pair, old, before)
    said(pair, new, after)
    if people:
        LabelFactory.create(pair=pair, choice=people)
        refresh(pair)
    return pair


def test_flips_are_counted_by_what_people_say(champion: Deployment, new: Deployment) -> None:
    right = [pair_of(champion, new, 0.9, 0.2, "b"), pair_of(champion, new, 0.1, 0.5, "a", part="gate")]
    wrong = pair_of(champion, new, 0.9, 0.2, "a")
    tie = pair_of(champion, new, 0.9, 0.2, "tie")
    ambiguous = pair_of(champion, new, 0.9, 0.2, "a")
    Consensus.objects.filter(pair=ambiguous).update(method="ambiguous")
    unlabelled = pair_of(champion, new, 0.4, 0.6)
    by_judge = pair_of(champion, new, 0.4, 0.6)
    Consensus.objects.create(pair=by_judge, choice="a", confidence=0.9, method="judge", judge=champion.judge, labels=0)
    pair_of(champion, new, 0.9, 0.6, "b")  # the same winner
    said(PairFactory.create(project=champion.project), champion, 0.9)  # judged by one of the two
    said(PairFactory.create(project=champion.project), new, 0.9)
    found = changes.count(champion, new)
    assert found == changes.Counts(both=8, flipped=7, right=2, wrong=1, undecided=2, unlabelled=2)
    kinds = {kind: {one.pair_id for one in changes.flips(champion, new, kind=kind)} for kind in changes.KINDS}
    assert kinds == {
        "right": {pair.pk for pair in right},
        "wrong": {wrong.pk},
        "undecided": {tie.pk, ambiguous.pk},
        "unlabelled": {unlabelled.pk, by_judge.pk},
    }
    for one in changes.changes(champion, new, changes.flips(champion, new)):
        assert one.pair.pk in kinds[one.kind]
        assert (one.consensus is None) == (one.kind == "unlabelled")
        assert one.old.winner != one.new.winner
    back = changes.count(new, champion)
    assert (back.right, back.wrong, back.flipped) == (1, 2, 7)


def test_only_counted_methods_and_only_this_project_speak(champion: Deployment, new: Deployment) -> None:
    pair = pair_of(champion, new, 0.9, 0.8)
    JudgementFactory.create(pair=pair, judge=new.judge, method="score", p_a=0.1)  # does not count for it
    elsewhere = PairFactory.create()
    said(elsewhere, champion, 0.9)
    said(elsewhere, new, 0.1)
    assert changes.count(champion, new) == changes.Counts(1, 0, 0, 0, 0, 0)


def test_the_rationale_is_the_surest_one_for_the_winner(champion: Deployment, new: Deployment) -> None:
    pair = pair_of(champion, new, 0.9, 0.2)
    judgement = Judgement.objects.get(pair=pair, judge=new.judge)
    chains = [("the other way", 0.9, "a", False), ("surest", 0.1, "b", True), ("less sure", 0.4, "b", False)]
    for number, (text, p_a, verdict, swapped) in enumerate([*chains, ("no verdict", None, "", False)]):
        Rationale.objects.create(
            judgement=judgement, sample=number, text=text, p_a=p_a, verdict=verdict, swapped=swapped
        )
    [change] = changes.changes(champion, new, changes.flips(champion, new))
    assert change.new == changes.Side("b", 0.8, "surest", "b")
    assert change.old == changes.Side("a", 0.9, "", "a")


def test_a_version_is_compared_with_its_parent_else_with_the_former_champion(
    champion: Deployment, new: Deployment
) -> None:
    assert changes.compared_with(new) == champion
    assert changes.compared_with(champion) is None
    former = DeploymentFactory.create(
        project=champion.project, state="retired", promoted_at="2026-01-01T00:00Z", retired_at="2026-01-02T00:00Z"
    )
    assert changes.compared_with(champion) == former
    assert changes.compared_with(former) is None


def test_whoever_saw_a_pair_here_is_not_asked_about_it(champion: Deployment, new: Deployment, dora: User) -> None:
    fresh, held, closed = (pair_of(champion, new, 0.9, 0.1) for _ in range(3))
    claim = Claim.objects.create(
        pair=held, annotator=dora, slot=0, slots=1, swapped=False, expires_at="2030-01-01T00:00Z"
    )
    Pair.objects.filter(pk=closed.pk).update(closed=True)
    shown = changes.changes(champion, new, changes.flips(champion, new))
    for _ in range(2):
        claims.keep_away([one.pair for one in shown], project=champion.project, annotator=dora)
    claim.refresh_from_db()
    assert claim.state == "skipped"
    assert set(dora.claims.filter(state="skipped").values_list("pair_id", flat=True)) == {
        fresh.pk,
        held.pk,
        closed.pk,
    }
