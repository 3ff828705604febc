"""Cycles per second of claim + label over the API, with many clients at once; the server's CPU and the slowest ones.

    python benchmarks/label_cycles.py --database postgresql://postgres@127.0.0.1:5432 --broker redis://127.0.0.1:6379/6
    python benchmarks/label_cycles.py

Makes a database of its own on the server (without `--database`: an SQLite file) and drops it afterwards. For each
number of pairs a project, half of it labelled, and the web server as the product starts it (two processes on
PostgreSQL, one on SQLite). Each client is another annotator with a token of their own; it takes a pair and labels it,
again and again, over one connection. The jobs go to the broker and stay there: no worker runs. Afterwards nobody may
have labelled a pair that another one had. On PostgreSQL the same statements are then sent by psycopg alone.
"""

import argparse
import http.client
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.bare_cycles import record, replay  # noqa: E402
from benchmarks.bench_database import Kind, own_database, statements, web_server  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "label_cycles.json"
SIZES = {"postgresql": (10_000, 1_000_000), "sqlite": (10_000, 100_000)}
CLIENTS = (8, 32)
WORKERS = {"postgresql": 2, "sqlite": 1}
BARE = (8, 16)
"""Connections that send the same statements by psycopg alone: with 32 clients the web server has 16."""
WARM = 10
"""Cycles of each client that are not counted."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", help="a PostgreSQL server, without a database's name; none: SQLite")
    parser.add_argument("--broker", help="a Redis to send the jobs to; none: nothing is sent", default="")
    parser.add_argument("--pairs", type=int, nargs="*", help="numbers of pairs, each a project of its own")
    parser.add_argument("--seconds", type=float, default=20, help="how long the clients go on")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    if options.broker:
        os.environ["REDIS_URL"] = options.broker
    with own_database(options.database) as (kind, _):
        found = measure(kind, options.pairs or SIZES[kind], seconds=options.seconds)
    found["broker"] = "Redis" if options.broker else "none"
    print(json.dumps(found, indent=2))
    known = json.loads(options.out.read_text()) if options.out.exists() else {}
    options.out.write_text(json.dumps({**known, kind: found}, indent=2) + "\n")


def measure(kind: Kind, sizes: tuple[int, ...], *, seconds: float) -> dict[str, Any]:
    """Fill the database; then for each size and number of clients a fresh server."""
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from genrm_engine.reproduction.machine import machine

    call_command("migrate", verbosity=0)
    call_command("collectstatic", verbosity=0, interactive=False)
    secrets = _fill(kind, sizes)
    largest = max(sizes)  # where pairs do not run out
    recorded = record(f"bench-{largest}", secrets[largest][0]) if kind == "postgresql" else None
    connection.close()
    measured = []
    for clients in CLIENTS:
        for size in sizes:
            one = _measured(kind, f"bench-{size}", secrets[size][:clients], seconds)
            measured.append({"pairs": size, "clients": clients, **one})
            print(json.dumps(measured[-1]), file=sys.stderr)
    bare = {}
    if recorded is not None:
        bare = {
            str(clients): replay(recorded, os.environ["DATABASE_URL"], clients=clients, seconds=seconds / 2)
            for clients in BARE
        }
    p95 = {(one["clients"], one["pairs"]): one["p95_ms"] for one in measured}
    return {
        "cycles": measured,
        **({"bare_cycles_per_second_by_connections": bare} if bare else {}),
        "p95_largest_to_smallest": {
            str(clients): round(p95[clients, max(sizes)] / p95[clients, min(sizes)], 2) for clients in CLIENTS
        },
        "command": f"python benchmarks/label_cycles.py{' --database postgresql://…' if kind == 'postgresql' else ''}",
        "machine": {**machine("", "cpu", None), "platform": platform.platform(), "load": round(os.getloadavg()[0], 1)},
    }


def _fill(kind: Kind, sizes: tuple[int, ...]) -> dict[int, list[str]]:
    """A project for each size, half of it labelled; the annotators' tokens by size."""
    from django.contrib.auth.models import User
    from django.core.management.color import no_style
    from django.db import connection

    from labeling.models import ApiToken, Claim, Deployment, Label, Member, Pair, Project
    from labeling.services.deployments import first_judge
    from labeling.services.tokens import create_token

    people = [User.objects.create_user(f"person-{number}") for number in range(max(CLIENTS))]
    judge = first_judge(backend="scripted", model="scripted:longer")
    start, secrets = 0, {}
    with connection.cursor() as cursor:
        for size in sizes:
            project = Project.objects.create(slug=f"bench-{size}", name="Benchmark", overlap=1)
            Member.objects.bulk_create(Member(project=project, user=one, role=Member.Role.ANNOTATOR) for one in people)
            Deployment.objects.create(project=project, judge=judge, state=Deployment.State.CHAMPION)
            names = {"project": project.pk, "first": people[0].pk, "people": len(people), "judge": judge.pk}
            for statement in statements(kind, start, size, names, done=size // 2):
                cursor.execute(statement)
            start += size
            secrets[size] = [create_token(one, scope=ApiToken.Scope.LABEL, project=project) for one in people]
        for statement in connection.ops.sequence_reset_sql(no_style(), [Pair, Claim, Label]):
            cursor.execute(statement)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if kind == "postgresql" else "ANALYZE")
    return secrets


def _measured(kind: Kind, slug: str, secrets: list[str], seconds: float) -> dict[str, Any]:
    """One server, these clients at once."""
    import psutil

    with web_server(WORKERS[kind]) as (process, port):
        clients = subprocess.Popen(
            [sys.executable, __file__, "--client", str(port), slug, str(seconds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert clients.stdin is not None
        assert clients.stdout is not None
        clients.stdin.write(json.dumps(secrets) + "\n")
        clients.stdin.flush()
        assert clients.stdout.readline() == "warm\n"
        servers = psutil.Process(process.pid).children()
        database = [one for one in psutil.process_iter() if one.name() == "postgres"]
        before = _cpu(servers), _cpu(database)
        clients.stdin.write("go\n")
        clients.stdin.flush()
        found = json.loads(clients.stdout.readline())
        used = _cpu(servers) - before[0], _cpu(database) - before[1]
        clients.wait()
    times, handed = sorted(found["seconds"]), Counter(found["pairs"])
    return {
        "cycles": len(times),
        "cycles_per_second": round(len(times) / found["wall"], 1),
        "median_ms": round(1000 * statistics.median(times), 1),
        "p95_ms": round(1000 * times[int(0.95 * len(times))], 1),
        "slowest_ms": round(1000 * times[-1], 1),
        "server_cpu_ms": round(1000 * used[0] / len(times), 2),
        **({"database_cpu_ms": round(1000 * used[1] / len(times), 2)} if kind == "postgresql" else {}),
        "client_cpu_ms": round(1000 * found["cpu"] / len(times), 2),
        "pairs_handed_to_two": sum(people > 1 for people in handed.values()),
    }


def _cpu(processes: Iterable[Any]) -> float:
    """CPU seconds that these processes have used; those that are gone count nothing."""
    import psutil

    seconds = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            seconds += sum(process.cpu_times()[:2])
    return seconds


def clients(port: int, slug: str, seconds: float) -> None:
    """The clients' own process: tokens from standard input, `warm`, and after the next line the cycles as JSON."""
    secrets = json.loads(sys.stdin.readline())
    gate = threading.Barrier(len(secrets) + 1)
    times: list[float] = []
    pairs: list[int] = []

    def work(secret: str) -> None:
        ask = Client(port, secret)
        pairs.extend(ask.cycle(slug) for _ in range(WARM))
        ask.connection.close()  # the server would give up one that is idle so long; the next request opens another
        gate.wait()
        gate.wait()
        end = time.perf_counter() + seconds
        while (begun := time.perf_counter()) < end:
            pairs.append(ask.cycle(slug))
            times.append(time.perf_counter() - begun)

    threads = [threading.Thread(target=work, args=(secret,)) for secret in secrets]
    for thread in threads:
        thread.start()
    gate.wait()
    print("warm", flush=True)
    sys.stdin.readline()
    begun, cpu = time.perf_counter(), time.process_time()
    gate.wait()
    for thread in threads:
        thread.join()
    found = {"seconds": times, "pairs": pairs, "wall": time.perf_counter() - begun, "cpu": time.process_time() - cpu}
    print(json.dumps(found), flush=True)


class Client:
    """An annotator's program, over one connection."""

    def __init__(self, port: int, secret: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}

    def post(self, path: str, body: str) -> Any:
        self.connection.request("POST", f"/api/v1{path}", body, self.headers)
        answer = self.connection.getresponse()
        read = answer.read()
        assert answer.status == 201, (answer.status, read)
        return json.loads(read)

    def cycle(self, slug: str) -> int:
        """Take a pair and label it; the pair's id."""
        claim = self.post(f"/projects/{slug}/claims", "{}")
        self.post(f"/claims/{claim['id']}/label", '{"choice": "left", "seconds": 7.5}')
        found: int = claim["pair"]["id"]
        return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        clients(int(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
    else:
        main()
