"""What a retraining on the demo's labels costs and gives: accuracy and consistency on held-out prompts.

    python benchmarks/engine_demo.py --home .tandem --work /somewhere --method genrm

Trains on the majority of the demo's example labels and measures on the pairs of the other groups, against the answer
that each pair was written with. A quarter of the groups is held out by a seed. The untuned judge is measured alongside.
A killed measurement goes on where it stopped when it is started again with the same `--work`.
"""

import argparse
import os
import platform
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from genrm_engine.backends import BackendSpec, load_backend
from genrm_engine.embedded import ensure_converted
from genrm_engine.evaluation.run import evaluate_file
from genrm_engine.files import read_rows, write_json
from genrm_engine.progress import Progress
from genrm_engine.training.config import TrainConfig
from genrm_engine.types import Choice, JudgeSettings, LabelledPair, Method, Pair

DEMO = Path(__file__).resolve().parent.parent / "demo" / "pairs.jsonl"


def main() -> None:
    options = _options()
    train_rows, test_rows = split(list(read_rows(DEMO)), seed=options.split_seed)
    start = str(options.start or ensure_converted(options.home, progress=print))
    given = {"epochs": options.epochs, "learning_rate": options.learning_rate}
    config = TrainConfig(
        method=options.method,
        model=start,
        device=options.device,
        threads=options.threads,
        **{name: value for name, value in given.items() if value is not None},
    )
    methods: list[Method] = ["score", "cot"] if options.method == "star-dpo" else ["score"]
    before = [_measured(start, test_rows, method, options, "before") for method in methods]
    from genrm_engine.training.run import train

    work = options.work / options.method
    cpu = time.process_time()
    about = train(config, train_rows, work, progress=Progress(work, echo=print))
    cpu_seconds = round(time.process_time() - cpu, 1)
    after = [_measured(str(work / "judge"), test_rows, method, options, "after") for method in methods]
    machine = {"name": options.machine, "cpus": os.cpu_count(), "python": platform.python_version()}
    out = options.out or Path(f"benchmarks/results/engine_demo_{options.method}.json")
    write_json(
        out,
        {
            "machine": machine,
            "load_average": round(os.getloadavg()[2], 2),
            "train_pairs": len(train_rows),
            "test_pairs": len(test_rows),
            "config": {**about["config"], "model": Path(start).name},
            "training": {**about["metrics"], "cpu_seconds": cpu_seconds},
            "before": before,
            "after": after,
        },
    )


def split(rows: list[dict[str, Any]], *, seed: int) -> tuple[list[LabelledPair], list[LabelledPair]]:
    """Labelled pairs to train on, and pairs of a quarter of the groups with the answer they were written with."""
    rows = [row for row in rows if "response_a" in row]
    groups = sorted({row["meta"]["group_key"] for row in rows})
    random.Random(seed).shuffle(groups)
    held_out = set(groups[: len(groups) // 4])
    train: list[LabelledPair] = []
    test: list[LabelledPair] = []
    for row in rows:
        pair = Pair.from_json({**row, "group": row["meta"]["group_key"]})
        good, label = row["meta"].get("good"), _majority(row)
        if row["meta"]["group_key"] in held_out:
            test += [LabelledPair(pair, good)] if good in ("a", "b") else []
        else:
            train += [LabelledPair(pair, label)] if label else []
    return train, test


def _majority(row: dict[str, Any]) -> Choice | None:
    votes = Counter(label["choice"] for label in row["labels"])
    if votes["a"] == votes["b"]:
        return None
    return "a" if votes["a"] > votes["b"] else "b"


def _measured(
    model: str, rows: list[LabelledPair], method: Method, options: argparse.Namespace, name: str
) -> dict[str, Any]:
    out = options.work / f"{options.method}-{name}-{method}"
    backend = load_backend(BackendSpec("transformers", model, device=options.device, threads=options.threads))
    try:
        return evaluate_file(
            rows, backend=backend, settings=JudgeSettings(method=method), out=out, progress=Progress(out)
        )
    finally:
        backend.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".tandem"))
    parser.add_argument("--work", type=Path, required=True, help="folder for the run and the judgements")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--method", choices=["genrm", "star-dpo"], default="genrm")
    parser.add_argument("--start", type=Path, help="judge to start from; default: the embedded one")
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--split-seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--machine", default="2 cores, Xeon with AMX, no GPU")
    return parser.parse_args()


if __name__ == "__main__":
    main()
