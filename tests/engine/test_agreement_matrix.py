"""Agreement of every two raters, by slice, criterion and time: worked examples, other packages, what is left out."""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import krippendorff
import numpy as np
import pandas as pd
import pytest
from crowdkit.metrics.data import alpha_krippendorff
from statsmodels.stats.inter_rater import cohens_kappa

from genrm_engine.evaluation.agreement import LABELS, agreement, alphas, coincidences
from genrm_engine.evaluation.agreement_matrix import agreement_matrix
from genrm_engine.evaluation.alternative_annotator import alternative_annotator_test, replacement_test
from genrm_engine.evaluation.rated import VERDICTS, Rated, Verdict, rated
from genrm_engine.evaluation.slice_keys import length_bands, model_pair, prompt_kind
from genrm_engine.evaluation.slices import by_criterion, by_value, overall, slices, trend
from genrm_engine.formats import DataRow, HumanLabel, read_data
from genrm_engine.types import Judgement, Message, Pair
from tests.engine.conftest import make_judgement

DATA = Path(__file__).parents[3] / "shared" / "data"
real_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the folder of real preference data is not beside this checkout"
)
DRAWS = 200


def table_of(counts: Sequence[Sequence[int]]) -> list[Rated]:
    """The pairs of a confusion table of two raters."""
    twos = [(row, column) for row, line in enumerate(counts) for column, n in enumerate(line) for _ in range(n)]
    return [Rated(f"p{n}", labels={"x": VERDICTS[row], "y": VERDICTS[col]}) for n, (row, col) in enumerate(twos)]


def units(lines: Sequence[str]) -> list[Rated]:
    """Observers by units; a dot is a gap, the digits are the verdicts."""
    found = []
    for place in range(len(lines[0])):
        labels = {f"o{n}": VERDICTS[int(line[place]) - 1] for n, line in enumerate(lines) if line[place] != "."}
        found.append(Rated(f"u{place:02}", labels=labels))
    return found


def noisy(count: int, *, people: int = 3, seed: int = 3) -> tuple[list[DataRow], list[Judgement]]:
    """Pairs in groups of four, three labels each of more people, and a judge on all."""
    draw = random.Random(seed)
    rows, said = [], []
    for number in range(count):
        truth = draw.choice(LABELS[:2])
        who = draw.sample(range(people), 3)
        labels = tuple(HumanLabel(f"h{n}", truth if draw.random() < 0.7 else draw.choice(LABELS)) for n in who)
        pair = Pair(f"p{number:03}", (Message("user", "q"),), "x", "y", f"g{number // 4}")
        rows.append(DataRow(pair, None, labels))
        said.append(make_judgement(pair.id, draw.choice([0.2, 0.5, 0.8])))
    return rows, said


def test_kappa_of_cohen_s_own_example() -> None:
    """Cohen (1960), table 1, of 200 units: the agreement is .29, .35 by chance, and kappa −.09."""
    items = table_of([[50, 26, 24], [24, 4, 32], [6, 30, 4]])
    found = agreement_matrix(items, draws=DRAWS).cells[0]
    assert found.raw is not None
    assert found.kappa is not None
    assert found.raw.value == pytest.approx(0.29)
    assert found.kappa.value == pytest.approx((0.29 - 0.35) / 0.65)
    assert found.kappa.value == pytest.approx(-0.09, abs=5e-3)
    assert found.kappa.low < found.kappa.value < found.kappa.high
    mean = overall(items, draws=DRAWS).kappa
    assert mean is not None
    assert (mean.value, mean.low, mean.high) == pytest.approx((found.kappa.value, found.kappa.low, found.kappa.high))


def test_alpha_of_published_examples_with_gaps() -> None:
    """Krippendorff (2011): four observers, five values, alpha .743. Wikipedia, "Krippendorff's alpha": .691.

    Units with one value or none are in the data and must not count. The second has three observers and as many values
    as there are verdicts, and so goes through the whole of the reckoning.
    """
    four = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
    columns = ["".join(line[place] for line in four if line[place] != ".") for place in range(12)]
    tables = [coincidences(list(column), "12345") for column in columns if len(column) > 1]
    assert float(alphas(np.sum(tables, axis=0))) == pytest.approx(0.743, abs=5e-4)
    found = overall(units([".....34121133.3", "1.213343.......", "..21344.21133.4"]), draws=DRAWS)
    assert found.alpha is not None
    assert (found.pairs, found.shared, found.alpha.n) == (13, 12, 12)
    assert found.alpha.value == pytest.approx(0.691, abs=5e-4)


def test_alpha_of_krippendorff_s_two_observers() -> None:
    """Krippendorff (2011), binary data, two observers, no gaps: alpha .095."""
    found = overall(units(["1211111121", "2221121111"]), draws=DRAWS)
    assert found.alpha is not None
    assert found.raw is not None
    assert found.alpha.value == pytest.approx(0.095, abs=5e-4)
    assert found.raw.value == pytest.approx(0.6)


@real_data
@pytest.mark.parametrize("name", ["pandalm_clean", "mtbench_clean", "ukp_benign"])
def test_alpha_on_real_labels_is_that_of_krippendorff_and_of_crowd_kit(name: str) -> None:
    items = rated([], read_data(DATA / f"{name}.jsonl.gz"))
    found = overall(items, draws=DRAWS).alpha
    counts = [[list(item.labels.values()).count(verdict) for verdict in VERDICTS] for item in items]
    assert found is not None
    expected = krippendorff.alpha(value_counts=np.array(counts), level_of_measurement="nominal")
    assert found.value == pytest.approx(expected, abs=1e-12)
    if name != "ukp_benign":  # it takes crowd-kit half a minute
        rows = [{"task": item.id, "worker": who, "label": said} for item in items for who, said in item.labels.items()]
        assert found.value == pytest.approx(alpha_krippendorff(pd.DataFrame(rows)), abs=1e-12)


@real_data
@pytest.mark.parametrize("name", ["pandalm_clean", "mtbench_clean"])
def test_kappa_of_every_two_on_real_labels_is_that_of_statsmodels(name: str) -> None:
    items = rated([], read_data(DATA / f"{name}.jsonl.gz"))
    matrix = agreement_matrix(items, draws=DRAWS, most=100)
    names = [rater.name for rater in matrix.raters]
    compared = 0
    weighted: list[tuple[float, int]] = []
    for cell in matrix.cells:
        twos = [item.labels for item in items if {names[cell.first], names[cell.second]} <= item.labels.keys()]
        table = np.zeros((4, 4))
        for labels in twos:
            table[VERDICTS.index(labels[names[cell.first]]), VERDICTS.index(labels[names[cell.second]])] += 1
        assert cell.n == len(twos)
        assert (cell.kappa is None) == (len(twos) < 10)
        if cell.kappa is not None and cell.raw is not None:
            assert cell.kappa.value == pytest.approx(float(cohens_kappa(table, return_results=False)), abs=1e-12)
            assert cell.raw.value == pytest.approx(np.trace(table) / table.sum())
            weighted.append((cell.kappa.value, cell.n))
            compared += 1
    assert compared >= 3
    mean = overall(items, draws=DRAWS).kappa
    assert mean is not None
    assert mean.value == pytest.approx(sum(value * n for value, n in weighted) / sum(n for _, n in weighted))


def test_the_figures_are_those_of_the_engine_s_agreement_interval_and_all() -> None:
    rows, judgements = noisy(80, people=4)
    items = rated(judgements, rows)
    known, found, matrix = agreement(judgements, rows), overall(items), agreement_matrix(items)
    assert known.alpha_humans is not None
    assert known.human_ceiling is not None
    same = [
        (known.alpha_humans, found.alpha),
        (known.human_ceiling, found.people_rest),
        (known.judge_against_rest, found.judge_rest),
        (known.alpha_with_judge, matrix.raters[-1].alpha_with),
        (known.alpha_humans, matrix.raters[-1].alpha_without),
    ]
    for one, other in same:
        assert one is not None
        assert other is not None
        assert (other.value, other.low, other.high) == pytest.approx((one.value, one.low, one.high))
    assert known.alpha_humans.low < known.alpha_humans.value < known.alpha_humans.high


def test_a_rater_is_held_against_the_people_and_the_judge_is_no_other() -> None:
    labels: list[Mapping[str, Verdict]] = [{"x": "a", "y": "a", "z": "b"}] * 12
    items = [Rated(f"p{n}", labels=each, judge="b") for n, each in enumerate(labels)]
    matrix = agreement_matrix(items, draws=DRAWS)
    assert [(rater.name, rater.judge) for rater in matrix.raters] == [
        ("x", False),
        ("y", False),
        ("z", False),
        ("", True),
    ]
    rests = [rater.rest.value for rater in matrix.raters if rater.rest]
    # x faces {a, b} and gets one half, z faces {a, a}; the judge faces {a, a, b}.
    assert rests == pytest.approx([0.5, 0.5, 0.0, 0.0])
    two = matrix.cell(3, 2)
    assert two is not None
    assert two.raw is not None
    assert (two.n, two.raw.value, two.kappa) == (12, 1.0, None)  # one label only: nothing to correct for


def test_an_annotator_who_guesses_pulls_alpha_down() -> None:
    draw = random.Random(5)
    items = []
    for number in range(60):
        truth = VERDICTS[number % 2]
        guess = VERDICTS[draw.randrange(2)]
        items.append(Rated(f"p{number}", labels={"x": truth, "y": truth, "guesser": guess}))
    raters = {rater.name: rater for rater in agreement_matrix(items, draws=DRAWS).raters}
    guesser, careful = raters["guesser"], raters["x"]
    assert guesser.alpha_with is not None
    assert guesser.alpha_without is not None
    assert careful.alpha_without is not None
    assert guesser.alpha_without.value == 1
    assert guesser.alpha_with.value < 0.7
    assert careful.alpha_without.value < guesser.alpha_with.value


def test_both_bad_is_no_tie() -> None:
    items = [
        Rated(f"p{n}", labels={"x": "both_bad", "y": "tie" if n % 2 else "both_bad"}, judge="tie") for n in range(20)
    ]
    found = overall(items, draws=DRAWS)
    assert found.raw is not None
    assert found.judge_raw is not None
    assert (found.raw.value, found.judge_raw.value) == (0.5, 0.25)
    test = replacement_test({item.id: "tie" for item in items}, {item.id: item.labels for item in items})
    assert "0 of 2 annotators" in test.reason


def test_pairs_with_one_label_drop_out_and_few_pairs_have_no_figure() -> None:
    several = [Rated(f"p{n}", labels={"x": "a", "y": "b" if n % 3 else "a"}, judge="a") for n in range(9)]
    single = [Rated(f"s{n}", labels={"x": "b"}) for n in range(30)]
    found = overall([*several, *single, Rated("empty")], draws=DRAWS)
    assert (found.pairs, found.labels, found.shared, found.judged) == (39, 48, 9, 9)
    assert (found.raw, found.kappa, found.alpha, found.judge_raw, found.people_rest) == (None,) * 5
    matrix = agreement_matrix([*several, *single], draws=DRAWS)
    assert [(cell.n, cell.raw) for cell in matrix.cells] == [(9, None)] * 3
    assert [rater.shared for rater in matrix.raters] == [9, 9, 9]
    ten = [*several, Rated("p9", labels={"x": "b", "y": "b"})]
    more = overall([*ten, *single], draws=DRAWS)
    assert more.raw is not None
    assert (more.raw.n, more.raw.value) == (10, 0.4)
    assert overall([]).pairs == 0
    assert agreement_matrix([]).raters == ()


def test_groups_are_drawn_whole() -> None:
    """Ten pairs of one group always come together: nothing varies, where ten groups of one do."""
    labels: list[Mapping[str, Verdict]] = [{"x": "a", "y": "a" if n % 2 else "b"} for n in range(10)]
    together = overall([Rated(f"p{n}", "g", each) for n, each in enumerate(labels)], draws=DRAWS)
    apart = overall([Rated(f"p{n}", f"g{n}", each) for n, each in enumerate(labels)], draws=DRAWS)
    assert together.raw is not None
    assert apart.raw is not None
    assert (together.raw.low, together.raw.value, together.raw.high) == (0.5, 0.5, 0.5)
    assert apart.raw.low < 0.3 < 0.7 < apart.raw.high
    assert (together.groups, together.few_groups, apart.few_groups) == (1, True, False)


def test_accuracy_is_on_pairs_with_a_leader() -> None:
    labels: list[Sequence[Verdict]] = [["a", "a", "b"], ["b"], ["a", "b"], ["tie", "tie"], ["b", "both_bad", "b"]]
    items = [
        Rated(
            f"p{n}", labels={str(who): said for who, said in enumerate(labels[n % 5])}, judge="a" if n < 20 else "tie"
        )
        for n in range(25)
    ]
    accuracy = overall(items, draws=DRAWS).judge_accuracy
    assert accuracy is not None
    # Of each five pairs three have A or B in the lead, one of them A; an undecided judge is half right.
    assert accuracy.n == 15
    assert accuracy.value == pytest.approx((4 * 1 + 3 * 0.5) / 15)


def test_slices_hold_the_figures_of_their_pairs_and_small_ones_are_folded() -> None:
    rows, judgements = noisy(120)
    items = rated(judgements, rows)
    values = {item.id: ("big" if n < 60 else "mid" if n < 90 else f"small {n % 3}") for n, item in enumerate(items)}
    found = slices(items, values, draws=DRAWS)
    assert [(one.value, one.figures.pairs, one.folded) for one in found] == [
        ("big", 60, 0),
        ("mid", 30, 0),
        ("other", 30, 3),
    ]
    for one, some in zip(found, (items[:60], items[60:90], items[90:]), strict=True):
        alone = overall(some, draws=DRAWS)
        assert one.figures.alpha is not None
        assert alone.alpha is not None
        assert one.figures.alpha.value == pytest.approx(alone.alpha.value)
        assert one.figures.judge_raw is not None
        assert alone.judge_raw is not None
        assert one.figures.judge_raw.value == pytest.approx(alone.judge_raw.value)
    assert [one.value for one in slices(items, values, draws=DRAWS, most=1)] == ["big", "other"]
    assert by_value(items, {}, draws=DRAWS) == {}


def test_each_criterion_has_figures_of_its_own() -> None:
    items = []
    for n in range(20):
        other: dict[str, Verdict] = {"Tone": "b" if n < 5 else "a"}
        if n % 2:
            other["Facts"] = "b"
        criteria: dict[str, Mapping[str, Verdict]] = {"x": {"Tone": "a", "Facts": "b"}, "y": other}
        items.append(Rated(f"p{n}", labels={"x": "a", "y": "a"}, judge="a", criteria=criteria))
    found = by_criterion(items, draws=DRAWS)
    assert list(found) == ["Tone", "Facts"]
    assert found["Tone"].raw is not None
    assert found["Facts"].raw is not None
    assert (found["Tone"].raw.n, found["Tone"].raw.value, found["Tone"].judged) == (20, 0.75, 0)
    assert (found["Facts"].raw.n, found["Facts"].raw.value, found["Facts"].alpha) == (10, 1.0, None)


def test_the_trend_follows_the_dates_not_the_rows() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    items = [
        Rated(f"p{n:03}", labels={"x": "a", "y": "a" if n >= 40 else "b"}, judge="a", at=start + timedelta(hours=n))
        for n in range(80)
    ]
    shuffled = random.Random(2).sample(items, 80)
    alone = Rated("alone", labels={"x": "a"}, at=start)
    found = trend([*shuffled, alone, Rated("undated", labels={"x": "a", "y": "b"})], draws=DRAWS, least=20)
    assert [window.figures.pairs for window in found] == [20] * 4
    assert [window.figures.raw.value for window in found if window.figures.raw] == [0, 0, 1, 1]
    assert (found[0].start, found[-1].end) == (start, start + timedelta(hours=79))
    assert trend(items, draws=DRAWS, least=41) == ()


def test_the_replacement_test_is_the_alternative_annotator_test() -> None:
    rows, judgements = noisy(120)
    items = rated(judgements, rows)
    said = {item.id: item.judge for item in items if item.judge is not None}
    found = replacement_test(said, {item.id: item.labels for item in items})
    assert found == alternative_annotator_test(judgements, rows)
    assert found.passed is False


@pytest.mark.parametrize(
    ("turns", "kind"),
    [
        (["Write a poem.", "Now shorter?"], "multi-turn"),
        (["Fix this:\n```\nx = 1\n```"], "code"),
        (["Write a Python program that sorts."], "code"),
        (["Why does this fail?\ndef f(x):\n    return x"], "code"),
        (["SELECT name FROM users WHERE id = 1 – explain"], "code"),
        (["What is a lake"], "question"),
        (["My cat sneezes, is that bad?"], "question"),
        (["Warum ist der Himmel blau?"], "question"),
        (["Select one book from the list and praise it."], "instruction"),
        (["Write a poem about rust and classes of ships."], "instruction"),
        ([""], "instruction"),
    ],
)
def test_the_kind_of_a_prompt(turns: list[str], kind: str) -> None:
    prompt = [Message("system", "Answer in code, will you?"), *(Message("user", turn) for turn in turns)]
    assert prompt_kind(prompt) == kind


def test_models_are_a_pair_in_either_order() -> None:
    assert model_pair("m2", "m1") == model_pair("m1", "m2") == "m1 / m2"
    assert model_pair("", "m1") == ""


def test_length_bands_are_thirds_from_the_nearest_on() -> None:
    bands = length_bands({f"p{n}": (100 - 10 * n, 100) for n in range(9)})
    assert list(bands) == [f"p{n}" for n in range(9)]
    assert list(dict.fromkeys(bands.values())) == ["less than 30 % apart", "30 % to 60 % apart", "60 % apart or more"]
    assert [list(bands.values()).count(band) for band in dict.fromkeys(bands.values())] == [3, 3, 3]
    assert length_bands({}) == {}
