"""Replaying recorded samples gives what judging with each rule gives, and a table of it."""

from dataclasses import replace
from typing import Any

import pytest

from genrm_engine.backends import BackendSpec, load_backend
from genrm_engine.errors import EngineError
from genrm_engine.judge import judge
from genrm_engine.replay import Row, replay, to_markdown
from genrm_engine.types import Judgement, JudgeSettings, LabelledPair
from tests.engine.conftest import make_labelled

ROWS = make_labelled(80)
CHOICES = {row.pair.id: row.choice for row in ROWS}


def judged(model: str = "noisy:1:0.7", rows: list[LabelledPair] = ROWS, **settings: Any) -> list[Judgement]:
    backend = load_backend(BackendSpec("scripted", f"scripted:{model}"))
    settings = {"method": "cot", "samples_per_order": 8, **settings}
    return judge([row.pair for row in rows], backend=backend, settings=JudgeSettings(**settings))


@pytest.fixture(scope="module")
def found() -> dict[str, Row]:
    rows = replay(judged(), CHOICES, {}, scores=judged(method="score"), thresholds=(0.7, 0.9), margins=(0.1, 0.3))
    return {row.rule: row for row in rows}


def live(**settings: Any) -> dict[str, float]:
    """The figures of judging anew with these settings."""
    rows = judged(**settings)
    full = {row.pair_id: row for row in judged()}
    right = [0.5 if row.vote is None else float(row.vote == CHOICES[row.pair_id]) for row in rows]
    return {
        "tokens": sum(row.tokens for row in rows) / len(rows),
        "agreement": sum(row.vote == full[row.pair_id].vote for row in rows) / len(rows),
        "accuracy": sum(right) / len(right),
    }


def figures(row: Row) -> dict[str, float]:
    return {"tokens": row.tokens, "agreement": row.agreement, "accuracy": row.accuracy}


@pytest.mark.parametrize(
    ("rule", "settings"),
    [
        ("full vote", {}),
        ("majority cannot flip", {"sequential": "certain"}),
        ("posterior 0.7", {"sequential": "posterior", "posterior_threshold": 0.7}),
        ("posterior 0.9", {"sequential": "posterior", "posterior_threshold": 0.9}),
    ],
)
def test_a_replayed_rule_is_what_judging_with_it_gives(
    found: dict[str, Row], rule: str, settings: dict[str, Any]
) -> None:
    assert figures(found[rule]) == pytest.approx(live(**settings))


def test_a_replayed_cascade_costs_and_decides_what_judging_with_it_does(found: dict[str, Row]) -> None:
    rows = judged(cascade=True, cascade_margin=0.3, sequential="certain")
    row = found["cascade 0.3, majority cannot flip"]
    assert row.tokens == pytest.approx(sum(one.tokens for one in rows) / len(rows))
    sure = [one for one in rows if one.decided_by == "score"]
    assert 0 < len(sure) < len(rows)
    right = [
        float((one.p_a > 0.5) == (CHOICES[one.pair_id] == "a"))
        if one.decided_by == "score"
        else 0.5
        if one.vote is None
        else float(one.vote == CHOICES[one.pair_id])
        for one in rows
    ]
    assert row.accuracy == pytest.approx(sum(right) / len(right))


def test_a_certain_vote_agrees_always_and_saves_and_lower_thresholds_save_more(found: dict[str, Row]) -> None:
    full, certain = found["full vote"], found["majority cannot flip"]
    assert (full.tokens_saved, full.written_saved, full.agreement, full.samples) == (0.0, 0.0, 1.0, 16.0)
    assert certain.agreement == 1.0
    assert certain.accuracy == full.accuracy
    assert certain.written_saved > 0
    assert found["posterior 0.7"].samples < found["posterior 0.9"].samples < certain.samples
    assert found["score"].written_saved == 1.0
    assert found["cascade 0.1, full vote"].samples < found["cascade 0.3, full vote"].samples < full.samples
    assert full.accuracy_low < full.accuracy < full.accuracy_high


def test_groups_widen_the_interval_and_pairs_without_a_label_are_left_out() -> None:
    full = judged()
    alone = replay(full, CHOICES, {})[0]
    grouped = replay(full, CHOICES, {pair: str(int(pair[1:]) // 10) for pair in CHOICES})[0]
    assert alone.accuracy == grouped.accuracy
    assert (alone.accuracy_low, alone.accuracy_high) != (grouped.accuracy_low, grouped.accuracy_high)
    few = dict(list(CHOICES.items())[:10])
    assert {row.pairs for row in replay(full, few, {})} == {10}


def test_unparsed_samples_cost_tokens_and_never_vote() -> None:
    rows = make_labelled(3)
    [full, *_] = replay(judged("unparsed", rows, samples_per_order=4), CHOICES, {})
    assert full.accuracy == 0.5
    assert full.tokens == pytest.approx(sum(row.tokens for row in judged("unparsed", rows, samples_per_order=4)) / 3)


def test_the_table_has_a_line_for_every_rule(found: dict[str, Row]) -> None:
    text = to_markdown(list(found.values()))
    assert [line.split("|")[1].strip() for line in text.splitlines()[2 : 2 + len(found)]] == list(found)
    assert text.endswith("80 pairs.\n")


def test_what_is_no_full_vote_is_refused_by_the_pairs_name() -> None:
    [first, *rest] = judged(rows=ROWS[:3])
    with pytest.raises(EngineError, match=f"pair {first.pair_id} is no full vote"):
        replay([replace(first, decided_by="score"), *rest], CHOICES, {})
    with pytest.raises(EngineError, match=f"pair {first.pair_id} lacks rationales"):
        replay([replace(first, rationales=first.rationales[1:]), *rest], CHOICES, {})
    with pytest.raises(EngineError, match="method 'cot'"):
        replay([first], CHOICES, {}, scores=[first])
    with pytest.raises(EngineError, match="stopped early"):
        replay(judged(sequential="certain"), CHOICES, {})
    with pytest.raises(EngineError, match="no pair has"):
        replay([first], {}, {})
