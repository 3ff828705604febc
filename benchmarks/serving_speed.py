"""Judgements per second by backend and method on the demo's pairs, beside vLLM's own bare `LLM.chat`.

    TANDEM_PARTS=vllm TANDEM_VENV=build/venv-vllm python3 scripts/setup_env.py test
    PYTHONPATH=. build/venv-vllm/bin/python benchmarks/serving_speed.py --home .tandem

Every backend judges the same pairs, one backend after the other in one run: `score` the first half of them, `cot` the
second, so that no prompt is in a cache when it is measured. `ratio` is the speed against `LLM.chat` on the user turns
of the same prompts with as many tokens to write: it reads no verdict. Other work on the machine makes every figure
smaller; the ratios say more than the speeds.
"""

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from genrm_engine.backends import Backend, BackendSpec, load_backend
from genrm_engine.backends.vllm import VLLMBackend
from genrm_engine.embedded import ensure_converted
from genrm_engine.files import read_rows, write_json
from genrm_engine.judge import judge
from genrm_engine.prompts import build_prompt
from genrm_engine.types import JudgeSettings, Pair

DEMO = Path(__file__).resolve().parent.parent / "demo" / "pairs.jsonl"
OUT = Path(__file__).resolve().parent / "results" / "serving_speed.json"
SERVED = "judge"


def main() -> None:
    options = _options()
    pairs = [Pair.from_json(row) for row in read_rows(DEMO) if "response_a" in row]
    pairs = pairs[:: len(pairs) // (2 * options.pairs + 2)]
    warm, parts = pairs[-2:], {"score": pairs[: options.pairs], "cot": pairs[options.pairs : 2 * options.pairs]}
    model = str(ensure_converted(options.home, progress=print))
    rows: list[dict[str, Any]] = []
    spec = BackendSpec("transformers", model, device=options.device, threads=options.threads)
    rows += _measured("transformers", load_backend(spec), warm, parts, options)
    backend = VLLMBackend(BackendSpec("vllm", model, device=options.device, threads=options.threads))
    rows += _raw(backend, warm, parts, options)
    rows += _measured("vllm", backend, warm, parts, options)
    with _server(model) as url:
        spec = BackendSpec("openai", SERVED, url=url, tokenizer=model)
        rows += _measured("openai", load_backend(spec), warm, parts, options)
    _add_ratios(rows)
    machine = {"name": options.machine, "cpus": os.cpu_count(), "python": platform.python_version()}
    about = {"pairs_per_method": options.pairs, "max_rationale_tokens": options.tokens, "samples_per_order": 2}
    write_json(options.out, {"machine": machine, "threads": options.threads, **about, "rows": rows})


def _settings(method: Any, tokens: int) -> JudgeSettings:
    return JudgeSettings(method=method, samples_per_order=2, max_rationale_tokens=tokens)


def _measured(
    name: str, backend: Backend, warm: list[Pair], parts: dict[str, list[Pair]], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """One row per method; the backend is closed afterwards."""
    rows = []
    for method, pairs in parts.items():
        settings = _settings(method, options.tokens)
        judge(warm, backend=backend, settings=settings)
        if isinstance(backend, VLLMBackend):
            _forget(backend)
        run = _timed(lambda: judge(pairs, backend=backend, settings=settings))  # noqa: B023  called at once
        rows.append(_row(name, method, len(pairs), run))
    backend.close()
    return rows


def _raw(
    backend: VLLMBackend, warm: list[Pair], parts: dict[str, list[Pair]], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """`LLM.chat` on both orders of each pair, with as many tokens to write as the method has."""
    from vllm import SamplingParams

    assert backend._llm is not None
    rows = []
    for method, pairs in parts.items():
        sampling = SamplingParams(max_tokens=1, temperature=0.0)
        if method == "cot":
            sampling = SamplingParams(n=2, max_tokens=options.tokens, temperature=1.0, top_p=0.95)
        chat = backend._llm.chat
        chat(_turns(warm, method), sampling, use_tqdm=False)
        _forget(backend)
        turns = _turns(pairs, method)
        run = _timed(lambda: chat(turns, sampling, use_tqdm=False))  # noqa: B023  called at once
        rows.append(_row("vllm LLM.chat", method, len(pairs), run))
    return rows


def _turns(pairs: list[Pair], method: Any) -> list[Any]:
    return [
        [{"role": "user", "content": build_prompt(pair, method=method, swapped=swapped).user}]
        for pair in pairs
        for swapped in (False, True)
    ]


def _forget(backend: VLLMBackend) -> None:
    """Empty the prefix cache."""
    assert backend._llm is not None
    backend._llm.reset_prefix_cache()


def _timed(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _row(name: str, method: str, pairs: int, seconds: float) -> dict[str, Any]:
    row = {
        "backend": name,
        "method": method,
        "judgements_per_second": round(pairs / seconds, 3),
        "seconds": round(seconds, 2),
        "load_average": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(row), flush=True)
    return row


def _add_ratios(rows: list[dict[str, Any]]) -> None:
    raw = {row["method"]: row["seconds"] for row in rows if row["backend"] == "vllm LLM.chat"}
    for row in rows:
        row["ratio"] = round(raw[row["method"]] / row["seconds"], 2)


@contextmanager
def _server(model: str) -> Iterator[str]:
    """vLLM's own server for this model; ended afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--port", str(port)]
    command += ["--host", "127.0.0.1", "--served-model-name", SERVED, "--hf-overrides", '{"head_dtype": "float32"}']
    command += ["--dtype", "bfloat16", "--max-model-len", "4096"]
    process = subprocess.Popen(
        command,
        env={**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"},  # the backend here has switched it off
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            if process.poll() is not None:
                raise SystemExit("vLLM's server did not start")
            try:
                urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".tandem"))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--pairs", type=int, default=20, help="pairs for each method")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of a rationale at most")
    parser.add_argument("--threads", type=int, help="PyTorch's threads in this process")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--machine", default="2 cores, no GPU")
    return parser.parse_args()


if __name__ == "__main__":
    main()
