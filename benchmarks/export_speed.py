"""Labels per second and memory of an export over the API, beside the bare statement by psycopg or sqlite3 alone.

    python benchmarks/export_speed.py --database postgresql://postgres@127.0.0.1:5432
    python benchmarks/export_speed.py

Makes a database of its own on the server (without `--database`: an SQLite file) and drops it afterwards. The rows are
made by SQL: prompts of 250 characters, responses of 600, one label by one of ten people on each pair, a judgement
too. For each number of rows a fresh server, as the product starts it, sends the whole file to a client that throws it
away. The memory is the worker's peak; the bare statement is the very same one, its rows thrown away as well. The first
export of a server also warms it up, and is measured like that.
"""

import argparse
import http.client
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.bench_database import own_database, statements, web_server  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "export_speed.json"
SIZES = {"postgresql": (10_000, 100_000, 1_000_000), "sqlite": (10_000, 100_000)}
QUERIES = ("source=human", "source=human&profile=strict", "source=judge", "source=human&format=csv")
"""Asked of every size; Parquet, whose row groups hold 10,000 rows, of the large ones alone."""
PEOPLE = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", help="a PostgreSQL server, without a database's name; none: SQLite")
    parser.add_argument("--rows", type=int, nargs="*", help="numbers of rows, each a project of its own")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    with own_database(options.database) as (kind, _):
        found = measure(kind, options.rows or SIZES[kind])
    print(json.dumps(found, indent=2))
    known = json.loads(options.out.read_text()) if options.out.exists() else {}
    options.out.write_text(json.dumps({**known, kind: found}, indent=2) + "\n")


def measure(kind: str, sizes: tuple[int, ...]) -> dict[str, Any]:
    """Fill the database, then a server for each export."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from genrm_engine.reproduction.machine import machine

    call_command("migrate", verbosity=0)
    secret = _fill(kind, sizes)
    bare = {size: _bare(kind, size) for size in sizes}
    connection.close()
    measured = []
    for size in sizes:
        parquet = ["source=human&format=parquet"] if size >= 100_000 else []
        for query in (*QUERIES, *parquet):
            one = _measured(size, query, secret)
            if query == "source=human":
                one["bare_per_second"] = bare[size]
                one["of_bare"] = round(one["labels_per_second"] / bare[size], 2)
            measured.append(one)
            print(json.dumps(one), file=sys.stderr)
    peaks = {one["rows"]: one["peak_mb"] for one in measured if one["query"] == "source=human"}
    return {
        "exports": measured,
        "peak_growth_mb": round(peaks[max(peaks)] - peaks[min(peaks)], 1),
        "command": f"python benchmarks/export_speed.py{' --database postgresql://…' if kind == 'postgresql' else ''}",
        "machine": {**machine("", "cpu", None), "platform": platform.platform(), "load": round(os.getloadavg()[0], 1)},
    }


def _measured(size: int, query: str, secret: str) -> dict[str, Any]:
    import psutil

    with web_server() as (process, port):
        worker = psutil.Process(process.pid).children()[0]
        before = sum(worker.cpu_times()[:2])
        started = time.perf_counter()
        first, read, rows = _fetch(port, f"/api/v1/projects/bench-{size}/labels?{query}", secret)
        seconds = time.perf_counter() - started
        busy = sum(worker.cpu_times()[:2]) - before
        peak = _peak(worker.pid)
    return {
        "rows": size,
        "query": query,
        "labels_per_second": round(size / seconds),
        "seconds": round(seconds, 2),
        "first_byte_seconds": round(first, 3),
        "server_cpu_us_per_label": round(1e6 * busy / size, 1),
        "server_busy": round(busy / seconds, 2),
        "megabytes": round(read / 1e6, 1),
        "lines": rows,
        "peak_mb": round(peak, 1),
    }


def _fetch(port: int, path: str, secret: str) -> tuple[float, int, int]:
    """Seconds to the first byte, bytes, and line ends."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    started = time.perf_counter()
    connection.request("GET", path, headers={"Authorization": f"Bearer {secret}"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    block = answer.read(1 << 16)
    first, read, lines = time.perf_counter() - started, 0, 0
    while block:
        read += len(block)
        lines += block.count(b"\n")
        block = answer.read(1 << 18)
    return first, read, lines


def _peak(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def _bare(kind: str, size: int) -> int:
    """Rows per second of the statement that the export of people's labels sends, by the driver alone."""
    from django.db import connection

    from labeling.models import Project
    from labeling.services import exports
    from labeling.services.exports.reading import CHUNK
    from labeling.services.exports.sources import human

    project = Project.objects.get(slug=f"bench-{size}")
    statement, parameters = human(project, exports.ask(), None).query.sql_with_params()
    connection.ensure_connection()
    started, rows = time.perf_counter(), 0
    if kind == "postgresql":
        import psycopg

        with psycopg.connect(os.environ["DATABASE_URL"]) as bare, bare.cursor("export") as cursor:
            cursor.execute(statement, parameters)
            while block := cursor.fetchmany(CHUNK):
                rows += len(block)
    else:
        cursor = connection.connection.execute(statement.replace("%s", "?"), parameters)
        while block := cursor.fetchmany(CHUNK):
            rows += len(block)
    assert rows == size, rows
    return round(rows / (time.perf_counter() - started))


def _fill(kind: str, sizes: tuple[int, ...]) -> str:
    """A project for each size, filled by SQL; returns a token that may read them."""
    from django.contrib.auth.models import User
    from django.db import connection

    from labeling.models import Deployment, Member, Project
    from labeling.services.deployments import first_judge
    from labeling.services.tokens import create_token

    manager = User.objects.create_superuser("manager")
    people = User.objects.bulk_create(User(username=f"person-{number}") for number in range(PEOPLE))
    first = min(User.objects.filter(username__startswith="person-").values_list("pk", flat=True))
    judge = first_judge(backend="scripted", model="scripted:longer")
    start = 0
    with connection.cursor() as cursor:
        for size in sizes:
            project = Project.objects.create(slug=f"bench-{size}", name="Benchmark", overlap=1)
            Member.objects.bulk_create(Member(project=project, user=one, role=Member.Role.ANNOTATOR) for one in people)
            Deployment.objects.create(project=project, judge=judge, state=Deployment.State.CHAMPION, trusted=True)
            names = {"project": project.pk, "first": first, "people": PEOPLE, "judge": judge.pk}
            for statement in statements(kind, start, size, names, done=size):
                cursor.execute(statement)
            start += size
        cursor.execute("ANALYZE")
    return create_token(manager)


if __name__ == "__main__":
    main()
