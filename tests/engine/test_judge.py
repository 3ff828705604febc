"""The judge with scripted backends: both orders, votes, and what is not a verdict."""

import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm_engine.backends import BackendSpec, load_backend
from genrm_engine.errors import EngineError
from genrm_engine.judge import judge
from genrm_engine.types import Judgement, JudgeSettings, LabelledPair, Message, Pair
from tests.engine.conftest import make_labelled, make_pair


def judged(model: str, pairs: Any, **settings: Any) -> Any:
    backend = load_backend(BackendSpec("scripted", f"scripted:{model}"))
    return judge(pairs, backend=backend, settings=JudgeSettings(**settings))


@pytest.mark.parametrize("method", ["score", "cot"])
def test_the_oracle_is_right_and_consistent_in_the_stored_order(method: Any) -> None:
    rows = make_labelled(6)
    for row, found in zip(rows, judged("oracle", [row.pair for row in rows], method=method), strict=True):
        assert found.pair_id == row.pair.id
        assert found.consistent
        assert (found.p_a > 0.5) == (row.choice == "a")
        assert found.p_a_straight == pytest.approx(found.p_a_swapped)


def test_naming_the_first_is_inconsistent_and_undecided() -> None:
    [found] = judged("first", [make_pair(1)], method="cot", samples_per_order=3)
    assert found.p_a == pytest.approx(0.5)
    assert found.p_a_straight == pytest.approx(0.9)
    assert found.p_a_swapped == pytest.approx(0.1)
    assert not found.consistent
    assert (found.votes_a, found.votes_b, found.samples) == (3, 3, 6)


def test_rationales_are_mapped_back_and_numbered_per_order() -> None:
    [found] = judged("oracle", [make_pair(1, good_first=False)], method="cot", samples_per_order=2)
    assert [(row.swapped, row.sample, row.verdict) for row in found.rationales] == [
        (False, 0, "b"),
        (False, 1, "b"),
        (True, 0, "b"),
        (True, 1, "b"),
    ]
    assert all(row.p_a == pytest.approx(0.1) for row in found.rationales)


def test_score_has_a_vote_for_each_order_and_no_rationale() -> None:
    [found] = judged("longer", [make_pair(3)])
    assert (found.samples, found.votes_a + found.votes_b, found.rationales) == (2, 2, ())
    assert found.tokens > 0


def test_what_gives_no_verdict_is_counted_and_never_a_vote() -> None:
    [found] = judged("unparsed", [make_pair(1)], method="cot", samples_per_order=4)
    assert (found.samples, found.unparsed, found.votes_a, found.votes_b) == (8, 8, 0, 0)
    assert found.p_a == 0.5
    assert not found.consistent
    assert found.rationales == ()


def test_the_same_pairs_in_another_order_give_the_same_judgements() -> None:
    pairs = [make_pair(number) for number in range(5)]
    there = {row.pair_id: row.p_a for row in judged("coin", pairs)}
    back = {row.pair_id: row.p_a for row in judged("coin", pairs[::-1])}
    assert there == back


def test_no_pairs_no_judgements() -> None:
    assert judged("longer", []) == []


def test_slow_crashing_and_broken_backends() -> None:
    started = time.monotonic()
    judged("slow:0.05", [make_pair(1)])
    assert time.monotonic() - started >= 0.05
    backend = load_backend(BackendSpec("scripted", "scripted:crash:1"))
    judge([make_pair(1)], backend=backend, settings=JudgeSettings())
    with pytest.raises(EngineError) as passing:
        judge([make_pair(1)], backend=backend, settings=JudgeSettings())
    assert not passing.value.permanent
    with pytest.raises(EngineError) as lasting:
        judged("broken", [make_pair(1)])
    assert lasting.value.permanent


def test_unknown_judges_and_settings_are_refused_by_name() -> None:
    with pytest.raises(EngineError, match="unknown scripted judge 'nobody'"):
        judged("nobody", [make_pair(1)])
    with pytest.raises(EngineError, match="samples_per_order"):
        JudgeSettings(samples_per_order=0)
    with pytest.raises(EngineError, match="'score' or 'cot'"):
        JudgeSettings(method="guess")  # type: ignore[arg-type]


TEXT = st.text(max_size=60)


@given(TEXT, TEXT, TEXT, st.sampled_from(["score", "cot"]))
def test_a_judgement_survives_json_and_swapping_the_pair_mirrors_it(question: Any, a: Any, b: Any, method: Any) -> None:
    pair = Pair("p", (Message("user", question),), a, b)
    mirrored = Pair("p", (Message("user", question),), b, a)
    [found] = judged("longer", [pair], method=method)
    [other] = judged("longer", [mirrored], method=method)
    assert Judgement.from_json(found.to_json()) == found
    assert other.p_a == pytest.approx(1 - found.p_a)
    assert Pair.from_json(pair.to_json()) == pair
    assert LabelledPair.from_json(LabelledPair(pair, "b", 0.5).to_json()) == LabelledPair(pair, "b", 0.5)


def test_longer_prefers_length() -> None:
    pairs = [Pair(str(n), (Message("user", "?"),), "x" * n, "y" * 5) for n in range(3, 8)]
    found = judged("longer", pairs)
    assert all(low.p_a <= high.p_a for low, high in pairwise(found))
    assert found[2].p_a == 0.5
