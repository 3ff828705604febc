"""From which confidence on a judge may label alone: as agreeing with people as was wished, with a stated certainty.

Thresholds are tested from strict to loose, each by an exact binomial bound on the disagreement, and the testing stops
at the first that fails (fixed-sequence testing, so that no correction for many tests is due; Bauer 1991; for judges
Jung et al. 2024, "Trust or Escalate"). The thresholds to test depend on the confidences alone, never on the labels.
Pairs of one prompt are not independent: where groups are given, one pair of each, drawn by its name, is tested.

Knows no model and no file; the labels are blind ones that neither trained nor calibrated the judge.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

STEPS = 20
"""So many thresholds are tested at most: evenly spaced in the number of labels that they keep."""
MOST_LABELS = 100_000
MOST_SLACK, STRICTEST = 3, 0.4
"""The strictest threshold may pass with up to three disagreements, as long as it keeps at most 0.4 of the labels."""


@dataclass(frozen=True, slots=True)
class Tested:
    """One threshold: of ``n`` labels at or above it the judge disagreed with ``disagreements``; p of the exact test."""

    threshold: float
    n: int
    disagreements: int
    p_value: float
    passed: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """The loosest confidence that keeps the wish; None where none does.

    ``coverage`` is the share of the labels at or above it, ``disagreement_bound`` the exact upper bound (one-sided, at
    the certainty asked for) on how often the judge disagrees there. ``labels_missing`` is how many more labels would
    probably (80 %) let a threshold pass, if the judge keeps agreeing as it did where it was surest; None where more
    labels will not help, because there it agrees less than is wished.
    """

    wished: float
    certainty: float
    labels: int
    threshold: float | None
    coverage: float
    disagreement_bound: float | None
    tested: tuple[Tested, ...]
    labels_missing: int | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def select(
    confidence: Mapping[str, float],
    agrees: Mapping[str, bool],
    *,
    wished: float,
    certainty: float = 0.95,
    groups: Mapping[str, str] | None = None,
) -> Selection:
    """The smallest confidence from which the judge agrees with people at least as often as ``wished``.

    ``confidence`` is the calibrated probability of the judge's verdict (0.5 to 1), ``agrees`` whether the human label
    is the same; both by item. With probability ``certainty`` the agreement at or above the threshold is no less than
    wished. Raises ValueError where the two name different items or the wish is no share.
    """
    from scipy.stats import binom

    if confidence.keys() != agrees.keys():
        raise ValueError("confidence and agrees must name the same items")
    if not 0.5 <= wished < 1 or not 0.5 <= certainty < 1:
        raise ValueError("wished and certainty are shares from 0.5 up to, but not, 1")
    items = _one_per_group(sorted(confidence), groups or {})
    ranked = sorted(items, key=lambda item: (-confidence[item], item))
    tested: list[Tested] = []
    for threshold in thresholds([confidence[item] for item in ranked], wished=wished, certainty=certainty):
        kept = [item for item in ranked if confidence[item] >= threshold]
        wrong = sum(not agrees[item] for item in kept)
        p_value = float(binom.cdf(wrong, len(kept), 1 - wished))
        tested.append(Tested(threshold, len(kept), wrong, p_value, p_value <= 1 - certainty))
        if not tested[-1].passed:
            break
    passed = [one for one in tested if one.passed]
    best = passed[-1] if passed else None
    return Selection(
        wished=wished,
        certainty=certainty,
        labels=len(items),
        threshold=best.threshold if best else None,
        coverage=best.n / len(items) if best else 0.0,
        disagreement_bound=disagreement_bound(best.disagreements, best.n, certainty=certainty) if best else None,
        tested=tuple(tested),
        labels_missing=None if best else _missing(tested, len(items), wished, certainty),
    )


def thresholds(confidence: Sequence[float], *, wished: float, certainty: float) -> list[float]:
    """The thresholds to test, from strict to loose, for confidences in descending order.

    The loosest keeps all labels. The strictest keeps as few as could pass with some disagreements: testing stops at the
    first that fails, so a first one that a single disagreement fails would waste what the others could show.
    """
    least = _strictest(len(confidence), wished=wished, certainty=certainty)
    if len(confidence) < least:
        return []
    room = len(confidence) - least
    sizes = sorted({least + round(room * step / (STEPS - 1)) for step in range(STEPS)})
    return sorted({confidence[size - 1] for size in sizes}, reverse=True)


def least_labels(*, wished: float, certainty: float = 0.95, disagreements: int = 0) -> int:
    """So many labels are needed so that a threshold with these disagreements passes."""
    from scipy.stats import binom

    n = math.ceil(math.log(1 - certainty) / math.log(wished))
    while disagreements and binom.cdf(disagreements, n, 1 - wished) > 1 - certainty:
        n += 1
    return n


def _strictest(labels: int, *, wished: float, certainty: float) -> int:
    for slack in range(MOST_SLACK, 0, -1):
        least = least_labels(wished=wished, certainty=certainty, disagreements=slack)
        if least <= STRICTEST * labels:
            return least
    return least_labels(wished=wished, certainty=certainty)


def disagreement_bound(disagreements: int, n: int, *, certainty: float = 0.95) -> float:
    """The exact (Clopper-Pearson) one-sided upper bound on the disagreement."""
    from scipy.stats import beta

    if disagreements >= n:
        return 1.0
    return float(beta.ppf(certainty, disagreements + 1, n - disagreements))


def labels_needed(agreement: float, *, wished: float, certainty: float = 0.95, power: float = 0.8) -> int | None:
    """How many labels at or above a threshold let it pass with probability ``power``, if the judge agrees that often.

    None where it agrees no more often than is wished, or so little more that no reasonable number would do.
    """
    from scipy.stats import binom

    if agreement <= wished:
        return None
    n = least_labels(wished=wished, certainty=certainty)
    while n <= MOST_LABELS:
        # The most disagreements that still pass, and how likely no more than those are.
        most = int(binom.ppf(1 - certainty, n, 1 - wished))
        while most >= 0 and binom.cdf(most, n, 1 - wished) > 1 - certainty:
            most -= 1
        if most >= 0 and binom.cdf(most, n, 1 - agreement) >= power:
            return n
        n = max(n + 1, math.ceil(1.02 * n))
    return None


def _missing(tested: Sequence[Tested], labels: int, wished: float, certainty: float) -> int | None:
    """More labels, in all, so that the strictest threshold's share of them would probably pass."""
    if not tested:
        return least_labels(wished=wished, certainty=certainty) - labels
    surest = tested[0]
    needed = labels_needed(1 - surest.disagreements / surest.n, wished=wished, certainty=certainty)
    if needed is None:
        return None
    return max(1, math.ceil(needed * labels / surest.n) - labels)


def _one_per_group(items: Sequence[str], groups: Mapping[str, str]) -> list[str]:
    """One item of each group, the one whose name has the smallest hash; items without a group are all kept."""
    chosen: dict[str, str] = {}
    for item in items:
        group = groups.get(item) or f"\n{item}"
        if group not in chosen or _key(item) < _key(chosen[group]):
            chosen[group] = item
    return sorted(chosen.values())


def _key(item: str) -> str:
    return hashlib.sha256(item.encode()).hexdigest()
