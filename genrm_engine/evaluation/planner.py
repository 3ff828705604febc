"""What more labels, or accepting the judge's, would probably bring; knows shares and counts, not what a label costs.

Both are estimates from what was measured. That new pairs are like the measured ones is assumed and not checked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrm_engine.evaluation.agreement import Figure
from genrm_engine.evaluation.bootstrap import DRAWS, bootstrap_tables, bounds, group_tables

Floats = NDArray[np.float64]

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Of the pairs, surest first, that a plan lets the judge label."""
LEAST_VERSIONS = 3
"""A falling power law has three unknowns."""
FITS = 500
RATES = np.geomspace(0.02, 2.0, 50)
_Z95 = 1.959964
_LEAST_ERROR = 0.005  # a version that was right everywhere it was measured is not certain either


@dataclass(frozen=True, slots=True)
class Accepted:
    """The judge labels from ``threshold`` on, people below: ``agreement`` of the final labels, share by people.

    ``judge`` is how often the judge agrees with people from there on; None where no pair is that sure.
    """

    threshold: float
    agreement: Figure
    human_share: Figure
    judge: Figure | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Version:
    """A judge's accuracy with its 95 % interval, and how many labelled pairs it was trained on."""

    labels: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """The accuracy to expect of a judge trained on ``labels`` pairs; None, with the ``reason``, where none can be had.

    ``versions`` counts the different numbers of labels that were measured.
    """

    labels: int
    versions: int
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def accepting(
    confidence: Mapping[str, float],
    agrees: Mapping[str, float],
    groups: Mapping[str, str],
    *,
    thresholds: Sequence[float],
    ceiling: Figure | None = None,
) -> list[Accepted]:
    """What comes of accepting the judge's labels from each threshold on; empty where no pair was measured.

    ``agrees`` is 1 where the judge's verdict is the human label, 0 where not. Below the threshold people label, and
    agree with each other as often as ``ceiling`` says; without one they are taken to agree always. Intervals are 95 %
    bootstrap intervals by group, with the ceiling drawn from its own. Raises ValueError where items differ.
    """
    if confidence.keys() != agrees.keys():
        raise ValueError("confidence and agrees must name the same items")
    if not confidence:
        return []
    tables = {
        item: np.array([[sure >= threshold, (sure >= threshold) * agrees[item], 1.0] for threshold in thresholds])
        for item, sure in confidence.items()
    }
    summed = group_tables(tables, groups)
    seen, drawn = summed.sum(axis=0), bootstrap_tables(summed)
    return [
        _accepted(threshold, seen[place], drawn[:, place], ceiling)  # (3,) and (draws, 3)
        for place, threshold in enumerate(thresholds)
    ]


def steps(confidence: Mapping[str, float], *, shares: Sequence[float] = SHARES) -> list[float]:
    """The thresholds from which on the judge labels about these shares of the pairs, from strict to loose."""
    ranked = sorted(confidence.values(), reverse=True)
    found = {ranked[min(len(ranked), max(1, round(share * len(ranked)))) - 1] for share in shares if ranked}
    return sorted(found, reverse=True)


def more_labels(history: Sequence[Version], n: int, *, now: int) -> Forecast:
    """The accuracy to expect with ``n`` labelled pairs more than the ``now`` there are, by past versions.

    Fitted is ceiling − loss · (labels + 1) ^ −rate, by least squares with each version weighted by its certainty. The
    interval refits versions that are drawn anew, each from its own interval; it knows nothing of how well a power law
    describes the judge.
    """
    sizes = len({version.labels for version in history})
    if sizes < LEAST_VERSIONS:
        reason = f"{sizes} of at least {LEAST_VERSIONS} versions with different numbers of labels are measured"
        return Forecast(now + n, sizes, reason=reason)
    labels, accuracy, error = _columns(history)
    drawn = np.random.default_rng(0).normal(accuracy, error, size=(FITS, len(history)))
    both = np.vstack([accuracy, np.clip(drawn, 0.0, 1.0)])
    expected = np.clip(predicted(labels, both, error, at=now + n), 0.0, 1.0)
    low, high = bounds(expected[1:])
    return Forecast(now + n, sizes, float(expected[0]), low, high)


def predicted(labels: Floats, accuracy: Floats, error: Floats, *, at: int) -> Floats:
    """What the power law fitted to each row of ``accuracy`` (rows, versions) says for ``at`` labels.

    For a given rate the law is a line, so the best line is known and only the rate is searched. Accuracy never falls
    with labels and never goes above 1.
    """
    weights = 1 / error**2
    least = np.full(len(accuracy), np.inf)
    best = np.empty(len(accuracy))
    for rate in RATES:
        left = (labels + 1.0) ** -rate  # what is still to be learnt, (versions,)
        ceiling, loss = _line(left, accuracy, weights)
        misfit = ((accuracy - ceiling[:, None] + loss[:, None] * left) ** 2) @ weights
        better = misfit < least
        least[better] = misfit[better]
        best[better] = (ceiling - loss * (at + 1.0) ** -rate)[better]
    return best


def _line(left: Floats, accuracy: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Ceiling and loss of each row's weighted best line, with a loss of at least 0 and a ceiling of at most 1."""
    shares = weights / weights.sum()
    mean_left, mean_accuracy = left @ shares, accuracy @ shares
    slope = ((accuracy - mean_accuracy[:, None]) * (left - mean_left)) @ shares / ((left - mean_left) ** 2 @ shares)
    loss = np.maximum(0.0, -slope)
    ceiling = mean_accuracy + loss * mean_left
    through_one = ((1 - accuracy) * left) @ shares / (left**2 @ shares)
    return np.minimum(ceiling, 1.0), np.where(ceiling > 1, through_one, loss)


def _columns(history: Sequence[Version]) -> tuple[Floats, Floats, Floats]:
    """Labels, accuracies and their standard errors, in the order of the labels."""
    ordered = sorted(history, key=lambda version: (version.labels, version.accuracy))
    errors = [max(_LEAST_ERROR, (version.high - version.low) / (2 * _Z95)) for version in ordered]
    labels, accuracy = [version.labels for version in ordered], [version.accuracy for version in ordered]
    return np.array(labels, dtype=np.float64), np.array(accuracy), np.array(errors)


def _accepted(threshold: float, seen: Floats, drawn: Floats, ceiling: Figure | None) -> Accepted:
    """From how many pairs the judge labels, on how many of them it agrees, and how many there are."""
    labelled, agreeing, pairs = seen
    value, people = (ceiling.value if ceiling else 1.0), _ceiling_draws(ceiling)
    with np.errstate(invalid="ignore", divide="ignore"):
        judge = drawn[:, 1] / drawn[:, 0]
    return Accepted(
        threshold=threshold,
        agreement=_figure(
            pairs,
            (agreeing + (pairs - labelled) * value) / pairs,
            (drawn[:, 1] + (drawn[:, 2] - drawn[:, 0]) * people) / drawn[:, 2],
        ),
        human_share=_figure(pairs, 1 - labelled / pairs, 1 - drawn[:, 0] / drawn[:, 2]),
        judge=_figure(labelled, agreeing / labelled, judge) if labelled else None,
    )


def _figure(n: float, value: float, draws: Floats) -> Figure:
    low, high = bounds(draws)
    return Figure(int(n), float(value), low, high)


def _ceiling_draws(ceiling: Figure | None) -> Floats:
    """The ceiling in each resample, from a normal distribution as wide as its interval."""
    if ceiling is None:
        return np.ones(DRAWS)
    error = (ceiling.high - ceiling.low) / (2 * _Z95)
    return np.clip(np.random.default_rng(1).normal(ceiling.value, error, DRAWS), 0.0, 1.0)
