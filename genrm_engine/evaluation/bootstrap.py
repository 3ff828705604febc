"""Bootstrap over groups: whole groups are drawn again, because related items are not independent."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000
Floats = NDArray[np.float64]


def group_sums(values: Mapping[str, float], groups: Mapping[str, str]) -> tuple[Floats, Floats]:
    """Sum and count of the values in each group, in an order that does not depend on the rows' order.

    An item without a group is a group of its own.
    """
    members: dict[str, list[float]] = {}
    for item in sorted(values):
        members.setdefault(_group_of(item, groups), []).append(values[item])
    names = sorted(members)
    sums = np.array([sum(members[name]) for name in names], dtype=np.float64)
    counts = np.array([len(members[name]) for name in names], dtype=np.float64)
    return sums, counts


def bootstrap_means(sums: Floats, counts: Floats, *, seed: int = 0, draws: int = DRAWS) -> Floats:
    """The mean per item in each of ``draws`` resamples of the groups."""
    groups = len(sums)
    weights = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1.0 / groups), size=draws)
    means: Floats = (weights @ sums) / (weights @ counts)
    return means


def interval(values: Mapping[str, float], groups: Mapping[str, str], *, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean."""
    sums, counts = group_sums(values, groups)
    low, high = np.quantile(bootstrap_means(sums, counts, seed=seed), [0.025, 0.975])
    return float(low), float(high)


def mean(values: Sequence[float]) -> float:
    return float(np.mean(np.sort(np.asarray(values, dtype=np.float64))))


def _group_of(item: str, groups: Mapping[str, str]) -> str:
    group = groups.get(item, "")
    return f"g:{group}" if group else f"i:{item}"
