"""Judging a labelled file with one judge and measuring the result, resumable; knows files, not projects."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genrm_engine.backends import Backend
from genrm_engine.evaluation.bootstrap import mean
from genrm_engine.evaluation.metrics import Metrics, correct, evaluate
from genrm_engine.files import append_row, read_appended, read_rows, write_json
from genrm_engine.judge import judge
from genrm_engine.progress import Progress
from genrm_engine.prompts import PROMPT_VERSION, prompt_hash
from genrm_engine.types import Choice, Judgement, JudgeSettings, LabelledPair, Pair

CHUNK = 16


def judge_file(
    pairs: Sequence[Pair], *, backend: Backend, settings: JudgeSettings, file: Path, progress: Progress
) -> list[Judgement]:
    """Judge the pairs that ``file`` does not hold yet and append them; all of the pairs' judgements come back."""
    found = {row["pair_id"]: Judgement.from_json(row) for row in read_appended(file)}
    waiting = [pair for pair in pairs if pair.id not in found]
    waiting.sort(
        key=lambda pair: len(pair.response_a) + len(pair.response_b) + sum(len(m.content) for m in pair.prompt)
    )
    done = len(pairs) - len(waiting)
    for start in range(0, len(waiting), CHUNK):
        progress.check()
        for judgement in judge(waiting[start : start + CHUNK], backend=backend, settings=settings):
            append_row(file, judgement.to_json())
            found[judgement.pair_id] = judgement
            done += 1
        progress.say("judging", done / len(pairs), f"Judged {done} of {len(pairs)} pairs", step=done, steps=len(pairs))
    return [found[pair.id] for pair in pairs]


def evaluate_file(
    rows: Sequence[LabelledPair],
    *,
    backend: Backend,
    settings: JudgeSettings,
    out: Path,
    progress: Progress,
    gold: Mapping[str, Choice] | None = None,
) -> dict[str, Any]:
    """Judge and measure; writes ``judgements.jsonl`` and ``metrics.json`` under ``out`` and returns the figures."""
    pairs = [row.pair for row in rows]
    judgements = judge_file(pairs, backend=backend, settings=settings, file=out / "judgements.jsonl", progress=progress)
    metrics = measure(rows, judgements)
    summary = {
        **metrics.to_json(),
        **gold_figures(judgements, gold or {}),
        "method": settings.method,
        "samples_per_order": settings.samples_per_order if settings.method == "cot" else None,
        "prompt_version": PROMPT_VERSION,
        "prompt_hash": prompt_hash(),
    }
    write_json(out / "metrics.json", summary)
    progress.say("done", 1.0, f"Measured on {metrics.n} pairs", metrics=summary)
    return summary


def measure(rows: Sequence[LabelledPair], judgements: Sequence[Judgement]) -> Metrics:
    """The figures for labelled pairs that carry their own groups and lengths."""
    return evaluate(
        judgements,
        {row.pair.id: row.choice for row in rows},
        {row.pair.id: row.pair.group for row in rows},
        lengths={row.pair.id: (len(row.pair.response_a), len(row.pair.response_b)) for row in rows},
    )


def gold_figures(judgements: Sequence[Judgement], gold: Mapping[str, Choice]) -> dict[str, Any]:
    """Accuracy on gold questions, where there are any."""
    right = [correct(row.p_a, gold[row.pair_id]) for row in judgements if row.pair_id in gold]
    return {"gold_n": len(right), "gold_accuracy": mean(right) if right else None}


def read_gold(path: Path) -> dict[str, Choice]:
    """Rows that have both a choice and a gold answer are gold questions."""
    return {str(row["id"]): row["gold"] for row in read_rows(path) if row.get("gold") in ("a", "b") and "choice" in row}
