"""Judging labelled files with one judge and measuring the result, resumable; knows files, not projects."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genrm_engine.backends import Backend
from genrm_engine.backends.client import BadRequest
from genrm_engine.errors import EngineError
from genrm_engine.evaluation.alternative_annotator import EPSILONS, check_epsilon
from genrm_engine.evaluation.bootstrap import mean
from genrm_engine.evaluation.calibration import refuse_shared_groups
from genrm_engine.evaluation.metrics import correct, measure
from genrm_engine.evaluation.report import report
from genrm_engine.evaluation.resuming import same_judging
from genrm_engine.evaluation.sets import JudgedSet, SetFigures, figures_of, pooled, usable
from genrm_engine.files import append_row, placed_rows, read_appended, write_json
from genrm_engine.formats import DataRow, labelled_pairs
from genrm_engine.judge import judge
from genrm_engine.progress import Progress
from genrm_engine.prompts import PROMPT_VERSION, prompt_hash
from genrm_engine.types import Choice, Judgement, JudgeSettings, LabelledPair, Pair, said

__all__ = ["evaluate_file", "evaluate_sets", "gold_figures", "judge_file", "measure", "read_gold", "set_name"]

CHUNK = 16
REFUSED_AT_MOST = 0.1
"""Share of the pairs that a server may refuse (one in any case); where it refuses more, something else is wrong."""
CALIBRATION = "calibration"


def judge_file(
    pairs: Sequence[Pair],
    *,
    backend: Backend,
    settings: JudgeSettings,
    file: Path,
    progress: Progress,
    span: tuple[float, float] = (0.0, 1.0),
) -> list[Judgement]:
    """Judge the pairs that ``file`` does not hold yet and append them; all of the pairs' judgements come back.

    A pair that the judge's server refuses (by a content filter, or as too long for it) is missing there, and stands
    with the reason in ``refused_file(file)``; the next call asks for it again. ``span`` is the part of the whole run
    that this is. Raises the server's EngineError where it refuses more than ``REFUSED_AT_MOST`` of the pairs, or the
    whole first chunk.
    """
    found = {row["pair_id"]: Judgement.from_json(row) for row in read_appended(file)}
    waiting = [pair for pair in pairs if pair.id not in found]
    waiting.sort(
        key=lambda pair: len(pair.response_a) + len(pair.response_b) + sum(len(m.content) for m in pair.prompt)
    )
    done, refused = len(pairs) - len(waiting), 0
    refused_file(file).unlink(missing_ok=True)
    for start in range(0, len(waiting), CHUNK):
        progress.check()
        chunk = waiting[start : start + CHUNK]
        for pair, judgement in zip(chunk, _judged(chunk, backend, settings), strict=True):
            if isinstance(judgement, BadRequest):
                append_row(refused_file(file), {"pair_id": pair.id, "error": str(judgement)})
                refused += 1
                nothing_goes = not found and refused == min(CHUNK, len(pairs))
                if nothing_goes or refused > max(1, REFUSED_AT_MOST * len(pairs)):
                    raise judgement
            else:
                append_row(file, judgement.to_json())
                found[pair.id] = judgement
                done += 1
        fraction = span[0] + (span[1] - span[0]) * (done + refused) / len(pairs)
        said = f"Judged {done} of {len(pairs)} pairs" + (f", {refused} refused by the server" if refused else "")
        progress.say("judging", fraction, said, step=done + refused, steps=len(pairs))
    return [found[pair.id] for pair in pairs if pair.id in found]


def refused_file(file: Path) -> Path:
    """Where the pairs stand that are missing in a file of judgements because the judge's server refused them."""
    return file.with_name(f"{file.stem}.refused.jsonl")


def _judged(pairs: Sequence[Pair], backend: Backend, settings: JudgeSettings) -> list[Judgement | BadRequest]:
    """The pairs together, or, where the judge's server refuses one of them, each alone."""
    try:
        return list(judge(pairs, backend=backend, settings=settings))
    except BadRequest as error:
        if len(pairs) == 1:
            return [error]
    return [answer for pair in pairs for answer in _judged([pair], backend, settings)]


def evaluate_file(
    rows: Sequence[LabelledPair],
    *,
    backend: Backend,
    settings: JudgeSettings,
    out: Path,
    progress: Progress,
    gold: Mapping[str, Choice] | None = None,
    judge: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Judge and measure; writes ``judgements.jsonl`` and ``metrics.json`` under ``out`` and returns the figures.

    Judgements that are there already are used again; EngineError where they are of other settings or pairs, or of a
    judge with other marks (``resuming.judge_marks``) than ``judge``.
    """
    pairs, file = [row.pair for row in rows], out / "judgements.jsonl"
    same_judging(out, settings, judge or {}, {file: pairs})
    judgements = judge_file(pairs, backend=backend, settings=settings, file=file, progress=progress)
    metrics = measure(rows, judgements)
    summary = {
        **metrics.to_json(),
        "refused": len(pairs) - len(judgements),
        **gold_figures(judgements, gold or {}),
        **_how(settings),
    }
    write_json(out / "metrics.json", summary)
    progress.say("done", 1.0, f"Measured on {metrics.n} pairs", metrics=summary)
    return summary


def evaluate_sets(
    sets: Mapping[str, Sequence[DataRow]],
    *,
    backend: Backend,
    settings: JudgeSettings,
    out: Path,
    progress: Progress,
    calibration: Sequence[DataRow] = (),
    epsilon: float = EPSILONS["skilled"],
    plots: bool = True,
    judge: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Judge labelled files and measure everything; returns what ``metrics.json`` under ``out`` then holds.

    At the top are the figures over the pairs of all sets (those of ``Metrics``), under ``sets`` each set's own with
    calibration, length, agreement and the alternative annotator test at ``epsilon``. ``calibration`` are other labelled
    rows to fit the calibration on; without them it is cross-fitted. Also written: ``report.md``, and for each set a
    folder with ``judgements.jsonl``, ``metrics.json`` and, with ``plots``, SVG files. Judgements that are there
    already are used again, as ``evaluate_file`` does. ``refused`` counts the pairs that the judge's server refused: all
    figures are without them. Raises EngineError, for what cannot be measured before judging.
    """
    check_epsilon(epsilon)
    rows = {set_name(name, calibrated=bool(calibration)): usable(name, given) for name, given in sets.items()}
    if calibration:
        others = usable(CALIBRATION, calibration)
        for given in rows.values():
            refuse_shared_groups(labelled_pairs(given), labelled_pairs(others))
        rows[CALIBRATION] = others
    pairs = {out / name / "judgements.jsonl": [row.pair for row in given] for name, given in rows.items()}
    same_judging(out, settings, judge or {}, pairs)
    judged = _judge_sets(rows, backend=backend, settings=settings, out=out, progress=progress)
    fitted_on = judged.pop(CALIBRATION) if calibration else None
    found = {}
    for name, one in judged.items():
        figures = figures_of(one, fitted_on=fitted_on, epsilon=epsilon)
        found[name] = _written(out / name, figures, one.judgements, plots=plots)
    refused = sum(len(given) - len(judged[name].rows) for name, given in rows.items() if name in judged)
    overall = {**pooled(judged).to_json(), "refused": refused, **_how(settings)}
    summary = {**overall, "sets": found}
    write_json(out / "metrics.json", summary)
    (out / "report.md").write_text(report(overall, found), encoding="utf-8")
    progress.say("done", 1.0, f"Measured on {overall['n']} pairs", metrics=overall)
    return summary


def _judge_sets(
    sets: Mapping[str, Sequence[DataRow]], *, backend: Backend, settings: JudgeSettings, out: Path, progress: Progress
) -> dict[str, JudgedSet]:
    """One set after the other; the progress runs over all of them."""
    total = max(1, sum(len(rows) for rows in sets.values()))
    found: dict[str, JudgedSet] = {}
    done = 0
    for name, rows in sets.items():
        span = (done / total, (done + len(rows)) / total)
        file = out / name / "judgements.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        pairs = [row.pair for row in rows]
        judgements = judge_file(pairs, backend=backend, settings=settings, file=file, progress=progress, span=span)
        answered = {judgement.pair_id for judgement in judgements}
        found[name] = JudgedSet([row for row in rows if row.pair.id in answered], judgements)
        done += len(rows)
    return found


def _written(folder: Path, figures: SetFigures, judgements: Sequence[Judgement], *, plots: bool) -> dict[str, Any]:
    """One set's figures as they were written, beside its plots."""
    from genrm_engine.evaluation.plots import plot_length, plot_position, plot_reliability

    found = figures.to_json()
    write_json(folder / "metrics.json", found)
    if plots and figures.calibration is not None:
        plot_reliability(folder / "reliability.svg", figures.calibration)
    if plots and figures.length is not None:
        plot_length(folder / "length.svg", figures.length)
    if plots:
        plot_position(folder / "position.svg", judgements)
    return found


def _how(settings: JudgeSettings) -> dict[str, Any]:
    return {
        "method": settings.method,
        "samples_per_order": settings.samples_per_order if settings.method == "cot" else None,
        "prompt_version": PROMPT_VERSION,
        "prompt_hash": prompt_hash(),
    }


def set_name(name: str, *, calibrated: bool) -> str:
    """The name of a set, which its folder has too. Raises EngineError for one that cannot be, or is taken.

    ``calibrated``: there are rows to calibrate on.
    """
    if calibrated and name == CALIBRATION:
        raise EngineError(f"a set cannot be named {name!r}: the rows to calibrate on are")
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise EngineError(f"a set cannot be named {name!r}: use letters, digits, dots and dashes")
    return name


def gold_figures(judgements: Sequence[Judgement], gold: Mapping[str, Choice]) -> dict[str, Any]:
    """Accuracy on gold questions, where there are any."""
    right = [correct(row.p_a, gold[row.pair_id]) for row in judgements if row.pair_id in gold]
    return {"gold_n": len(right), "gold_accuracy": mean(right) if right else None}


def read_gold(path: Path) -> dict[str, Choice]:
    """Rows that have both a choice and a gold answer are gold questions. Raises EngineError for one without an id."""
    found: dict[str, Choice] = {}
    for place, row in placed_rows(path):
        if row.get("gold") in ("a", "b") and "choice" in row:
            item = said(row.get("id"))
            if not item:
                raise EngineError(f"{path}, {place}: a gold question needs an id")
            found[item] = row["gold"]
    return found
