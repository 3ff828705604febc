"""What several commands share: options for judging and for the machine, the device's lease, the loaded judge."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from genrm_engine.backends import Backend, BackendSpec, load_backend
from genrm_engine.device import lease_name
from genrm_engine.embedded import resolve_model
from genrm_engine.errors import EngineError
from genrm_engine.evaluation.resuming import judge_marks
from genrm_engine.formats import FORMATS, DataRow, read_data
from genrm_engine.progress import Progress, wait_for_device
from genrm_engine.types import Judgement, JudgeSettings
from genrm_engine.weights import RUN

MODEL = "folder or name of a model, 'embedded' (the starter judge), 'embedded-base' (the bare model) or 'scripted:NAME'"
KEY_VARIABLE = "OPENAI_API_KEY"


def tell(text: str) -> None:
    """A line for people, on the error stream."""
    sys.stderr.write(text + "\n")


def progress_of(options: argparse.Namespace, folder: Path) -> Progress:
    """Progress written to ``folder``, and told unless ``--json`` asks for quiet; ``options`` keep its cancel file."""
    progress = Progress(folder, echo=None if options.json else tell)
    options.cancel_file = progress.cancel_file
    return progress


def model_of(model: str, options: argparse.Namespace) -> str:
    """The folder of an embedded judge, which is made if it is not there; other names stay."""
    return resolve_model(model, options.home, progress=tell)


def settings_of(options: argparse.Namespace) -> JudgeSettings:
    """How to judge, from the options."""
    return JudgeSettings(
        method=options.method,
        samples_per_order=options.samples,
        rubric=rubric_of(options.rubric) if options.rubric else "",
        temperature=options.temperature,
        top_p=options.top_p,
        max_rationale_tokens=options.max_rationale_tokens,
        seed=options.seed,
        max_prompt_tokens=options.max_prompt_tokens,
        verdict=options.verdict,
        sequential=options.sequential,
        posterior_threshold=options.posterior_threshold,
        cascade=options.cascade,
        cascade_margin=options.cascade_margin,
    )


def rubric_of(file: Path) -> str:
    """The guidelines in a file, as UTF-8 with or without a mark at its beginning. Raises EngineError."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"{file} cannot be read: {error}") from error


def rows_of(file: Path, options: argparse.Namespace) -> list[DataRow]:
    """The rows of a data file; of some splits only, where ``--split`` names them. Raises EngineError for none."""
    rows = read_data(file, format=options.format)
    if not rows:
        raise EngineError(f"{file} has no row")
    found = [row for row in rows if not options.split or row.split in options.split]
    if not found:
        raise EngineError(f"{file} has no row of the split {', '.join(options.split)}")
    return found


def judgements_of(file: Path) -> list[Judgement]:
    """The judgements of a file that ``judge`` or ``evaluate`` wrote; a line that a kill has torn is passed over.

    Raises EngineError where there is none, and for a line that is something else.
    """
    if not file.is_file():
        raise EngineError(f"{file} is missing")
    found = []
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        try:
            found.append(Judgement.from_json(row))
        except (KeyError, TypeError, ValueError, EngineError) as error:
            raise EngineError(f"{file}, line {number}: lacks or misspells a field of a judgement: {error!r}") from error
    if not found:
        raise EngineError(f"{file} holds no judgement")
    return found


@contextmanager
def device_of(options: argparse.Namespace, device: str, progress: Progress) -> Iterator[str]:
    """Hold the lease, if one is asked for, and narrow what this process sees to its one CUDA device."""
    name = lease_name(device)
    lease = None
    rank = os.environ.get("LOCAL_RANK")  # several processes share a run: the first takes the lease, each has its GPU
    if options.lease_folder is not None and rank in (None, "0"):
        lease = wait_for_device(options.lease_folder, name, holder=options.holder, progress=progress)
    try:
        kind, _, number = name.partition(":")
        if kind == "cuda" and rank is None and "CUDA_VISIBLE_DEVICES" not in os.environ:
            os.environ["CUDA_VISIBLE_DEVICES"] = number or "0"
            name = "cuda:0"
        yield name if device != "auto" else "auto"
    finally:
        if lease is not None:
            lease.release()


@contextmanager
def judge_of(options: argparse.Namespace, progress: Progress) -> Iterator[tuple[Backend, dict[str, str]]]:
    """The judge that the options name, loaded, and what tells it from others; closed at the end.

    One on a server needs no device here, and neither waits for it nor keeps others from it.
    """
    asked = options.device or "auto"
    served = options.backend == "openai" and not options.model.startswith("scripted:")
    with nullcontext(asked) if served else device_of(options, asked, progress) as device:
        spec = _spec(options, device)
        if options.rubric is None and _learnt_rubric(spec.model):
            tell(f"note: {options.model} was trained with a rubric and judges without one: give it with --rubric")
        backend = load_backend(spec)
        try:
            yield backend, judge_marks(options.model, spec)
        finally:
            backend.close()


def _learnt_rubric(model: str) -> bool:
    """Whether the judge in this folder was trained with guidelines; not of a model that Tandem did not train."""
    try:
        return bool(json.loads((Path(model) / RUN).read_text(encoding="utf-8"))["config"]["rubric"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _spec(options: argparse.Namespace, device: str) -> BackendSpec:
    if options.model.startswith("scripted:"):
        return BackendSpec("scripted", options.model)
    if options.backend == "openai":
        key = os.environ.get(options.key_variable, "")
        return BackendSpec(
            "openai", options.model, url=options.url or "", api_key=key, tokenizer=options.tokenizer or ""
        )
    model = model_of(options.model, options)
    return BackendSpec(options.backend, model, device=device, dtype=options.dtype, threads=options.threads)


def add_judging(command: argparse.ArgumentParser) -> None:
    """Options of commands that judge."""
    command.add_argument("--model", required=True, help=MODEL)
    command.add_argument("--backend", choices=["transformers", "vllm", "openai"], default="transformers")
    command.add_argument(
        "--url", help="base address of an OpenAI-compatible server (openai), such as http://HOST:8000/v1"
    )
    command.add_argument(
        "--key-variable", default=KEY_VARIABLE, help=f"environment variable with the server's key ({KEY_VARIABLE})"
    )
    command.add_argument("--tokenizer", help="folder or name of the served model's tokenizer (openai); none: chat only")
    command.add_argument("--method", choices=["score", "cot"], default="score")
    command.add_argument("--samples", type=int, default=2, help="rationales for each of the two orders (cot)")
    command.add_argument(
        "--verdict",
        choices=["forced", "free"],
        default="forced",
        help="append the verdict form to each rationale, or read what the judge itself wrote (cot)",
    )
    command.add_argument(
        "--sequential",
        choices=["off", "certain", "posterior"],
        default="off",
        help="stop sampling when the majority cannot flip, or is right with the posterior threshold (cot)",
    )
    command.add_argument("--posterior-threshold", type=float, default=0.95)
    command.add_argument("--cascade", action="store_true", help="reason only where the score is unsure (cot)")
    command.add_argument("--cascade-margin", type=float, default=0.2, help="unsure: closer to one half than this")
    command.add_argument("--rubric", type=Path, help="file with guidelines shown to the judge")
    command.add_argument("--temperature", type=float, default=1.0)
    command.add_argument("--top-p", type=float, default=0.95)
    command.add_argument("--max-rationale-tokens", type=int, default=64)
    command.add_argument("--max-prompt-tokens", type=int, default=1536, help="longer prompts are shortened and marked")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--dtype", default="auto", help="auto (bfloat16 where the device is fast at it), bfloat16, float16 or float32"
    )


def add_split(command: argparse.ArgumentParser) -> None:
    """Which part of the data files."""
    command.add_argument("--split", nargs="+", help="only rows of these splits (split or meta.split)")


def add_format(command: argparse.ArgumentParser) -> None:
    """The layout of the data files."""
    command.add_argument("--format", choices=FORMATS, help="layout of the data; none: detected")


def add_common(command: argparse.ArgumentParser) -> None:
    """Options of every command that runs a model."""
    command.add_argument("--device", help="cpu, cuda, cuda:N or auto")
    command.add_argument("--threads", type=int, help="CPU threads of PyTorch")
    command.add_argument("--lease-folder", type=Path, help="take the device lease in this folder while PyTorch runs")
    command.add_argument("--holder", default=f"genrm_engine, process {os.getpid()}", help="name shown to who waits")
    command.add_argument(
        "--home",
        type=Path,
        default=Path(os.environ.get("TANDEM_HOME", ".tandem")),
        help="data folder, where the embedded judges are kept",
    )
    command.add_argument("--json", action="store_true", help="no progress lines; the last line of output is JSON")
