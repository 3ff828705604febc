"""The gate's stated rates, simulated, and what its decision must never depend on."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from genrm_engine.evaluation.gate import GateDecision, decide
from genrm_engine.types import Choice, Judgement
from tests.engine.conftest import make_judgement

TIMES = 220


@dataclass(frozen=True)
class Scene:
    """A hold-out and two judges: ``alike`` is the share of pairs on which the candidate repeats the champion.

    ``whole`` is the share of a group's pairs that are right or wrong together.
    """

    groups: int
    size: int
    accuracy: float = 0.7
    alike: float = 0.0
    whole: float = 0.0

    def decided(self, seed: int, *, worse: float = 0.0) -> GateDecision:
        """One comparison, with a candidate that is truly worse by so much."""
        draw = random.Random(seed)
        choices: dict[str, Choice] = {}
        groups: dict[str, str] = {}
        old, new = [], []
        for group in range(self.groups):
            shared = draw.random(), draw.random()
            for number in range(self.size):
                item = f"p{group}-{number}"
                choices[item], groups[item] = draw.choice(("a", "b")), f"g{group}"
                luck = [one if draw.random() < self.whole else draw.random() for one in shared]
                if draw.random() < self.alike:
                    luck[1] = luck[0]
                old.append(said(item, choices[item], right=luck[0] < self.accuracy))
                new.append(said(item, choices[item], right=luck[1] < self.accuracy - worse))
        return decide(old, new, choices, groups)


def said(item: str, choice: Choice, *, right: bool) -> Judgement:
    return make_judgement(item, 0.8 if (choice == "a") == right else 0.2)


def promotions(scenes: Sequence[Scene], *, worse: float = 0.0) -> tuple[int, int]:
    """How many of so many comparisons end in a promotion."""
    ends = [scene.decided(seed, worse=worse).promote for scene in scenes for seed in range(TIMES)]
    return sum(ends), len(ends)


def is_at_most(found: tuple[int, int], rate: float) -> bool:
    """Whether as many promotions as were found are no evidence (at 1 %) of a higher rate than this one."""
    return float(binomtest(*found, p=rate, alternative="greater").pvalue) > 0.01


FEW = [Scene(8, 2, alike=0.3), Scene(15, 1), Scene(20, 1, alike=0.6)]
SOME = [Scene(40, 1), Scene(40, 2, alike=0.6), Scene(40, 4, accuracy=0.55, alike=0.3, whole=0.5)]
MANY = [Scene(80, 1, alike=0.6), Scene(80, 2, whole=0.4), Scene(150, 1, accuracy=0.85, alike=0.5)]


@pytest.mark.parametrize("scenes", [FEW, SOME, MANY], ids=["few", "some", "many"])
def test_an_equal_judge_passes_at_most_once_in_five(scenes: list[Scene]) -> None:
    found = promotions(scenes)
    assert is_at_most(found, 0.2), found
    assert found[0] > 0, "a gate that nobody passes keeps every rate"


def test_a_judge_that_is_worse_by_the_margin_passes_about_once_in_twenty() -> None:
    few, some = promotions(FEW, worse=0.05), promotions(SOME, worse=0.05)
    assert is_at_most(few, 0.1), few
    assert is_at_most(some, 0.05), some


def test_a_judge_that_is_clearly_worse_hardly_ever_passes() -> None:
    few, some = promotions(FEW, worse=0.15), promotions(SOME, worse=0.15)
    assert is_at_most(few, 1 / 30), few
    assert some[0] / some[1] < 0.01, some


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_of_too_few_prompts_nobody_is_promoted_however_many_pairs_they_have(groups: int) -> None:
    for seed in range(20):
        decision = Scene(groups, 30, accuracy=0.4).decided(seed, worse=-0.5)
        assert decision.difference > 0
        assert refused_by(decision) == {"groups"}
        assert str(groups) in decision.reasons[0]
    assert Scene(5, 30, accuracy=0.4).decided(0, worse=-0.5).promote


@dataclass(frozen=True)
class Case:
    """Everything that the gate is given."""

    old: tuple[Judgement, ...]
    new: tuple[Judgement, ...]
    choices: Mapping[str, Choice]
    groups: Mapping[str, str]
    gold: Mapping[str, Choice]
    lengths: Mapping[str, tuple[int, int]]

    def decided(self) -> GateDecision:
        return decide(self.old, self.new, self.choices, self.groups, gold=self.gold, lengths=self.lengths)

    def shuffled(self, draw: random.Random) -> "Case":
        def mixed(rows: Any) -> list[Any]:
            return draw.sample(list(rows), len(rows))

        return Case(
            tuple(mixed(self.old)),
            tuple(mixed(self.new)),
            dict(mixed(self.choices.items())),
            dict(mixed(self.groups.items())),
            dict(mixed(self.gold.items())),
            dict(mixed(self.lengths.items())),
        )

    def renamed(self, draw: random.Random) -> "Case":
        """Other names for pairs and groups, in another order."""
        items = dict(zip(self.choices, draw.sample(range(1000, 9999), len(self.choices)), strict=True))
        groups = sorted(set(self.groups.values()))
        names = dict(zip(groups, draw.sample(range(1000, 9999), len(groups)), strict=True))
        return Case(
            tuple(replace(row, pair_id=str(items[row.pair_id])) for row in self.old),
            tuple(replace(row, pair_id=str(items[row.pair_id])) for row in self.new),
            {str(items[item]): choice for item, choice in self.choices.items()},
            {str(items[item]): str(names[group]) for item, group in self.groups.items()},
            {str(items[item]): choice for item, choice in self.gold.items()},
            {str(items[item]): both for item, both in self.lengths.items()},
        )

    def swapped(self) -> "Case":
        """B is A and A is B, everywhere."""
        return Case(
            tuple(map(turned, self.old)),
            tuple(map(turned, self.new)),
            {item: other(choice) for item, choice in self.choices.items()},
            self.groups,
            {item: other(choice) for item, choice in self.gold.items()},
            {item: (b, a) for item, (a, b) in self.lengths.items()},
        )


def other(choice: Choice) -> Choice:
    return "b" if choice == "a" else "a"


def turned(row: Judgement) -> Judgement:
    return replace(
        row,
        p_a=1 - row.p_a,
        p_a_straight=1 - row.p_a_swapped,
        p_a_swapped=1 - row.p_a_straight,
        votes_a=row.votes_b,
        votes_b=row.votes_a,
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Up to 24 pairs, some of a group, some gold; probabilities in sixteenths, so that one half comes up."""
    count = draw(st.integers(1, 24))
    items = [f"p{number}" for number in range(count)]
    choice: st.SearchStrategy[Choice] = st.sampled_from(("a", "b"))
    p = st.integers(0, 16).map(lambda sixteenths: sixteenths / 16)

    def judge() -> tuple[Judgement, ...]:
        return tuple(make_judgement(item, draw(p), swapped=draw(p), unparsed=draw(st.integers(0, 1))) for item in items)

    return Case(
        judge(),
        judge(),
        {item: draw(choice) for item in items},
        {item: f"g{draw(st.integers(0, count // 2))}" for item in items if draw(st.booleans())},
        {item: draw(choice) for item in items if draw(st.integers(0, 4)) == 0},
        {item: (draw(st.integers(1, 4)), draw(st.integers(1, 4))) for item in items},
    )


some = settings(max_examples=60, deadline=None, derandomize=True)


@some
@given(cases(), st.randoms(use_true_random=False))
def test_neither_order_nor_names_nor_sides_change_the_decision(case: Case, draw: random.Random) -> None:
    decision = case.decided()
    assert case.shuffled(draw).decided() == decision
    assert case.renamed(draw).decided() == decision
    assert case.swapped().decided() == decision


@some
@given(cases())
def test_the_very_same_judgements_are_never_promoted(case: Case) -> None:
    decision = replace(case, new=case.old).decided()
    assert not decision.promote
    assert (decision.p_better, decision.difference, decision.low, decision.high) == (0.0, 0.0, 0.0, 0.0)
    assert "better" in refused_by(decision)


@some
@given(cases())
def test_promoted_means_that_every_condition_was_met(case: Case) -> None:
    decision = case.decided()
    assert decision.promote == (not refused_by(decision))
    assert len(decision.reasons) == (len(decision.conditions) if decision.promote else len(refused_by(decision)))


def refused_by(decision: GateDecision) -> set[str]:
    return {condition.name for condition in decision.conditions if not condition.met}


def leading(count: int, *, won: int, lost: int) -> Case:
    """All are right on every pair but the first: the candidate alone wins some of these, the champion alone others."""
    items = [f"p{number:03}" for number in range(count)]
    choices: dict[str, Choice] = {item: "a" if number % 2 else "b" for number, item in enumerate(items)}
    old = [said(item, choices[item], right=number >= won) for number, item in enumerate(items)]
    new = [said(item, choices[item], right=not won <= number < won + lost) for number, item in enumerate(items)]
    return Case(tuple(old), tuple(new), choices, {}, {}, {})


LEAD = leading(100, won=30, lost=5)


def flipping(row: Judgement) -> Judgement:
    """The same winner overall, another one in the swapped order."""
    return replace(row, consistent=False)


def gold_missed() -> Case:
    """Of ten gold questions the candidate misses one."""
    asked = list(LEAD.choices)[40:50]
    missed = said(asked[0], LEAD.choices[asked[0]], right=False)
    new = tuple(missed if row.pair_id == asked[0] else row for row in LEAD.new)
    return replace(LEAD, new=new, gold={item: LEAD.choices[item] for item in asked})


def longer_learnt() -> Case:
    """What the candidate loses, it loses on the pairs where the shorter response is right."""
    shorter = list(LEAD.choices)[30:50]
    a_is_shorter = {item: (item in shorter) == (choice == "a") for item, choice in LEAD.choices.items()}
    return replace(LEAD, lengths={item: (2, 9) if short else (9, 2) for item, short in a_is_shorter.items()})


ALONE = {
    "better": leading(400, won=4, lost=4),
    "not_worse": leading(30, won=8, lost=4),
    "groups": replace(LEAD, groups={item: f"g{number % 4}" for number, item in enumerate(LEAD.choices)}),
    "consistency": replace(LEAD, new=(*map(flipping, LEAD.new[:6]), *LEAD.new[6:])),
    "unparsed": replace(LEAD, new=tuple(replace(row, unparsed=int(n < 11)) for n, row in enumerate(LEAD.new))),
    "gold": gold_missed(),
    "shorter": longer_learnt(),
}


def test_a_clear_lead_is_promoted() -> None:
    decision = LEAD.decided()
    assert decision.promote
    assert decision.n == 100
    assert decision.difference == pytest.approx(0.25)


@pytest.mark.parametrize("name", ALONE)
def test_each_condition_refuses_alone(name: str) -> None:
    assert refused_by(ALONE[name].decided()) == {name}


def test_a_figure_that_is_worse_by_just_the_margin_is_let_pass() -> None:
    flips = replace(LEAD, new=(*map(flipping, LEAD.new[:5]), *LEAD.new[5:]))
    mute = replace(LEAD, new=tuple(replace(row, unparsed=int(n < 10)) for n, row in enumerate(LEAD.new)))
    assert flips.decided().promote
    assert mute.decided().promote
