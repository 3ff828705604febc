"""Every two raters side by side, annotators and the judge as one more; knows labels by annotator, not who they are.

Raw agreement and Cohen's kappa of every two, and for each rater how far it is with the people: with the majority of a
pair's other annotators, kappa with each of them, Krippendorff's alpha with the rater and without. The judge is never
among the others, so people's figures do not depend on it. Pairs with one label drop out.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from genrm_engine.evaluation.agreement import Figure, alphas, kappas
from genrm_engine.evaluation.bootstrap import DRAWS
from genrm_engine.evaluation.rated import Floats, Rated, Verdict, coincidence, confusion, credit
from genrm_engine.evaluation.resampled import LEAST, Sum, figure, mean_kappa, ratios, raws, resample

MOST_RATERS = 20
Two = tuple[int, int]
Key = tuple[str, int, int]
Parts = dict[Key, dict[str, Floats]]


@dataclass(frozen=True, slots=True)
class Rater:
    """One rater, an annotator or the judge; figures are None with too few pairs.

    ``labels`` is how many pairs the rater labelled, ``shared`` how many of them a person labelled too. ``rest`` is how
    often the rater says what most of the pair's other annotators say (where several labels share the lead, each counts
    its fraction). ``kappa`` is the mean of Cohen's kappa with each other annotator, weighted by the pairs they share.
    ``alpha_with`` and ``alpha_without`` are Krippendorff's alpha with and without the rater's labels, both on the pairs
    that the rater and two other annotators or more labelled.
    """

    name: str
    judge: bool
    labels: int
    shared: int
    rest: Figure | None = None
    kappa: Figure | None = None
    alpha_with: Figure | None = None
    alpha_without: Figure | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """Two raters, by their places, on the ``n`` pairs that both labelled."""

    first: int
    second: int
    n: int
    raw: Figure | None = None
    kappa: Figure | None = None


@dataclass(frozen=True, slots=True)
class AgreementMatrix:
    """The raters, those with most labels first and the judge last, and a cell for every two that share a pair.

    ``left_out`` counts the annotators with fewer labels who are no raters here; their labels are still among the
    others' where a rater is held against the majority, or an alpha is computed.
    """

    raters: tuple[Rater, ...]
    cells: tuple[Cell, ...]
    left_out: int

    def cell(self, first: int, second: int) -> Cell | None:
        """The cell of two raters, in either order."""
        two = (min(first, second), max(first, second))
        return next((cell for cell in self.cells if (cell.first, cell.second) == two), None)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def agreement_matrix(
    items: Sequence[Rated], *, draws: int = DRAWS, least: int = LEAST, most: int = MOST_RATERS
) -> AgreementMatrix:
    """The matrix of at most ``most`` annotators and the judge; no figure of fewer than ``least`` pairs."""
    counts = Counter(name for item in items for name in item.labels)
    names = sorted(counts, key=lambda name: (-counts[name], name))[:most]
    places = {name: place for place, name in enumerate(names)}
    judge = len(names)
    shared = two_by_two(items, places, judge=judge)
    parts = {("two", *two): tables for two, tables in shared.items()} | _rater_parts(items, [*names, None])
    sums = resample(parts, {item.id: item.group for item in items}, draws=draws, least=least)
    raters = [
        Rater(name, False, counts[name], *_figures(place, parts, sums, without=judge))
        for place, name in enumerate(names)
    ]
    if judged := sum(item.judge is not None for item in items):
        raters.append(Rater("", True, judged, *_figures(judge, parts, sums)))
    return AgreementMatrix(tuple(raters), tuple(_cells(shared, sums)), len(counts) - len(names))


def two_by_two(
    items: Sequence[Rated], places: Mapping[str, int], *, judge: int | None = None, least: int = 1
) -> dict[Two, dict[str, Floats]]:
    """For every two raters the confusion tables of the pairs that both labelled, where these are ``least`` or more."""
    given = {item.id: _given(item, places, judge) for item in items}
    counts = Counter(two for labels in given.values() for two in combinations(labels, 2))
    tables: dict[Two, dict[str, Floats]] = defaultdict(dict)
    for name, labels in given.items():
        for first, second in combinations(labels, 2):
            if counts[first, second] >= least:
                tables[first, second][name] = confusion(labels[first], [labels[second]])
    return dict(sorted(tables.items()))


def _given(item: Rated, places: Mapping[str, int], judge: int | None) -> dict[int, Verdict]:
    """The labels by the rater's place, in the order of the places."""
    given = {places[name]: label for name, label in item.labels.items() if name in places}
    if judge is not None and item.judge is not None:
        given[judge] = item.judge
    return dict(sorted(given.items()))


def _rater_parts(items: Sequence[Rated], raters: Sequence[str | None]) -> Parts:
    """For each rater (None: the judge) the tables of its agreement with the others of each pair."""
    parts: Parts = {}
    for place, name in enumerate(raters):
        rest, joined, without = ({}, {}, {})
        for item in items:
            label = item.judge if name is None else item.labels.get(name)
            others = [other for annotator, other in item.labels.items() if annotator != name]
            if label is None or not others:
                continue
            rest[item.id] = np.array([credit(label, others), 1.0])
            if len(others) > 1:
                joined[item.id] = coincidence([*others, label])
                without[item.id] = coincidence(others)
        parts |= {("rest", place, 0): rest, ("with", place, 0): joined, ("without", place, 0): without}
    return parts


def _figures(
    place: int, parts: Parts, sums: Mapping[Key, Sum], *, without: int | None = None
) -> tuple[int, Figure | None, Figure | None, Figure | None, Figure | None]:
    """What a rater shares with the others and the figures on it; ``without`` is who is no other: the judge."""
    own = [key for key in sums if key[0] == "two" and place in key[1:] and without not in key[1:]]
    return (
        len(parts["rest", place, 0]),
        figure(sums.get(("rest", place, 0)), ratios),
        mean_kappa([sums[key] for key in own]),
        figure(sums.get(("with", place, 0)), alphas),
        figure(sums.get(("without", place, 0)), alphas),
    )


def _cells(shared: Mapping[Two, Mapping[str, Floats]], sums: Mapping[Key, Sum]) -> Iterator[Cell]:
    for two, tables in shared.items():
        found = sums.get(("two", *two))
        yield Cell(*two, len(tables), figure(found, raws), figure(found, kappas))
