"""Means of several quantities with intervals from the same resamples; knows numbers, not what they stand for.

One bootstrap by group serves all quantities, also those known of a part of the items only. What several share costs
once, and differences of two quantities over the same items are paired.
"""

from collections.abc import Mapping

import numpy as np

from genrm_engine.evaluation.agreement import Figure
from genrm_engine.evaluation.bootstrap import bootstrap_tables, bounds, group_tables, mean

Values = Mapping[str, float]
"""A quantity by item."""


def means(quantities: Mapping[str, Values], groups: Mapping[str, str]) -> dict[str, Figure]:
    """The mean of each quantity over its items with its 95 % interval; one without items is left out."""
    known = {name: values for name, values in quantities.items() if values}
    items = {item for values in known.values() for item in values}
    if not items:
        return {}
    tables = {
        item: np.array([[values.get(item, 0.0), float(item in values)] for values in known.values()]) for item in items
    }
    draws = bootstrap_tables(group_tables(tables, groups))
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = draws[:, :, 0] / draws[:, :, 1]
    found = {}
    for place, (name, values) in enumerate(known.items()):
        low, high = bounds(drawn[:, place])
        found[name] = Figure(len(values), mean(list(values.values())), low, high)
    return found
