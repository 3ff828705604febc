"""A training run from labelled pairs to a judge on disk: replay, warm up, train, save; goes on where it was killed."""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from genrm_engine.backends.encoding import PromptEncoder
from genrm_engine.backends.loading import load_tokenizer, set_threads
from genrm_engine.errors import EngineError
from genrm_engine.files import data_hash, write_json
from genrm_engine.formats import labelled_pairs, read_data, refuse_collisions
from genrm_engine.progress import Progress
from genrm_engine.training.config import TrainConfig
from genrm_engine.training.limits import refuse_impossible
from genrm_engine.training.loop import is_main, wait_for_everyone
from genrm_engine.training.methods import METHODS, WHOLE
from genrm_engine.training.output import about_run
from genrm_engine.training.replay import replayed
from genrm_engine.training.stages import Run, Span, part_of
from genrm_engine.types import LabelledPair

STARTED = "started.json"
WARMING_UP = 0.2
"""The share of a run's progress that its warm-up takes; a guess, as ``methods.SAMPLING`` is."""
INDIFFERENT = ("device", "threads", "micro_batch_size", "checkpoints")
"""Settings that a run may go on with changed: it gives the same judge."""


def train(
    config: TrainConfig,
    rows: Sequence[LabelledPair],
    out: Path,
    *,
    progress: Progress,
    older: Sequence[LabelledPair] = (),
    splits: Sequence[str] = (),
    span: Span = WHOLE,
) -> dict[str, Any]:
    """Train and write ``out/judge``; returns what ``run.json`` holds. A finished run is returned as it is.

    ``older`` are labels of earlier runs: ``config.replay_share`` of them are mixed in for each new one. Of the warm-up
    file only rows of ``splits`` are taken, where there are some and its rows name any. ``span`` is the part of the
    progress that training covers: a warm-up is not the whole, and its end is not told as the run's. The caller holds
    the device. Raises Cancelled when ``out/cancel`` appears, EngineError for what cannot work, and where ``out``
    holds a run of another configuration or other labels, finished or not.
    """
    rows = [*rows, *replayed(older, config, new=rows)]
    refuse_collisions(rows)
    given, config = config, config.resolved()
    finished = _finished(out)
    if finished is not None:
        if (out / STARTED).exists():
            _same_run(config, rows, out, splits)
        return finished
    progress.check()
    progress.silent = progress.silent or not is_main()
    refuse_impossible(given)
    if is_main():
        _same_run(config, rows, out, splits)
    wait_for_everyone()
    try:
        return _trained(config, rows, out, progress, splits, span)
    except EngineError:
        if is_main() and not _holds_work(out):
            (out / STARTED).unlink(missing_ok=True)  # nothing here binds a call with what was wrong put right
        raise


def _trained(
    config: TrainConfig,
    rows: Sequence[LabelledPair],
    out: Path,
    progress: Progress,
    splits: Sequence[str],
    span: Span,
) -> dict[str, Any]:
    started = time.monotonic()
    set_threads(config.threads)
    begun, rest = _warmed_up(config, out, progress, splits, span)
    run = Run(begun, out, PromptEncoder(load_tokenizer(begun.model)), progress, rest)
    model, metrics = METHODS[config.method](run, rows)
    progress.check()
    progress.say("saving", span[1], "Saving the judge" if span == WHOLE else "Saving the warmed-up judge")
    metrics["seconds"] = round(time.monotonic() - started, 1)
    about = about_run(config, data_sha256=data_hash(rows), pairs=len(rows), metrics=metrics)
    run.save(model, out / "judge", about)
    if is_main():
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
    if span == WHOLE:
        progress.say("done", 1.0, "The judge is trained", metrics=metrics)
    return about


def _warmed_up(
    config: TrainConfig, out: Path, progress: Progress, splits: Sequence[str], span: Span
) -> tuple[TrainConfig, Span]:
    """The configuration that starts from the warmed-up judge, and the part of ``span`` that is left for it.

    That judge is trained first if it is not there yet.
    """
    if not config.warm_up:
        return config, span
    warm = replace(config, method="warm-up", warm_up="", learning_rate=None, epochs=None, beta=None, keep_adapter=False)
    begins, rest = part_of(span, 0, WARMING_UP), part_of(span, WARMING_UP, 1)
    train(warm, _written(config, splits), out / "warm-up", progress=progress, span=begins)
    return replace(config, model=str(out / "warm-up" / "judge"), warm_up=""), rest


def _written(config: TrainConfig, splits: Sequence[str]) -> list[LabelledPair]:
    """The pairs of the warm-up file: those of ``splits`` where there are some and its rows name any, else all."""
    rows = read_data(Path(config.warm_up))
    if not splits or not any(row.split for row in rows):
        return labelled_pairs(rows)
    found = [row for row in rows if row.split in splits]
    if not found:
        raise EngineError(f"{config.warm_up} has no row of the split {', '.join(splits)}")
    return labelled_pairs(found)


def _same_run(config: TrainConfig, rows: Sequence[LabelledPair], out: Path, splits: Sequence[str] = ()) -> None:
    """Refuse to go on in a folder that holds another run's samples, checkpoints or judge."""
    about = {"config": _decisive(config.to_json()), "data_sha256": data_hash(rows)}
    if config.warm_up:
        about["warm_up_sha256"] = data_hash(_written(config, splits))
    file = out / STARTED
    if not file.exists():
        out.mkdir(parents=True, exist_ok=True)
        write_json(file, about)
    elif not _same(json.loads(file.read_text(encoding="utf-8")), about):
        raise EngineError(f"{out} holds another run (its configuration or labels differ): use an empty folder")


def _same(started: dict[str, Any], about: dict[str, Any]) -> bool:
    """Whether a run is the one that was started, perhaps by an earlier version, which knew fewer settings."""
    known, now = _decisive(started.get("config", {})), about["config"]
    usual = {field.name: field.default for field in fields(TrainConfig)}
    new = {name: value for name, value in now.items() if name not in known}
    same = known.items() <= now.items() and all(value == usual[name] for name, value in new.items())
    warm_up = about.get("warm_up_sha256")
    same = same and started.get("warm_up_sha256", warm_up) == warm_up
    return bool(known) and same and started.get("data_sha256") == about["data_sha256"]


def _decisive(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide what is computed; the others only where, how fast and how often it is kept."""
    return {name: value for name, value in config.items() if name not in INDIFFERENT}


def _finished(out: Path) -> dict[str, Any] | None:
    """What is told of the judge in the folder; None where there is none yet."""
    if not (out / "judge" / "manifest.json").is_file():
        return None
    about: dict[str, Any] = json.loads((out / "judge" / "run.json").read_text(encoding="utf-8"))
    return about


def _holds_work(out: Path) -> bool:
    """Whether a run has sampled anything or written a checkpoint there."""
    return (out / "samples.jsonl").exists() or any(out.glob("checkpoints/*/*"))
