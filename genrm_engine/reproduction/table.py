"""From the rows' files to pooled figures, comparisons, a Markdown table and plots; needs no model.

Folds are pooled before anything is computed, so every pair counts once; intervals resample groups, or pairs where a
study says so. Two rows are compared on the pairs that both have judged.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from genrm_engine.evaluation.bootstrap import bootstrap_means, group_sums, interval, mean
from genrm_engine.evaluation.metrics import Metrics, correct, evaluate
from genrm_engine.evaluation.plots import Point, plot_learning
from genrm_engine.files import write_json
from genrm_engine.reproduction.presets import Preset, Study
from genrm_engine.types import Judgement, LabelledPair, Method, as_method

Item = list[float]
"""P(A), straight, swapped; votes for A and B, verdicts tried, unparsed; straight and swapped of the first sample."""
LONGER = "longer-wins"
UNTUNED: Mapping[Method, str] = {"score": "base-score", "cot": "base-cot"}


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


def read_results(
    folder: Path, preset: Preset, study: Study, data: Mapping[str, Sequence[LabelledPair]]
) -> list[Result]:
    """The table's lines, in the preset's order, from the row files that are there; "longer wins" comes first."""
    found = [_longer(study, data)]
    for row in preset.rows:
        files = [folder / f"{study.name}-{row.name}-{number}.json" for number in range(study.folds)]
        read = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
        for part in read[0]["parts"] if read else ():
            title = f"{row.title}, iteration {part}" if part else row.title
            found.append(_result(row.name, title, part, study, data, read))
    return _compared(found, preset, study, data)


def summary(preset: Preset, results: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
    """Which rows are there and which are missing, with the headline figures of each study."""
    rows = {
        study: {
            line.name: {"accuracy": line.figures[study].accuracy, "n": line.figures[study].n}
            for line in lines
            if study in line.figures
        }
        for study, lines in results.items()
    }
    wanted = {
        f"{study.name}/{row.name}/{fold}"
        for study in preset.studies
        for row in preset.rows
        for fold in range(study.sampled_folds if row.sampled else study.folds)
    }
    there = {f"{study}/{line.row}/{fold}" for study, lines in results.items() for line in lines for fold in line.folds}
    return {"preset": preset.name, "studies": rows, "missing": sorted(wanted - there)}


def write_tables(
    out: Path, preset: Preset, results: Mapping[str, Sequence[Result]], choices: Mapping[str, Any]
) -> None:
    """Write ``results.json``, ``table.md`` and a learning curve of each study with iterations under ``out``."""
    written = {
        **summary(preset, results),
        "choices": choices,
        "lines": {study: [line.to_json() for line in lines] for study, lines in results.items()},
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "results.json", written)
    for study in preset.studies:
        _plot(out / f"{study.name}-iterations.svg", study.name, results[study.name])
    parts = [markdown(study, results[study.name]) for study in preset.studies]
    (out / "table.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _plot(file: Path, study: str, lines: Sequence[Result]) -> None:
    """Accuracy over the iterations of the STaR methods, beside the judge that was not trained."""
    curves: dict[str, list[Point]] = {}
    for line in lines:
        figures = line.figures.get(study)
        if line.part and figures is not None and figures.accuracy is not None:
            title = line.title.partition(",")[0]
            point = Point(float(line.part), figures.accuracy, figures.accuracy_low, figures.accuracy_high)
            curves.setdefault(title, []).append(point)
    if curves:
        levels = {line.title: line.figures[study].accuracy for line in lines if line.name in UNTUNED.values()}
        plot_learning(file, curves, levels={name: level for name, level in levels.items() if level is not None})


def markdown(study: Study, lines: Sequence[Result]) -> str:
    """The study's table: in distribution first, then each set out of distribution."""
    outside = list(study.outside)
    head = [
        "judge", "folds", "n", "accuracy (95 %)", "@1", "vote", "same winner after the swap", "shorter is right",
        "against untuned", "against longer wins", "against its start", *outside,
    ]  # fmt: skip
    rows = [head, ["---"] * len(head)]
    for line in lines:
        rows.append(
            [line.title, str(len(line.folds)), *_inside(line, study.name), *(_counted(line, name) for name in outside)]
        )
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def _inside(line: Result, study: str) -> list[str]:
    if study not in line.figures:
        return [""] * 9
    figures, extra = line.figures[study], line.extra[study]
    return [
        str(figures.n),
        _accuracy(line, study),
        _share(extra.get("accuracy_at_1")),
        _share(figures.vote_accuracy),
        _share(figures.consistency) if line.row != LONGER else "",
        _share(figures.accuracy_shorter),
        _difference(extra.get("against_untuned")),
        _difference(extra.get("against_longer_wins")),
        _difference(extra.get("against_start")),
    ]


def _accuracy(line: Result, name: str) -> str:
    figures = line.figures.get(name)
    if figures is None or figures.accuracy is None:
        return ""
    return f"{figures.accuracy:.3f} ({figures.accuracy_low:.2f}–{figures.accuracy_high:.2f})"


def _counted(line: Result, name: str) -> str:
    """Accuracy with the number of pairs, which differs between the rows."""
    cell = _accuracy(line, name)
    return f"{cell} of {line.figures[name].n}" if cell else ""


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _difference(value: Mapping[str, float] | None) -> str:
    return "" if value is None else f"{value['difference']:+.3f} ({value['low']:+.2f} to {value['high']:+.2f})"


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
    figures = {
        name: _figures(judged, data[name], method, by_pair=_by_pair(study, name)) for name, judged in items.items()
    }
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
    figures = {
        name: _figures(judged, data[name], "score", by_pair=_by_pair(study, name)) for name, judged in items.items()
    }
    return Result(
        LONGER, "longer wins", "", "score", range(study.folds), items, figures, {name: {} for name in items}, []
    )


def _figures(items: Mapping[str, Item], rows: Sequence[LabelledPair], method: Method, *, by_pair: bool) -> Metrics:
    judged = [_judgement(pair_id, item, method) for pair_id, item in items.items()]
    chosen = [row for row in rows if row.pair.id in items]
    return evaluate(
        judged,
        {row.pair.id: row.choice for row in chosen},
        {} if by_pair else {row.pair.id: row.pair.group for row in chosen},
        lengths={row.pair.id: (len(row.pair.response_a), len(row.pair.response_b)) for row in chosen},
    )


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


def _compared(
    lines: Sequence[Result], preset: Preset, study: Study, data: Mapping[str, Sequence[LabelledPair]]
) -> list[Result]:
    """The lines with their differences, on each set, to the judges that `_rivals` names, where they are there."""
    by_name = {line.name: line for line in lines}
    found = []
    for line in lines:
        others = {label: by_name[name] for label, name in _rivals(preset, line).items() if name in by_name}
        extra = {
            name: {
                **line.extra[name],
                **{
                    label: difference(judged, other.items[name], data[name], by_pair=_by_pair(study, name))
                    for label, other in others.items()
                    if name in other.items
                },
            }
            for name, judged in line.items.items()
        }
        found.append(replace(line, extra=extra))
    return found


def _rivals(preset: Preset, line: Result) -> dict[str, str]:
    """Whom a line is compared with: the untuned judge, "longer wins", and what it was trained from, judging alike."""
    if line.row == LONGER:
        return {}
    row, untuned = preset.row(line.row), UNTUNED[line.method]
    rivals = {"against_untuned": untuned, "against_longer_wins": LONGER}
    if row.train:
        bare = {one.start: one.name for one in preset.rows if not one.train and one.method == row.method}
        rivals["against_start"] = bare.get(row.start, row.start)
    return {label: name for label, name in rivals.items() if name != line.row}


def difference(
    items: Mapping[str, Item], others: Mapping[str, Item], rows: Sequence[LabelledPair], *, by_pair: bool
) -> dict[str, float]:
    """Accuracy of the first minus that of the second on the pairs both have judged, with a 95 % bootstrap interval."""
    both = [row for row in rows if row.pair.id in items and row.pair.id in others]
    gaps = {
        row.pair.id: correct(items[row.pair.id][0], row.choice) - correct(others[row.pair.id][0], row.choice)
        for row in both
    }
    groups = {} if by_pair else {row.pair.id: row.pair.group for row in both}
    low, high = interval(gaps, groups)
    draws = bootstrap_means(*group_sums(gaps, groups))
    return {
        "n": len(both),
        "difference": mean(list(gaps.values())),
        "low": low,
        "high": high,
        "p_better": float((draws > 0).mean()),
    }


def _by_pair(study: Study, name: str) -> bool:
    """Debates are too few to resample: the pairs within them are drawn."""
    return (study.by_pair and name == study.name) or name == "ukp"
