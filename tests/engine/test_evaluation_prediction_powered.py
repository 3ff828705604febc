"""The prediction-powered mean: the published formula where it applies, and a simulation of its coverage."""

import numpy as np
import pytest
from scipy.stats import t

from genrm_engine.errors import EngineError
from genrm_engine.evaluation.prediction_powered import powered_mean, win_rate
from genrm_engine.formats import DataRow, Label
from genrm_engine.types import Message, Pair
from tests.engine.conftest import make_judgement


def named(values: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> dict[str, float]:
    return {f"i{number:05}": float(value) for number, value in enumerate(values)}


def population(size: int, rng: np.random.Generator, *, skill: float) -> tuple[dict[str, float], dict[str, float]]:
    """Outcomes 0 and 1, and a judge's probabilities that follow them more or less."""
    logit = rng.normal(0.4, 1.2, size)
    outcome = (rng.random(size) < 1 / (1 + np.exp(-logit))).astype(np.float64)
    said = 1 / (1 + np.exp(-(skill * 3 * (outcome - 0.5) + 0.5 * rng.normal(size=size) - 0.7)))  # biased on purpose
    return named(outcome), named(said)


def test_with_equal_probabilities_it_is_the_published_estimate() -> None:
    """mean(Y) + lambda (mean f unlabelled − mean f labelled) with lambda = Cov(Y, f) / ((1 + n/N) Var f)."""
    rng = np.random.default_rng(1)
    outcome, said = population(1200, rng, skill=0.8)
    labels = {item: outcome[item] for item in list(outcome)[:200]}
    found = powered_mean(labels, said, {})
    y = np.array(list(labels.values()))
    f = np.array(list(said.values()))
    n, unlabelled = 200, 1000
    power = found.power * unlabelled / (n + unlabelled)
    assert power == pytest.approx(np.cov(y, f[:n])[0, 1] / ((1 + n / unlabelled) * np.var(f)), rel=0.1)
    assert found.estimate == pytest.approx(y.mean() + power * (f[n:].mean() - f[:n].mean()))
    error = np.sqrt(np.var(y - power * f[:n]) / n + power**2 * np.var(f[n:]) / unlabelled)
    assert (found.high - found.low) / 2 / t.ppf(0.975, 199) == pytest.approx(error, rel=0.05)
    assert found.classical == pytest.approx(y.mean())
    plain = t.ppf(0.975, 199) * np.std(y, ddof=1) / np.sqrt(200)
    assert (found.classical_low, found.classical_high) == pytest.approx((y.mean() - plain, y.mean() + plain))


def coverage(*, skill: float, clustered: bool = False, chosen: bool = False) -> tuple[float, float]:
    """How often the interval holds the truth, and its width beside that of the labels alone."""
    rng = np.random.default_rng(11)
    hits, widths = [], []
    for _ in range(400):
        outcome, said = population(600, rng, skill=skill)
        groups: dict[str, str] = {}
        names = list(outcome)
        if clustered:  # six pairs of a group share outcome and prediction
            groups = {item: str(number // 6) for number, item in enumerate(names)}
            outcome = {item: outcome[names[6 * (number // 6)]] for number, item in enumerate(names)}
            said = {item: said[names[6 * (number // 6)]] for number, item in enumerate(names)}
        rates = {item: 0.1 + 0.3 * said[item] if chosen else 0.2 for item in names}
        drawn = {item: rng.random() for item in names}
        keys = {item: f"i{6 * (int(item[1:]) // 6):05}" if clustered else item for item in names}
        labels = {item: outcome[item] for item in names if drawn[keys[item]] < rates[item]}
        found = powered_mean(labels, said, groups, probabilities=rates)
        truth = 0.5772  # the mean of sigmoid(N(0.4, 1.2)), see the test below
        hits.append(found.low <= truth <= found.high)
        widths.append((found.high - found.low) / (found.classical_high - found.classical_low))
    return float(np.mean(hits)), float(np.mean(widths))


def test_the_truth_of_the_simulation() -> None:
    grid = np.linspace(-8, 8, 20001)
    density = np.exp(-0.5 * ((grid - 0.4) / 1.2) ** 2)
    assert np.average(1 / (1 + np.exp(-grid)), weights=density) == pytest.approx(0.5772, abs=1e-4)


def test_a_good_judge_narrows_the_interval_and_keeps_the_coverage() -> None:
    held, width = coverage(skill=0.9)
    assert 0.92 <= held <= 0.98
    assert width < 0.8


def test_a_useless_judge_costs_nothing() -> None:
    held, width = coverage(skill=0.0)
    assert 0.92 <= held <= 0.98
    assert 0.97 < width <= 1.01


def test_unequal_probabilities_are_weighed_and_groups_are_counted_whole() -> None:
    held, _ = coverage(skill=0.6, chosen=True)
    assert 0.92 <= held <= 0.98
    held, _ = coverage(skill=0.6, clustered=True)
    assert 0.90 <= held <= 0.98


def test_what_cannot_be_estimated_is_an_error() -> None:
    with pytest.raises(EngineError, match="no item has a human label"):
        powered_mean({}, {"x": 0.5}, {})
    with pytest.raises(EngineError, match="y has a label but no prediction"):
        powered_mean({"y": 1.0}, {"x": 0.5}, {})
    with pytest.raises(EngineError, match="no probability"):
        powered_mean({"x": 1.0}, {"x": 0.5}, {}, probabilities={"x": 0.0})
    with pytest.raises(EngineError, match="at least 2 groups"):
        powered_mean({"x": 1.0, "y": 1.0}, {"x": 0.5, "y": 0.4}, {"x": "g", "y": "g"})


def test_a_win_rate_of_labels_that_are_all_alike_has_the_exact_interval() -> None:
    pairs = [Pair(f"p{number}", (Message("user", "q"),), "x", "y") for number in range(12)]
    rows = [DataRow(pair, "a", models=("new", "old")) for pair in pairs]
    found = win_rate("new", rows, [make_judgement(row.pair.id, 0.7) for row in rows])
    assert (found.estimate, found.high, found.classical_high) == (1.0, 1.0, 1.0)
    assert found.low == found.classical_low == pytest.approx(0.025 ** (1 / 12))  # Clopper and Pearson


def test_a_win_rate_stays_within_zero_and_one() -> None:
    choices: list[Label] = ["a", "a", "a", "b"]
    rows = [
        DataRow(Pair(f"p{number}", (Message("user", "q"),), "x", "y"), choice, models=("new", "old"))
        for number, choice in enumerate(choices)
    ]
    found = win_rate("new", rows, [make_judgement(row.pair.id, 0.7) for row in rows])
    assert 0 <= found.low < found.estimate < found.high == 1


def test_with_every_item_labelled_it_is_the_mean() -> None:
    found = powered_mean({"x": 1.0, "y": 0.0, "z": 1.0}, {"x": 0.9, "y": 0.2, "z": 0.4}, {})
    assert found.estimate == pytest.approx(2 / 3)
    assert found.classical == pytest.approx(2 / 3)
    assert found.power == 0


def test_a_model_s_win_rate_counts_its_own_side_and_ties_half() -> None:
    def row(number: int, models: tuple[str, str], choice: Label | None) -> DataRow:
        return DataRow(Pair(f"p{number}", (Message("user", "q"),), "x", "y"), choice, models=models)

    rows = [
        row(0, ("new", "old"), "a"),
        row(1, ("old", "new"), "a"),
        row(2, ("old", "new"), "tie"),
        row(3, ("new", "old"), "a"),
        row(4, ("new", "old"), None),
        row(5, ("old", "other"), "a"),
        row(6, ("new", "new"), "a"),
    ]
    judgements = [make_judgement(each.pair.id, 0.8) for each in rows]
    found = win_rate("new", rows, judgements)
    assert (found.n, found.items) == (4, 5)
    assert found.classical == pytest.approx((1 + 0 + 0.5 + 1) / 4)
    # Predictions for "new": 0.8 and 0.8 where it won, 0.2 twice where it did not, 0.8 for the pair without a label.
    assert found.estimate == pytest.approx(found.classical + found.power * ((3 * 0.8 + 2 * 0.2) / 5 - 0.5))
    assert found.power > 0
