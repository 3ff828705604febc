"""What another label on a pair is worth to the judge, told from what is known of the pair.

Knows nothing of queues, policies or chance: a caller asks it for an order and keeps a share of its choices random,
without which no figure measured on the labels would hold for all pairs.
"""

from dataclasses import dataclass
from itertools import combinations
from math import log2

from genrm_engine.errors import EngineError

NOT_JUDGED = "not judged yet"
UNSURE = "the judge is unsure"
FLIPS = "the judge's verdict flips with the order"
VERSIONS = "two judge versions disagree"
ANNOTATORS = "annotators disagree"
LIKE_WRONG = "like pairs that the judge got wrong"
NOTHING = "nothing stands out"
REASONS = (NOT_JUDGED, UNSURE, FLIPS, VERSIONS, ANNOTATORS, LIKE_WRONG, NOTHING)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a pair before somebody is asked.

    ``p_a`` is the judge's calibrated P(A is better), None: not judged; ``p_a_before`` is what the judge before said of
    it, ``votes`` are people's verdicts so far, ``likeness`` (0 to 1) says how much the pair is like pairs that the
    judge got wrong.
    """

    p_a: float | None
    consistent: bool = True
    p_a_before: float | None = None
    votes: tuple[str, ...] = ()
    likeness: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("p_a", self.p_a), ("p_a_before", self.p_a_before), ("likeness", self.likeness)):
            if value is not None and not 0 <= value <= 1:
                raise EngineError(f"{name} is between 0 and 1, not {value}")


@dataclass(frozen=True, slots=True)
class Worth:
    """``score`` from 0 to 1, higher is asked sooner, and the one of ``REASONS`` that weighs most in it."""

    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class _Part:
    """A part's ``value`` (0 to 1) and ``weight``; below ``notable`` it counts but is no reason that one would name."""

    reason: str
    weight: float
    value: float
    notable: float = 0.5


def worth(evidence: Evidence) -> Worth:
    """The weighted sum of five parts, each from 0 to 1; the weights are chosen, not fitted, and add up to 1.

    ====== ==========================================================================================================
    weight part
    ====== ==========================================================================================================
    0.45   the judge's uncertainty: entropy of ``p_a`` in bits, which orders pairs as a low margin does; not judged: 1
    0.20   the order flip: 1 where the two orders name different winners
    0.15   disagreement between judge versions: the distance of ``p_a`` from ``p_a_before``
    0.10   disagreement between annotators: the share of couples of verdicts that differ
    0.10   likeness to pairs that the judge got wrong
    ====== ==========================================================================================================

    The score never falls when one part rises. Of a pair that is not judged only the first, the fourth and the fifth
    part are known. The reason is the part with the largest weighted value of those that are worth naming.
    """
    parts = _parts(evidence)
    notable = [part for part in parts if part.value >= part.notable]
    strongest = max(notable, key=lambda part: part.weight * part.value, default=None)
    score = sum(part.weight * part.value for part in parts)
    return Worth(score=min(score, 1.0), reason=strongest.reason if strongest else NOTHING)


def entropy(p: float) -> float:
    """Bits of uncertainty of a verdict with probability ``p``: 1 at one half, 0 at 0 and 1."""
    return -sum(share * log2(share) for share in (p, 1 - p) if share > 0) or 0.0


def _parts(evidence: Evidence) -> tuple[_Part, ...]:
    p, before = evidence.p_a, evidence.p_a_before
    judged = p is not None
    moved = abs(p - before) if p is not None and before is not None else 0.0
    return (
        # 0.8 bits: the judge is less than 76 % sure
        _Part(UNSURE if judged else NOT_JUDGED, 0.45, entropy(p) if p is not None else 1.0, notable=0.8),
        _Part(FLIPS, 0.20, float(judged and not evidence.consistent)),
        _Part(VERSIONS, 0.15, moved, notable=0.3),
        _Part(ANNOTATORS, 0.10, _disagreement(evidence.votes)),
        _Part(LIKE_WRONG, 0.10, evidence.likeness),
    )


def _disagreement(votes: tuple[str, ...]) -> float:
    """The share of couples of verdicts that differ (a tie differs from both); 0 with fewer than two."""
    couples = [first != second for first, second in combinations(votes, 2)]
    return sum(couples) / len(couples) if couples else 0.0
