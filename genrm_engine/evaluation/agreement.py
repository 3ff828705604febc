"""How far a judge agrees with people, and people with each other; knows labels by annotator, ties among them.

A judge that is undecided (a probability of exactly one half) says "tie" here; one whose verdict could not be read says
nothing, and its pair is left out. Intervals are 95 % bootstrap intervals by group: kappa and alpha are functions of
tables that are sums over the pairs, so a resample only adds up tables.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrm_engine.evaluation.bootstrap import bootstrap_tables, bounds, group_tables, interval, mean
from genrm_engine.formats import DataRow, Label
from genrm_engine.types import Judgement

LABELS: tuple[Label, ...] = ("a", "b", "tie")
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure over ``n`` pairs (or comparisons) with its interval."""

    n: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement figures; None where the labels do not allow one.

    ``kappa`` is Cohen's, the judge against the consensus with ties as a third label; ``kappa_decided`` leaves the ties
    of the consensus out. ``alpha_humans`` is Krippendorff's (nominal) among the annotators, ``alpha_with_judge`` the
    same on the same pairs with the judge as one more annotator, ``alpha_change`` the second minus the first.
    ``human_ceiling`` is how often an annotator agrees with the majority of the pair's other annotators (where several
    labels share the lead, each counts its fraction), ``judge_against_rest`` the judge's rate in the very same
    comparisons.
    """

    annotators: int
    kappa: Figure | None
    kappa_decided: Figure | None
    alpha_humans: Figure | None
    alpha_with_judge: Figure | None
    alpha_change: Figure | None
    human_ceiling: Figure | None
    judge_against_rest: Figure | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def agreement(judgements: Sequence[Judgement], rows: Sequence[DataRow]) -> Agreement:
    """The figures on the rows of which the judge says anything."""
    said = said_of(judgements)
    judged = {row.pair.id: row for row in rows if row.pair.id in said}
    groups = {item: row.pair.group for item, row in judged.items()}
    consensus = {item: row.choice for item, row in judged.items() if row.choice is not None}
    decided = {item: label for item, label in consensus.items() if label != "tie"}
    by_annotator = {item: labels_of(row) for item, row in judged.items()}
    several = {item: labels for item, labels in by_annotator.items() if len(labels) > 1}
    humans = _alphas({item: list(labels.values()) for item, labels in several.items()}, groups)
    joined = _alphas({item: [*labels.values(), said[item]] for item, labels in several.items()}, groups)
    return Agreement(
        annotators=len({annotator for labels in by_annotator.values() for annotator in labels}),
        kappa=_kappa(said, consensus, groups),
        kappa_decided=_kappa(said, decided, groups),
        alpha_humans=humans[0] if humans else None,
        alpha_with_judge=joined[0] if joined else None,
        alpha_change=_change(humans, joined),
        human_ceiling=human_ceiling(several, groups),
        judge_against_rest=_against_rest(several, groups, said),
    )


def label_of(p_a: float) -> Label:
    """What a probability of A says."""
    if p_a == 0.5:
        return "tie"
    return "a" if p_a > 0.5 else "b"


def said_of(judgements: Iterable[Judgement]) -> dict[str, Label]:
    """What the judge says of each pair; nothing where no verdict could be read in any sample."""
    return {one.pair_id: label_of(one.p_a) for one in judgements if not 0 < one.samples <= one.unparsed}


def labels_of(row: DataRow) -> dict[str, Label]:
    """The labels by annotator; of several by one annotator the last counts."""
    return {label.annotator: label.choice for label in row.labels}


def majority_credit(label: str, rest: Sequence[str]) -> float:
    """Whether the label is the most frequent one among ``rest``; 1/k where k labels share that place, else 0."""
    counts = Counter(rest)
    most = max(counts.values())
    leaders = [name for name, count in counts.items() if count == most]
    return 1 / len(leaders) if label in leaders else 0.0


def human_ceiling(labels: Mapping[str, Mapping[str, Label]], groups: Mapping[str, str]) -> Figure | None:
    """How often an annotator agrees with the majority of the pair's others; None where no pair has two labels.

    ``labels`` are those of each item, by annotator.
    """
    return _against_rest(labels, groups)


def kappas(tables: Floats) -> Floats:
    """Cohen's kappa of each square confusion table (…, k, k); NaN where one label is all there is, or none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = tables / tables.sum(axis=(-2, -1), keepdims=True)
        seen = np.trace(shares, axis1=-2, axis2=-1)
        expected = (shares.sum(axis=-1) * shares.sum(axis=-2)).sum(axis=-1)
        return np.where(expected < 1, (seen - expected) / (1 - expected), np.nan)


def alphas(tables: Floats) -> Floats:
    """Krippendorff's nominal alpha of each coincidence table (…, k, k); NaN where one label is all there is."""
    totals = tables.sum(axis=-1)
    count = totals.sum(axis=-1)
    differing = count - np.trace(tables, axis1=-2, axis2=-1)
    expected = (count**2 - (totals**2).sum(axis=-1)) / (count - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected > 0, 1 - differing / expected, np.nan)


def coincidences(labels: Sequence[str], names: Sequence[str] = LABELS) -> Floats:
    """One pair's coincidence table: its ordered pairs of labels, shared out by the number of labels less one.

    ``names`` are the labels that there can be; the pair has two or more.
    """
    counts = _counts(labels, names)
    table: Floats = (np.outer(counts, counts) - np.diag(counts)) / (counts.sum() - 1)
    return table


def _kappa(said: Mapping[str, Label], consensus: Mapping[str, Label], groups: Mapping[str, str]) -> Figure | None:
    from statsmodels.stats.inter_rater import cohens_kappa

    if not consensus:
        return None
    tables = group_tables({item: _cell(said[item], label) for item, label in consensus.items()}, groups)
    draws = kappas(bootstrap_tables(tables))
    if np.isnan(kappas(tables.sum(axis=0))):
        return None
    low, high = bounds(draws)
    value = float(cohens_kappa(tables.sum(axis=0), return_results=False))
    return Figure(len(consensus), value, low, high)


def _alphas(labels: Mapping[str, Sequence[Label]], groups: Mapping[str, str]) -> tuple[Figure, Floats] | None:
    """Alpha and its resamples; None where no pair has two labels or all labels are the same."""
    import krippendorff

    if not labels:
        return None
    tables = group_tables({item: coincidences(each) for item, each in labels.items()}, groups)
    if np.isnan(alphas(tables.sum(axis=0))):
        return None
    draws = alphas(bootstrap_tables(tables))
    counts = np.array([_counts(each) for each in labels.values()])
    value = float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))
    low, high = bounds(draws)
    return Figure(len(labels), value, low, high), draws


def _change(humans: tuple[Figure, Floats] | None, joined: tuple[Figure, Floats] | None) -> Figure | None:
    """The resamples draw the same groups in both, so they can be subtracted."""
    if humans is None or joined is None:
        return None
    low, high = bounds(joined[1] - humans[1])
    return Figure(humans[0].n, joined[0].value - humans[0].value, low, high)


def _against_rest(
    labels: Mapping[str, Mapping[str, Label]], groups: Mapping[str, str], said: Mapping[str, Label] | None = None
) -> Figure | None:
    """How often each annotator's label is the majority of the pair's others, or what ``said`` has instead of it."""
    agreeing: dict[str, float] = {}
    groups_of: dict[str, str] = {}
    for item, by_annotator in labels.items():
        for annotator, label in by_annotator.items():
            rest = [other for name, other in by_annotator.items() if name != annotator]
            if rest:
                key = f"{item}\n{annotator}"
                agreeing[key] = majority_credit(said[item] if said else label, rest)
                groups_of[key] = groups.get(item) or item
    return _mean_figure(agreeing, groups_of)


def _mean_figure(values: Mapping[str, float], groups: Mapping[str, str]) -> Figure | None:
    if not values:
        return None
    low, high = interval(values, groups)
    return Figure(len(values), mean(list(values.values())), low, high)


def _counts(labels: Sequence[str], names: Sequence[str] = LABELS) -> Floats:
    return np.array([labels.count(label) for label in names], dtype=np.float64)


def _cell(row: Label, column: Label) -> Floats:
    table = np.zeros((len(LABELS), len(LABELS)))
    table[LABELS.index(row), LABELS.index(column)] = 1
    return table
