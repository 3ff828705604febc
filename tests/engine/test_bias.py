"""Leanings that were built in are found again, with people's own and the baseline beside them."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrm_engine.evaluation.bias import bias_report, richness
from genrm_engine.evaluation.length import by_length
from genrm_engine.evaluation.metrics import measure
from genrm_engine.types import Choice, LabelledPair, Message, Pair
from tests.engine.conftest import make_judgement

SHORT, LONG = "Yes.", "Yes, because of the rain."


def row(number: int, choice: Choice, a: str = LONG, b: str = SHORT, *, group: str = "") -> LabelledPair:
    return LabelledPair(Pair(f"p{number:03}", (Message("user", "q"),), a, b, group), choice)


def test_a_judge_that_prefers_the_longer_more_than_people_do_is_seen() -> None:
    """People choose the longer one in 12 of 20 pairs, the judge in 17; it is right where it can be."""
    rows = [row(number, "a" if number < 12 else "b") for number in range(20)]
    judgements = [make_judgement(one.pair.id, 0.9 if number < 17 else 0.1) for number, one in enumerate(rows)]
    found = bias_report(judgements, rows)
    assert found is not None
    assert found.length is not None
    assert (found.length.judge.value, found.length.people.value, found.length.longer_wins.value) == (0.85, 0.6, 1.0)
    assert found.length.excess.value == pytest.approx(0.25)
    assert 0 < found.length.excess.low < 0.25 < found.length.excess.high
    assert (found.length.accuracy.value, found.length.baseline.value) == (0.75, 0.6)
    assert found.length.accuracy_with is not None
    assert found.length.accuracy_without is not None
    assert (found.length.accuracy_with.n, found.length.accuracy_with.value) == (12, 1.0)
    assert (found.length.accuracy_without.n, found.length.accuracy_without.value) == (8, 3 / 8)
    assert found.length.baseline_without is not None
    assert found.length.baseline_without.value == 0.0
    assert found.lead.value == pytest.approx(0.15)
    assert found.formatting is None
    assert found.self_naming is None


def test_its_figures_are_those_of_the_other_reports() -> None:
    rows = [row(number, "a" if number % 3 else "b", group=f"g{number // 4}") for number in range(40)]
    judgements = [make_judgement(one.pair.id, (37 * number % 100) / 100) for number, one in enumerate(rows)]
    found, plain, length = bias_report(judgements, rows), measure(rows, judgements), by_length(judgements, rows)
    assert found is not None
    assert (found.n, found.groups) == (plain.n, plain.groups) == (40, 10)
    for figure, value, low, high in (
        (found.accuracy, plain.accuracy, plain.accuracy_low, plain.accuracy_high),
        (found.lead, length.lead, length.lead_low, length.lead_high),
    ):
        assert (figure.value, figure.low, figure.high) == pytest.approx((value, low, high))
    assert found.longer_wins.value == pytest.approx(plain.longer_wins)
    assert found.length is not None
    assert found.length.accuracy_without is not None
    assert found.length.accuracy_without.value == pytest.approx(plain.accuracy_shorter)
    json.dumps(found.to_json(), allow_nan=False)


def test_what_the_order_says_is_told_from_what_the_response_says() -> None:
    rows = [row(number, "a") for number in range(4)]
    judgements = [
        make_judgement("p000", 0.9, swapped=0.1),  # the first one, whichever it is
        make_judgement("p001", 0.8, swapped=0.8),
        make_judgement("p002", 0.2, swapped=0.2),
        make_judgement("p003", 0.7, swapped=0.5),  # one order without a verdict
    ]
    found = bias_report(judgements, rows)
    assert found is not None
    assert found.position.first.value == pytest.approx((1 + 0.5 + 0.5 + 0.75) / 4)
    assert found.position.lean.value == pytest.approx((0.4 + 0 + 0 + 0.1) / 4)
    assert found.position.flips.value == 0.25


EXACT = st.integers(0, 64).map(lambda parts: parts / 64)
"""Probabilities whose complements and means are exact: one that misses one half by rounding would change sides."""


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(EXACT, EXACT, st.booleans()), min_size=1, max_size=20))
def test_nothing_depends_on_which_response_is_stored_as_a(said: list[tuple[float, float, bool]]) -> None:
    rows = [row(number, "a" if chosen else "b") for number, (_, _, chosen) in enumerate(said)]
    judgements = [make_judgement(one.pair.id, p, swapped=q) for one, (p, q, _) in zip(rows, said, strict=True)]
    mirrored = [row(number, "b" if chosen else "a", SHORT, LONG) for number, (_, _, chosen) in enumerate(said)]
    others = [make_judgement(one.pair.id, 1 - q, swapped=1 - p) for one, (p, q, _) in zip(rows, said, strict=True)]
    first: dict[str, Choice] = {one.pair.id: "a" for one in rows[::2]}
    second: dict[str, Choice] = {one.pair.id: "b" for one in rows[::2]}
    one, other = (
        bias_report(judgements, rows, names_itself=first),
        bias_report(others, mirrored, names_itself=second),
    )
    assert one is not None
    assert other is not None
    for part in ("accuracy", "length", "self_naming", "position"):
        assert flat(asdict(one)[part]) == pytest.approx(flat(asdict(other)[part]), abs=1e-9)


def flat(figures: dict[str, object]) -> list[float]:
    """The values of nested figures, without their intervals."""
    found: list[float] = []
    for name, value in figures.items():
        if isinstance(value, dict):
            found += flat(value)
        elif name in ("n", "value"):
            found.append(float(value))  # type: ignore[arg-type]
    return found


def test_formatting_and_self_naming_count_where_one_response_has_more() -> None:
    rows = [
        row(0, "b", "# Title\n- one\n- two", "**one**"),
        row(1, "b", "one", "- one\n- two"),
        row(2, "a", "- one", "- two"),
    ]
    judgements = [make_judgement(one.pair.id, 0.9) for one in rows]
    found = bias_report(judgements, rows, names_itself={"p002": "b", "p999": "a"})
    assert found is not None
    assert found.formatting is not None
    assert (found.formatting.judge.n, found.formatting.judge.value, found.formatting.people.value) == (2, 0.5, 0.5)
    assert found.formatting.longer_wins.value == 1.0
    assert found.self_naming is not None
    assert (found.self_naming.judge.n, found.self_naming.judge.value) == (1, 0.0)
    assert found.self_naming.accuracy_with is None


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("Plain text, 3 * 4 - 5, and #1.", 0),
        ("# One\n\n## Two\n#no heading", 2),
        ("- one\n  * two\n3. three\n4) four\n-five", 4),
        ("**bold** and __bold__ and `code` and ** no **bold", 3),
        ("```python\n# not a heading\n- not an item\n```\n- an item", 2),
        ("~~~\n```\n**x**\n~~~\n`y`", 2),
        ("```\nnever closed\n# no\n- no", 1),
    ],
)
def test_markdown_is_counted_outside_code(text: str, count: int) -> None:
    assert richness(text) == count


def test_without_a_judged_row_there_is_no_report() -> None:
    assert bias_report([], [row(0, "a")]) is None
    assert bias_report([make_judgement("other", 0.9)], [row(0, "a")]) is None
