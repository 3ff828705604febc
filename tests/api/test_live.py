"""The API through a real server: the whole of a labelling, problems, chunks, and clients that know no Django."""

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.conf import settings
from django.contrib.auth.models import User

from labeling.models import Label, Member, Pair, Project
from labeling.services.tokens import create_token
from tests.factories import ProjectFactory
from tests.resilience.conftest import database_url

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def secret() -> str:
    """Of a manager of the project `stories`."""
    user = User.objects.create_user("alice")
    Member.objects.create(project=ProjectFactory.create(slug="stories"), user=user, role=Member.Role.MANAGER)
    return create_token(user)


def ask(root: str, secret: str, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any, Any]:
    """A request by the standard library: status, headers, and the body read as JSON where there is one."""
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    given = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json", **headers}
    request = urllib.request.Request(f"{root}/api/v1{path}", data, given, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, _read(answer.read(), answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.headers, _read(error.read(), error.headers)


def _read(content: bytes, headers: Any) -> Any:
    content = gzip.decompress(content) if headers.get("Content-Encoding") == "gzip" else content
    return json.loads(content) if "json" in headers.get("Content-Type", "") and content else content


def lines(count: int) -> bytes:
    rows = ({"prompt": f"Q{n}?", "response_a": f"Yes {n}.", "response_b": f"No {n}."} for n in range(count))
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def test_a_whole_labelling(live_server: Any, secret: str, home: Path) -> None:
    root = live_server.url
    status, headers, batch = ask(root, secret, "POST", "/projects/stories/pairs", lines(3))
    assert (status, batch["imported"]) == (201, 3)
    assert ask(root, secret, "GET", headers["Location"].removeprefix("/api/v1"))[2] == batch
    status, _, claim = ask(root, secret, "POST", "/projects/stories/claims")
    assert status == 201
    path, body = f"/claims/{claim['id']}/label", {"choice": "left", "seconds": 4}
    first = ask(root, secret, "POST", path, body, **{"Idempotency-Key": "k1"})
    again = ask(root, secret, "POST", path, body, **{"Idempotency-Key": "k1"})
    assert (first[0], again[0], first[2]) == (201, 200, again[2])
    status, _, claim = ask(root, secret, "POST", "/projects/stories/claims")
    assert ask(root, secret, "POST", f"/claims/{claim['id']}/skip")[2]["state"] == "skipped"
    status, headers, page = ask(root, secret, "GET", "/projects/stories/pairs?limit=2", **{"Accept-Encoding": "gzip"})
    assert headers["Content-Encoding"] == "gzip"
    assert page["next"].startswith(root)
    rest = ask(root, secret, "GET", page["next"].removeprefix(f"{root}/api/v1"))[2]
    assert (len(page["items"]), len(rest["items"]), rest["next"]) == (2, 1, None)
    tag = ask(root, secret, "GET", "/projects/stories")[1]["ETag"]
    status, headers, _ = ask(root, secret, "GET", "/projects/stories", **{"If-None-Match": tag, "X-Request-ID": "r1"})
    assert (status, headers["X-Request-ID"]) == (304, "r1")
    assert Label.objects.get().seconds == 4


def test_problems_reach_the_client(live_server: Any, secret: str) -> None:
    for method, path, body, status in (
        ("GET", "/nothing", None, 404),
        ("PUT", "/projects", {}, 405),
        ("POST", "/projects/stories/judge", b"{", 400),
        ("POST", "/projects/stories/judge", {"pairs": []}, 422),
    ):
        found = ask(live_server.url, secret, method, path, body)
        assert (found[0], found[2]["status"]) == (status, status)
        assert found[1]["Content-Type"] == "application/problem+json"
    assert ask(live_server.url, "tandem_wrong", "GET", "/projects")[0] == 401


@contextmanager
def serving(home: Path, **settings_of: str) -> Iterator[str]:
    """The web server as it is run in earnest, on the test's database; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "webapp.settings",
        "TANDEM_HOME": str(home),
        "DATABASE_URL": database_url(),
        "TANDEM_SECRET_KEY": "tests",
        "TANDEM_JUDGE_BACKEND": "scripted",
        "TANDEM_JUDGE_MODEL": "scripted:longer",
        **settings_of,
    }
    command = [sys.executable, "-m", "gunicorn", "webapp.wsgi", "--bind", f"127.0.0.1:{port}", "--no-control-socket"]
    command += ["--worker-class", "gthread", "--threads", "4"]
    process = subprocess.Popen(command, cwd=settings.BASE_DIR, env=environment, stderr=subprocess.DEVNULL)
    root = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{root}/healthz")
        yield root
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@pytest.fixture
def gunicorn(transactional_db: None, tmp_path: Path) -> Iterator[str]:
    with serving(tmp_path) as root:
        yield root


def _wait_for(url: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the server did not start")


def test_a_stream_of_unknown_length_is_imported(gunicorn: str, secret: str) -> None:
    """A program that makes its lines as it goes sends them in chunks, and knows no length."""
    content = lines(100)
    pieces = (content[place : place + 1000] for place in range(0, len(content), 1000))
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/x-ndjson"}
    answer = httpx2.post(f"{gunicorn}/api/v1/projects/stories/pairs", content=pieces, headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["imported"]) == (201, 100)
    assert Pair.objects.count() == 100


def test_no_pair_is_handed_to_two_people(gunicorn: str, secret: str) -> None:
    """Eight people take and label at once, until nothing is left."""
    assert ask(gunicorn, secret, "POST", "/projects/stories/pairs", lines(60))[0] == 201
    project = Project.objects.get(slug="stories")
    people = User.objects.bulk_create(User(username=f"person-{number}") for number in range(8))
    Member.objects.bulk_create(Member(project=project, user=one, role=Member.Role.ANNOTATOR) for one in people)

    def work(own: str) -> list[int]:
        handed: list[int] = []
        while True:
            status, _, claim = ask(gunicorn, own, "POST", "/projects/stories/claims", {})
            if status == 204:
                return handed
            assert status == 201, claim
            handed.append(claim["pair"]["id"])
            body = {"choice": "left", "seconds": 3}
            assert ask(gunicorn, own, "POST", f"/claims/{claim['id']}/label", body)[0] == 201

    secrets = [create_token(one, scope="label", project=project) for one in people]
    with ThreadPoolExecutor(len(secrets)) as pool:
        handed = [pair for pairs in pool.map(work, secrets) for pair in pairs]
    assert sorted(handed) == list(Pair.objects.order_by("pk").values_list("pk", flat=True))
    assert Label.objects.count() == 60


def test_without_a_judge_worker_a_call_waits_no_longer_than_asked(gunicorn: str, secret: str) -> None:
    body = {"pairs": [{"prompt": "Is it?", "response_a": "Yes.", "response_b": "Yes, and this is why."}]}
    ask(gunicorn, secret, "POST", "/projects/stories/pairs", lines(1))
    began = time.monotonic()
    status, headers, call = ask(gunicorn, secret, "POST", "/projects/stories/judge?timeout=0.3", body)
    assert (status, call["state"]) == (202, "waiting")
    assert time.monotonic() - began < 5
    assert ask(gunicorn, secret, "GET", headers["Location"].removeprefix("/api/v1"))[2]["id"] == call["id"]


def test_a_token_that_has_used_up_its_requests_is_told_when_to_come_again(secret: str, tmp_path: Path) -> None:
    with serving(tmp_path, TANDEM_API_REQUESTS="3") as root:
        answers = [ask(root, secret, "GET", "/projects") for _ in range(7)]  # a new minute may begin among them
    refused = [(headers, found) for status, headers, found in answers if status == 429]
    assert [status for status, *_ in answers[:3]] == [200, 200, 200]
    headers, found = refused[0]
    assert (headers["Content-Type"], found["status"]) == ("application/problem+json", 429)
    assert headers["RateLimit-Policy"] == '"token";q=3;w=60'
    assert 1 <= int(headers["Retry-After"]) <= 60
