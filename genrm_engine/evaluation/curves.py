"""Means of one quantity over bins of another, with intervals; knows numbers, not what they stand for."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from genrm_engine.evaluation.bootstrap import group_of, mean


@dataclass(frozen=True, slots=True)
class Bin:
    """The ``n`` items whose x lies from ``start`` to ``end``: mean x, mean y, and the 95 % interval of the latter.

    The interval is Wilson's for a share seen in as many trials as the bin has groups: it does not collapse where all
    items of a small bin agree, as a bootstrap does, and it takes the items of a group for one.
    """

    start: float
    end: float
    n: int
    groups: int
    x: float
    y: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def binned(
    x: Mapping[str, float], y: Mapping[str, float], groups: Mapping[str, str], edges: Sequence[float]
) -> tuple[Bin, ...]:
    """The bins between neighbouring ``edges`` that have items (those of ``y``, which are shares from 0 to 1).

    A bin holds its start and not its end, the last one both.
    """
    found = []
    last = len(edges) - 2
    for place, (start, end) in enumerate(pairwise(edges)):
        items = [item for item in sorted(y) if start <= x[item] < end or (place == last and x[item] == end)]
        if not items:
            continue
        trials = len({group_of(item, groups) for item in items})
        share = mean([y[item] for item in items])
        low, high = wilson(share, trials)
        found.append(Bin(start, end, len(items), trials, mean([x[item] for item in items]), share, low, high))
    return tuple(found)


def wilson(share: float, trials: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(share * trials, trials, alpha=0.05, method="wilson")
    return float(low), float(high)


def even_edges(values: Sequence[float], bins: int, *, start: float, end: float) -> list[float]:
    """Edges from ``start`` to ``end`` that put about as many of the values into each of at most ``bins`` bins."""
    inner = np.quantile(np.asarray(values, dtype=np.float64), np.linspace(0, 1, bins + 1)[1:-1])
    return [start, *sorted({float(edge) for edge in inner if start < edge < end}), end]
