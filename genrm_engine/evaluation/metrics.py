"""How well a judge agrees with human choices; knows probabilities and labels, not models or databases."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from genrm_engine.evaluation.bootstrap import group_of, interval, mean
from genrm_engine.formats import refuse_collisions
from genrm_engine.types import Choice, Judgement, LabelledPair

BINS = 10
_FLOOR = 1e-6


@dataclass(frozen=True, slots=True)
class Metrics:
    """Figures over the ``n`` pairs that have a judgement and a human choice; None where nothing could be computed.

    ``accuracy`` uses the mean of the two orders (a probability of exactly one half counts as half right);
    ``single_order_accuracy`` is the mean of the two orders taken alone, ``vote_accuracy`` (``cot`` only) that of the
    majority of the sampled verdicts (a drawn vote, or none, counts one half). ``nll``, ``brier`` and ``ece`` (ten equal
    bins of the probability of A) judge the probabilities. ``accuracy_shorter`` and ``accuracy_longer`` are the accuracy
    on the pairs of which the human chose the shorter or the longer response, ``longer_wins`` is what the baseline "the
    longer one wins" reaches. ``…_low`` and ``…_high`` are 95 % bootstrap intervals by group.
    """

    n: int
    groups: int = 0
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    single_order_accuracy: float | None = None
    vote_accuracy: float | None = None
    vote_accuracy_low: float | None = None
    vote_accuracy_high: float | None = None
    consistency: float | None = None
    consistency_low: float | None = None
    consistency_high: float | None = None
    unparsed_rate: float | None = None
    nll: float | None = None
    brier: float | None = None
    ece: float | None = None
    accuracy_shorter: float | None = None
    accuracy_shorter_low: float | None = None
    accuracy_shorter_high: float | None = None
    shorter_n: int = 0
    accuracy_longer: float | None = None
    longer_n: int = 0
    longer_wins: float | None = None
    seconds_per_pair: float | None = None
    tokens_per_pair: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read stored figures, those of earlier versions too (they lack fields and name three of them otherwise)."""
        if "longer_baseline" in row:
            row = {_RENAMED.get(name, name): value for name, value in row.items()}
        return cls(**row)


_RENAMED = {
    "shorter_wins": "accuracy_shorter",
    "longer_wins": "accuracy_longer",
    "longer_baseline": "longer_wins",
}


def evaluate(
    judgements: Sequence[Judgement],
    choices: Mapping[str, Choice],
    groups: Mapping[str, str],
    *,
    lengths: Mapping[str, tuple[int, int]] | None = None,
) -> Metrics:
    """Compare judgements with human choices; a pair without either is left out.

    ``lengths`` are those of A and B, in characters.
    """
    found = {judgement.pair_id: judgement for judgement in judgements if judgement.pair_id in choices}
    rows = [found[pair_id] for pair_id in sorted(found)]
    if not rows:
        return Metrics(n=0)
    right = {row.pair_id: correct(row.p_a, choices[row.pair_id]) for row in rows}
    return Metrics(
        n=len(rows),
        groups=len({group_of(row.pair_id, groups) for row in rows}),
        **_with_interval("accuracy", right, groups),
        single_order_accuracy=mean([_single_order(row, choices[row.pair_id]) for row in rows]),
        **_with_interval("vote_accuracy", _votes_right(rows, choices), groups),
        **_with_interval("consistency", {row.pair_id: float(row.consistent) for row in rows}, groups),
        unparsed_rate=sum(row.unparsed for row in rows) / max(1, sum(row.samples for row in rows)),
        **_probability_figures(rows, choices),
        **_length_figures(right, choices, groups, lengths or {}),
        seconds_per_pair=mean([row.seconds for row in rows]),
        tokens_per_pair=mean([float(row.tokens) for row in rows]),
    )


def measure(rows: Sequence[LabelledPair], judgements: Sequence[Judgement]) -> Metrics:
    """The figures for labelled pairs that carry their own groups and lengths.

    Raises EngineError where an id stands for different pairs or choices.
    """
    refuse_collisions(rows)
    return evaluate(
        judgements,
        {row.pair.id: row.choice for row in rows},
        {row.pair.id: row.pair.group for row in rows},
        lengths={row.pair.id: lengths_of(row) for row in rows},
    )


def lengths_of(row: LabelledPair) -> tuple[int, int]:
    """The lengths of A and B, in characters."""
    return len(row.pair.response_a), len(row.pair.response_b)


def negative_log_likelihood(p_a: float, choice: Choice) -> float:
    """−log of the probability given to the chosen response, which counts as a millionth at least."""
    return -math.log(max(_FLOOR, p_a if choice == "a" else 1 - p_a))


def correct(p_a: float, choice: Choice) -> float:
    """1 where the more probable response is the chosen one, 0 where it is the other, one half at exactly 0.5."""
    if p_a == 0.5:
        return 0.5
    return float((p_a > 0.5) == (choice == "a"))


def expected_calibration_error(p_a: np.ndarray, is_a: np.ndarray, *, bins: int = BINS) -> float:
    """Mean gap between predicted and observed frequency of A over equal bins, weighted by their size."""
    places = np.minimum((p_a * bins).astype(int), bins - 1)
    gaps = [
        abs(float(np.mean(p_a[places == place])) - float(np.mean(is_a[places == place])))
        * float(np.mean(places == place))
        for place in np.unique(places)
    ]
    return float(sum(gaps))


def longer_right(choices: Mapping[str, Choice], lengths: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    """Whether "the longer one wins" is right, for each pair of ``lengths``; one half where both are equally long."""
    return {
        pair_id: 0.5 if a == b else float((a > b) == (choices[pair_id] == "a"))
        for pair_id, (a, b) in sorted(lengths.items())
    }


def _single_order(row: Judgement, choice: Choice) -> float:
    return (correct(row.p_a_straight, choice) + correct(row.p_a_swapped, choice)) / 2


def _votes_right(rows: Sequence[Judgement], choices: Mapping[str, Choice]) -> dict[str, float]:
    """Whether the majority of the sampled verdicts is right, for the pairs that were judged by sampling."""
    return {
        row.pair_id: correct(row.votes_a / (row.votes_a + row.votes_b) if row.votes_a + row.votes_b else 0.5, choice)
        for row in rows
        if row.method == "cot"
        for choice in (choices[row.pair_id],)
    }


def _probability_figures(rows: Sequence[Judgement], choices: Mapping[str, Choice]) -> dict[str, Any]:
    p_a = np.array([row.p_a for row in rows])
    is_a = np.array([choices[row.pair_id] == "a" for row in rows], dtype=np.float64)
    return {
        "nll": mean([negative_log_likelihood(row.p_a, choices[row.pair_id]) for row in rows]),
        "brier": mean(list((p_a - is_a) ** 2)),
        "ece": expected_calibration_error(p_a, is_a),
    }


def _length_figures(
    right: Mapping[str, float],
    choices: Mapping[str, Choice],
    groups: Mapping[str, str],
    lengths: Mapping[str, tuple[int, int]],
) -> dict[str, Any]:
    baseline = longer_right(choices, {pair_id: lengths[pair_id] for pair_id in right if pair_id in lengths})
    shorter = {pair_id: right[pair_id] for pair_id, won in baseline.items() if won == 0}
    longer = [right[pair_id] for pair_id, won in baseline.items() if won == 1]
    return {
        **_with_interval("accuracy_shorter", shorter, groups),
        "shorter_n": len(shorter),
        "accuracy_longer": mean(longer) if longer else None,
        "longer_n": len(longer),
        "longer_wins": mean(list(baseline.values())) if baseline else None,
    }


def _with_interval(name: str, values: Mapping[str, float], groups: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a mean and its interval; no values, no figures."""
    if not values:
        return {}
    low, high = interval(values, groups)
    return {name: mean(list(values.values())), f"{name}_low": low, f"{name}_high": high}
