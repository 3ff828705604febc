"""A training run from labelled pairs to a judge on disk: replay, warm up, train, save; goes on where it was killed."""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from genrm_engine.backends.encoding import PromptEncoder
from genrm_engine.backends.heads import head_of
from genrm_engine.backends.loading import load_tokenizer, set_threads
from genrm_engine.errors import EngineError
from genrm_engine.files import data_hash, write_json
from genrm_engine.formats import read_labelled
from genrm_engine.progress import Progress
from genrm_engine.training.config import HEADS, TrainConfig
from genrm_engine.training.loop import is_main, wait_for_everyone
from genrm_engine.training.methods import METHODS, TRAINED
from genrm_engine.training.output import about_run
from genrm_engine.training.replay import replayed
from genrm_engine.training.stages import Run
from genrm_engine.types import LabelledPair


def train(
    config: TrainConfig,
    rows: Sequence[LabelledPair],
    out: Path,
    *,
    progress: Progress,
    older: Sequence[LabelledPair] = (),
) -> dict[str, Any]:
    """Train and write ``out/judge``; returns what ``run.json`` holds. A finished run is returned as it is.

    ``older`` are labels of earlier runs: ``config.replay_share`` of them are mixed in for each new one. The caller
    holds the device. Raises Cancelled when ``out/cancel`` appears, EngineError for what cannot work.
    """
    judge = out / "judge"
    if (judge / "manifest.json").is_file():
        done: dict[str, Any] = json.loads((judge / "run.json").read_text(encoding="utf-8"))
        return done
    progress.check()
    started = time.monotonic()
    progress.silent = progress.silent or not is_main()
    config = config.resolved()
    if head_of(config.model) is not None and config.method not in HEADS:
        raise EngineError(f"{config.model} is a reward model: {config.method} cannot start from it")
    rows = [*rows, *replayed(older, config, new=rows)]
    if is_main():
        _same_run(config, rows, out)
    wait_for_everyone()
    set_threads(config.threads)
    begun = _warmed_up(config, out, progress)
    run = Run(begun, out, PromptEncoder(load_tokenizer(begun.model)), progress)
    model, metrics = METHODS[config.method](run, rows)
    progress.check()
    progress.say("saving", TRAINED, "Saving the judge")
    metrics["seconds"] = round(time.monotonic() - started, 1)
    about = about_run(config, data_sha256=data_hash(rows), pairs=len(rows), metrics=metrics)
    run.save(model, judge, about)
    if is_main():
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
    progress.say("done", 1.0, "The judge is trained", metrics=metrics)
    return about


def _warmed_up(config: TrainConfig, out: Path, progress: Progress) -> TrainConfig:
    """The configuration that starts from the warmed-up judge, which is trained first if it is not there yet."""
    if not config.warm_up:
        return config
    warm = replace(config, method="warm-up", warm_up="", learning_rate=None, epochs=None, beta=None, keep_adapter=False)
    train(warm, read_labelled(Path(config.warm_up)), out / "warm-up", progress=progress)
    return replace(config, model=str(out / "warm-up" / "judge"), warm_up="")


def _same_run(config: TrainConfig, rows: Sequence[LabelledPair], out: Path) -> None:
    """Refuse to go on in a folder that holds another run's samples and checkpoints."""
    decisive = {name: value for name, value in config.to_json().items() if name not in ("device", "threads")}
    about = {"config": decisive, "data_sha256": data_hash(rows)}
    file = out / "started.json"
    if not file.exists():
        out.mkdir(parents=True, exist_ok=True)
        write_json(file, about)
    elif json.loads(file.read_text(encoding="utf-8")) != about:
        raise EngineError(f"{out} holds another run (its configuration or labels differ): use an empty folder")
