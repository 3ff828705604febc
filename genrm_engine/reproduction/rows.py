"""One row of the table on one fold: train where the row asks for it, judge every set, write the figures to a file.

Heavy files (weights, samples, judgements) lie in a work folder, so that a killed row goes on where it was; the row's
file holds figures and each pair's probabilities, never texts.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrm_engine.backends import BackendSpec, load_backend
from genrm_engine.backends.loading import needing_extra
from genrm_engine.errors import EngineError
from genrm_engine.evaluation.run import judge_file, measure
from genrm_engine.files import write_json
from genrm_engine.formats import read_labelled
from genrm_engine.progress import Progress
from genrm_engine.reproduction.lines import item_of
from genrm_engine.reproduction.machine import machine
from genrm_engine.reproduction.presets import Preset, RowSpec, Study
from genrm_engine.reproduction.splits import fold, group_of, inner, some
from genrm_engine.training.config import STAR, TrainConfig
from genrm_engine.types import JudgeSettings, LabelledPair


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reproduction reads, computes and writes, and on what; ``models`` maps a model's name to its folder."""

    data: Path
    out: Path
    work: Path
    models: Mapping[str, str]
    progress: Progress
    device: str = "auto"
    threads: int | None = None
    machine: str = ""


def read_set(place: Place, name: str) -> list[LabelledPair]:
    """The pairs of ``FILE`` or of one group of it, ``FILE:GROUP``, that have a label A or B."""
    file, _, group = name.partition(":")
    rows = read_labelled(place.data / file)
    found = [row for row in rows if not group or group_of(row) == group]
    if not found:
        raise EngineError(f"{place.data / file} has no labelled pair{f' of the group {group}' if group else ''}")
    return found


def file_of(place: Place, study: Study, row: RowSpec, number: int) -> Path:
    """Where the row's figures of a fold are written."""
    return place.out / "rows" / f"{study.name}-{row.name}-{number}.json"


def run_row(
    place: Place, preset: Preset, study: Study, row: RowSpec, number: int, chosen: Mapping[str, Any], *, start: str
) -> Path:
    """Compute the row on fold ``number``, from the model in the folder ``start``; returns the file of its figures.

    The fold's number is the seed of its training, so that the pooled folds tell of chance in training as well. Out of
    distribution the last judge of the first fold is measured.
    """
    file = file_of(place, study, row, number)
    _, test_rows = fold(read_set(place, study.inside), number, folds=study.folds)
    work = _work(place, study, row, number)
    about, judges = {}, {"": start}
    if row.train:
        about = train_row(place, preset, study, row, number, chosen, start=start)
        judges = _judges(row, preset.iterations, work)
    parts = {}
    for part, model in judges.items():
        sets = {study.name: test_rows}
        if number == 0 and part == list(judges)[-1]:
            sets |= _outside(place, study, row)
        parts[part] = _judged(place, preset, row, model, sets, work / f"judged-{part}")
    written = {
        "study": study.name,
        "row": row.name,
        "fold": number,
        "method": row.method,
        "start": row.start,
        "training": about,
        "parts": parts,
        "machine": machine(place.machine, place.device, place.threads),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, written, compact=True)
    return file


def train_row(
    place: Place, preset: Preset, study: Study, row: RowSpec, number: int, chosen: Mapping[str, Any], *, start: str
) -> dict[str, Any]:
    """Train the row's judge on a fold, in its work folder, unless that is done; returns what the row's file tells."""
    train_rows, _ = fold(read_set(place, study.inside), number, folds=study.folds)
    if row.sampled:
        train_rows = some(train_rows, study.sampled_pairs, purpose="training")
    config = TrainConfig.from_json({**_config(place, preset, row, chosen, start), "seed": number})
    return _train(place, config, train_rows, _work(place, study, row, number))


def judge_of(place: Place, study: Study, row: RowSpec, number: int) -> str:
    """The folder of the judge that `train_row` makes."""
    return str(_work(place, study, row, number) / "judge")


def try_settings(
    place: Place, preset: Preset, study: Study, row: RowSpec, settings: Mapping[str, Any], name: str
) -> dict[str, Any]:
    """Train with ``settings`` on the inner training part of the first fold, measure on its validation part."""
    train_rows, _ = fold(read_set(place, study.inside), 0, folds=study.folds)
    train_rows, valid_rows = inner(train_rows)
    row_config = _config(place, preset, row, settings, place.models[row.start])
    if row.sampled and study.sampled_pairs is not None:
        train_rows = some(train_rows, study.sampled_pairs // preset.iterations, purpose="training")
    if row.train in STAR:
        row_config["iterations"] = 1
    work = place.work / study.name / "choices" / name
    about = _train(place, TrainConfig.from_json(row_config), train_rows, work)
    judged = _judged(place, preset, row, str(work / "judge"), {"valid": valid_rows}, work / "judged")
    figures = judged["sets"]["valid"]["figures"]
    kept = ("n", "accuracy", "accuracy_low", "accuracy_high", "nll", "consistency", "accuracy_shorter")
    return {"settings": dict(settings), **{key: figures[key] for key in kept}, "seconds": about["seconds"]}


def _work(place: Place, study: Study, row: RowSpec, number: int) -> Path:
    return place.work / study.name / f"{row.name}-{number}"


def _config(place: Place, preset: Preset, row: RowSpec, chosen: Mapping[str, Any], start: str) -> dict[str, Any]:
    where = {"model": start, "device": place.device, "threads": place.threads}
    return {**preset.config(row, chosen), **where}


def _train(place: Place, config: TrainConfig, rows: Sequence[LabelledPair], work: Path) -> dict[str, Any]:
    with needing_extra("training"):
        from genrm_engine.training.run import train
    about = train(config, rows, work, progress=replace_progress(place.progress, work))
    metrics = about["metrics"]
    settings = {name: value for name, value in about["config"].items() if name not in ("model", "device", "threads")}
    return {
        "config": settings,
        "pairs": about["pairs"],
        "data_sha256": about["data_sha256"],
        "seconds": metrics["seconds"],
        "metrics": {name: value for name, value in metrics.items() if name != "seconds"},
        "versions": about["versions"],
        "prompt_hash": about["prompt_hash"],
    }


def _judges(row: RowSpec, last: int, work: Path) -> dict[str, str]:
    """The trained judges to measure, by the name of their part: one, or one for each of ``last`` iterations."""
    if row.train not in STAR:
        return {"": str(work / "judge")}
    found = {str(number): str(work / "iterations" / str(number - 1)) for number in range(1, last)}
    return {**found, str(last): str(work / "judge")}


def _outside(place: Place, study: Study, row: RowSpec) -> dict[str, list[LabelledPair]]:
    most = study.outside_pairs if row.sampled else None
    return {name: some(read_set(place, file), most, purpose="outside") for name, file in study.outside.items()}


def _judged(
    place: Place,
    preset: Preset,
    row: RowSpec,
    model: str,
    sets: Mapping[str, Sequence[LabelledPair]],
    folder: Path,
) -> dict[str, Any]:
    settings = JudgeSettings(
        method=row.method,
        samples_per_order=preset.samples_per_order,
        max_rationale_tokens=preset.max_rationale_tokens,
    )
    backend = load_backend(BackendSpec("transformers", model, device=place.device, threads=place.threads))
    found: dict[str, Any] = {}
    started = time.monotonic()
    try:
        for name, rows in sets.items():
            progress = replace_progress(place.progress, folder / name)
            file = folder / f"{name}.jsonl"
            judgements = judge_file(
                [row.pair for row in rows], backend=backend, settings=settings, file=file, progress=progress
            )
            found[name] = {
                "figures": measure(rows, judgements).to_json(),
                "items": {judgement.pair_id: item_of(judgement) for judgement in judgements},
            }
    finally:
        backend.close()
    return {"sets": found, "seconds": round(time.monotonic() - started, 1)}


def replace_progress(progress: Progress, folder: Path) -> Progress:
    """The same listener, writing into another folder and cancelled by the same file."""
    found = Progress(folder, echo=progress.echo)
    found.cancel_file = progress.cancel_file
    return found
