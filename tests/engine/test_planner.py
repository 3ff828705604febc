"""Plans on data whose truth is known: what accepting brings, and what a learning curve promises."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from genrm_engine.evaluation.agreement import Figure
from genrm_engine.evaluation.planner import Version, accepting, more_labels, predicted, steps

Sure = dict[str, float]


def ten() -> tuple[Sure, Sure]:
    """Ten pairs from 0.5 to 0.95; the judge is wrong on the three that it is least sure of."""
    confidence = {f"p{number}": 0.5 + 0.05 * number for number in range(10)}
    return confidence, {item: float(number >= 3) for number, item in enumerate(confidence)}


def test_the_judge_is_taken_at_its_word_above_and_people_at_their_ceiling_below() -> None:
    confidence, agrees = ten()
    ceiling = Figure(100, 0.9, 0.9, 0.9)
    everything, half, nothing = accepting(confidence, agrees, {}, thresholds=[0.5, 0.745, 1.0], ceiling=ceiling)
    assert (everything.agreement.value, everything.human_share.value) == pytest.approx((0.7, 0.0))
    assert half.agreement.value == pytest.approx(0.5 * 1.0 + 0.5 * 0.9)
    assert half.human_share.value == pytest.approx(0.5)
    assert half.judge is not None
    assert (half.judge.n, half.judge.value) == (5, 1.0)
    assert nothing.agreement.value == pytest.approx(0.9)
    assert (nothing.human_share.value, nothing.judge) == (1.0, None)
    assert half.human_share.low < 0.5 < half.human_share.high
    assert nothing.agreement.low == pytest.approx(0.9), "a ceiling that is known is no source of doubt"
    json.dumps([one.to_json() for one in (everything, half, nothing)], allow_nan=False)


def test_the_interval_knows_that_the_ceiling_is_measured_too() -> None:
    confidence, agrees = ten()
    [known] = accepting(confidence, agrees, {}, thresholds=[1.0], ceiling=Figure(50, 0.8, 0.8, 0.8))
    [measured] = accepting(confidence, agrees, {}, thresholds=[1.0], ceiling=Figure(50, 0.8, 0.7, 0.9))
    assert measured.agreement.value == known.agreement.value
    assert (measured.agreement.low, measured.agreement.high) == pytest.approx((0.7, 0.9), abs=0.01)


def test_without_a_ceiling_people_agree_always_and_groups_widen_the_interval() -> None:
    confidence = {f"p{number:02}": 0.9 for number in range(40)}
    agrees = {item: float(number % 8 < 4) for number, item in enumerate(confidence)}
    groups = {item: str(number // 4) for number, item in enumerate(confidence)}
    [alone], [grouped] = (accepting(confidence, agrees, each, thresholds=[0.8]) for each in ({}, groups))
    assert alone.agreement.value == grouped.agreement.value == 0.5
    assert grouped.agreement.high - grouped.agreement.low > 1.5 * (alone.agreement.high - alone.agreement.low)
    [people] = accepting(confidence, agrees, {}, thresholds=[1.0])
    assert people.agreement == Figure(40, 1.0, 1.0, 1.0)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.floats(0.5, 1), st.booleans()), min_size=1, max_size=40), st.floats(0.5, 1))
def test_figures_are_shares_and_stricter_thresholds_ask_more_people(rows: list[tuple[float, bool]], c: float) -> None:
    confidence = {str(number): sure for number, (sure, _) in enumerate(rows)}
    agrees = {str(number): float(right) for number, (_, right) in enumerate(rows)}
    found = accepting(confidence, agrees, {}, thresholds=[*steps(confidence), c])
    shares = [one.human_share.value for one in sorted(found, key=lambda one: one.threshold)]
    assert shares == sorted(shares)
    for one in found:
        for figure in (one.agreement, one.human_share):
            assert -1e-9 <= figure.low <= figure.value + 1e-9
            assert figure.value <= figure.high + 1e-9 <= 1 + 2e-9
        assert one.human_share.value == pytest.approx(1 - np.mean([sure >= one.threshold for sure, _ in rows]))


def test_steps_let_the_judge_label_quarters() -> None:
    confidence, _ = ten()
    assert steps(confidence, shares=(0.2, 0.5, 1.0)) == pytest.approx([0.9, 0.75, 0.5])
    assert steps(dict.fromkeys("abcd", 0.8)) == [0.8]
    assert steps({}) == []


def test_items_must_be_the_same_and_may_be_none() -> None:
    assert accepting({}, {}, {}, thresholds=[0.9]) == []
    with pytest.raises(ValueError, match="same items"):
        accepting({"a": 0.9}, {"b": 1.0}, {}, thresholds=[0.9])


def law(labels: float, ceiling: float, loss: float, rate: float) -> float:
    return float(ceiling - loss * (labels + 1) ** -rate)


def versions(sizes: list[int], *, error: float = 0.01, noise: float = 0.0, seed: int = 0) -> list[Version]:
    draw = np.random.default_rng(seed)
    found = []
    for size in sizes:
        accuracy = law(size, 0.85, 0.3, 0.4) + noise * float(draw.normal())
        found.append(Version(size, accuracy, accuracy - 1.96 * error, accuracy + 1.96 * error))
    return found


def test_a_curve_that_is_a_power_law_is_continued() -> None:
    found = more_labels(versions([0, 50, 150, 400]), 600, now=400)
    assert (found.labels, found.versions, found.reason) == (1000, 4, "")
    assert found.accuracy is not None
    assert found.low is not None
    assert found.high is not None
    assert found.accuracy == pytest.approx(law(1000, 0.85, 0.3, 0.4), abs=0.002)
    assert found.low < found.accuracy < found.high
    vague = more_labels(versions([0, 50, 150, 400], error=0.05), 600, now=400)
    assert vague.low is not None
    assert vague.low < found.low, "versions measured on fewer labels promise less"


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    truth, held = law(800, 0.85, 0.3, 0.4), 0
    for seed in range(100):
        history = versions([0, 100, 200, 400, 600], error=0.02, noise=0.02, seed=seed)
        found = more_labels(history, 200, now=600)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
    assert held >= 88


def test_the_fit_is_the_least_squares_fit() -> None:
    sizes, error = np.array([0.0, 40, 90, 200, 500]), np.array([0.02, 0.03, 0.02, 0.01, 0.02])
    accuracy = np.array([0.55, 0.66, 0.69, 0.74, 0.77])
    best, _ = curve_fit(
        lambda labels, ceiling, loss, rate: ceiling - loss * (labels + 1) ** -rate,
        sizes, accuracy, p0=(0.9, 0.3, 0.3), sigma=error, bounds=([0, 0, 0.02], [1, 1, 2.0]),
    )  # fmt: skip
    found = predicted(sizes, accuracy[None, :], error, at=900)
    assert found[0] == pytest.approx(law(900, *best), abs=0.002)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=6), st.integers(0, 5000))
def test_more_labels_never_promise_less_nor_more_than_all(accuracies: list[float], n: int) -> None:
    sizes, error = 50 * np.arange(len(accuracies), dtype=np.float64), np.full(len(accuracies), 0.05)
    few, many = (float(predicted(sizes, np.array([accuracies]), error, at=at)[0]) for at in (n, n + 500))
    assert few <= many + 1e-9 <= 1 + 2e-9
    assert many >= min(accuracies) - 1e-9


def test_a_curve_needs_three_versions_with_different_numbers_of_labels() -> None:
    found = more_labels(versions([0, 100, 100, 0]), 50, now=100)
    assert (found.labels, found.versions, found.accuracy) == (150, 2, None)
    assert found.reason == "2 of at least 3 versions with different numbers of labels are measured"
