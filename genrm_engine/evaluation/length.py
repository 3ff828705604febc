"""How a judge's accuracy depends on the lengths of the responses; knows lengths in characters and labels.

A judge that only learnt "the longer one wins" looks good on most data: it is right where that baseline is, and wrong
where the shorter response is better.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from genrm_engine.evaluation.bootstrap import interval, mean
from genrm_engine.evaluation.curves import Bin, binned, even_edges
from genrm_engine.evaluation.metrics import correct, lengths_of, longer_right
from genrm_engine.types import Judgement, LabelledPair

BINS = 5


@dataclass(frozen=True, slots=True)
class LengthFigures:
    """Accuracy of the judge and of "the longer one wins", by how far the lengths differ.

    The x of a bin is |length of A − length of B| as a share of the longer one. ``lead`` is the judge's accuracy minus
    the baseline's over all pairs, with its paired 95 % bootstrap interval by group.
    """

    judge: tuple[Bin, ...]
    longer_wins: tuple[Bin, ...]
    lead: float
    lead_low: float
    lead_high: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def by_length(judgements: Sequence[Judgement], rows: Sequence[LabelledPair], *, bins: int = BINS) -> LengthFigures:
    """The curve over at most ``bins`` bins of about equally many pairs; ``rows`` without a judgement are left out.

    At least one row must be judged.
    """
    p_a = {judgement.pair_id: judgement.p_a for judgement in judgements}
    judged = {row.pair.id: row for row in rows if row.pair.id in p_a}
    lengths = {item: lengths_of(row) for item, row in judged.items()}
    groups = {item: row.pair.group for item, row in judged.items()}
    right = {item: correct(p_a[item], row.choice) for item, row in judged.items()}
    baseline = longer_right({item: row.choice for item, row in judged.items()}, lengths)
    gaps = {item: relative_difference(a, b) for item, (a, b) in lengths.items()}
    edges = even_edges(list(gaps.values()), bins, start=0.0, end=1.0)
    leads: Mapping[str, float] = {item: right[item] - baseline[item] for item in right}
    low, high = interval(leads, groups)
    return LengthFigures(
        judge=binned(gaps, right, groups, edges),
        longer_wins=binned(gaps, baseline, groups, edges),
        lead=mean(list(leads.values())),
        lead_low=low,
        lead_high=high,
    )


def relative_difference(a: int, b: int) -> float:
    """|a − b| as a share of the longer length: 0 where both are equal, 1 where one response is empty."""
    return abs(a - b) / max(a, b, 1)
