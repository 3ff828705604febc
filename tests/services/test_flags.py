"""Flags, consensus and trust: raised and dropped with the facts, silent below the trust floor, settled once."""

import pytest
from django.contrib.auth.models import User

from labeling import queries
from labeling.errors import AlreadySettled
from labeling.models import AuditEvent, Consensus, Deployment, Flag, Label, Pair, Project
from labeling.services import flags, trust
from labeling.services.consensus import majority
from labeling.services.labels import commit_label, undo
from tests.factories import ClaimFactory, JudgementFactory, LabelFactory, PairFactory

Kind = Flag.Kind


def open_kinds(pair: Pair) -> set[str]:
    return set(Flag.objects.filter(pair=pair, state="open").values_list("kind", flat=True))


@pytest.fixture
def disputed(champion: Deployment) -> Pair:
    """People say A, the judge says B with 0.9."""
    pair = PairFactory.create(project=champion.project)
    LabelFactory.create(pair=pair, choice="a")
    JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.1)
    return pair


def test_a_trusted_judge_that_disagrees_is_flagged(disputed: Pair) -> None:
    flags.refresh(disputed)
    flag = Flag.objects.get()
    assert (flag.kind, flag.detail) == (Kind.JUDGE_DISAGREES, {"human": "a", "judge": "b", "confidence": 0.9})


def test_below_the_trust_floor_there_are_no_flags_but_one_notice(disputed: Pair, champion: Deployment) -> None:
    Deployment.objects.update(trusted=False)
    flags.refresh(disputed)
    assert not Flag.objects.exists()
    notice = queries.judge_health_for(champion.project).notice
    assert notice.startswith("Not trusted yet")
    assert "Label about" in notice


@pytest.mark.parametrize("change", [{"p_a": 0.45}, {"consistent": False}, {"p_a": 0.9}])
def test_an_unsure_flipping_or_agreeing_judge_is_not_flagged(champion: Deployment, change: dict[str, object]) -> None:
    pair = PairFactory.create(project=champion.project)
    LabelFactory.create(pair=pair, choice="a")
    JudgementFactory.create(pair=pair, judge=champion.judge, **{"p_a": 0.1, **change})
    flags.refresh(pair)
    assert open_kinds(pair) == set()


def test_measured_pairs_raise_no_judge_flags(champion: Deployment) -> None:
    pair = PairFactory.create(project=champion.project, part="gate")
    LabelFactory.create(pair=pair, choice="a")
    JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.1)
    flags.refresh(pair)
    assert open_kinds(pair) == set()


def test_annotators_who_split_are_flagged_and_the_flag_goes_when_they_agree(project: Project, bob: User) -> None:
    project.overlap = 2
    project.save()
    claim = ClaimFactory.create(pair__project=project, annotator=bob, slots=2)
    LabelFactory.create(pair=claim.pair, choice="b")
    commit_label(claim, choice="left")
    flags.refresh(claim.pair)
    assert open_kinds(claim.pair) == {Kind.ANNOTATORS_SPLIT}
    undo(project, annotator=bob)
    flags.refresh(claim.pair)
    assert open_kinds(claim.pair) == set()
    assert Consensus.objects.get().choice == "b"


def test_a_missed_gold_question_is_flagged(project: Project, bob: User) -> None:
    claim = ClaimFactory.create(pair__project=project, pair__gold="b", annotator=bob)
    commit_label(claim, choice="left")
    flags.refresh(claim.pair)
    assert open_kinds(claim.pair) == {Kind.GOLD_MISSED}


def test_settling_closes_every_flag_makes_a_label_and_happens_once(disputed: Pair, dora: User) -> None:
    flags.refresh(disputed)
    label = flags.settle(disputed, by=dora, choice="b", reason="B answers the question")
    assert (label.source, label.blind, label.choice) == (Label.Source.ADJUDICATION, False, "b")
    assert Flag.objects.get().resolution == "b"
    assert Consensus.objects.get().method == Consensus.Method.ADJUDICATED
    assert AuditEvent.objects.filter(action="flag.settle").count() == 1
    with pytest.raises(AlreadySettled):
        flags.settle(disputed, by=dora, choice="a", reason="")
    flags.refresh(disputed)
    assert open_kinds(disputed) == set()


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        (["a"], ("a", 1.0)),
        (["a", "a", "b"], ("a", 2 / 3)),
        (["a", "b"], ("tie", 0.5)),
        (["tie", "tie", "a"], ("tie", 2 / 3)),
    ],
)
def test_the_majority_leads_and_equals_tie(choices: list[str], expected: tuple[str, float]) -> None:
    assert majority(choices) == pytest.approx(expected)


@pytest.mark.parametrize(("right", "consistent", "trusted"), [(1.0, 1.0, True), (1.0, 0.2, False), (0.5, 1.0, False)])
def test_trust_needs_accuracy_and_consistency_on_the_holdout(
    champion: Deployment, right: float, consistent: float, trusted: bool
) -> None:
    Deployment.objects.update(trusted=not trusted)
    for number in range(30):
        pair = PairFactory.create(project=champion.project, part="gate")
        LabelFactory.create(pair=pair, choice="a")
        JudgementFactory.create(
            pair=pair,
            judge=champion.judge,
            p_a=0.9 if number < 30 * right else 0.1,
            consistent=number < 30 * consistent,
        )
    champion.refresh_from_db()
    assert trust.measure(champion) is trusted
    champion.refresh_from_db()
    assert champion.measured["accuracy"] == pytest.approx(right)
    assert champion.measured["consistency"] == pytest.approx(consistent)


def test_trust_needs_enough_pairs_and_blind_labels(champion: Deployment) -> None:
    for _ in range(30):
        pair = PairFactory.create(project=champion.project, part="gate")
        LabelFactory.create(pair=pair, choice="a", blind=False)
        JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.9)
    assert trust.measure(champion) is False
    assert champion.measured["n"] == 0
