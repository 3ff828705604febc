"""Calibration that is known beforehand is found again, and no label is measured by what was fitted to it."""

import json
import random

import numpy as np
import pytest

from genrm_engine.errors import EngineError
from genrm_engine.evaluation.calibration import calibrate, fit_temperature, isotonic, scaled
from genrm_engine.types import Judgement, LabelledPair, Message, Pair
from tests.engine.conftest import make_judgement


def simulated(
    count: int, *, temperature: float, seed: int = 0, prefix: str = "p", per_group: int = 4
) -> tuple[list[Judgement], list[LabelledPair]]:
    """A judge whose logits are ``temperature`` times those of the true probabilities."""
    draw = random.Random(seed)
    judgements, rows = [], []
    for number in range(count):
        logit = draw.gauss(0, 1.2)
        truth = 1 / (1 + np.exp(-logit))
        said = 1 / (1 + np.exp(-logit * temperature))
        pair = Pair(f"{prefix}{number:04}", (Message("user", "q"),), "x", "y", f"{prefix}g{number // per_group}")
        judgements.append(make_judgement(pair.id, float(said)))
        rows.append(LabelledPair(pair, "a" if draw.random() < truth else "b"))
    return judgements, rows


def test_the_temperature_of_an_overconfident_judge_is_found() -> None:
    judgements, rows = simulated(2000, temperature=3.0)
    found = calibrate(judgements, rows)
    assert found.temperature == pytest.approx(3.0, rel=0.12)
    assert found.after_temperature is not None
    assert found.after_isotonic is not None
    for after in (found.after_temperature, found.after_isotonic):
        assert after.ece < found.before.ece / 2
        assert after.nll < found.before.nll
        assert after.brier < found.before.brier
    assert "cross-fitted by group in 5 folds" in found.fitted_on
    json.dumps(found.to_json(), allow_nan=False)


def test_other_labels_are_used_where_they_are_given() -> None:
    judgements, rows = simulated(400, temperature=3.0)
    others = simulated(400, temperature=3.0, seed=7, prefix="o")
    found = calibrate(judgements, rows, others=others)
    assert (found.n, found.labels, found.fitted_on) == (400, 400, "other held-out labels")
    p_a = np.array([row.p_a for row in others[0]])
    is_a = np.array([row.choice == "a" for row in others[1]], dtype=np.float64)
    assert found.temperature == pytest.approx(fit_temperature(p_a, is_a))


def test_labels_that_say_nothing_are_not_fitted_to() -> None:
    """Coin flips against a sure judge: in-sample isotonic regression would find a pattern, cross-fitting must not."""
    judgements, rows = simulated(60, temperature=3.0, per_group=1)
    draw = random.Random(5)
    rows = [LabelledPair(row.pair, draw.choice(("a", "b"))) for row in rows]
    found = calibrate(judgements, rows)
    assert found.after_isotonic is not None
    p_a = np.array([row.p_a for row in judgements])
    is_a = np.array([row.choice == "a" for row in rows], dtype=np.float64)
    in_sample = isotonic(p_a, is_a)(p_a)
    assert found.after_isotonic.brier > float(np.mean((in_sample - is_a) ** 2))
    assert found.after_isotonic.brier > 0.25 - 0.02


def test_groups_of_the_calibration_labels_must_not_be_measured() -> None:
    judgements, rows = simulated(40, temperature=2.0)
    with pytest.raises(EngineError, match="keep groups on one side"):
        calibrate(judgements, rows, others=(judgements, rows[:20]))


def test_too_few_labels_give_the_figures_before_and_say_so() -> None:
    judgements, rows = simulated(10, temperature=2.0)
    found = calibrate(judgements, rows)
    assert (found.temperature, found.after_isotonic) == (None, None)
    assert "10 labels in 3 groups are too few" in found.fitted_on
    assert sum(each.n for each in found.before.curve) == 10


def test_calibration_favours_neither_side_and_never_changes_the_order() -> None:
    judgements, rows = simulated(300, temperature=2.0)
    p_a = np.array([row.p_a for row in judgements])
    is_a = np.array([row.choice == "a" for row in rows], dtype=np.float64)
    values = np.linspace(0, 1, 101)
    for curve in (isotonic(p_a, is_a)(values), scaled(values, fit_temperature(p_a, is_a))):
        assert np.all(np.diff(curve) >= 0)
        assert curve + curve[::-1] == pytest.approx(np.ones(101), abs=1e-9)
        assert 0 < curve[0] < curve[-1] < 1


def test_the_curve_s_bins_by_hand() -> None:
    rows = [LabelledPair(Pair(f"p{n}", (Message("user", "q"),), "x", "y"), "a" if n else "b") for n in range(4)]
    judgements = [make_judgement(row.pair.id, p) for row, p in zip(rows, (0.62, 0.68, 0.05, 1.0), strict=True)]
    curve = calibrate(judgements, rows).before.curve
    assert [(each.start, each.n, each.y) for each in curve] == [(0.0, 1, 1.0), (0.6, 2, 0.5), (0.9, 1, 1.0)]
    assert curve[1].x == pytest.approx(0.65)
