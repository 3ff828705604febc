"""Figures against values worked out by hand."""

import json
import math
import random
from dataclasses import replace

import pytest

from genrm_engine.api import load_judge
from genrm_engine.errors import EngineError
from genrm_engine.evaluation.bootstrap import bootstrap_means, group_sums, interval
from genrm_engine.evaluation.metrics import Metrics, evaluate, expected_calibration_error, measure
from genrm_engine.types import Choice, Judgement
from tests.engine.conftest import make_judgement, make_labelled


def test_figures_by_hand() -> None:
    judgements = [
        make_judgement("p1", 0.9, swapped=0.7),  # a, right, consistent; p = 0.8
        make_judgement("p2", 0.4, swapped=0.2),  # b, right, consistent; p = 0.3
        make_judgement("p3", 0.9, swapped=0.3),  # a, wrong, flips; p = 0.6
        make_judgement("p4", 0.5, swapped=0.5, unparsed=1),  # undecided: half right
        make_judgement("p5", 0.9),  # no label: left out
    ]
    choices = {"p1": "a", "p2": "b", "p3": "b", "p4": "a", "p6": "a"}
    lengths = {"p1": (3, 9), "p2": (2, 8), "p3": (5, 5)}
    found = evaluate(judgements, choices, {}, lengths=lengths)  # type: ignore[arg-type]
    assert (found.n, found.groups) == (4, 4)
    assert found.accuracy == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert found.single_order_accuracy == pytest.approx((1 + 1 + 0.5 + 0.5) / 4)
    assert found.consistency == pytest.approx(0.5)
    assert found.unparsed_rate == pytest.approx(1 / 8)
    assert found.nll == pytest.approx(-sum(map(math.log, (0.8, 0.7, 0.4, 0.5))) / 4)
    assert found.brier == pytest.approx((0.2**2 + 0.3**2 + 0.6**2 + 0.5**2) / 4)
    assert (found.accuracy_shorter, found.shorter_n) == (1.0, 1)
    assert (found.accuracy_longer, found.longer_n) == (1.0, 1)
    assert found.longer_wins == pytest.approx((0 + 1 + 0.5) / 3)
    assert found.accuracy_low is not None
    assert found.accuracy_high is not None
    assert found.accuracy_low <= 0.625 <= found.accuracy_high


def test_calibration_error_by_hand() -> None:
    import numpy as np

    p_a = np.array([0.9, 0.9, 0.1, 0.1])
    is_a = np.array([1.0, 0.0, 0.0, 0.0])
    assert expected_calibration_error(p_a, is_a) == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)


def test_nothing_to_compare_is_no_figure() -> None:
    assert evaluate([], {"p": "a"}, {}) == Metrics(n=0)


def test_figures_do_not_depend_on_row_order_and_survive_json() -> None:
    draw = random.Random(3)
    judgements = [make_judgement(f"p{n}", draw.random(), swapped=draw.random()) for n in range(50)]
    choices = {f"p{n}": draw.choice("ab") for n in range(50)}
    groups = {f"p{n}": f"g{n % 7}" for n in range(50)}
    found = evaluate(judgements, choices, groups)  # type: ignore[arg-type]
    draw.shuffle(judgements)
    assert evaluate(judgements, dict(reversed(choices.items())), groups) == found  # type: ignore[arg-type]
    assert Metrics.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_rows_stored_by_earlier_versions_are_read_under_the_new_names() -> None:
    stored = {"n": 4, "groups": 4, "accuracy": 0.75, "shorter_wins": 0.5, "shorter_n": 2, "longer_wins": 1.0}
    found = Metrics.from_json({**stored, "longer_n": 2, "longer_baseline": 0.6})
    assert (found.accuracy_shorter, found.accuracy_longer, found.longer_wins) == (0.5, 1.0, 0.6)
    assert found.consistency_low is None
    assert Metrics.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_votes_count_the_sampled_verdicts_and_a_drawn_vote_is_half_right() -> None:
    def voted(pair_id: str, votes_a: int, votes_b: int) -> Judgement:
        return replace(make_judgement(pair_id, 0.9), method="cot", votes_a=votes_a, votes_b=votes_b)

    rows = [voted("won", 3, 1), voted("lost", 1, 3), voted("drawn", 2, 2), voted("silent", 0, 0)]
    choices: dict[str, Choice] = {row.pair_id: "a" for row in rows}
    found = evaluate(rows, choices, {})
    assert found.vote_accuracy == pytest.approx((1 + 0 + 0.5 + 0.5) / 4)
    assert found.vote_accuracy_low is not None
    assert found.vote_accuracy_low < 0.5
    assert evaluate([make_judgement("won", 0.9)], choices, {}).vote_accuracy is None


def test_rows_of_several_files_with_the_same_ids_are_refused() -> None:
    rows, others = make_labelled(4), [replace(row, choice="b") for row in make_labelled(4)]
    with load_judge("scripted:crash:0") as judge, pytest.raises(EngineError, match="the id p0 stands for different"):
        judge.evaluate([*rows, *others])
    with pytest.raises(EngineError, match="the id p0 stands for different choices: every pair needs an id of its own"):
        measure([*rows, *others], [make_judgement(row.pair.id, 0.9) for row in [*rows, *others]])
    assert measure([*rows, *rows], [make_judgement(row.pair.id, 0.9) for row in rows]).n == 4


def test_groups_are_resampled_whole() -> None:
    values = {"x1": 1.0, "x2": 1.0, "y1": 0.0, "y2": 0.0}
    sums, counts = group_sums(values, {"x1": "x", "x2": "x", "y1": "y", "y2": "y"})
    means = bootstrap_means(sums, counts)
    assert set(means.tolist()) == {0.0, 0.5, 1.0}
    alone = bootstrap_means(*group_sums(values, {}))
    assert {0.25, 0.75} < set(alone.tolist())


def test_the_interval_covers_a_known_rate_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        draw = random.Random(seed)
        values = {str(n): float(draw.random() < 0.7) for n in range(80)}
        low, high = interval(values, {})
        covered += low <= 0.7 <= high
    assert 180 <= covered <= 199
