"""From the rows' files to pooled figures, comparisons, Markdown tables and plots; needs no model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genrm_engine.evaluation.plots import Point, plot_learning
from genrm_engine.files import write_json
from genrm_engine.reproduction.comparisons import UNTUNED, Difference, begun_with, pairwise
from genrm_engine.reproduction.lines import LONGER, Result
from genrm_engine.reproduction.presets import Preset, Study
from genrm_engine.types import LabelledPair


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
    out: Path,
    preset: Preset,
    results: Mapping[str, Sequence[Result]],
    data: Mapping[str, Mapping[str, Sequence[LabelledPair]]],
    choices: Mapping[str, Any],
) -> None:
    """Write ``results.json``, ``table.md``, ``differences.md`` and each study's learning curve under ``out``.

    ``data`` are the labelled pairs of each study's sets.
    """
    written = {
        **summary(preset, results),
        "choices": choices,
        "lines": {study: [line.to_json() for line in lines] for study, lines in results.items()},
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "results.json", written)
    for study in preset.studies:
        _plot(out / f"{study.name}-iterations.svg", preset, study.name, results[study.name])
    tables = [markdown(study, results[study.name]) for study in preset.studies]
    _write(out / "table.md", tables)
    _write(
        out / "differences.md", [_pairwise(study, results[study.name], data[study.name]) for study in preset.studies]
    )


def _write(file: Path, parts: Sequence[str]) -> None:
    file.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _plot(file: Path, preset: Preset, study: str, lines: Sequence[Result]) -> None:
    """Accuracy over the iterations of the STaR methods, from the judge they began with, beside the untuned one."""
    figures = {line.name: line.figures[study] for line in lines if study in line.figures}
    values = {
        name: (one.accuracy, one.accuracy_low, one.accuracy_high)
        for name, one in figures.items()
        if one.accuracy is not None
    }
    curves: dict[str, list[Point]] = {}
    for line in lines:
        if line.part and line.name in values:
            row = preset.row(line.row)
            start = values.get(begun_with(preset, row))
            curve = curves.setdefault(row.title, [Point(0, *start)] if start else [])
            curve.append(Point(int(line.part), *values[line.name]))
    if curves:
        levels = {line.title: values[line.name][0] for line in lines if line.name in {*UNTUNED.values()} & {*values}}
        plot_learning(file, curves, levels=levels)


def markdown(study: Study, lines: Sequence[Result]) -> str:
    """The study's table: in distribution first, then each set out of distribution."""
    outside = list(study.outside)
    head = [
        "judge", "folds", "n", "accuracy (95 %)", "@1", "vote", "same winner after the swap", "shorter is right",
        "against untuned", "against longer wins", "against its start", *outside,
    ]  # fmt: skip
    rows = [
        [line.title, str(len(line.folds)), *_inside(line, study.name), *(_counted(line, name) for name in outside)]
        for line in lines
    ]
    return _table(head, rows)


def _pairwise(study: Study, lines: Sequence[Result], data: Mapping[str, Sequence[LabelledPair]]) -> str:
    """Accuracy of one judge minus another's, on each set, on the pairs that both have judged; iterations: the last."""
    sets = [study.name, *study.outside]
    rows = [
        [line.title, other.title, *(_gap(gaps.get(name)) for name in sets)]
        for line, other, gaps in pairwise(lines, study, data)
    ]
    return _table(["judge", "minus", *sets], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def _gap(value: Difference | None) -> str:
    return "" if value is None else f"{_difference(value)}, {value['n']} pairs"


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
