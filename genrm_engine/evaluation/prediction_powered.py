"""A mean over many items of which people labelled a random part and a judge all; knows numbers, not what they mean.

Method: prediction-powered inference with power tuning (PPI++: Angelopoulos, Duchi and Zrnic 2023, arXiv 2311.01453),
written for one list of items of which each is labelled with a known probability. With equal probabilities it is their
estimate: their labelled and unlabelled sample are the two parts of the list, and the tuned weight of the predictions
over the whole list is theirs times (n + N) / N. The authors' package is not used, because it needs a compiler stack
(numba) and a downloader, and knows no groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrm_engine.errors import EngineError
from genrm_engine.evaluation.bootstrap import group_sums
from genrm_engine.formats import DataRow
from genrm_engine.types import Judgement

Floats = NDArray[np.float64]
LEAST_GROUPS = 2


@dataclass(frozen=True, slots=True)
class PoweredMean:
    """The mean with its interval, beside what the labels alone give (``classical``).

    ``power`` is the weight of the judge: 0 where its predictions say nothing, above 1 where they are too timid (the
    authors' package stops at 1; the method does not need it). ``effective_n`` is how many labels alone would give an
    interval of the same width.
    """

    n: int
    items: int
    groups: int
    estimate: float
    low: float
    high: float
    power: float
    classical: float
    classical_low: float
    classical_high: float
    effective_n: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def powered_mean(
    labels: Mapping[str, float],
    predictions: Mapping[str, float],
    groups: Mapping[str, str],
    *,
    probabilities: Mapping[str, float] | None = None,
    confidence: float = 0.95,
) -> PoweredMean:
    """The mean of the label over all items of ``predictions``.

    ``labels`` are known for a part of the items, which must have been drawn at random: each with its probability in
    ``probabilities``, or, without them, all with the same. Groups must have been drawn independently of each other.
    The interval is that of a t distribution with as many degrees of freedom as there are labelled groups, less one,
    and less another where the judge's weight is estimated. Raises EngineError where the labels are too few or do not
    belong to items. Of very few groups the spread is itself unsure: simulated with shares, the interval at 95 % holds
    the truth in about 0.72 of the cases with 3 labelled groups, 0.91 with 5 and 0.94 with 20.
    """
    _check(labels, predictions, probabilities)
    items = sorted(predictions)
    predicted = np.array([predictions[item] for item in items])
    label = np.array([labels.get(item, 0.0) for item in items])
    weights = _weights(items, labels, probabilities)
    center, judged = float(np.mean(weights * label)), float(np.mean(weights * predicted))
    # The estimate is center − power·(judged − mean of all predictions): both parts as deviations, summed by group.
    plain = _sums(items, weights * (label - center), groups)
    shift = _sums(items, weights * (predicted - judged) - (predicted - float(np.mean(predicted))), groups)
    power = max(0.0, float(plain @ shift) / float(shift @ shift)) if shift.any() else 0.0
    estimate = center - power * (judged - float(np.mean(predicted)))
    labelled_groups = len(group_sums(labels, groups)[0])
    half = _half_width(plain - power * shift, len(items), labelled_groups, confidence, fitted=power > 0)
    plain_half = _half_width(plain, len(items), labelled_groups, confidence)
    return PoweredMean(
        n=len(labels),
        items=len(items),
        groups=labelled_groups,
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        power=power,
        classical=center,
        classical_low=center - plain_half,
        classical_high=center + plain_half,
        effective_n=len(labels) * (plain_half / half) ** 2 if half > 0 else float(len(labels)),
    )


def win_rate(
    model: str,
    rows: Sequence[DataRow],
    judgements: Sequence[Judgement],
    *,
    probabilities: Mapping[str, float] | None = None,
    confidence: float = 0.95,
) -> PoweredMean:
    """How often the model's response wins, over the judged rows of which it wrote exactly one response.

    Rows with a ``choice`` are the human-labelled part (a tie is half a win), see ``powered_mean`` for what that part
    must be. Raises EngineError.
    """
    p_a = {judgement.pair_id: judgement.p_a for judgement in judgements}
    sides = {
        row.pair.id: (row, row.models[0] == model)
        for row in rows
        if row.pair.id in p_a and row.models is not None and row.models.count(model) == 1
    }
    predictions = {item: p_a[item] if is_a else 1 - p_a[item] for item, (_, is_a) in sides.items()}
    labels = {
        item: 0.5 if row.choice == "tie" else float((row.choice == "a") == is_a)
        for item, (row, is_a) in sides.items()
        if row.choice is not None
    }
    groups = {item: row.pair.group for item, (row, _) in sides.items()}
    return _within(
        powered_mean(labels, predictions, groups, probabilities=probabilities, confidence=confidence), confidence
    )


def _within(found: PoweredMean, confidence: float) -> PoweredMean:
    """A share's interval, in 0 to 1. Labels that are all alike have no spread: the exact binomial one of the groups."""
    from statsmodels.stats.proportion import proportion_confint

    low, high, plain = found.low, found.high, (found.classical_low, found.classical_high)
    if plain[0] == plain[1]:
        wins = round(found.classical * found.groups)
        plain = proportion_confint(wins, found.groups, alpha=1 - confidence, method="beta")
        low, high = min(low, plain[0]), max(high, plain[1])
    low, high, plain_low, plain_high = (min(1.0, max(0.0, float(bound))) for bound in (low, high, *plain))
    return replace(found, low=low, high=high, classical_low=plain_low, classical_high=plain_high)


def _check(
    labels: Mapping[str, float], predictions: Mapping[str, float], probabilities: Mapping[str, float] | None
) -> None:
    strange = sorted(set(labels) - set(predictions))
    if strange:
        raise EngineError(f"item {strange[0]} has a label but no prediction")
    for item in labels if probabilities is not None else ():
        if not 0 < (probabilities or {}).get(item, 0.0) <= 1:
            raise EngineError(f"item {item} has a label but no probability of being labelled (above 0, at most 1)")


def _weights(items: list[str], labels: Mapping[str, float], probabilities: Mapping[str, float] | None) -> Floats:
    """0 for an item without a label, else one over its probability, scaled so that the mean over all items is 1."""
    if not labels:
        raise EngineError("no item has a human label")
    inverse = [1 / (probabilities[item] if probabilities else 1.0) if item in labels else 0.0 for item in items]
    weights = np.array(inverse, dtype=np.float64)
    return weights / np.mean(weights)


def _sums(items: list[str], values: Floats, groups: Mapping[str, str]) -> Floats:
    return group_sums(dict(zip(items, values.tolist(), strict=True)), groups)[0]


def _half_width(sums: Floats, items: int, labelled_groups: int, confidence: float, *, fitted: bool = False) -> float:
    """Of the interval of a mean over the items whose deviations, which add up to nothing, are given by group."""
    from scipy.stats import t

    if labelled_groups < LEAST_GROUPS:
        raise EngineError(f"human labels are needed in at least {LEAST_GROUPS} groups, not {labelled_groups}")
    freedom = max(1, labelled_groups - 1 - fitted)
    error = float(np.sqrt(labelled_groups / freedom * (sums @ sums))) / items
    return error * float(t.ppf((1 + confidence) / 2, freedom))
