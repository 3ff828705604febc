"""What the benchmarks of the web server share: a database of their own, the server, and rows made by SQL."""

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
Kind = str
"""`postgresql` or `sqlite`."""

TEXT: Mapping[Kind, str] = {
    # Text of about n characters that differs from row to row and does not compress away.
    "postgresql": "substr(repeat(md5(n::text) || ' ' || md5((n + {salt})::text) || ' ', 10), 1, {length})",
    "sqlite": "substr(replace(printf('%.60c', 'x'), 'x', printf('%010d ', n * 7919 + {salt})), 1, {length})",
}


@contextmanager
def own_database(server: str | None) -> Iterator[tuple[Kind, Path]]:
    """A new database on the PostgreSQL server (None: an SQLite file), named in the environment and dropped afterwards.

    Gives its kind and an empty data folder. Nothing of Django may have been set up before.
    """
    with tempfile.TemporaryDirectory() as home:
        name = f"tandem_bench_{os.getpid()}"
        url = f"{server}/{name}" if server else f"sqlite:///{home}/tandem.sqlite3"
        os.environ |= {"TANDEM_HOME": home, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "webapp.settings"}
        os.environ |= {"TANDEM_JUDGE_BACKEND": "scripted", "TANDEM_JUDGE_MODEL": "scripted:longer"}
        os.environ |= {"PYTHONPATH": str(ROOT), "TANDEM_LOG_LEVEL": "ERROR"}
        if server:
            _tell(server, f"CREATE DATABASE {name}")
        try:
            yield ("postgresql" if server else "sqlite"), Path(home)
        finally:
            if server:
                _tell(server, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def web_server(workers: int = 1) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The product's web server, as it is started in earnest; its process and port."""
    from webapp.launch.processes import gunicorn

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = gunicorn(f"127.0.0.1:{port}", workers=workers)
    process = subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT)
    try:
        for _ in range(300):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                connection.request("GET", "/healthz")
                connection.getresponse().read()
                break
            except OSError:
                time.sleep(0.1)
        yield process, port
    finally:
        process.terminate()
        process.wait()


def statements(kind: Kind, start: int, size: int, names: Mapping[str, int], *, done: int) -> list[str]:
    """SQL for `size` pairs with the ids after `start`; the first `done` have a label by one of the people, a claim too.

    Prompts have 250 characters, responses 600. `names` holds the ids `project`, `judge` and `first` (of the people,
    `people` in all); the fourth statement gives the labelled pairs a judgement.
    """

    def text(length: int, salt: int) -> str:
        return TEXT[kind].format(length=length, salt=salt)

    def series(rows: int) -> str:
        if kind == "postgresql":
            return f"generate_series({start + 1}, {start + rows}) AS series(n)"
        counted = f"SELECT {start + 1} AS n UNION ALL SELECT n + 1 FROM series WHERE n < {start + rows}"
        return f"(WITH RECURSIVE series(n) AS ({counted}) SELECT n FROM series)"

    true, false, now = (
        ("TRUE", "FALSE", "now()") if kind == "postgresql" else ("1", "0", "'2026-05-01 12:30:00.123456'")
    )
    json_of = "::jsonb" if kind == "postgresql" else ""
    key = {"postgresql": "md5(n::text)", "sqlite": "printf('%032d', n)"}[kind]
    drawn = "0.02 + 0.96 * (n % 1000) / 1000.0"
    pair = f"""INSERT INTO labeling_pair (id, project_id, external_id, prompt, response_a, response_b, model_a, model_b,
        meta, gold, prompt_hash, content_hash, group_key, part, audit, shuffle, route_score, route_reason,
        extra_labels, ambiguous, closed, created_at)
        SELECT n, {names["project"]}, 'pair-' || n,
        ('[{{"role": "user", "content": "' || {text(250, 3)} || '"}}]'){json_of}, {text(600, 1)}, {text(600, 2)},
        'model-one', 'model-two', '{{"source": "bench"}}', '', {key}, {key}, {key},
        CASE WHEN n % 4 = 0 THEN 'gate' ELSE '' END, {false}, n % 1000003 * 1013 % 1000003, 0, '', 0, {false},
        n <= {start + done}, {now} FROM {series(size)}"""
    claim = f"""INSERT INTO labeling_claim (id, pair_id, annotator_id, slot, slots, swapped, state, expires_at, ahead,
        skip_reason, reason, created_at)
        SELECT n, n, {names["first"]} + n % {names["people"]}, 0, 1, n % 2 = 0, 'done', {now}, {false}, '', '', {now}
        FROM {series(done)}"""
    label = f"""INSERT INTO labeling_label (id, pair_id, claim_id, annotator_id, external_annotator, source, choice,
        final_choice, criteria, highlights, comment, seconds, too_fast, blind, withdrawn, created_at)
        SELECT n, n, n, {names["first"]} + n % {names["people"]}, '', 'claim',
        CASE WHEN n % 3 = 0 THEN 'a' ELSE 'b' END,
        'b', '{{}}', '[]', '', 7.25, {false}, {true}, {false}, {now} FROM {series(done)}"""
    judgement = f"""INSERT INTO labeling_judgement (id, pair_id, judge_id, method, p_a, p_a_straight, p_a_swapped,
        consistent, votes_a, votes_b, samples, unparsed, tokens, seconds, created_at)
        SELECT n, n, {names["judge"]}, 'score', {drawn}, {drawn}, {drawn}, {true}, 1, 1, 2, 0, 500, 0.1, {now}
        FROM {series(done)}"""
    return [pair, claim, label, judgement]


def _tell(server: str, statement: str) -> None:
    import psycopg

    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(statement)
