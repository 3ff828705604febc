"""A training run from labelled pairs to a judge on disk: samples, trains, saves; goes on where it was killed."""

import gc
import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genrm_engine.backends.encoding import PromptEncoder
from genrm_engine.backends.loading import load_model, load_tokenizer, set_threads
from genrm_engine.backends.transformers import TransformersBackend
from genrm_engine.errors import EngineError
from genrm_engine.files import data_hash, write_json
from genrm_engine.progress import Progress
from genrm_engine.training.config import TrainConfig
from genrm_engine.training.data import Item, items, rationale_row, verdict_row
from genrm_engine.training.genrm import train_genrm
from genrm_engine.training.output import about_run, save_judge
from genrm_engine.training.samples import sample
from genrm_engine.training.selection import select
from genrm_engine.training.star import train_star
from genrm_engine.types import BackendSpec, LabelledPair

SAMPLING_SHARE = {"genrm": 0.15, "star-dpo": 0.3}
TRAINED = 0.96


def train(config: TrainConfig, rows: Sequence[LabelledPair], out: Path, *, progress: Progress) -> dict[str, Any]:
    """Train and write ``out/judge``; returns what ``run.json`` holds. A finished run is returned as it is.

    The caller holds the device. Raises Cancelled when ``out/cancel`` appears, EngineError for what cannot work.
    """
    judge = out / "judge"
    if (judge / "manifest.json").is_file():
        done: dict[str, Any] = json.loads((judge / "run.json").read_text(encoding="utf-8"))
        return done
    progress.check()
    started = time.monotonic()
    config = config.resolved()
    _same_run(config, rows, out)
    set_threads(config.threads)
    encoder = PromptEncoder(load_tokenizer(config.model))
    step = _train_genrm if config.method == "genrm" else _train_star
    model, metrics = step(config, rows, out, encoder, progress)
    progress.check()
    progress.say("saving", TRAINED, "Saving the judge")
    metrics["seconds"] = round(time.monotonic() - started, 1)
    about = about_run(config, data_sha256=data_hash(rows), pairs=len(rows), metrics=metrics)
    save_judge(model, encoder.tokenizer, judge, about=about)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    progress.say("done", 1.0, "The judge is trained", metrics=metrics)
    return about


def _train_genrm(
    config: TrainConfig, rows: Sequence[LabelledPair], out: Path, encoder: PromptEncoder, progress: Progress
) -> tuple[Any, dict[str, Any]]:
    asked, left_out = items(rows, method="score", config=config, encoder=encoder)
    explained = _some(items(rows, method="cot", config=config, encoder=encoder)[0], config)
    training = [verdict_row(item, encoder) for item in asked]
    share = SAMPLING_SHARE["genrm"] if explained else 0.0
    if explained:
        chains = _sampled(config, config.model, explained, 1, 0, out, progress, (0.0, share))
        weight = config.rationale_weight
        training += [rationale_row(item, chains[item.key][0], encoder, weight=weight) for item in explained]
    model = load_model(config.model, dtype="float32", device=config.device)
    model, metrics = train_genrm(
        model,
        training,
        config=config,
        encoder=encoder,
        folder=out / "checkpoints" / "genrm",
        progress=progress,
        span=(share, TRAINED),
    )
    return model, {**metrics, "pairs_left_out": left_out, "rationale_rows": len(explained)}


def _train_star(
    config: TrainConfig, rows: Sequence[LabelledPair], out: Path, encoder: PromptEncoder, progress: Progress
) -> tuple[Any, dict[str, Any]]:
    asked, left_out = items(rows, method="cot", config=config, encoder=encoder)
    slices = _slices(asked, config)
    current = config.model
    history: list[dict[str, Any]] = []
    model: Any = None
    for number, part in enumerate(slices):
        after = out / "iterations" / str(number)
        low, high = (TRAINED * place / len(slices) for place in (number, number + 1))
        if (after / "run.json").is_file():
            history.append(json.loads((after / "run.json").read_text(encoding="utf-8")))
            current = str(after)
            continue
        model, metrics = _iteration(config, current, part, number, out, encoder, progress, (low, high))
        history.append(metrics)
        if number + 1 < len(slices):
            save_judge(model, encoder.tokenizer, after, about=metrics)
            current = str(after)
    if model is None:  # killed between the last iteration and the end
        model = load_model(current, dtype="float32", device=config.device)
    return model, {**history[-1], "iterations": history, "pairs_left_out": left_out}


def _iteration(
    config: TrainConfig,
    start: str,
    part: Sequence[Item],
    number: int,
    out: Path,
    encoder: PromptEncoder,
    progress: Progress,
    span: tuple[float, float],
) -> tuple[Any, dict[str, Any]]:
    """Sample from the judge ``start``, pair right with wrong, train against it."""
    middle = span[0] + SAMPLING_SHARE["star-dpo"] * (span[1] - span[0])
    chains = _sampled(config, start, part, config.samples_per_order, number, out, progress, (span[0], middle))
    preferences, yields = select(part, chains, config, iteration=number)
    progress.say(
        "training",
        middle,
        f"{yields.paired} of {yields.questions} questions gave a right and a wrong rationale",
        yields={"right": yields.right, "wrong": yields.wrong, "unparsed": yields.unparsed},
    )
    if not preferences:
        raise EngineError("the judge gave no right rationale beside a wrong one: more labels or samples are needed")
    model = load_model(start, dtype="float32", device=config.device)
    reference = None if config.lora else load_model(start, dtype="float32", device=config.device)
    model, metrics = train_star(
        model,
        reference,
        preferences,
        config=config,
        encoder=encoder,
        folder=out / "checkpoints" / f"star-{number}",
        progress=progress,
        span=(middle, span[1]),
    )
    return model, {**metrics, "yields": yields.to_json()}


def _sampled(
    config: TrainConfig,
    model: str,
    asked: Sequence[Item],
    samples: int,
    iteration: int,
    out: Path,
    progress: Progress,
    span: tuple[float, float],
) -> dict[str, Any]:
    backend = TransformersBackend(BackendSpec("transformers", model, device=config.device, threads=config.threads))
    try:
        return sample(
            asked,
            backend=backend,
            config=config,
            samples=samples,
            iteration=iteration,
            file=out / "samples.jsonl",
            progress=progress,
            span=span,
        )
    finally:
        backend.close()
        gc.collect()


def _some(asked: Sequence[Item], config: TrainConfig) -> list[Item]:
    """A seeded share of the questions, for rationale rows."""
    count = round(config.rationale_share * len(asked))
    chosen = np.random.default_rng(config.seed).permutation(len(asked))[:count]
    return [asked[place] for place in sorted(chosen.tolist())]


def _slices(asked: Sequence[Item], config: TrainConfig) -> list[list[Item]]:
    """The questions in as many parts as iterations; both orders of a pair are in one part."""
    pairs = len(asked) // 2
    parts = min(config.iterations, pairs)
    order = np.random.default_rng(config.seed).permutation(pairs)
    return [
        [asked[2 * pair + swap] for pair in sorted(order[part::parts].tolist()) for swap in (0, 1)]
        for part in range(parts)
    ]


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
