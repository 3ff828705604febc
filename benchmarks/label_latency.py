"""Server time of one commit with the next pair, in a project of 100,000 pairs, and how many queries it takes.

    python benchmarks/label_latency.py --database postgresql://postgres@127.0.0.1:5432 --out FILE

Makes a database of its own on the server (and an SQLite file for comparison), fills it, half of it labelled, and sends
commits through the whole of Django in this process, as the page's outbox sends them. Needs nothing but the databases.
"""

import argparse
import json
import os
import platform
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.bench_database import own_database  # noqa: E402

TRANSACTION = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")
MODELS = ("gpt-4-0613", "vicuna-13b-v1.3", "claude-2", "llama-2-70b-chat", "mistral-7b", "zephyr-7b", "qwen-14b")
WORDS = (
    "river",
    "stone",
    "lamp",
    "under",
    "quiet",
    "garden",
    "letter",
    "morning",
    "paper",
    "window",
    "carry",
    "people",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", help="a PostgreSQL server, without a database's name; none: SQLite")
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--commits", type=int, default=400)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with own_database(options.database):
        found = measure(pairs=options.pairs, commits=options.commits)
    print(json.dumps(found, indent=2))
    if options.out:
        known = json.loads(options.out.read_text()) if options.out.exists() else {}
        options.out.write_text(json.dumps({**known, found["database"]: found}, indent=2) + "\n")


def measure(*, pairs: int, commits: int) -> dict[str, Any]:
    """Fill the database and send the commits."""
    import django

    django.setup()
    from django.conf import settings
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from labeling import jobs
    from labeling.models import Claim

    settings.ALLOWED_HOSTS = ["*"]
    settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    jobs.send = lambda *_: None  # the broker's part, some 1 ms, is not the server's
    call_command("migrate", verbosity=0)
    project = _fill(pairs)
    annotator = User.objects.get(username="annotator")
    client = Client()
    client.force_login(annotator)
    page = client.get(f"/p/{project.slug}/label/")
    assert page.status_code == 200, page
    waiting = [Claim.objects.get(state="live", annotator=annotator).pk]
    times: list[float] = []
    queries: list[list[str]] = []
    for number in range(commits + 20):
        claim = waiting.pop(0)
        body = {"verdict": random.choice(["left", "right", "tie"]), "held": "", "idempotency_key": f"key-{number}"}
        with CaptureQueriesContext(connection) as seen:
            started = time.perf_counter()
            answer = client.post(f"/claims/{claim}/label/", body, headers={"Accept": "application/json"})
            elapsed = time.perf_counter() - started
        assert answer.json()["saved"], answer.content
        assert answer.json()["next"]
        waiting.append(Claim.objects.filter(state="live", annotator=annotator).latest("pk").pk)
        if number >= 20:  # the first ones warm caches up
            times.append(1000 * elapsed)
            queries.append([query["sql"].split(maxsplit=1)[0] for query in seen])
    times.sort()
    return {
        "database": connection.vendor,
        "pairs": pairs,
        "commits": commits,
        "median_ms": round(statistics.median(times), 1),
        "p95_ms": round(times[int(0.95 * len(times))], 1),
        "queries_most": max(len(sent) - sum(map(sent.count, TRANSACTION)) for sent in queries),
        "statements_most": max(map(len, queries)),
        "load": round(os.getloadavg()[0], 1),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
    }


def _fill(pairs: int) -> Any:
    """A project with ``pairs`` pairs of 600 characters a response; half of them, the first in turn, are labelled."""
    from datetime import timedelta

    from django.contrib.auth.models import User
    from django.utils import timezone

    from labeling.models import Claim, Label, Member, Pair, Project

    draw = random.Random(0)
    project = Project.objects.create(slug="bench", name="Benchmark", reveal="never", guidelines="Prefer the clearer.")
    annotator, other = (User.objects.create_user(name) for name in ("annotator", "other"))
    Member.objects.create(project=project, user=annotator, role=Member.Role.ANNOTATOR)

    def text(length: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(length // 6))

    for start in range(0, pairs, 5000):
        rows = [
            Pair(
                project=project,
                external_id=f"pair-{number}",
                prompt=[{"role": "user", "content": text(250)}],
                response_a=text(600),
                response_b=text(600),
                model_a=draw.choice(MODELS),
                model_b=draw.choice(MODELS),
                prompt_hash=str(number),
                content_hash=str(number),
                group_key=str(number),
                shuffle=number,
                closed=number < pairs // 2,
            )
            for number in range(start, min(pairs, start + 5000))
        ]
        made = Pair.objects.bulk_create(rows)
        done = [pair for pair in made if pair.closed]
        over = timezone.now() - timedelta(hours=1)
        claims = Claim.objects.bulk_create(
            Claim(pair=pair, annotator=other, slot=0, slots=1, swapped=False, state="done", expires_at=over)
            for pair in done
        )
        Label.objects.bulk_create(
            Label(
                pair=claim.pair,
                claim=claim,
                annotator=other,
                source=Label.Source.CLAIM,
                choice="a",
                final_choice="a",
                blind=True,
            )
            for claim in claims
        )
    return project


if __name__ == "__main__":
    main()
