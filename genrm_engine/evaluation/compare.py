"""Two judges on the same labelled pairs, difference by difference; knows judgements and labels, decides nothing.

Every figure is paired: only pairs that both have judged count, and an interval resamples whole groups of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from genrm_engine.errors import EngineError
from genrm_engine.evaluation.bootstrap import bootstrap_means, bounds, group_of, group_sums, mean
from genrm_engine.evaluation.metrics import correct, lengths_of, longer_right, negative_log_likelihood
from genrm_engine.formats import refuse_collisions
from genrm_engine.types import Choice, Judgement, LabelledPair


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of both judges over the same ``n`` pairs.

    ``difference`` is the first minus the second, ``low`` to ``high`` its 95 % bootstrap interval by group and
    ``p_above`` the share of resamples in which it is above zero.
    """

    n: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    p_above: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two judges side by side; ``shorter`` and ``longer`` are None where no pair has lengths that differ so.

    ``accuracy_shorter`` and ``accuracy_longer`` are the accuracy where the shorter or the longer response was chosen.
    ``only_first_right`` and ``only_second_right`` count the pairs on which exactly one is right; ``mcnemar_p`` is the
    two-sided p-value of the exact McNemar test on these two counts. The test takes pairs as independent, so where
    groups have many pairs the interval of ``accuracy`` is the one to trust. Pairs on which a judge is undecided
    (``undecided``) are half right in ``accuracy`` and no part of the test.
    """

    n: int
    groups: int
    accuracy: Difference
    consistency: Difference
    nll: Difference
    accuracy_shorter: Difference | None
    accuracy_longer: Difference | None
    only_first_right: int
    only_second_right: int
    undecided: int
    mcnemar_p: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(first: Sequence[Judgement], second: Sequence[Judgement], rows: Sequence[LabelledPair]) -> Comparison:
    """Compare two judges on the pairs of ``rows`` that both have judged.

    Raises EngineError where there is none, and where an id stands for different pairs or choices.
    """
    refuse_collisions(rows)
    one = {row.pair_id: row for row in first}
    two = {row.pair_id: row for row in second}
    shared = [row for row in rows if row.pair.id in one and row.pair.id in two]
    if not shared:
        raise EngineError("the two judges have no labelled pair in common")
    choices = {row.pair.id: row.choice for row in shared}
    groups = {row.pair.id: row.pair.group for row in shared}
    baseline = longer_right(choices, {row.pair.id: lengths_of(row) for row in shared})

    def differ(figure: Callable[[Judgement, Choice], float], items: Sequence[str]) -> Difference:
        return _difference(
            {item: figure(one[item], choices[item]) for item in items},
            {item: figure(two[item], choices[item]) for item in items},
            groups,
        )

    items = list(choices)
    shorter = [item for item, won in baseline.items() if won == 0]
    longer = [item for item, won in baseline.items() if won == 1]
    return Comparison(
        n=len(items),
        groups=len({group_of(item, groups) for item in items}),
        accuracy=differ(_right, items),
        consistency=differ(_consistent, items),
        nll=differ(_nll, items),
        accuracy_shorter=differ(_right, shorter) if shorter else None,
        accuracy_longer=differ(_right, longer) if longer else None,
        **_mcnemar({item: (_right(one[item], choice), _right(two[item], choice)) for item, choice in choices.items()}),
    )


def _right(judgement: Judgement, choice: Choice) -> float:
    return correct(judgement.p_a, choice)


def _consistent(judgement: Judgement, _: Choice) -> float:
    return float(judgement.consistent)


def _nll(judgement: Judgement, choice: Choice) -> float:
    return negative_log_likelihood(judgement.p_a, choice)


def _difference(first: Mapping[str, float], second: Mapping[str, float], groups: Mapping[str, str]) -> Difference:
    gaps = {item: first[item] - second[item] for item in first}
    draws = bootstrap_means(*group_sums(gaps, groups))
    low, high = bounds(draws)
    return Difference(
        n=len(gaps),
        first=mean(list(first.values())),
        second=mean(list(second.values())),
        difference=mean(list(gaps.values())),
        low=low,
        high=high,
        p_above=float((draws > 0).mean()),
    )


def _mcnemar(right: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """The exact test on the pairs where exactly one judge is right."""
    from statsmodels.stats.contingency_tables import mcnemar

    decided = [pair for pair in right.values() if 0.5 not in pair]
    first, second = decided.count((1.0, 0.0)), decided.count((0.0, 1.0))
    table = [[decided.count((1.0, 1.0)), first], [second, decided.count((0.0, 0.0))]]
    p_value = float(mcnemar(table, exact=True).pvalue) if first + second else 1.0
    return {
        "only_first_right": first,
        "only_second_right": second,
        "undecided": len(right) - len(decided),
        "mcnemar_p": min(1.0, p_value),
    }
