"""The engine's command line: ``train``, ``evaluate`` and ``judge``; knows arguments and exit codes.

Exit codes: 0 done, 1 a failure that may pass, 2 one that will not (bad input, missing model), 3 cancelled.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from genrm_engine.device import lease_name
from genrm_engine.errors import Cancelled, EngineError
from genrm_engine.progress import Progress, wait_for_device

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    for name, value in OFFLINE.items():
        os.environ.setdefault(name, value)
    try:
        summary = options.run(options)
    except Cancelled:
        _tell("cancelled")
        return 3
    except EngineError as error:
        _tell(f"error: {error}")
        return 2 if error.permanent else 1
    except OSError as error:
        _tell(f"error: {error}")
        return 1
    if options.json:
        sys.stdout.write(json.dumps(summary, ensure_ascii=False) + "\n")
    return 0


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")


def _train(options: argparse.Namespace) -> dict[str, Any]:
    from genrm_engine.formats import read_labelled
    from genrm_engine.training.config import TrainConfig

    row = _config_row(options)
    config = TrainConfig.from_json(row)
    progress = _progress(options.out, quiet=options.json)
    with _device(options, config.device, progress) as device:
        config = TrainConfig.from_json({**row, "device": device, "model": _model(config.model, options)})
        rows = read_labelled(options.train)
        from genrm_engine.training.run import train

        about = train(config, rows, options.out, progress=progress)
    return {"judge": str(options.out / "judge"), **about}


def _config_row(options: argparse.Namespace) -> dict[str, Any]:
    """The configuration file's fields, overridden by those given as options."""
    row: Any = {}
    if options.config is not None:
        try:
            row = json.loads(options.config.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise EngineError(f"{options.config} is not a readable JSON file: {error}") from error
        if not isinstance(row, dict):
            raise EngineError(f"{options.config} does not hold a JSON object")
    given = {name: getattr(options, name) for name in ("method", "model", "device", "threads")}
    return {**row, **{name: value for name, value in given.items() if value is not None}}


def _evaluate(options: argparse.Namespace) -> dict[str, Any]:
    from genrm_engine.evaluation.run import evaluate_file, read_gold
    from genrm_engine.formats import read_labelled

    progress = _progress(options.out, quiet=options.json)
    rows = read_labelled(options.data)
    with _backend(options, progress) as backend:
        return evaluate_file(
            rows,
            backend=backend,
            settings=_settings(options),
            out=options.out,
            progress=progress,
            gold=read_gold(options.data),
        )


def _judge(options: argparse.Namespace) -> dict[str, Any]:
    from genrm_engine.evaluation.run import judge_file
    from genrm_engine.formats import read_pairs

    progress = _progress(options.out.parent / f"{options.out.name}.progress", quiet=options.json)
    pairs = read_pairs(options.input)
    started = time.monotonic()
    with _backend(options, progress) as backend:
        found = judge_file(pairs, backend=backend, settings=_settings(options), file=options.out, progress=progress)
    return {"out": str(options.out), "pairs": len(found), "seconds": round(time.monotonic() - started, 2)}


@contextmanager
def _backend(options: argparse.Namespace, progress: Progress) -> Iterator[Any]:
    from genrm_engine.backends import BackendSpec, load_backend

    kind = "scripted" if options.model.startswith("scripted:") else "transformers"
    with _device(options, options.device or "auto", progress) as device:
        model = _model(options.model, options)
        spec = BackendSpec(kind, model, device=device, dtype=options.dtype, threads=options.threads)  # type: ignore[arg-type]
        backend = load_backend(spec)
        try:
            yield backend
        finally:
            backend.close()


@contextmanager
def _device(options: argparse.Namespace, device: str, progress: Progress) -> Iterator[str]:
    """Hold the lease, if one is asked for, and narrow what this process sees to its one CUDA device."""
    name = lease_name(device)
    lease = None
    if options.lease_folder is not None:
        lease = wait_for_device(options.lease_folder, name, holder=options.holder, progress=progress)
    try:
        kind, _, number = name.partition(":")
        if kind == "cuda" and "CUDA_VISIBLE_DEVICES" not in os.environ:
            os.environ["CUDA_VISIBLE_DEVICES"] = number or "0"
            name = "cuda:0"
        yield name if device != "auto" else "auto"
    finally:
        if lease is not None:
            lease.release()


def _settings(options: argparse.Namespace) -> Any:
    from genrm_engine.types import JudgeSettings

    return JudgeSettings(
        method=options.method,
        samples_per_order=options.samples,
        rubric=options.rubric.read_text(encoding="utf-8") if options.rubric else "",
        temperature=options.temperature,
        top_p=options.top_p,
        max_rationale_tokens=options.max_rationale_tokens,
        seed=options.seed,
        max_prompt_tokens=options.max_prompt_tokens,
    )


def _model(model: str, options: argparse.Namespace) -> str:
    from genrm_engine.embedded import resolve_model

    return resolve_model(model, options.home, progress=_tell)


def _progress(out: Path, *, quiet: bool) -> Progress:
    return Progress(out, echo=None if quiet else _tell)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m genrm_engine", description="Generative reward models.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="train a judge on labelled pairs")
    train.add_argument("--config", type=Path, help="JSON file with the fields of a training configuration")
    train.add_argument("--method", help="training method, over the configuration's")
    train.add_argument("--model", help="model to start from, over the configuration's")
    train.add_argument("--train", type=Path, required=True, help="labelled pairs, JSON Lines")
    train.add_argument("--out", type=Path, required=True, help="folder of the run; the judge is OUT/judge")
    train.set_defaults(run=_train)
    evaluate = commands.add_parser("evaluate", help="measure a judge on labelled pairs")
    evaluate.add_argument("--data", type=Path, required=True, help="labelled pairs, JSON Lines")
    evaluate.add_argument("--out", type=Path, required=True, help="folder for judgements and figures")
    evaluate.set_defaults(run=_evaluate)
    judge = commands.add_parser("judge", help="judge pairs")
    judge.add_argument("--in", dest="input", type=Path, required=True, help="pairs, JSON Lines")
    judge.add_argument(
        "--out", type=Path, required=True, help="file for the judgements; an unfinished one is continued"
    )
    judge.set_defaults(run=_judge)
    for command in (evaluate, judge):
        _judging_options(command)
    for command in (train, evaluate, judge):
        _common_options(command)
    return parser


def _judging_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", required=True, help="folder, model name, 'embedded' or 'scripted:NAME'")
    command.add_argument("--method", choices=["score", "cot"], default="score")
    command.add_argument("--samples", type=int, default=2, help="rationales for each order (cot)")
    command.add_argument("--rubric", type=Path, help="file with guidelines shown to the judge")
    command.add_argument("--temperature", type=float, default=1.0)
    command.add_argument("--top-p", type=float, default=0.95)
    command.add_argument("--max-rationale-tokens", type=int, default=64)
    command.add_argument("--max-prompt-tokens", type=int, default=1536)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--dtype", default="auto", help="auto (bf16), bfloat16, float16 or float32")


def _common_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", help="cpu, cuda, cuda:N or auto")
    command.add_argument("--threads", type=int, help="CPU threads of PyTorch")
    command.add_argument("--lease-folder", type=Path, help="take the device lease in this folder while PyTorch runs")
    command.add_argument("--holder", default=f"genrm_engine, process {os.getpid()}", help="name shown to who waits")
    command.add_argument(
        "--home",
        type=Path,
        default=Path(os.environ.get("TANDEM_HOME", ".tandem")),
        help="data folder, where the embedded judge is kept",
    )
    command.add_argument("--json", action="store_true", help="no progress lines; the last line of output is JSON")
