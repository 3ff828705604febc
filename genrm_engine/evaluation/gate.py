"""Whether a candidate may take over from the champion; knows judgements and human labels, nothing of deployment."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from genrm_engine.errors import EngineError
from genrm_engine.evaluation.bootstrap import bootstrap_means, group_sums, mean
from genrm_engine.evaluation.metrics import correct
from genrm_engine.types import Choice, Judgement

_NORMAL = NormalDist()
_ROUNDING = 1e-9
"""Shares that differ by just a margin do not exceed it, whatever their binary fractions add up to."""
_FEW_DISAGREEMENTS = 0.1  # judges that never differed on these items are taken to differ on a tenth of the next


@dataclass(frozen=True, slots=True)
class GateSettings:
    probability: float = 0.8
    margin: float = 0.05
    confidence: float = 0.95
    consistency_margin: float = 0.05
    gold_margin: float = 0.05
    unparsed_margin: float = 0.05
    shorter_margin: float = 0.15
    shorter_least: int = 20
    least_groups: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.5 <= self.probability < 1 or not 0.5 <= self.confidence < 1:
            raise EngineError("the gate's probability and confidence must be at least 0.5 and below 1")
        for name in ("margin", "consistency_margin", "gold_margin", "unparsed_margin", "shorter_margin"):
            if getattr(self, name) < 0:
                raise EngineError(f"the gate's {name} must not be negative")


@dataclass(frozen=True, slots=True)
class Condition:
    """One rule of the gate: its figures, and whether it held. ``name`` is stable, ``text`` is for people."""

    name: str
    met: bool
    text: str
    champion: float | None = None
    candidate: float | None = None


@dataclass(frozen=True, slots=True)
class GateDecision:
    """``difference`` = candidate's accuracy minus the champion's, with its 95 % interval ``low`` to ``high``.

    ``detectable`` is the true difference that would have been promoted four times out of five with these labels.
    """

    promote: bool
    n: int
    groups: int
    p_better: float
    difference: float
    low: float
    high: float
    detectable: float | None
    champion_accuracy: float | None
    candidate_accuracy: float | None
    reasons: tuple[str, ...]
    conditions: tuple[Condition, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def decide(
    champion: Sequence[Judgement],
    candidate: Sequence[Judgement],
    choices: Mapping[str, Choice],
    groups: Mapping[str, str],
    *,
    gold: Mapping[str, Choice] | None = None,
    lengths: Mapping[str, tuple[int, int]] | None = None,
    settings: GateSettings | None = None,
) -> GateDecision:
    """Compare two judges on the same human-labelled pairs (those both have judged).

    What is computed: d = accuracy of the candidate − accuracy of the champion, pair by pair, and its distribution over
    10,000 bootstrap resamples of whole groups. Promotion needs all of

    - better: the share of resamples with d > 0 is at least ``probability`` (0.8). Two judges of equal skill pass this
      in at most about one comparison of five, in fewer the more alike they are and the fewer labels there are; a
      resample without any difference does not count as better.
    - not worse: the one-sided 5 % quantile of d (``1 - confidence``) is above −``margin``. With few labels this is
      the stricter rule: at 30 pairs of which the judges decide 40 % differently the standard error of d is about 0.12,
      so that an observed lead of 0.14 is needed, at 80 pairs one of 0.07 (the first rule asks for 0.10 and 0.06). It
      cannot be met by collecting no evidence, only by a clear lead or by many labels. A judge that is worse by just the
      margin passes in about one comparison of twenty (with fewer than 30 groups, where resampling understates the
      error, in up to one of ten), one that is worse by three times the margin in at most one of thirty, from 40
      groups on in less than one of a hundred.
    - at least ``least_groups`` independent prompts (5): of one or two, resampling shows no error at all.
    - consistency, gold questions and unparsed rate not worse by more than their margins, and accuracy where the
      shorter response is right not worse by more than its margin (only where lengths are given and at least
      ``shorter_least`` such pairs exist). These compare the observed figures, without an interval.

    No common pairs with a label: refused. The result does not depend on the order of the rows, on what pairs and
    groups are called, nor on which response is A.
    """
    rules = settings or GateSettings()
    old = {row.pair_id: row for row in champion}
    new = {row.pair_id: row for row in candidate}
    shared = sorted(set(old) & set(new) & set(choices))
    if not shared:
        return _refused_for_lack_of_labels()
    old_right = {item: correct(old[item].p_a, choices[item]) for item in shared}
    new_right = {item: correct(new[item].p_a, choices[item]) for item in shared}
    sums, counts = group_sums({item: new_right[item] - old_right[item] for item in shared}, groups)
    order = np.lexsort((counts, sums))  # by what the groups hold, not by their names
    draws = bootstrap_means(sums[order], counts[order], seed=rules.seed)
    conditions = [
        _better(draws, rules),
        _not_worse(draws, rules, len(counts)),
        _consistency(old, new, shared, rules),
        _unparsed(old, new, shared, rules),
    ]
    if len(counts) < rules.least_groups:
        conditions.append(_few_groups(len(counts), rules))
    if gold:
        conditions.append(_gold(old, new, gold, rules))
    if lengths:
        conditions.append(_shorter(old_right, new_right, choices, lengths, rules))
    promote = all(condition.met for condition in conditions)
    return GateDecision(
        promote=promote,
        n=len(shared),
        groups=len(counts),
        p_better=float(np.mean(draws > 0)),
        difference=float(np.sum(sums) / np.sum(counts)),
        low=float(np.quantile(draws, 0.025)),
        high=float(np.quantile(draws, 0.975)),
        detectable=_detectable(draws, len(counts), rules),
        champion_accuracy=mean(list(old_right.values())),
        candidate_accuracy=mean(list(new_right.values())),
        reasons=tuple(condition.text for condition in conditions if promote or not condition.met),
        conditions=tuple(conditions),
    )


def detectable(groups: int, *, differing: float, settings: GateSettings | None = None) -> float:
    """The true difference that would be promoted four times out of five on ``groups`` independent prompts.

    ``differing`` is the share of the pairs of which just one of the two judges is right; one pair to a prompt.
    """
    return _detected(float(np.sqrt(differing / groups)), settings or GateSettings())


def _refused_for_lack_of_labels() -> GateDecision:
    text = "There is no hold-out pair with a blind human label that both judges have judged."
    condition = Condition("labels", False, text)
    return GateDecision(False, 0, 0, 0.0, 0.0, 0.0, 0.0, None, None, None, (text,), (condition,))


def _few_groups(groups: int, rules: GateSettings) -> Condition:
    text = f"The hold-out pairs are of {groups} independent prompts: at least {rules.least_groups} are needed."
    return Condition("groups", False, text)


def _better(draws: np.ndarray, rules: GateSettings) -> Condition:
    p_better = float(np.mean(draws > 0))
    met = p_better >= rules.probability
    text = f"The candidate is better with probability {p_better:.2f} ({rules.probability:.2f} is asked)."
    return Condition("better", met, text, candidate=p_better)


def _not_worse(draws: np.ndarray, rules: GateSettings, groups: int) -> Condition:
    bound = float(np.quantile(draws, 1 - rules.confidence))
    met = bound > -rules.margin
    text = (
        f"With {rules.confidence:.0%} confidence its accuracy is {_points(bound)} or better "
        f"(worse than −{100 * rules.margin:.0f} points must be ruled out; {groups} independent prompts)."
    )
    return Condition("not_worse", met, text, candidate=bound)


def _consistency(
    old: Mapping[str, Judgement], new: Mapping[str, Judgement], shared: Sequence[str], rules: GateSettings
) -> Condition:
    before = mean([float(old[item].consistent) for item in shared])
    after = mean([float(new[item].consistent) for item in shared])
    text = f"The same winner in both orders: {after:.0%} (champion {before:.0%})."
    return Condition("consistency", after >= before - rules.consistency_margin - _ROUNDING, text, before, after)


def _unparsed(
    old: Mapping[str, Judgement], new: Mapping[str, Judgement], shared: Sequence[str], rules: GateSettings
) -> Condition:
    before, after = (
        sum(rows[item].unparsed for item in shared) / max(1, sum(rows[item].samples for item in shared))
        for rows in (old, new)
    )
    text = f"Answers without a verdict: {after:.1%} (champion {before:.1%})."
    return Condition("unparsed", after <= before + rules.unparsed_margin + _ROUNDING, text, before, after)


def _gold(
    old: Mapping[str, Judgement], new: Mapping[str, Judgement], gold: Mapping[str, Choice], rules: GateSettings
) -> Condition:
    items = sorted(set(old) & set(new) & set(gold))
    if not items:
        return Condition("gold", True, "No gold question was judged by both.")
    before = mean([correct(old[item].p_a, gold[item]) for item in items])
    after = mean([correct(new[item].p_a, gold[item]) for item in items])
    text = f"Right on gold questions: {after:.0%} of {len(items)} (champion {before:.0%})."
    return Condition("gold", after >= before - rules.gold_margin - _ROUNDING, text, before, after)


def _shorter(
    old_right: Mapping[str, float],
    new_right: Mapping[str, float],
    choices: Mapping[str, Choice],
    lengths: Mapping[str, tuple[int, int]],
    rules: GateSettings,
) -> Condition:
    items = [item for item in sorted(old_right) if item in lengths and _shorter_won(lengths[item], choices[item])]
    if len(items) < rules.shorter_least:
        text = f"Only {len(items)} pairs where the shorter response is right: too few to see whether it learnt length."
        return Condition("shorter", True, text)
    before = mean([old_right[item] for item in items])
    after = mean([new_right[item] for item in items])
    text = f"Right where the shorter response is better: {after:.0%} of {len(items)} (champion {before:.0%})."
    return Condition("shorter", after >= before - rules.shorter_margin - _ROUNDING, text, before, after)


def _shorter_won(lengths: tuple[int, int], choice: Choice) -> bool:
    a, b = lengths
    return a < b if choice == "a" else b < a


def _detectable(draws: np.ndarray, groups: int, rules: GateSettings) -> float:
    return _detected(max(float(np.std(draws)), float(np.sqrt(_FEW_DISAGREEMENTS / groups))), rules)


def _detected(error: float, rules: GateSettings) -> float:
    """By a normal approximation: the true difference for which both rules hold in four comparisons of five."""
    better = _NORMAL.inv_cdf(rules.probability) * error
    not_worse = _NORMAL.inv_cdf(rules.confidence) * error - rules.margin
    return min(1.0, max(better, not_worse) + _NORMAL.inv_cdf(0.8) * error)


def _points(value: float) -> str:
    sign = "−" if value < 0 else "+"
    return f"{sign}{abs(100 * value):.1f} points"
