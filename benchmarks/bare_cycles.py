"""The statements of a cycle of claim + label, sent by psycopg alone: how fast the database by itself would be.

One cycle is sent to the application and its statements are kept; then they are sent again and again with the pair and
the claim of each cycle in place of those of the first, over as many connections as there are clients. No HTTP, no
Django, no rate limit, no job.
"""

import multiprocessing
import random
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

PROCESSES = 2
"""As many as the web server has."""


@dataclass(frozen=True)
class Recorded:
    """The statements of one cycle with their parameters, and the numbers of its pair and its claim."""

    statements: tuple[tuple[str, tuple[Any, ...]], ...]
    pair: int
    claim: int


def record(slug: str, secret: str) -> Recorded:
    """Let the application take a pair and label it; what it sends to the database.

    The pair is one of those that are routed, which are most: there are enough for all cycles.
    """
    from django.db import connection
    from django.test import Client

    from labeling.models import Pair

    sent: list[tuple[str, tuple[Any, ...]]] = []

    def note(execute: Any, sql: str, parameters: Any, many: bool, context: Mapping[str, Any]) -> Any:
        sent.append((sql, tuple(one.value if isinstance(one, Enum) else one for one in parameters or ())))
        return execute(sql, parameters, many, context)

    api = Client(headers={"Authorization": f"Bearer {secret}", "Host": "localhost"})
    _labelled(api, slug)  # the token's first use is noted once
    while True:
        sent.clear()
        with connection.execute_wrapper(note):
            pair, claim = _labelled(api, slug)
        if pair != claim and Pair.objects.filter(pk=pair, part=Pair.Part.TRAIN, audit=False).exists():
            return Recorded(tuple(sent), pair, claim)


def _labelled(api: Any, slug: str) -> tuple[int, int]:
    """The pair and the claim of one cycle."""
    ask = partial(api.post, content_type="application/json")
    claim = ask(f"/api/v1/projects/{slug}/claims", {}).json()
    answer = ask(f"/api/v1/claims/{claim['id']}/label", {"choice": "left", "seconds": 7.5})
    assert answer.status_code == 201, answer.content
    return claim["pair"]["id"], claim["id"]


def replay(recorded: Recorded, dsn: str, *, clients: int, seconds: float) -> float:
    """Cycles per second of so many connections, shared by two processes."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(PROCESSES) as pool:
        share = [(recorded, dsn, clients // PROCESSES, seconds)] * PROCESSES
        return round(sum(pool.starmap(_several, share, chunksize=1)), 1)


def _several(recorded: Recorded, dsn: str, clients: int, seconds: float) -> float:
    counts = [0] * clients

    def work(place: int) -> None:
        import psycopg

        with psycopg.connect(dsn, autocommit=True, prepare_threshold=0) as connection:
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                counts[place] += _cycle(connection, recorded)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - begun)


def _cycle(connection: Any, recorded: Recorded) -> bool:
    """One cycle; False where another connection has taken every pair that was looked at."""
    import psycopg

    pairs, claim = [recorded.pair], recorded.claim
    writes: list[tuple[str, tuple[Any, ...]]] = []
    with connection.cursor() as cursor:
        for sql, parameters in recorded.statements:
            if writes or sql.startswith("UPDATE"):
                writes.append((sql, parameters))
            elif sql.startswith("INSERT"):
                for pair in pairs:
                    try:
                        cursor.execute(sql, _instead(parameters, recorded, pair, claim))
                    except psycopg.errors.UniqueViolation:
                        continue
                    claim = cursor.fetchone()[0]
                    pairs = [pair]
                    break
                else:
                    return False
            else:
                cursor.execute(sql, _instead(parameters, recorded, pairs[0], claim))
                found = cursor.fetchall()
                if re.search(r'FROM "labeling_pair" WHERE', sql):
                    pairs = [row[0] for row in found]
                    pairs[1:] = random.sample(pairs[1:], len(pairs[1:]))  # as the application does
        with connection.transaction():
            for sql, parameters in writes:
                cursor.execute(sql, _instead(parameters, recorded, pairs[0], claim))
    return True


def _instead(parameters: tuple[Any, ...], recorded: Recorded, pair: int, claim: int) -> tuple[Any, ...]:
    """The parameters with this pair and claim in place of those that were recorded, each as wide a number as it was."""
    places = {recorded.pair: pair, recorded.claim: claim}
    return tuple(type(one)(places[one]) if isinstance(one, int) and one in places else one for one in parameters)
