"""A stream too long to be imported at once, over HTTP from its first line to its last pair: server, broker, worker."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from django.contrib.auth.models import User

from labeling.services.imports import AT_ONCE
from labeling.services.tokens import create_token
from tests.api.test_live import serving
from tests.resilience.conftest import Stack

pytestmark = pytest.mark.slow

PAIRS = 8_000
TEXT = "A fox crossed the river, and nobody saw it come back. " * 14


def rows() -> Iterator[bytes]:
    """The stream in chunks, a row each; every thousandth is no pair."""
    for number in range(PAIRS):
        row = {"id": str(number), "prompt": f"Tale {number}?", "response_a": f"{TEXT}{number}", "response_b": "None."}
        yield json.dumps(row).encode() + b"\n"
        if number % 1_000 == 0:
            yield f"no pair {number}\n".encode()


def pages(api: httpx2.Client, path: str) -> Iterator[dict[str, Any]]:
    following: str | None = path
    while following:
        page = api.get(following).json()
        yield from page["items"]
        following = page["next"]


def test_a_long_stream_is_taken_by_a_worker_and_its_pairs_can_be_queried(stack: Stack, alice: User) -> None:
    assert sum(map(len, rows())) > AT_ONCE
    stack.start("default")
    headers = {"Authorization": f"Bearer {create_token(alice)}"}
    with (
        serving(stack.home, REDIS_URL=stack.environment["REDIS_URL"]) as root,
        httpx2.Client(base_url=f"{root}/api/v1", headers=headers, timeout=60) as api,
    ):
        sent = api.post("/projects/stories/pairs", content=rows(), headers={"Content-Type": "application/x-ndjson"})
        assert (sent.status_code, sent.json()["state"]) == (202, "waiting")
        address = root + sent.headers["Location"]
        found = followed(api, address)
        assert (found["state"], found["imported"], found["rejected"]) == ("done", PAIRS, 8), found
        assert found["bytes_read"] == found["bytes"] == sum(map(len, rows()))
        ids = [pair["external_id"] for pair in pages(api, "/projects/stories/pairs?limit=1000")]
        assert ids == [str(number) for number in range(PAIRS)]
        turned_away = [line["row"] for line in pages(api, f"{address}/rejected?limit=3")]
        assert turned_away == [f"no pair {number}" for number in range(0, PAIRS, 1_000)]
        again = api.post("/projects/stories/pairs", content=rows(), headers={"Content-Type": "application/x-ndjson"})
        assert (again.status_code, again.json()) == (200, found)


def followed(api: httpx2.Client, address: str) -> dict[str, Any]:
    """The import once it has ended."""
    for _ in range(600):
        found: dict[str, Any] = api.get(address).json()
        if found["state"] not in ("waiting", "running"):
            return found
        time.sleep(0.1)
    pytest.fail(f"a minute later the import is still {found['state']}")
