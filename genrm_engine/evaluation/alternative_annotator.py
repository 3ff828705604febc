"""Whether a judge may stand in for an annotator; knows labels by annotator, not who the annotators are.

The alternative annotator test of Calderon, Reichart and Dror (ACL 2025, arXiv 2501.10970). One annotator at a time is
left out. On every pair that this annotator labelled, it is seen who is more like the others: the share of their labels
that equals the annotator's, against the share that equals the judge's. With d = 1 where the annotator is better, −1
where the judge is and 0 where they are alike, the null hypothesis "the judge is worse by epsilon or more",
mean(d) ≥ epsilon, is tested by a paired, one-sided t-test on the annotator's pairs; Benjamini-Yekutieli keeps the
false discovery rate at 5 % over all annotators. The winning rate omega is the share of annotators whose hypothesis is
rejected; from one half on the judge passes. The average advantage probability rho is the mean over the annotators of
how often the judge is at least as good. The test takes pairs as independent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from genrm_engine.errors import EngineError
from genrm_engine.evaluation.agreement import labels_of, said_of
from genrm_engine.formats import DataRow
from genrm_engine.types import Judgement

EPSILONS: Mapping[str, float] = {"expert": 0.2, "skilled": 0.15, "crowd": 0.1}
"""What a judge's lower cost is worth, by the annotators it would stand in for; from the paper."""
LEAST_ANNOTATORS = 3
LEAST_ITEMS = 30
FALSE_DISCOVERIES = 0.05
PASSES = 0.5


@dataclass(frozen=True, slots=True)
class AnnotatorTest:
    """One annotator left out: on ``items`` pairs, how often judge and annotator were at least as good as each other.

    ``p_value`` is the t-test's own, ``adjusted_p`` that of Benjamini and Yekutieli.
    """

    annotator: str
    items: int
    judge_advantage: float
    annotator_advantage: float
    p_value: float
    adjusted_p: float
    judge_wins: bool


@dataclass(frozen=True, slots=True)
class AlternativeAnnotatorTest:
    """``winning_rate`` (omega) and ``advantage`` (rho); both None where the test was not done, with the ``reason``."""

    epsilon: float
    passed: bool | None
    winning_rate: float | None
    advantage: float | None
    annotators: tuple[AnnotatorTest, ...]
    left_out: int
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def check_epsilon(epsilon: float) -> None:
    """Raise EngineError for an advantage that no annotator could have."""
    if not 0 <= epsilon < 1:
        raise EngineError(f"epsilon must be at least 0 and below 1, not {epsilon}")


def alternative_annotator_test(
    judgements: Sequence[Judgement], rows: Sequence[DataRow], *, epsilon: float = EPSILONS["skilled"]
) -> AlternativeAnnotatorTest:
    """Run the test on the rows with two labels or more of which the judge says anything; ties are labels too.

    Annotators with fewer than 30 such pairs are not tested (``left_out`` counts them), their labels stay in the rest of
    the others. With fewer than three tested annotators the test is not done. Raises EngineError for an epsilon outside
    0 to 1.
    """
    return replacement_test(said_of(judgements), {row.pair.id: labels_of(row) for row in rows}, epsilon=epsilon)


def replacement_test(
    said: Mapping[str, str], labels: Mapping[str, Mapping[str, str]], *, epsilon: float = EPSILONS["skilled"]
) -> AlternativeAnnotatorTest:
    """The same test on the judge's labels and the people's, by pair; any label that both sides may use."""
    check_epsilon(epsilon)
    compared = _comparisons(said, labels)
    tested = {name: gaps for name, gaps in compared.items() if len(gaps) >= LEAST_ITEMS}
    left_out = len(compared) - len(tested)
    if len(tested) < LEAST_ANNOTATORS:
        reason = (
            f"{len(tested)} of {len(compared)} annotators share {LEAST_ITEMS} pairs or more with another one; "
            f"{LEAST_ANNOTATORS} are needed"
        )
        return AlternativeAnnotatorTest(epsilon, None, None, None, (), left_out, reason)
    results = _tested(tested, epsilon)
    winning_rate = float(np.mean([result.judge_wins for result in results]))
    return AlternativeAnnotatorTest(
        epsilon=epsilon,
        passed=winning_rate >= PASSES,
        winning_rate=winning_rate,
        advantage=float(np.mean([result.judge_advantage for result in results])),
        annotators=tuple(results),
        left_out=left_out,
    )


def _comparisons(said: Mapping[str, str], labels: Mapping[str, Mapping[str, str]]) -> dict[str, list[int]]:
    """For each annotator, pair by pair: 1 where the annotator is more like the rest, −1 where the judge is, else 0."""
    found: dict[str, list[int]] = {}
    for item, given in sorted(labels.items()):
        if item not in said or len(given) < 2:
            continue
        for annotator, label in given.items():
            rest = [other for name, other in given.items() if name != annotator]
            gap = _share(label, rest) - _share(said[item], rest)
            found.setdefault(annotator, []).append(int(np.sign(gap)))
    return dict(sorted(found.items()))


def _share(label: str, rest: Sequence[str]) -> float:
    return rest.count(label) / len(rest)


def _tested(gaps: Mapping[str, Sequence[int]], epsilon: float) -> list[AnnotatorTest]:
    from statsmodels.stats.multitest import multipletests

    p_values = [_p_value(np.array(each, dtype=np.float64), epsilon) for each in gaps.values()]
    rejected, adjusted, *_ = multipletests(p_values, alpha=FALSE_DISCOVERIES, method="fdr_by")
    return [
        AnnotatorTest(
            annotator=annotator,
            items=len(each),
            judge_advantage=float(np.mean(np.array(each) <= 0)),
            annotator_advantage=float(np.mean(np.array(each) >= 0)),
            p_value=p_values[place],
            adjusted_p=float(adjusted[place]),
            judge_wins=bool(rejected[place]),
        )
        for place, (annotator, each) in enumerate(gaps.items())
    ]


def _p_value(gaps: "np.ndarray[Any, np.dtype[np.float64]]", epsilon: float) -> float:
    """Of mean(gaps) ≥ epsilon; gaps that are all the same leave nothing to chance."""
    from scipy.stats import ttest_1samp

    if np.ptp(gaps) == 0:
        return 0.0 if gaps[0] < epsilon else 1.0
    return float(ttest_1samp(gaps, epsilon, alternative="less").pvalue)
