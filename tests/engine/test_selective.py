"""Selective labelling: the wish is kept as often as promised, and where it cannot be, that is said."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm_engine.evaluation.report import notes
from genrm_engine.evaluation.selective import (
    disagreement_bound,
    labels_needed,
    least_labels,
    select,
    thresholds,
)


def judged(draw: np.random.Generator, n: int, *, skill: float = 1.0) -> tuple[dict[str, float], dict[str, bool]]:
    """A judge that is right as often as it is sure, times its skill."""
    sure = 0.5 + 0.5 * draw.random(n)
    right = draw.random(n) < 0.5 + skill * (sure - 0.5)
    names = [f"pair-{number}" for number in range(n)]
    return dict(zip(names, map(float, sure), strict=True)), dict(zip(names, map(bool, right), strict=True))


def test_a_calibrated_judge_gets_a_threshold_and_coverage() -> None:
    confidence, agrees = judged(np.random.default_rng(1), 2000)
    found = select(confidence, agrees, wished=0.8)
    assert found.threshold is not None
    assert 0.6 < found.threshold < 0.75, "agreement above t is (1 + t) / 2 on average"
    assert 0.5 < found.coverage < 0.8
    assert found.disagreement_bound is not None
    assert found.disagreement_bound <= 0.2
    assert found.labels_missing is None
    kept = [agrees[item] for item in confidence if confidence[item] >= found.threshold]
    assert found.coverage == len(kept) / 2000


def test_a_judge_at_chance_gets_none_and_more_labels_will_not_help() -> None:
    confidence, agrees = judged(np.random.default_rng(2), 1000, skill=0.0)
    found = select(confidence, agrees, wished=0.8)
    assert (found.threshold, found.coverage, found.disagreement_bound) == (None, 0.0, None)
    assert len(found.tested) == 1, "testing stops at the first that fails"
    assert found.labels_missing is None


def test_too_few_labels_are_counted() -> None:
    confidence, agrees = {f"{n}": 0.9 for n in range(10)}, {f"{n}": True for n in range(10)}
    found = select(confidence, agrees, wished=0.9)
    assert (found.threshold, found.tested) == (None, ())
    assert found.labels_missing == least_labels(wished=0.9) - 10 == 19


def test_a_good_judge_with_few_labels_is_told_how_many_are_missing() -> None:
    confidence = {f"{n:03}": 0.95 for n in range(60)}
    agrees = {item: number % 20 != 0 for number, item in enumerate(confidence)}  # 95 %
    found = select(confidence, agrees, wished=0.9)
    assert found.threshold is None
    assert found.labels_missing == labels_needed(0.95, wished=0.9) - 60  # type: ignore[operator]


def test_the_promise_is_kept_as_often_as_it_is_made() -> None:
    """Of a thousand hold-outs, at most some 5 % give a threshold at which the judge really agrees less than wished."""
    draw = np.random.default_rng(3)
    wished, broken, given_out = 0.85, 0, 0
    for _ in range(1000):
        found = select(*judged(draw, 150), wished=wished)
        if found.threshold is not None:
            given_out += 1
            broken += (1 + found.threshold) / 2 < wished
    assert given_out > 100
    assert broken / 1000 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1000)


def test_pairs_of_one_prompt_count_once() -> None:
    confidence = {f"{n}": 0.9 for n in range(100)}
    agrees = dict.fromkeys(confidence, True)
    alone = select(confidence, agrees, wished=0.9)
    together = select(confidence, agrees, wished=0.9, groups=dict.fromkeys(confidence, "one prompt"))
    assert (alone.labels, together.labels) == (100, 1)
    assert alone.threshold == 0.9
    assert together.threshold is None


@given(st.integers(1, 400), st.data())
def test_the_bound_contains_what_was_seen_and_shrinks_with_certainty(n: int, data: st.DataObject) -> None:
    wrong = data.draw(st.integers(0, n))
    bound = disagreement_bound(wrong, n)
    assert wrong / n <= bound <= 1
    assert disagreement_bound(wrong, n, certainty=0.8) <= bound


@given(st.lists(st.floats(0.5, 1), min_size=1, max_size=300))
def test_thresholds_descend_and_the_strictest_could_pass(confidence: list[float]) -> None:
    ranked = sorted(confidence, reverse=True)
    found = thresholds(ranked, wished=0.9, certainty=0.95)
    assert found == sorted(set(found), reverse=True)
    if len(ranked) < least_labels(wished=0.9):
        assert found == []
    else:
        assert sum(one >= found[0] for one in ranked) >= least_labels(wished=0.9)
        assert found[-1] == ranked[-1]


def test_labels_needed_grow_as_the_judge_comes_close_to_the_wish() -> None:
    far, near = labels_needed(0.99, wished=0.9), labels_needed(0.93, wished=0.9)
    assert far is not None
    assert near is not None
    assert 29 <= far < 100 < near
    assert labels_needed(0.9, wished=0.9) is None
    assert labels_needed(0.9001, wished=0.9) is None


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="same items"):
        select({"a": 0.9}, {"b": True}, wished=0.9)
    with pytest.raises(ValueError, match="shares"):
        select({"a": 0.9}, {"a": True}, wished=1.0)


def test_a_report_says_it_in_a_sentence() -> None:
    sure = {f"{n:03}": 0.9 for n in range(60)}
    figures = {"n": 60, "groups": 60, "calibration": None, "alternative_annotator_test": None}

    def said(agrees: dict[str, bool], wished: float) -> str:
        found = select(sure, agrees, wished=wished).to_json()
        [sentence] = notes({**figures, "selection": found}, least_groups=10)
        return sentence

    always = dict.fromkeys(sure, True)
    assert "From a confidence of 0.90 on, 100% of the pairs" in said(always, 0.9)
    assert "more labels to show" in said({**always, "001": False, "002": False, "003": False}, 0.9)
    assert "more labels will not change that" in said(dict.fromkeys(sure, False), 0.9)
