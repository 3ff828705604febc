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
    assert (flag.kind, flag.detail) == (
        Kind.JUDGE_DISAGREES,
        {"human": "a", "people": 1, "judge": "b", "confidence": 0.9},
    )


def test_below_the_trust_floor_there_are_no_flags_but_one_notice(disputed: Pair, champion: Deployment) -> None:
    Deployment.objects.update(trusted=False)
    flags.refresh(disputed)
    assert not Flag.objects.exists()
    notice = queries.judge_health_for(champion.project).notice
    assert notice.startswith("Not trusted yet")
    assert "Label about" in notice


JUDGED = [
    ({"p_a": 0.1}, Kind.JUDGE_DISAGREES, 0.9),
    ({"p_a": 0.42}, None, None),
    ({"p_a": 0.9}, None, None),
    ({"p_a": 0.1, "consistent": False}, Kind.ORDER_FLIP, 0.3),
    ({"p_a": 0.46}, Kind.LOW_MARGIN, 0.23),
    ({"p_a": 0.54}, Kind.LOW_MARGIN, 0.23),
]
"""What the judge says of a pair that one person calls A, the kind that it raises and what settling it is worth."""


@pytest.mark.parametrize(("said", "kind", "value"), JUDGED)
def test_the_judge_raises_at_most_one_kind(
    champion: Deployment, said: dict[str, object], kind: str | None, value: float | None
) -> None:
    pair = PairFactory.create(project=champion.project)
    LabelFactory.create(pair=pair, choice="a")
    JudgementFactory.create(pair=pair, judge=champion.judge, **said)
    flags.refresh(pair)
    raised = Flag.objects.values_list("kind", "value", "judge")
    assert list(raised) == ([(kind, value, champion.judge.pk)] if kind else [])


@pytest.mark.parametrize("said", [said for said, kind, _value in JUDGED if kind])
@pytest.mark.parametrize(("trusted", "fields"), [(True, {"part": "gate"}), (True, {"audit": True}), (False, {})])
def test_neither_measured_pairs_nor_a_judge_below_the_trust_floor_raise_judge_flags(
    champion: Deployment, trusted: bool, fields: dict[str, object], said: dict[str, object]
) -> None:
    Deployment.objects.update(trusted=trusted)
    pair = PairFactory.create(project=champion.project, **fields)
    LabelFactory.create(pair=pair, choice="a")
    JudgementFactory.create(pair=pair, judge=champion.judge, **said)
    flags.refresh(pair)
    assert open_kinds(pair) == set()


def test_the_confidence_is_the_calibrated_one(disputed: Pair, champion: Deployment) -> None:
    Deployment.objects.update(calibration={"temperature": 2.0})
    flags.refresh(disputed)
    assert Flag.objects.get().detail["confidence"] == 0.75  # odds of 9 to 1, their root 3 to 1
    Deployment.objects.update(calibration={"temperature": 6.0})
    flags.refresh(disputed)
    assert open_kinds(disputed) == set()
    Deployment.objects.update(calibration={"temperature": 20.0})
    flags.refresh(disputed)
    assert open_kinds(disputed) == {Kind.LOW_MARGIN}


@pytest.mark.parametrize("said", [{"p_a": 0.1, "consistent": False}, {"p_a": 0.52}])
@pytest.mark.parametrize(
    ("overlap", "closed", "choices", "raised"),
    [
        (1, False, [], False),
        (1, True, [], True),
        (1, False, ["a"], True),
        (2, False, ["a"], False),
        (2, True, ["a"], True),
        (2, False, ["a", "a"], False),
        (2, False, ["a", "tie"], True),
        (1, False, ["tie"], False),
        (2, False, ["tie", "both_bad"], False),
    ],
)
def test_an_undecided_judge_is_flagged_where_people_do_not_decide_either(
    champion: Deployment, said: dict[str, object], overlap: int, closed: bool, choices: list[str], raised: bool
) -> None:
    Project.objects.update(overlap=overlap)
    champion.project.refresh_from_db()
    pair = PairFactory.create(project=champion.project, closed=closed)
    for choice in choices:
        LabelFactory.create(pair=pair, choice=choice)
    JudgementFactory.create(pair=pair, judge=champion.judge, **said)
    flags.refresh(pair)
    assert bool(open_kinds(pair) & {Kind.ORDER_FLIP, Kind.LOW_MARGIN}) is raised


@pytest.mark.parametrize(
    ("kind", "detail", "value"),
    [
        (Kind.JUDGE_DISAGREES, {"confidence": 0.97}, 0.97),
        (Kind.JUDGE_DISAGREES, {"confidence": 0.9, "people": 1}, 0.9),
        (Kind.JUDGE_DISAGREES, {"confidence": 0.9, "people": 3}, 0.729),
        (Kind.JUDGE_DISAGREES, {}, 0.5),
        (Kind.ANNOTATORS_SPLIT, {"choices": ["a", "b"]}, 0.9),
        (Kind.ANNOTATORS_SPLIT, {"choices": ["a", "b", "tie"]}, 0.9),
        (Kind.ANNOTATORS_SPLIT, {"choices": ["a", "a", "b"]}, 0.6),
        (Kind.ANNOTATORS_SPLIT, {"choices": ["a", "a", "a", "a", "b"]}, 0.36),
        (Kind.REPORTED, {"comment": "cut off"}, 0.8),
        (Kind.GOLD_MISSED, {"gold": "b", "choices": ["a"]}, 0.5),
        (Kind.GOLD_MISSED, {"gold": "b", "choices": ["a", "a", "tie"]}, 0.75),
        (Kind.GOLD_MISSED, {"gold": "b", "choices": ["a", "b", "b"]}, 0.25),
        (Kind.ORDER_FLIP, {}, 0.3),
        (Kind.LOW_MARGIN, {"confidence": 0.5}, 0.25),
    ],
)
def test_what_settling_is_worth(kind: str, detail: dict[str, object], value: float) -> None:
    assert flags.worth(kind, detail) == value


@pytest.mark.parametrize(("choices", "people", "value"), [("aaa", 3, 0.729), ("aab", 1, 0.9)])
def test_the_more_people_are_against_the_judge_the_less_it_is_worth(
    champion: Deployment, choices: str, people: int, value: float
) -> None:
    pair = PairFactory.create(project=champion.project)
    for choice in choices:
        LabelFactory.create(pair=pair, choice=choice)
    JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.1)
    flags.refresh(pair)
    flag = Flag.objects.get(kind=Kind.JUDGE_DISAGREES)
    assert (flag.detail["people"], flag.value) == (people, value)


def test_new_facts_change_an_open_flag_and_its_value(project: Project) -> None:
    pair = PairFactory.create(project=project)
    for choice in ("a", "b"):
        LabelFactory.create(pair=pair, choice=choice)
    flags.refresh(pair)
    first = Flag.objects.get()
    LabelFactory.create(pair=pair, choice="b")
    flags.refresh(pair)
    again = Flag.objects.get()
    assert (first.pk, first.value, first.detail) == (again.pk, 0.9, {"choices": ["a", "b"]})
    assert (again.value, again.detail) == (0.6, {"choices": ["a", "b", "b"]})


def test_what_a_second_person_reports_is_kept_beside_the_first(project: Project, bob: User, alice: User) -> None:
    claim = ClaimFactory.create(pair__project=project, annotator=bob, slots=2)
    other = ClaimFactory.create(pair=claim.pair, annotator=alice, slots=2, slot=1)
    flags.report(claim, comment="cut off")
    for _sent_twice in range(2):
        flags.report(other, comment="two prompts in one")
    flag = Flag.objects.get()
    assert flag.value == 0.8
    assert (flag.detail["by"], flag.detail["comment"]) == ("bob", "cut off")
    assert flag.detail["more"] == [{"by": "alice", "comment": "two prompts in one"}]


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


@pytest.mark.parametrize(("groups", "trusted"), [(4, False), (5, True)])
def test_trust_takes_several_independent_prompts(champion: Deployment, groups: int, trusted: bool) -> None:
    """Of one prompt, resampling whole prompts shows no error at all."""
    for number in range(30):
        pair = PairFactory.create(project=champion.project, part="gate", group_key=f"g{number % groups}")
        LabelFactory.create(pair=pair, choice="a")
        JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.9)
    assert trust.measure(champion) is trusted


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
