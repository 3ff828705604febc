"""All figures of one set of judged pairs, and of several sets together; knows rows and judgements, no model or file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from genrm_engine.errors import EngineError
from genrm_engine.evaluation.agreement import Agreement, agreement, label_of, labels_of
from genrm_engine.evaluation.alternative_annotator import (
    EPSILONS,
    AlternativeAnnotatorTest,
    alternative_annotator_test,
)
from genrm_engine.evaluation.calibration import Calibration, calibrate
from genrm_engine.evaluation.length import LengthFigures, by_length
from genrm_engine.evaluation.metrics import Metrics, measure
from genrm_engine.evaluation.report import notes
from genrm_engine.evaluation.selective import Selection, select
from genrm_engine.formats import DataRow, labelled_pairs
from genrm_engine.types import Judgement, LabelledPair

WISHED = 0.9
"""How often a judge that labels alone should agree with people."""
LEAST_GROUPS = 10
"""With fewer independent groups a bootstrap by group says little, and a note says so."""


@dataclass(frozen=True, slots=True)
class JudgedSet:
    """The rows of one data file that have a label or a consensus, with one judge's judgements of them."""

    rows: Sequence[DataRow]
    judgements: Sequence[Judgement]

    @property
    def labelled(self) -> list[LabelledPair]:
        """The pairs whose consensus is A or B."""
        return labelled_pairs(self.rows)


@dataclass(frozen=True, slots=True)
class SetFigures:
    """What was measured on one set; None where its labels do not allow it."""

    metrics: Metrics
    calibration: Calibration | None
    length: LengthFigures | None
    selection: Selection | None
    agreement: Agreement | None
    alternative_annotator_test: AlternativeAnnotatorTest | None

    def to_json(self) -> dict[str, Any]:
        """The headline figures at the top, the rest under their names, and ``notes`` on how to read them."""
        parts = {
            "calibration": self.calibration,
            "length": self.length,
            "selection": self.selection,
            "agreement": self.agreement,
            "alternative_annotator_test": self.alternative_annotator_test,
        }
        found = {**self.metrics.to_json(), **{name: part and part.to_json() for name, part in parts.items()}}
        return {**found, "notes": notes(found, least_groups=LEAST_GROUPS)}


def usable(name: str, rows: Sequence[DataRow]) -> list[DataRow]:
    """The rows that say anything to measure against; EngineError where a pair stands in the set twice."""
    found = {row.pair.id: row for row in rows if row.choice is not None or row.labels}
    if len(found) < sum(row.choice is not None or bool(row.labels) for row in rows):
        raise EngineError(f"{name} holds a pair twice: every pair needs an id of its own")
    return list(found.values())


def figures_of(
    judged: JudgedSet, *, fitted_on: JudgedSet | None = None, epsilon: float = EPSILONS["skilled"]
) -> SetFigures:
    """Everything of one set; calibration is fitted on ``fitted_on`` where it is given, else cross-fitted."""
    pairs = judged.labelled
    several = any(len(labels_of(row)) > 1 for row in judged.rows)
    agreed = any(row.choice is not None for row in judged.rows)
    others = None if fitted_on is None else (fitted_on.judgements, fitted_on.labelled)
    return SetFigures(
        metrics=measure(pairs, judged.judgements),
        calibration=calibrate(judged.judgements, pairs, others=others) if pairs else None,
        length=by_length(judged.judgements, pairs) if pairs else None,
        selection=selection(judged.judgements, judged.rows) if agreed else None,
        agreement=agreement(judged.judgements, judged.rows) if judged.rows else None,
        alternative_annotator_test=(
            alternative_annotator_test(judged.judgements, judged.rows, epsilon=epsilon) if several else None
        ),
    )


def selection(judgements: Sequence[Judgement], rows: Sequence[DataRow], *, wished: float = WISHED) -> Selection:
    """From which confidence on the judge agrees with people as often as is wished; groups count once.

    The judge names one response always, so where people's consensus is a tie it does not agree with them.
    """
    said = {judgement.pair_id: judgement for judgement in judgements}
    judged = [row for row in rows if row.choice is not None and row.pair.id in said]
    return select(
        {row.pair.id: max(said[row.pair.id].p_a, 1 - said[row.pair.id].p_a) for row in judged},
        {row.pair.id: label_of(said[row.pair.id].p_a) == row.choice != "tie" for row in judged},
        wished=wished,
        groups={row.pair.id: row.pair.group for row in judged},
    )


def pooled(sets: Mapping[str, JudgedSet]) -> Metrics:
    """The figures over the pairs of all sets; ids and groups of different sets are different ones."""
    rows = [
        replace(row, pair=replace(row.pair, id=f"{name}/{row.pair.id}", group=_within(name, row.pair.group)))
        for name, judged in sets.items()
        for row in judged.labelled
    ]
    judgements = [
        replace(judgement, pair_id=f"{name}/{judgement.pair_id}")
        for name, judged in sets.items()
        for judgement in judged.judgements
    ]
    return measure(rows, judgements)


def _within(name: str, group: str) -> str:
    return f"{name}/{group}" if group else ""
