"""Two judges of the table compared on the pairs that both have judged, with paired bootstrap intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from genrm_engine.evaluation.bootstrap import bootstrap_means, bounds, group_sums, mean
from genrm_engine.evaluation.metrics import correct
from genrm_engine.reproduction.lines import LONGER, Item, Result, resamples_pairs
from genrm_engine.reproduction.presets import Preset, RowSpec, Study
from genrm_engine.types import LabelledPair, Method

UNTUNED: Mapping[Method, str] = {"score": "base-score", "cot": "base-cot"}
Difference = dict[str, float]
"""``n`` pairs, ``difference`` in accuracy, its interval from ``low`` to ``high``, and ``p_better``."""


def compared(
    lines: Sequence[Result], preset: Preset, study: Study, data: Mapping[str, Sequence[LabelledPair]]
) -> list[Result]:
    """The lines with their differences, on each set, to the judges that `_rivals` names, where they are there."""
    by_name = {line.name: line for line in lines}
    found = []
    for line in lines:
        others = {label: by_name[name] for label, name in _rivals(preset, line).items() if name in by_name}
        gaps = {label: against(line, other, study, data) for label, other in others.items()}
        extra = {
            name: {**line.extra[name], **{label: gap[name] for label, gap in gaps.items() if name in gap}}
            for name in line.items
        }
        found.append(replace(line, extra=extra))
    return found


def against(
    line: Result, other: Result, study: Study, data: Mapping[str, Sequence[LabelledPair]]
) -> dict[str, Difference]:
    """The line's `difference` to another one on each set that both have judged."""
    both = [name for name in line.items if name in other.items]
    return {
        name: difference(line.items[name], other.items[name], data[name], by_pair=resamples_pairs(study, name))
        for name in both
    }


def pairwise(
    lines: Sequence[Result], study: Study, data: Mapping[str, Sequence[LabelledPair]]
) -> list[tuple[Result, Result, dict[str, Difference]]]:
    """Every two rows' last lines with the difference of the one that is better in distribution to the other."""
    last = {line.row: line for line in lines}
    ranked = sorted(last.values(), key=lambda line: line.figures[study.name].accuracy or 0.0, reverse=True)
    return [
        (line, other, against(line, other, study, data))
        for place, line in enumerate(ranked)
        for other in ranked[place + 1 :]
    ]


def begun_with(preset: Preset, row: RowSpec) -> str:
    """The row of the judge that a row's training began with, judging alike."""
    bare = {one.start: one.name for one in preset.rows if not one.train and one.method == row.method}
    return bare.get(row.start, row.start)


def _rivals(preset: Preset, line: Result) -> dict[str, str]:
    """Whom a line is compared with: the untuned judge, "longer wins", and what it was trained from."""
    if line.row == LONGER:
        return {}
    row = preset.row(line.row)
    rivals = {"against_untuned": UNTUNED[line.method], "against_longer_wins": LONGER}
    if row.train:
        rivals["against_start"] = begun_with(preset, row)
    return {label: name for label, name in rivals.items() if name != line.row}


def difference(
    items: Mapping[str, Item], others: Mapping[str, Item], rows: Sequence[LabelledPair], *, by_pair: bool
) -> Difference:
    """Accuracy of the first minus that of the second on the pairs both have judged, with a 95 % bootstrap interval."""
    both = [row for row in rows if row.pair.id in items and row.pair.id in others]
    gaps = {
        row.pair.id: correct(items[row.pair.id][0], row.choice) - correct(others[row.pair.id][0], row.choice)
        for row in both
    }
    groups = {} if by_pair else {row.pair.id: row.pair.group for row in both}
    draws = bootstrap_means(*group_sums(gaps, groups))
    low, high = bounds(draws)
    return {
        "n": len(both),
        "difference": mean(list(gaps.values())),
        "low": low,
        "high": high,
        "p_better": float((draws > 0).mean()),
    }
