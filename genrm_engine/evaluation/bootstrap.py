"""Bootstrap over groups: whole groups are drawn again, because related items are not independent."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000
_CELLS = 4_000_000  # 32 MB of weights at a time
Floats = NDArray[np.float64]


def group_sums(values: Mapping[str, float], groups: Mapping[str, str]) -> tuple[Floats, Floats]:
    """Sum and count of the values in each group, in an order that does not depend on the rows' order.

    An item without a group is a group of its own.
    """
    members: dict[str, list[float]] = {}
    for item in sorted(values):
        members.setdefault(group_of(item, groups), []).append(values[item])
    names = sorted(members)
    sums = np.array([sum(members[name]) for name in names], dtype=np.float64)
    counts = np.array([len(members[name]) for name in names], dtype=np.float64)
    return sums, counts


def group_tables(tables: Mapping[str, Floats], groups: Mapping[str, str]) -> Floats:
    """Sums of the items' tables in each group, ``(groups, …)``, for statistics that are functions of such a sum."""
    sums: dict[str, Floats] = {}
    for item in sorted(tables):
        name = group_of(item, groups)
        sums[name] = sums[name] + tables[item] if name in sums else tables[item]
    return np.stack([sums[name] for name in sorted(sums)])


def bootstrap_tables(tables: Floats, *, seed: int = 0, draws: int = DRAWS) -> Floats:
    """The table of all items, ``(draws, …)``, in each resample of the groups that ``group_tables`` gave."""
    flat = tables.reshape(len(tables), -1)
    drawn = np.concatenate([weights @ flat for weights in _weights(len(tables), seed, draws)])
    return drawn.reshape(-1, *tables.shape[1:])


def bootstrap_means(sums: Floats, counts: Floats, *, seed: int = 0, draws: int = DRAWS) -> Floats:
    """The mean per item in each of ``draws`` resamples of the groups."""
    parts = [(weights @ sums) / (weights @ counts) for weights in _weights(len(sums), seed, draws)]
    return np.concatenate(parts)


def resamples(groups: int, *, seed: int = 0, draws: int = DRAWS) -> Iterator[Floats]:
    """How often each group is drawn in each resample, ``(some draws, groups)`` at a time."""
    yield from _weights(groups, seed, draws)


def _weights(groups: int, seed: int, draws: int) -> Iterator[Floats]:
    """How often each group is drawn in each resample, in blocks of bounded memory."""
    if groups * draws <= _CELLS:
        yield _block(groups, seed, draws)
        return
    rows = max(1, _CELLS // groups)
    for number, start in enumerate(range(0, draws, rows)):
        yield _block(groups, seed + 1_000_003 * (number + 1), min(rows, draws - start))


@lru_cache(maxsize=2)
def _block(groups: int, seed: int, draws: int) -> Floats:
    drawn = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1.0 / groups), size=draws)
    return drawn.astype(np.float64)


def interval(values: Mapping[str, float], groups: Mapping[str, str], *, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean."""
    sums, counts = group_sums(values, groups)
    return bounds(bootstrap_means(sums, counts, seed=seed))


def bounds(draws: Floats) -> tuple[float, float]:
    """Where the middle 95 % of the resamples lie; a resample without a value (NaN) is passed over."""
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return float(low), float(high)


def mean(values: Sequence[float]) -> float:
    return float(np.mean(np.sort(np.asarray(values, dtype=np.float64))))


def group_of(item: str, groups: Mapping[str, str]) -> str:
    """The name of an item's group; an item without a group is a group of its own."""
    group = groups.get(item, "")
    return f"g:{group}" if group else f"i:{item}"
