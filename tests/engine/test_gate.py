"""The gate's promises: how often equals pass, that the worse never do, and that row order is nothing."""

import json
import random
from typing import Any

import pytest

from genrm_engine.errors import EngineError
from genrm_engine.evaluation.gate import GateSettings, decide
from genrm_engine.types import Judgement
from tests.engine.conftest import make_judgement


def simulated(rate: float, choices: Any, draw: random.Random, *, flips: float = 0.0) -> Any:
    """A judge that is right with probability ``rate``."""
    found = []
    for pair_id, choice in choices.items():
        right = draw.random() < rate
        p_a = 0.8 if (choice == "a") == right else 0.2
        swapped = 0.5 if draw.random() < flips else p_a
        found.append(make_judgement(pair_id, p_a, swapped=swapped))
    return found


def labels(count: int, draw: random.Random) -> Any:
    return {f"p{number}": draw.choice("ab") for number in range(count)}


def outcomes(champion_rate: float, candidate_rate: float, *, count: int = 80, times: int = 200) -> Any:
    promoted = 0
    for seed in range(times):
        draw = random.Random(seed)
        choices = labels(count, draw)
        decision = decide(
            simulated(champion_rate, choices, draw), simulated(candidate_rate, choices, draw), choices, {}
        )
        promoted += decision.promote
    return promoted / times


def test_an_equal_judge_passes_at_most_about_once_in_five() -> None:
    assert outcomes(0.7, 0.7) <= 0.25


def test_a_worse_judge_hardly_ever_passes_and_a_better_one_mostly_does() -> None:
    assert outcomes(0.75, 0.6) <= 0.01
    assert outcomes(0.5, 0.75) >= 0.9


def test_few_labels_promote_no_equal_either() -> None:
    assert outcomes(0.7, 0.7, count=12) <= 0.25


@pytest.mark.parametrize("total", [20, 40, 60, 80, 100])
def test_a_fall_by_just_the_margin_is_allowed(total: int) -> None:
    """Shares that differ by five points to the last pair, whatever their binary fractions."""
    choices: Any = {f"p{number}": "a" for number in range(total)}
    fall = total // 20

    def with_consistent(count: int) -> list[Judgement]:
        return [
            make_judgement(pair_id, 0.9, swapped=0.9 if number < count else 0.2)
            for number, pair_id in enumerate(choices)
        ]

    for before in range(fall, total + 1):
        decision = decide(with_consistent(before), with_consistent(before - fall), choices, {})
        [condition] = [one for one in decision.conditions if one.name == "consistency"]
        assert condition.met, before


def test_the_very_same_judgements_are_not_better() -> None:
    draw = random.Random(1)
    choices = labels(60, draw)
    rows = simulated(0.8, choices, draw)
    decision = decide(rows, rows, choices, {})
    assert not decision.promote
    assert (decision.p_better, decision.difference) == (0.0, 0.0)
    assert decision.detectable is not None
    assert 0 < decision.detectable < 1
    assert any("better with probability 0.00" in reason for reason in decision.reasons)


def test_row_order_changes_nothing() -> None:
    draw = random.Random(5)
    choices = labels(70, draw)
    groups = {pair_id: f"g{number % 20}" for number, pair_id in enumerate(choices)}
    old, new = simulated(0.6, choices, draw), simulated(0.75, choices, draw)
    decision = decide(old, new, choices, groups)
    draw.shuffle(old)
    draw.shuffle(new)
    assert decide(old, new, dict(reversed(choices.items())), groups) == decision


def test_groups_make_the_interval_wider() -> None:
    draw = random.Random(5)
    choices: Any = {f"p{number}": "a" for number in range(80)}
    old = simulated(0.5, choices, draw)
    new = [make_judgement(f"p{number}", 0.9 if (number // 10) % 2 else 0.1) for number in range(80)]
    tens = {f"p{number}": f"g{number // 10}" for number in range(80)}
    alone, grouped = decide(old, new, choices, {}), decide(old, new, choices, tens)
    assert grouped.high - grouped.low > alone.high - alone.low
    assert grouped.groups == 8


def test_no_labels_is_a_refusal_that_says_so() -> None:
    decision = decide([make_judgement("p", 0.9)], [make_judgement("p", 0.9)], {}, {})
    assert not decision.promote
    assert decision.n == 0
    assert "hold-out" in decision.reasons[0]
    json.dumps(decision.to_json())


def refused_by(decision: Any) -> Any:
    return {condition.name for condition in decision.conditions if not condition.met}


@pytest.fixture
def clear_lead() -> Any:
    draw = random.Random(2)
    choices = labels(100, draw)
    return choices, simulated(0.5, choices, draw), simulated(0.9, choices, draw)


def test_a_clear_lead_is_promoted_with_its_reasons(clear_lead: Any) -> None:
    choices, old, new = clear_lead
    decision = decide(old, new, choices, {})
    assert decision.promote
    assert len(decision.reasons) == 4


def test_consistency_unparsed_gold_and_length_may_each_refuse(clear_lead: Any) -> None:
    choices, old, new = clear_lead
    flips = [make_judgement(row.pair_id, row.p_a, swapped=0.5 + (row.p_a - 0.5) * -0.5) for row in new]
    assert "consistency" in refused_by(decide(old, flips, choices, {}))
    mute = [make_judgement(row.pair_id, row.p_a, unparsed=1) for row in new]
    assert refused_by(decide(old, mute, choices, {})) == {"unparsed"}
    gold = {row.pair_id: ("b" if row.p_a > 0.5 else "a") for row in new[:10]}
    assert "gold" in refused_by(decide(old, new, choices, {}, gold=gold))  # type: ignore[arg-type]


def test_a_judge_that_only_learnt_length_is_refused() -> None:
    choices: Any = {f"p{number}": "a" for number in range(100)}
    lengths = {f"p{number}": (9, 2) if number < 70 else (2, 9) for number in range(100)}
    old = [make_judgement(f"p{number}", 0.8 if number % 2 else 0.2) for number in range(100)]
    new = [make_judgement(f"p{number}", 0.8 if number < 70 else 0.2) for number in range(100)]
    assert decide(old, new, choices, {}).promote
    assert refused_by(decide(old, new, choices, {}, lengths=lengths)) == {"shorter"}


def test_settings_are_checked() -> None:
    with pytest.raises(EngineError, match="probability"):
        GateSettings(probability=1.5)
    with pytest.raises(EngineError, match="margin"):
        GateSettings(margin=-0.1)
