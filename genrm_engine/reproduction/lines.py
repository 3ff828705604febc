"""The table's lines: a row's judge, or one of its iterations, with what it said of each pair and its figures.

Folds are pooled before anything is computed, so every pair counts once; intervals resample groups, or pairs where a
study says so.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from genrm_engine.evaluation.bootstrap import mean
from genrm_engine.evaluation.metrics import Metrics, correct, evaluate
from genrm_engine.reproduction.presets import Preset, Study
from genrm_engine.types import Judgement, LabelledPair, Method, as_method

Item = list[float]
"""P(A), straight, swapped; votes for A and B, verdicts tried, unparsed; straight and swapped of the first sample."""
LONGER = "longer-wins"


def item_of(judgement: Judgement) -> Item:
    """A judgement without its texts."""
    first = {rationale.swapped: rationale.p_a for rationale in judgement.rationales if rationale.sample == 0}
    numbers = [
        judgement.p_a,
        judgement.p_a_straight,
        judgement.p_a_swapped,
        judgement.votes_a,
        judgement.votes_b,
        judgement.samples,
        judgement.unparsed,
        first.get(False, judgement.p_a_straight),
        first.get(True, judgement.p_a_swapped),
    ]
    return [round(float(number), 5) for number in numbers]


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table: a row's part on the ``folds`` that are there; ``figures`` by the name of the set."""

    row: str
    title: str
    part: str
    method: Method
    folds: Sequence[int]
    items: Mapping[str, Mapping[str, Item]]
    figures: Mapping[str, Metrics]
    extra: Mapping[str, Mapping[str, Any]]
    training: Sequence[Mapping[str, Any]]

    @property
    def name(self) -> str:
        return f"{self.row}-{self.part}" if self.part else self.row

    def to_json(self) -> dict[str, Any]:
        sets = {name: {**self.figures[name].to_json(), **self.extra[name]} for name in self.figures}
        return {"row": self.row, "part": self.part, "title": self.title, "folds": len(self.folds), "sets": sets}


def read_lines(folder: Path, preset: Preset, study: Study, data: Mapping[str, Sequence[LabelledPair]]) -> list[Result]:
    """The table's lines, in the preset's order, from the row files that are there; "longer wins" comes first."""
    found = [_longer(study, data)]
    for row in preset.rows:
        files = [folder / f"{study.name}-{row.name}-{number}.json" for number in range(study.folds)]
        read = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
        for part in read[0]["parts"] if read else ():
            title = f"{row.title}, iteration {part}" if part else row.title
            found.append(_result(row.name, title, part, study, data, read))
    return found


def _result(
    row: str,
    title: str,
    part: str,
    study: Study,
    data: Mapping[str, Sequence[LabelledPair]],
    read: Sequence[Mapping[str, Any]],
) -> Result:
    method = as_method(read[0]["method"])
    items: dict[str, dict[str, Item]] = {}
    for one in read:
        for name, judged in one["parts"][part]["sets"].items():
            if name == study.name or one["fold"] == 0:
                items.setdefault(name, {}).update(judged["items"])
    figures = _figures(items, study, data, method)
    extra = {name: _sampled_figures(judged, data[name], method) for name, judged in items.items()}
    folds = [int(one["fold"]) for one in read]
    return Result(row, title, part, method, folds, items, figures, extra, [one["training"] for one in read])


def _longer(study: Study, data: Mapping[str, Sequence[LabelledPair]]) -> Result:
    """ "The longer one wins", as if it were a judge that is sure of itself."""
    items: dict[str, dict[str, Item]] = {}
    for name, rows in data.items():
        items[name] = {}
        for row in rows:
            a, b = len(row.pair.response_a), len(row.pair.response_b)
            p = 0.5 if a == b else float(a > b)
            items[name][row.pair.id] = [p, p, p, p, 1 - p, 1, 0, p, p]
    figures = _figures(items, study, data, "score")
    return Result(
        LONGER, "longer wins", "", "score", range(study.folds), items, figures, {name: {} for name in items}, []
    )


def _figures(
    items: Mapping[str, Mapping[str, Item]], study: Study, data: Mapping[str, Sequence[LabelledPair]], method: Method
) -> dict[str, Metrics]:
    """What the judgements of each set are worth."""
    found = {}
    for name, judged in items.items():
        rows = [row for row in data[name] if row.pair.id in judged]
        found[name] = evaluate(
            [_judgement(pair_id, item, method) for pair_id, item in judged.items()],
            {row.pair.id: row.choice for row in rows},
            {} if resamples_pairs(study, name) else {row.pair.id: row.pair.group for row in rows},
            lengths={row.pair.id: (len(row.pair.response_a), len(row.pair.response_b)) for row in rows},
        )
    return found


def _sampled_figures(items: Mapping[str, Item], rows: Sequence[LabelledPair], method: Method) -> dict[str, Any]:
    """For ``cot``: accuracy with the first sample of each order alone."""
    if method != "cot":
        return {}
    judged = [row for row in rows if row.pair.id in items]
    first = [correct(fmean(items[row.pair.id][7:9]), row.choice) for row in judged]
    return {"accuracy_at_1": mean(first), "samples": int(next(iter(items.values()))[5])}


def _judgement(pair_id: str, item: Item, method: Method) -> Judgement:
    p_a, straight, swapped, votes_a, votes_b, samples, unparsed = item[:7]
    return Judgement(
        pair_id=pair_id,
        method=method,
        p_a=p_a,
        p_a_straight=straight,
        p_a_swapped=swapped,
        consistent=(straight - 0.5) * (swapped - 0.5) > 0,
        votes_a=int(votes_a),
        votes_b=int(votes_b),
        samples=int(samples),
        unparsed=int(unparsed),
        tokens=0,
        seconds=0.0,
    )


def resamples_pairs(study: Study, name: str) -> bool:
    """Debates are too few to resample: the pairs within them are drawn."""
    return (study.by_pair and name == study.name) or name == "ukp"
