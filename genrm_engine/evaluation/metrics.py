"""How well a judge agrees with human choices; knows probabilities and labels, not models or databases."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from genrm_engine.evaluation.bootstrap import interval, mean
from genrm_engine.types import Choice, Judgement

BINS = 10
_FLOOR = 1e-6


@dataclass(frozen=True, slots=True)
class Metrics:
    """Figures over the ``n`` pairs that have a judgement and a human choice; None where nothing could be computed.

    ``accuracy`` uses the mean of the two orders (a probability of exactly one half counts as half right), with a 95 %
    bootstrap interval by group; ``single_order_accuracy`` is the mean of the two orders taken alone. ``nll``,
    ``brier`` and ``ece`` (ten equal bins of the probability of A) judge the probabilities. ``shorter_wins`` and
    ``longer_wins`` are the accuracy where the human chose the shorter or the longer response, and
    ``longer_baseline`` is what "the longer one wins" would reach.
    """

    n: int
    groups: int = 0
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    single_order_accuracy: float | None = None
    consistency: float | None = None
    unparsed_rate: float | None = None
    nll: float | None = None
    brier: float | None = None
    ece: float | None = None
    shorter_wins: float | None = None
    shorter_n: int = 0
    longer_wins: float | None = None
    longer_n: int = 0
    longer_baseline: float | None = None
    seconds_per_pair: float | None = None
    tokens_per_pair: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        return cls(**row)


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
    low, high = interval(right, groups)
    p_chosen = np.array([row.p_a if choices[row.pair_id] == "a" else 1 - row.p_a for row in rows])
    is_a = np.array([choices[row.pair_id] == "a" for row in rows], dtype=np.float64)
    p_a = np.array([row.p_a for row in rows])
    shorter, longer, baseline = _by_length(right, choices, lengths or {})
    return Metrics(
        n=len(rows),
        groups=len({groups.get(row.pair_id) or row.pair_id for row in rows}),
        accuracy=mean(list(right.values())),
        accuracy_low=low,
        accuracy_high=high,
        single_order_accuracy=mean([_single_order(row, choices[row.pair_id]) for row in rows]),
        consistency=mean([float(row.consistent) for row in rows]),
        unparsed_rate=sum(row.unparsed for row in rows) / max(1, sum(row.samples for row in rows)),
        nll=mean(list(-np.log(np.clip(p_chosen, _FLOOR, 1.0)))),
        brier=mean(list((p_a - is_a) ** 2)),
        ece=expected_calibration_error(p_a, is_a),
        shorter_wins=mean(shorter) if shorter else None,
        shorter_n=len(shorter),
        longer_wins=mean(longer) if longer else None,
        longer_n=len(longer),
        longer_baseline=mean(baseline) if baseline else None,
        seconds_per_pair=mean([row.seconds for row in rows]),
        tokens_per_pair=mean([float(row.tokens) for row in rows]),
    )


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


def _single_order(row: Judgement, choice: Choice) -> float:
    return (correct(row.p_a_straight, choice) + correct(row.p_a_swapped, choice)) / 2


def _by_length(
    right: Mapping[str, float], choices: Mapping[str, Choice], lengths: Mapping[str, tuple[int, int]]
) -> tuple[list[float], list[float], list[float]]:
    shorter: list[float] = []
    longer: list[float] = []
    baseline: list[float] = []
    for pair_id in sorted(right):
        if pair_id not in lengths:
            continue
        a, b = lengths[pair_id]
        if a == b:
            baseline.append(0.5)
            continue
        longer_is: Choice = "a" if a > b else "b"
        won = choices[pair_id] == longer_is
        (longer if won else shorter).append(right[pair_id])
        baseline.append(float(won))
    return shorter, longer, baseline
