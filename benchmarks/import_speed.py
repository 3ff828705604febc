"""Pairs per second of an import until they can be queried, and what takes the time: reading, the rows, the requests.

    python benchmarks/import_speed.py --database postgresql://postgres@127.0.0.1:5432
    python benchmarks/import_speed.py

Makes a database of its own on the server (without `--database`: an SQLite file) and drops it afterwards. The file is
JSON Lines, prompts of 250 characters and responses of 600, once without labels and once with two labels on each pair.
It goes the way of a large upload: a stream into the data folder, then what a worker does with it. The clock stops when
another query finds all pairs. Beside it, of the same file: reading and checking alone, the same rows by the database's
own bulk statement alone (psycopg's COPY, or sqlite3's executemany, into the same table with all its indexes), and the
asking for the judge's work, which follows when the pairs are there already.
"""

import argparse
import json
import os
import platform
import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.bench_database import own_database  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "import_speed.json"
PROMPT, RESPONSE = 250, 600
WORDS = ("river", "stone", "lamp", "under", "quiet", "garden", "letter", "morning", "paper", "window", "carry")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", help="a PostgreSQL server, without a database's name; none: SQLite")
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=3, help="of several runs the median counts")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    with own_database(options.database) as (kind, home):
        found = measure(pairs=options.pairs, repeat=options.repeat, folder=home)
    print(json.dumps(found, indent=2))
    known = json.loads(options.out.read_text()) if options.out.exists() else {}
    options.out.write_text(json.dumps({**known, kind: found}, indent=2) + "\n")


def measure(*, pairs: int, repeat: int, folder: Path) -> dict[str, Any]:
    """Every figure, of a file without labels and of one with two on each pair."""
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    files = {"no labels": 0, "two labels each": 2}
    measured = []
    for title, labels in files.items():
        path = folder / f"{labels}.jsonl"
        path.write_bytes(b"".join(_lines(pairs, labels)))
        with patch("labeling.jobs.send"):  # no broker here
            runs = [_one(path, f"p{labels}-{number}", pairs) for number in range(repeat)]
        median = sorted(runs, key=lambda run: run["pairs_per_second"])[len(runs) // 2]
        rates = [run["pairs_per_second"] for run in runs]
        measured.append({"file": title, "megabytes": round(path.stat().st_size / 1e6, 1), **median, "all_runs": rates})
    return {
        "pairs": pairs,
        "prompt_characters": PROMPT,
        "response_characters": RESPONSE,
        "measured": measured,
        "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "load": round(os.getloadavg()[0], 1),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
    }


def _one(path: Path, slug: str, pairs: int) -> dict[str, Any]:
    from labeling.models import Pair, Project
    from labeling.services import import_jobs, imports

    project = Project.objects.create(slug=slug, name=slug)
    begun, cpu = time.perf_counter(), time.process_time()
    with path.open("rb") as stream, patch.object(imports, "follow_up"):
        batch = imports.import_stream(project, stream=stream, filename=path.name)
        if batch.state == batch.State.WAITING:
            done = import_jobs.run(batch.pk)
            assert done is not None
            batch = done
    assert Pair.objects.filter(project=project).count() == pairs == batch.imported, batch.error
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    begun = time.perf_counter()
    imports.follow_up(batch)
    asking = time.perf_counter() - begun
    return {
        "pairs_per_second": round(pairs / seconds),
        "seconds": round(seconds, 2),
        "own_cpu_seconds": round(cpu, 2),
        "reading_and_checking_alone_seconds": _reading(path),
        "rows_by_the_database_alone_seconds": _bare(path, slug),
        "asking_for_judgements_seconds": round(asking, 2),
        "labels": batch.labels,
    }


def _reading(path: Path) -> float:
    from labeling.readers import open_file
    from labeling.services.checking import Plan, checked

    begun = time.perf_counter()
    with path.open("rb") as file:
        for _chunk in checked(open_file(file, path.name), Plan()):
            pass
    return round(time.perf_counter() - begun, 2)


def _bare(path: Path, slug: str) -> float:
    """The same rows of pairs, ready in memory, by one bulk statement in one transaction."""
    from django.db import transaction
    from django.utils import timezone

    from labeling.models import ImportBatch, Pair, Project
    from labeling.readers import open_file
    from labeling.services import bulk, pairs
    from labeling.services.checking import Plan, checked
    from labeling.services.rows import Row

    other = Project.objects.create(slug=f"{slug}-bare", name=slug)
    batch = ImportBatch.objects.create(project=other, filename="bare", sha256=slug)
    with path.open("rb") as file:
        chunks = checked(open_file(file, path.name), Plan())
        rows = [row for chunk in chunks for _raw, row in chunk.outcomes if isinstance(row, Row)]
    first = bulk.reserve_ids(Pair, 1)[0] + 10_000_000
    ready = [pairs._pair(batch, other, first + place, row, (), timezone.now()) for place, row in enumerate(rows)]
    del rows
    begun = time.perf_counter()
    with transaction.atomic():
        bulk.insert(Pair, pairs._PAIR, ready)
    seconds = time.perf_counter() - begun
    Pair.objects.filter(project=other)._raw_delete(using="default")
    return round(seconds, 2)


def _lines(pairs: int, labels: int) -> Iterator[bytes]:
    draw = random.Random(0)
    for number in range(pairs):
        row: dict[str, object] = {
            "id": f"pair-{number}",
            "prompt": _text(draw, PROMPT),
            "response_a": _text(draw, RESPONSE),
            "response_b": _text(draw, RESPONSE),
            "model_a": "large",
            "model_b": "small",
            "meta": {"topic": draw.choice(WORDS)},
        }
        if labels:
            row["labels"] = [{"annotator": f"a{place}", "choice": draw.choice("ab")} for place in range(labels)]
        yield json.dumps(row).encode() + b"\n"


def _text(draw: random.Random, length: int) -> str:
    return " ".join(draw.choices(WORDS, k=length // 4))[:length].ljust(length, ".")


if __name__ == "__main__":
    main()
