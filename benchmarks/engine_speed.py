"""Judgements per second of the embedded judge on the demo's pairs.

    python benchmarks/engine_speed.py --home .tandem --out benchmarks/results/engine_speed.json

Measures `score` and `cot` with one and two threads. Other work on the machine makes every figure smaller: the load
average is written beside them.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from genrm_engine.backends import Backend, BackendSpec, load_backend
from genrm_engine.embedded import ensure_converted
from genrm_engine.files import read_rows, write_json
from genrm_engine.judge import judge
from genrm_engine.types import JudgeSettings, Pair

DEMO = Path(__file__).resolve().parent.parent / "demo" / "pairs.jsonl"


def main() -> None:
    options = _options()
    pairs = [Pair.from_json(row) for row in read_rows(DEMO) if "response_a" in row][:: options.every]
    model = ensure_converted(options.home, progress=print)
    rows = []
    for threads in options.threads:
        backend = load_backend(BackendSpec("transformers", str(model), device=options.device, threads=threads))
        rows += [_measured(backend, pairs, settings, threads) for settings in _settings()]
        backend.close()
    machine = {"name": options.machine, "cpus": os.cpu_count(), "python": platform.python_version()}
    write_json(options.out, {"machine": machine, "pairs": len(pairs), "rows": rows})


def _settings() -> list[JudgeSettings]:
    return [JudgeSettings(), JudgeSettings(method="cot", samples_per_order=2)]


def _measured(backend: Backend, pairs: list[Pair], settings: JudgeSettings, threads: int) -> dict[str, Any]:
    judge(pairs[:2], backend=backend, settings=settings)
    cpu, wall = time.process_time(), time.monotonic()
    found = judge(pairs, backend=backend, settings=settings)
    seconds, cpu_seconds = time.monotonic() - wall, time.process_time() - cpu
    row = {
        "method": settings.method,
        "samples_per_order": settings.samples_per_order if settings.method == "cot" else None,
        "max_rationale_tokens": settings.max_rationale_tokens if settings.method == "cot" else None,
        "threads": threads,
        "judgements_per_second": round(len(found) / seconds, 2),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "tokens_per_pair": round(sum(one.tokens for one in found) / len(found), 1),
        "load_average": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(row))
    return row


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".tandem"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/engine_speed.json"))
    parser.add_argument("--every", type=int, default=8, help="take every n-th pair of the demo")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--machine", default="2 cores, Xeon with AMX, no GPU")
    return parser.parse_args()


if __name__ == "__main__":
    main()
