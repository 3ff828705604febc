"""Agreement figures against worked examples and against the packages' own results on data that they see whole."""

import random
from collections.abc import Sequence

import krippendorff
import numpy as np
import pytest
from scipy.stats import ttest_1samp
from sklearn.metrics import cohen_kappa_score

from genrm_engine.errors import EngineError
from genrm_engine.evaluation.agreement import agreement, alphas, coincidences, human_ceiling, label_of, majority_credit
from genrm_engine.evaluation.alternative_annotator import alternative_annotator_test
from genrm_engine.evaluation.rated import rated
from genrm_engine.formats import DataRow, HumanLabel, Label
from genrm_engine.types import Judgement, Message, Pair
from tests.engine.conftest import make_judgement

LABELS: tuple[Label, ...] = ("a", "b", "tie")
P_A = {"a": 0.8, "b": 0.2, "tie": 0.5}


def row(number: int, labels: Sequence[Label], *, choice: Label | None = None, group: str = "") -> DataRow:
    pair = Pair(f"p{number:04}", (Message("user", "q"),), "x", "y", group)
    named = tuple(HumanLabel(f"annotator {place}", label) for place, label in enumerate(labels))
    return DataRow(pair, choice, named)


def judged(rows: Sequence[DataRow], said: Sequence[Label]) -> list[Judgement]:
    return [make_judgement(row.pair.id, P_A[label]) for row, label in zip(rows, said, strict=True)]


def noisy(count: int, *, people: Sequence[float], judge: float, seed: int = 1) -> tuple[list[DataRow], list[Judgement]]:
    """Pairs with a hidden truth that each annotator and the judge know with the given probability."""
    draw = random.Random(seed)
    rows, said = [], []

    def told(truth: Label, skill: float) -> Label:
        return truth if draw.random() < skill else draw.choice([label for label in LABELS if label != truth])

    for number in range(count):
        truth: Label = draw.choice(["a", "b"])
        rows.append(row(number, [told(truth, skill) for skill in people], choice=truth, group=f"g{number % 20}"))
        said.append(told(truth, judge))
    return rows, judged(rows, said)


def test_kappa_is_that_of_scikit_learn_and_lies_in_its_interval() -> None:
    rows, judgements = noisy(120, people=[0.9], judge=0.8)
    found = agreement(judgements, rows)
    said = [label_of(judgement.p_a) for judgement in judgements]
    assert found.kappa is not None
    assert found.kappa.value == pytest.approx(cohen_kappa_score(said, [row.choice for row in rows]))
    assert found.kappa.low < found.kappa.value < found.kappa.high
    assert (found.alpha_humans, found.human_ceiling) == (None, None)


def test_kappa_by_hand_and_without_ties() -> None:
    consensus: list[Label] = ["a", "a", "a", "b", "b", "tie"]
    rows = [row(number, [], choice=label) for number, label in enumerate(consensus)]
    found = agreement(judged(rows, ["a", "a", "b", "b", "b", "a"]), rows)
    assert found.kappa_decided is not None
    assert found.kappa_decided.n == 5
    assert found.kappa_decided.value == pytest.approx((0.8 - 0.48) / 0.52)
    assert found.kappa is not None
    assert found.kappa.value == pytest.approx((4 / 6 - 15 / 36) / (1 - 15 / 36))


def test_alpha_of_the_published_example() -> None:
    """Krippendorff (2011), nominal data: units by observers with gaps, alpha = 0.743."""
    nan = np.nan
    data = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, nan, nan, nan],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, nan, 3],
        [nan, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, nan],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, nan],
    ]
    assert krippendorff.alpha(data, level_of_measurement="nominal") == pytest.approx(0.743, abs=5e-4)


def test_alpha_with_and_without_the_judge_is_that_of_the_package() -> None:
    rows, judgements = noisy(90, people=[0.9, 0.8, 0.7], judge=0.95)
    found = agreement(judgements, rows)
    code = {"a": 0, "b": 1, "tie": 2}
    people = [[code[row.labels[place].choice] for row in rows] for place in range(3)]
    judge = [code[label_of(judgement.p_a)] for judgement in judgements]
    assert found.alpha_humans is not None
    assert found.alpha_with_judge is not None
    assert found.alpha_change is not None
    assert found.alpha_humans.value == pytest.approx(krippendorff.alpha(people, level_of_measurement="nominal"))
    joined = krippendorff.alpha([*people, judge], level_of_measurement="nominal")
    assert found.alpha_with_judge.value == pytest.approx(joined)
    assert found.alpha_change.value == pytest.approx(found.alpha_with_judge.value - found.alpha_humans.value)
    assert 0 < found.alpha_change.low < found.alpha_change.high


def test_resampled_alpha_has_the_package_s_formula() -> None:
    draw = random.Random(4)
    units = [[draw.choice(LABELS) for _ in range(draw.randint(2, 5))] for _ in range(40)]
    counts = [[labels.count(label) for label in LABELS] for labels in units]
    table = sum((coincidences(labels) for labels in units), np.zeros((3, 3)))
    expected = krippendorff.alpha(value_counts=counts, level_of_measurement="nominal")
    assert float(alphas(table)) == pytest.approx(expected)


def test_majority_of_the_rest_by_hand() -> None:
    assert majority_credit("a", ["a", "a", "b"]) == 1
    assert majority_credit("b", ["a", "a", "b"]) == 0
    assert majority_credit("b", ["a", "b"]) == 0.5
    assert majority_credit("tie", ["a", "b"]) == 0
    rows = [row(0, ["a", "a", "b"]), row(1, ["b", "b", "b"])]
    found = agreement(judged(rows, ["a", "a"]), rows)
    # First pair: each "a" faces {a, b} and gets one half, "b" faces {a, a}; second pair: all three agree.
    assert found.human_ceiling is not None
    assert found.human_ceiling.value == pytest.approx((0.5 + 0.5 + 0 + 3) / 6)
    assert found.judge_against_rest is not None
    assert found.judge_against_rest.value == pytest.approx((0.5 + 0.5 + 1 + 0) / 6)


def test_the_human_ceiling_leaves_out_pairs_of_one_label() -> None:
    found = human_ceiling({"p": {"one": "a", "two": "a"}, "q": {"one": "b"}}, {"p": "g", "q": "g"})
    assert found is not None
    assert (found.n, found.value) == (2, 1.0)
    assert human_ceiling({"p": {"one": "a"}}, {}) is None


def test_labels_that_are_all_the_same_have_no_chance_agreement_to_correct_for() -> None:
    rows = [row(number, ["a", "a"], choice="a") for number in range(5)]
    found = agreement(judged(rows, ["a"] * 5), rows)
    assert (found.kappa, found.alpha_humans, found.alpha_with_judge) == (None, None, None)
    assert found.human_ceiling is not None
    assert found.human_ceiling.value == 1


def test_a_better_judge_than_the_annotators_passes_and_a_random_one_fails() -> None:
    rows, judgements = noisy(80, people=[0.8, 0.8, 0.8], judge=0.95)
    found = alternative_annotator_test(judgements, rows)
    assert (found.passed, found.winning_rate, found.left_out) == (True, 1.0, 0)
    rows, judgements = noisy(80, people=[0.95, 0.95, 0.95], judge=0.4)
    found = alternative_annotator_test(judgements, rows)
    assert (found.passed, found.winning_rate) == (False, 0.0)


def test_a_judge_without_a_verdict_says_nothing_not_tie() -> None:
    """People who disagree by thirds would make a judge that says "tie" an annotator like the others."""
    rows = [row(number, LABELS, choice="tie") for number in range(40)]
    silent = [make_judgement(one.pair.id, 0.5, unparsed=2) for one in rows]
    found = alternative_annotator_test(silent, rows)
    assert (found.passed, found.winning_rate, found.annotators) == (None, None, ())
    figures = agreement(silent, rows)
    assert (figures.annotators, figures.kappa, figures.alpha_with_judge, figures.judge_against_rest) == (0, *[None] * 3)
    assert {each.judge for each in rated(silent, rows)} == {None}


def test_figures_are_those_of_the_pairs_with_a_verdict() -> None:
    rows, judgements = noisy(90, people=[0.9, 0.8, 0.7], judge=0.9)
    some = [make_judgement(one.pair.id, 0.5, unparsed=2) for one in rows[:30]] + judgements[30:]
    assert agreement(some, rows) == agreement(judgements[30:], rows[30:])
    assert alternative_annotator_test(some, rows) == alternative_annotator_test(judgements[30:], rows[30:])
    half = [make_judgement(one.pair.id, 0.5, unparsed=1) for one in rows]
    assert {each.judge for each in rated(half, rows)} == {"tie"}, "one of the two orders was read"


def test_the_test_of_one_annotator_by_hand() -> None:
    """40 pairs, the others say "a" and "b": annotator 0 agrees with both or none of them, the judge likewise."""
    said: list[Label] = ["a" if number < 30 else "b" for number in range(40)]
    rows = [row(number, ["a" if number < 20 else "b", "a", "a"]) for number in range(40)]
    found = alternative_annotator_test(judged(rows, said), rows, epsilon=0.2)
    first = next(each for each in found.annotators if each.annotator == "annotator 0")
    gaps = [0] * 20 + [-1] * 10 + [0] * 10  # the judge alone says what the rest says on ten pairs
    assert first.items == 40
    assert first.p_value == pytest.approx(ttest_1samp(gaps, 0.2, alternative="less").pvalue)
    assert (first.judge_advantage, first.annotator_advantage) == (1.0, 0.75)
    p = sorted(each.p_value for each in found.annotators)
    harmonic = 1 + 1 / 2 + 1 / 3
    stepped = [min(1.0, value * 3 * harmonic / rank) for rank, value in enumerate(p, start=1)]
    adjusted = [min(stepped[place:]) for place in range(3)]
    assert sorted(each.adjusted_p for each in found.annotators) == pytest.approx(adjusted)
    assert found.advantage == pytest.approx(np.mean([each.judge_advantage for each in found.annotators]))


def test_the_test_says_why_it_was_not_done() -> None:
    rows, judgements = noisy(29, people=[0.9, 0.9, 0.9], judge=0.9)
    found = alternative_annotator_test(judgements, rows)
    assert (found.passed, found.winning_rate, found.left_out) == (None, None, 3)
    assert "0 of 3 annotators" in found.reason
    rows, judgements = noisy(60, people=[0.9, 0.9], judge=0.9)
    assert "3 are needed" in alternative_annotator_test(judgements, rows).reason
    with pytest.raises(EngineError, match="epsilon"):
        alternative_annotator_test(judgements, rows, epsilon=1.5)
