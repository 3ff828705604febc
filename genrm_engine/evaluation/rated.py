"""Who said what of a pair, as the agreement figures read it; knows labels by annotator, no text, model or file.

"Both bad" is a label of its own: who says it disagrees with who says "tie". A judge never says it, and so never agrees
with it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from genrm_engine.evaluation.agreement import LABELS, coincidences, labels_of, majority_credit, said_of
from genrm_engine.formats import DataRow
from genrm_engine.types import Judgement

Floats = NDArray[np.float64]
Verdict = Literal["a", "b", "tie", "both_bad"]
VERDICTS: tuple[Verdict, ...] = (*LABELS, "both_bad")


@dataclass(frozen=True, slots=True)
class Rated:
    """A pair and what was said of it, in its stored order.

    ``labels`` are people's, one each; ``criteria`` their answers by the criterion's name. ``judge`` is None where there
    is no verdict, or where it may not be compared because the judge was trained on the pair. ``at`` is when the last
    label was given.
    """

    id: str
    group: str = ""
    labels: Mapping[str, Verdict] = field(default_factory=dict)
    judge: Verdict | None = None
    criteria: Mapping[str, Mapping[str, Verdict]] = field(default_factory=dict)
    at: datetime | None = None

    @property
    def compared(self) -> bool:
        """Whether the pair says anything of agreement: two labels, or a label and the judge's."""
        return len(self.labels) + (self.judge is not None) > 1 and bool(self.labels)


def rated(judgements: Sequence[Judgement], rows: Sequence[DataRow]) -> list[Rated]:
    """The rows of a data file with the judge's labels where it judged them."""
    said = said_of(judgements)
    return [Rated(row.pair.id, row.pair.group, labels_of(row), said.get(row.pair.id)) for row in rows]


def leader(labels: Iterable[Verdict]) -> Verdict | None:
    """The most frequent label; None where several are equally frequent, or there is none."""
    ranked = Counter(labels).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def coincidence(labels: Iterable[Verdict]) -> Floats:
    """One pair's coincidence table over all verdicts; the pair has two labels or more."""
    return _coincidence(tuple(sorted(labels)))


def confusion(row: Verdict, columns: Iterable[Verdict]) -> Floats:
    """One pair's confusion table: it counts once, its column shared out among the labels given."""
    return _confusion(row, tuple(sorted(columns)))


def credit(label: Verdict, rest: Iterable[Verdict]) -> float:
    """How far the label is the most frequent one of the rest, which are not none."""
    return _credit(label, tuple(sorted(rest)))


# Many pairs have the same labels, so each table is made once. It is never written to.


@lru_cache(maxsize=4096)
def _coincidence(labels: tuple[Verdict, ...]) -> Floats:
    return coincidences(labels, VERDICTS)


@lru_cache(maxsize=4096)
def _confusion(row: Verdict, columns: tuple[Verdict, ...]) -> Floats:
    table = np.zeros((len(VERDICTS), len(VERDICTS)))
    for column in columns:
        table[VERDICTS.index(row), VERDICTS.index(column)] += 1 / len(columns)
    return table


@lru_cache(maxsize=4096)
def _credit(label: Verdict, rest: tuple[Verdict, ...]) -> float:
    return majority_credit(label, rest)
