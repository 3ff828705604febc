"""Many figures from one bootstrap by group: each is a function of a sum of tables; knows no labels or judges.

All groups are drawn, also those that hold nothing of a figure, so figures of one call can be compared draw by draw.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from genrm_engine.evaluation.agreement import Figure, kappas
from genrm_engine.evaluation.bootstrap import DRAWS, bounds, group_of, resamples

Floats = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)
LEAST = 10
"""No figure is given of fewer pairs: an interval of so few says little, and their value less."""


@dataclass(frozen=True, slots=True)
class Sum:
    """The sum of ``n`` items' tables: of all, and in each resample ``(draws, …)``."""

    n: int
    whole: Floats
    drawn: Floats


def resample(
    parts: Mapping[Key, Mapping[str, Floats]], groups: Mapping[str, str], *, draws: int = DRAWS, least: int = LEAST
) -> dict[Key, Sum]:
    """The sums of each part's tables (by item); ``groups`` names every item's group, of all parts.

    A part with fewer than ``least`` items is left out.
    """
    order = {name: place for place, name in enumerate(sorted({group_of(item, groups) for item in groups}))}
    places = {item: order[group_of(item, groups)] for item in groups}
    sparse = {key: _by_group(tables, places) for key, tables in parts.items() if len(tables) >= max(least, 1)}
    drawn: dict[Key, list[Floats]] = {key: [] for key in sparse}
    for block in resamples(len(order), draws=draws) if sparse else ():
        by_group = np.ascontiguousarray(block.T)
        for key, (rows, table) in sparse.items():
            weights = by_group if len(rows) == len(order) else by_group[rows]
            drawn[key].append(_times(table.reshape(len(rows), -1), weights).reshape(-1, *table.shape[1:]))
    return {
        key: Sum(len(parts[key]), table.sum(axis=0), np.concatenate(drawn[key])) for key, (_, table) in sparse.items()
    }


def _by_group(tables: Mapping[str, Floats], places: Mapping[str, int]) -> tuple[NDArray[np.intp], Floats]:
    """The groups that hold anything and the sum of each one's tables, in an order that is not the items' own."""
    items = sorted(tables, key=lambda item: (places[item], item))
    rows, starts = np.unique([places[item] for item in items], return_index=True)
    sums: Floats = np.add.reduceat(np.stack([tables[item] for item in items]), starts, axis=0)
    return rows, sums


def _times(table: Floats, weights: Floats) -> Floats:
    """The weighted sums of the table's rows, one for each draw; cells that are nought everywhere cost nothing."""
    used = table.any(axis=0)
    sums = np.zeros((weights.shape[1], table.shape[1]))
    sums[:, used] = (table[:, used].T @ weights).T
    return sums


def figure(part: Sum | None, statistic: Callable[[Floats], Floats]) -> Figure | None:
    """The statistic of the sum with its 95 % interval; None where there is no part, or it has no such value."""
    if part is None or np.isnan(value := float(statistic(part.whole))):
        return None
    low, high = bounds(statistic(part.drawn))
    return Figure(part.n, value, low, high)


def raws(tables: Floats) -> Floats:
    """The share of a table (…, k, k) that lies on its diagonal: raw agreement."""
    with np.errstate(invalid="ignore"):
        share: Floats = np.trace(tables, axis1=-2, axis2=-1) / tables.sum(axis=(-2, -1))
    return share


def ratios(sums: Floats) -> Floats:
    """The first of two sums (…, 2) divided by the second."""
    with np.errstate(invalid="ignore"):
        share: Floats = sums[..., 0] / sums[..., 1]
    return share


def mean_kappa(cells: Sequence[Sum]) -> Figure | None:
    """The mean of several tables' kappas (Light's), weighted by their pairs; tables without a kappa are left out."""
    cells = [cell for cell in cells if not np.isnan(kappas(cell.whole))]
    if not cells:
        return None
    low, high = bounds(_weighted(np.stack([cell.drawn for cell in cells])))
    value = float(_weighted(np.stack([cell.whole for cell in cells])))
    return Figure(sum(cell.n for cell in cells), value, low, high)


def _weighted(tables: Floats) -> Floats:
    values = kappas(tables)
    weights = np.where(np.isnan(values), 0.0, tables.sum(axis=(-2, -1)))
    with np.errstate(invalid="ignore"):
        mean: Floats = (np.nan_to_num(values) * weights).sum(axis=0) / weights.sum(axis=0)
    return mean
