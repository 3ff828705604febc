"""Agreement overall, by slice, by criterion and over time, all by the same rules; knows labels, no text or models.

People's raw agreement is how often a label is the same as another one of its pair, both drawn at random; Krippendorff's
alpha (nominal) is that agreement corrected for chance. Pairs with one label drop out of both. Kappa is the mean of
Cohen's kappa over every two annotators who share enough pairs, weighted by these. The judge is compared with a label
drawn at random from each pair's, so that its figures can be held against people's own.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np

from genrm_engine.evaluation.agreement import Figure, alphas, kappas
from genrm_engine.evaluation.agreement_matrix import Two, two_by_two
from genrm_engine.evaluation.bootstrap import DRAWS, group_of
from genrm_engine.evaluation.rated import Floats, Rated, coincidence, confusion, credit, leader
from genrm_engine.evaluation.resampled import LEAST, Sum, figure, mean_kappa, ratios, raws, resample

LEAST_IN_SLICE = 20
MOST_SLICES = 10
LEAST_IN_WINDOW = 30
MOST_WINDOWS = 12
MOST_TWOS = 100
"""Kappa is the mean over at most so many pairs of annotators: those who share most."""
OTHER = "other"
LEAST_GROUPS = 10
"""With fewer independent groups a bootstrap by group says little."""

Key = tuple[str, str, int, int]
Parts = dict[Key, dict[str, Floats]]


@dataclass(frozen=True, slots=True)
class Overall:
    """Agreement on some pairs; None where there are too few, or the figure has no value (all labels are the same).

    ``shared`` pairs have two labels or more, ``judged`` ones a label and the judge's. ``judge_accuracy`` is how often
    the judge is right where one of A and B is the most frequent label (an undecided judge is half right). On the
    judged pairs with two labels or more, ``people_rest`` is how often a label is that of most of the pair's others
    (where several lead, each counts its fraction), ``judge_rest`` the judge's rate in the very same comparisons.
    """

    pairs: int
    labels: int
    groups: int
    shared: int
    judged: int
    raw: Figure | None = None
    kappa: Figure | None = None
    alpha: Figure | None = None
    judge_raw: Figure | None = None
    judge_kappa: Figure | None = None
    judge_accuracy: Figure | None = None
    people_rest: Figure | None = None
    judge_rest: Figure | None = None

    @property
    def few_groups(self) -> bool:
        """Whether the intervals rest on too few independent groups to be trusted."""
        return 0 < self.groups < LEAST_GROUPS

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Slice:
    """The pairs of one value of a key, or all ``folded`` values that have too few pairs."""

    value: str
    figures: Overall
    folded: int = 0


@dataclass(frozen=True, slots=True)
class Window:
    """The pairs whose last labels were given one after another, from ``start`` to ``end``."""

    start: datetime
    end: datetime
    figures: Overall


def overall(items: Sequence[Rated], *, draws: int = DRAWS, least: int = LEAST) -> Overall:
    """The figures on all items."""
    return by_value(items, {item.id: "" for item in items}, draws=draws, least=least).get("", Overall(0, 0, 0, 0, 0))


def by_value(
    items: Sequence[Rated], values: Mapping[str, str], *, draws: int = DRAWS, least: int = LEAST
) -> dict[str, Overall]:
    """The figures on the items of each value, all in the same resamples; items without a value are left out."""
    members: dict[str, list[Rated]] = {}
    for item in items:
        if item.labels and item.id in values:
            members.setdefault(values[item.id], []).append(item)
    parts: Parts = {}
    for value, some in members.items():
        parts |= _parts(value, some, least)
    sums = resample(parts, {item.id: item.group for item in items}, draws=draws, least=least)
    return {value: _figures(value, some, sums) for value, some in members.items()}


def slices(
    items: Sequence[Rated],
    values: Mapping[str, str],
    *,
    draws: int = DRAWS,
    least: int = LEAST_IN_SLICE,
    most: int = MOST_SLICES,
    in_order: bool = False,
) -> tuple[Slice, ...]:
    """The figures by value, those with most pairs first (``in_order``: as the values first occur).

    Counted are pairs that say anything of agreement. Values with fewer than ``least`` of them, and all but the ``most``
    largest, are folded into "other".
    """
    counts = Counter(values[item.id] for item in items if item.compared and item.id in values)
    ranked = sorted(counts, key=lambda value: (-counts[value], value))
    kept = [value for value in ranked[:most] if counts[value] >= least]
    if in_order:
        kept = [value for value in dict.fromkeys(values.values()) if value in kept]
    names = {value: value if value in kept else OTHER for value in counts}
    found = by_value(items, {item: names[value] for item, value in values.items() if value in names}, draws=draws)
    folded = sum(value not in kept for value in counts)
    standing = [Slice(value, found[value]) for value in kept if value != OTHER]
    return (*standing, *([Slice(OTHER, found[OTHER], folded)] if OTHER in found else []))


def by_criterion(items: Sequence[Rated], *, draws: int = DRAWS) -> dict[str, Overall]:
    """The figures on the answers to each criterion; the judge gives none."""
    names = dict.fromkeys(name for item in items for answers in item.criteria.values() for name in answers)
    found = {}
    for name in names:
        answers = [{who: given[name] for who, given in item.criteria.items() if name in given} for item in items]
        answered = [replace(item, labels=each, judge=None) for item, each in zip(items, answers, strict=True)]
        found[name] = overall(answered, draws=draws)
    return found


def trend(
    items: Sequence[Rated], *, draws: int = DRAWS, least: int = LEAST_IN_WINDOW, most: int = MOST_WINDOWS
) -> tuple[Window, ...]:
    """The figures in windows of equally many pairs, in the order in which the pairs' last labels were given.

    Only pairs that say anything of agreement are in a window: at least ``least``. Empty where there are fewer than two
    windows.
    """
    dated = sorted((item.at, item.id) for item in items if item.compared and item.at is not None)
    number = min(most, len(dated) // least)
    if number < 2:
        return ()
    bounds = [round(place * len(dated) / number) for place in range(number + 1)]
    runs = [dated[start:end] for start, end in pairwise(bounds)]
    values = {item: str(place) for place, run in enumerate(runs) for _, item in run}
    found = by_value(items, values, draws=draws)
    return tuple(Window(run[0][0], run[-1][0], found[str(place)]) for place, run in enumerate(runs))


def _parts(value: str, items: Sequence[Rated], least: int) -> Parts:
    """All tables of the items of one value, by what is made of them."""
    several = [item for item in items if len(item.labels) > 1]
    places = {name: place for place, name in enumerate(sorted({name for item in several for name in item.labels}))}
    shared = _largest(two_by_two(several, places, least=least))
    judged = [item for item in items if item.judge is not None]
    both = [item for item in judged if len(item.labels) > 1]
    return {
        **{(value, "two", *two): tables for two, tables in shared},
        (value, "people", 0, 0): {item.id: coincidence(item.labels.values()) for item in several},
        (value, "judge", 0, 0): {
            item.id: confusion(item.judge, item.labels.values()) for item in judged if item.judge is not None
        },
        (value, "accuracy", 0, 0): dict(_right(judged)),
        (value, "people_rest", 0, 0): {item.id: _rest(item, judge=False) for item in both},
        (value, "judge_rest", 0, 0): {item.id: _rest(item, judge=True) for item in both},
    }


def _largest(shared: Mapping[Two, dict[str, Floats]]) -> list[tuple[Two, dict[str, Floats]]]:
    return sorted(shared.items(), key=lambda each: (-len(each[1]), each[0]))[:MOST_TWOS]


def _right(items: Sequence[Rated]) -> Iterator[tuple[str, Floats]]:
    """How far the judge is right, where one of A and B is the most frequent label."""
    for item in items:
        label = leader(item.labels.values())
        if label in ("a", "b"):
            yield item.id, np.array([0.5 if item.judge == "tie" else float(item.judge == label), 1.0])


def _rest(item: Rated, *, judge: bool) -> Floats:
    """How often the item's labels, or the judge in their place, are that of most of the others; and of how many."""
    sum_of_credits = 0.0
    for name, label in item.labels.items():
        rest = [other for annotator, other in item.labels.items() if annotator != name]
        sum_of_credits += credit(item.judge if judge and item.judge is not None else label, rest)
    return np.array([sum_of_credits, float(len(item.labels))])


def _figures(value: str, items: Sequence[Rated], sums: Mapping[Key, Sum]) -> Overall:
    def named(name: str) -> Sum | None:
        return sums.get((value, name, 0, 0))

    return Overall(
        pairs=len(items),
        labels=sum(len(item.labels) for item in items),
        groups=len({group_of(item.id, {item.id: item.group}) for item in items if item.compared}),
        shared=sum(len(item.labels) > 1 for item in items),
        judged=sum(item.judge is not None for item in items),
        raw=figure(named("people"), raws),
        kappa=mean_kappa([part for key, part in sums.items() if key[:2] == (value, "two")]),
        alpha=figure(named("people"), alphas),
        judge_raw=figure(named("judge"), raws),
        judge_kappa=figure(named("judge"), kappas),
        judge_accuracy=figure(named("accuracy"), ratios),
        people_rest=figure(named("people_rest"), ratios),
        judge_rest=figure(named("judge_rest"), ratios),
    )
