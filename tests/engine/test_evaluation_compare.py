"""Two judges on the same pairs, and accuracy by length, against values worked out by hand."""

import json
import random

import pytest
from scipy.stats import binomtest

from genrm_engine.errors import EngineError
from genrm_engine.evaluation.compare import compare
from genrm_engine.evaluation.curves import binned, even_edges, wilson
from genrm_engine.evaluation.length import by_length, relative_difference
from genrm_engine.evaluation.metrics import evaluate
from genrm_engine.types import Choice, Judgement, LabelledPair, Message, Pair
from tests.engine.conftest import make_judgement


def labelled(number: int, choice: Choice = "a", *, a: int = 4, b: int = 8, group: str = "") -> LabelledPair:
    return LabelledPair(Pair(f"p{number:03}", (Message("user", "q"),), "x" * a, "y" * b, group), choice)


def said(rows: list[LabelledPair], p_a: list[float]) -> list[Judgement]:
    return [make_judgement(row.pair.id, p) for row, p in zip(rows, p_a, strict=True)]


def test_figures_of_both_judges_by_hand() -> None:
    rows = [labelled(number) for number in range(12)]
    first = said(rows, [0.9] * 9 + [0.1] * 2 + [0.5])
    second = said(rows, [0.9] * 2 + [0.1] * 7 + [0.9] * 2 + [0.9])
    found = compare(first, second, [*rows, labelled(99)])
    assert (found.n, found.groups) == (12, 12)
    assert found.accuracy.first == pytest.approx(9.5 / 12)
    assert found.accuracy.second == pytest.approx(5 / 12)
    assert found.accuracy.difference == pytest.approx(4.5 / 12)
    assert found.accuracy.low < 4.5 / 12 < found.accuracy.high
    assert (found.only_first_right, found.only_second_right, found.undecided) == (7, 2, 1)
    assert found.mcnemar_p == pytest.approx(binomtest(2, 9, 0.5).pvalue)
    assert found.accuracy_shorter is not None  # A is shorter and chosen everywhere
    assert found.accuracy_shorter.n == 12
    assert found.accuracy_longer is None
    json.dumps(found.to_json(), allow_nan=False)


def test_a_judge_does_not_differ_from_itself() -> None:
    rows = [labelled(number) for number in range(6)]
    one = said(rows, [0.9, 0.8, 0.3, 0.6, 0.2, 0.9])
    found = compare(one, one, rows)
    assert (found.accuracy.difference, found.accuracy.low, found.accuracy.high, found.accuracy.p_above) == (0, 0, 0, 0)
    assert (found.nll.difference, found.mcnemar_p) == (0, 1)


def test_the_interval_is_wider_where_a_group_s_pairs_go_together() -> None:
    draw = random.Random(2)
    alone = [labelled(number) for number in range(80)]
    together = [labelled(number, group=f"g{number // 10}") for number in range(80)]
    better = [draw.random() < 0.6 for _ in range(8)]
    first = [0.9 if better[number // 10] else 0.1 for number in range(80)]
    second = [0.5] * 80
    widths = []
    for rows in (alone, together):
        found = compare(said(rows, first), said(rows, second), rows).accuracy
        widths.append(found.high - found.low)
    assert widths[1] > 2 * widths[0]


def test_nothing_in_common_is_an_error() -> None:
    with pytest.raises(EngineError, match="no labelled pair in common"):
        compare(said([labelled(1)], [0.9]), said([labelled(2)], [0.9]), [labelled(1), labelled(2)])


def test_one_id_for_different_pairs_or_choices_is_an_error() -> None:
    rows = [labelled(1), labelled(2)]
    said_of = said(rows, [0.9, 0.9])
    for other, says in ((labelled(1, a=9), "different pairs"), (labelled(1, "b"), "different choices")):
        with pytest.raises(EngineError, match=f"the id p001 stands for {says}"):
            compare(said_of, said_of, [*rows, other])
    assert compare(said_of, said_of, [*rows, labelled(1)]).n == 2


def test_accuracy_by_length_beside_the_longer_one_wins() -> None:
    near = [labelled(number, "a", a=10, b=9) for number in range(10)]  # the longer one is right
    far = [labelled(number, "a", a=2, b=10) for number in range(10, 20)]  # the shorter one is right
    rows = near + far
    judgements = said(rows, [0.9] * 5 + [0.1] * 5 + [0.9] * 10)
    found = by_length(judgements, rows, bins=2)
    assert [(each.n, each.y) for each in found.judge] == [(10, 0.5), (10, 1.0)]
    assert [(each.n, each.y) for each in found.longer_wins] == [(10, 1.0), (10, 0.0)]
    assert found.judge[0].x == pytest.approx(0.1)
    assert found.judge[1].x == pytest.approx(0.8)
    assert found.lead == pytest.approx(0.25)
    lengths = {row.pair.id: (len(row.pair.response_a), len(row.pair.response_b)) for row in rows}
    figures = evaluate(judgements, {row.pair.id: row.choice for row in rows}, {}, lengths=lengths)
    assert found.lead == pytest.approx((figures.accuracy or 0) - (figures.longer_wins or 0))


def test_length_difference_is_a_share_of_the_longer_response() -> None:
    assert relative_difference(0, 0) == 0
    assert relative_difference(5, 5) == 0
    assert relative_difference(0, 7) == 1
    assert relative_difference(4, 8) == relative_difference(8, 4) == 0.5


def test_bins_hold_every_item_once_and_their_intervals_count_groups() -> None:
    x = {str(number): number / 10 for number in range(11)}
    y = {str(number): float(number % 2) for number in range(11)}
    found = binned(x, y, dict.fromkeys(("0", "1", "2"), "one"), [0.0, 0.3, 0.65, 1.0])
    assert [each.n for each in found] == [3, 4, 4]
    assert [each.groups for each in found] == [1, 4, 4]
    assert (found[0].low, found[0].high) == pytest.approx(wilson(1 / 3, 1))
    assert even_edges([0.5] * 9, 3, start=0.0, end=1.0) == [0.0, 0.5, 1.0]


def test_wilson_by_hand() -> None:
    z2 = 1.959964**2
    middle, half = (8 / 10 + z2 / 20) / (1 + z2 / 10), 1.959964 * ((0.16 / 10 + z2 / 400) ** 0.5) / (1 + z2 / 10)
    assert wilson(0.8, 10) == pytest.approx((middle - half, middle + half), abs=1e-6)
