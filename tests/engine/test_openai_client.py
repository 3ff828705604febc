"""The client of OpenAI-compatible servers, and what happens when such a server misbehaves."""

import asyncio
import logging
import socket
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("httpx2", reason="comes with the engine's libraries")

from genrm_engine.backends import BackendSpec, client, load_backend
from genrm_engine.backends.client import Client
from genrm_engine.errors import EngineError
from tests.engine.fake_server import FakeServer, Reply, serving

KEY = "sk-not-a-real-key-0123456789"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.01)


@pytest.fixture
def ask(server: FakeServer) -> Iterator[Client]:
    made = Client(server.url, KEY, timeout=5, retries=2)
    yield made
    made.close()


def test_a_busy_server_is_asked_again_when_it_says(server: FakeServer, ask: Client) -> None:
    server.replies = [Reply({"error": {"message": "slow down"}}, 429, {"Retry-After": "1"}), Reply({"fine": 1})]
    assert ask.post("x", [{}]) == [{"fine": 1}]
    first, second = server.asked
    assert second.at - first.at >= 1


def test_a_date_says_when_to_ask_again_as_well(server: FakeServer, ask: Client) -> None:
    server.replies = [Reply({}, 503, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}), Reply({"fine": 1})]
    assert ask.post("x", [{}]) == [{"fine": 1}]


def test_a_wait_too_long_is_left_to_the_caller(server: FakeServer, ask: Client) -> None:
    server.replies = [Reply({}, 429, {"Retry-After": "3600"})]
    with pytest.raises(EngineError, match="too often") as raised:
        ask.post("x", [{}])
    assert not raised.value.permanent
    assert len(server.asked) == 1


def test_a_failing_server_gets_a_bounded_number_of_attempts(server: FakeServer, ask: Client) -> None:
    server.replies = [Reply({}, 500), Reply({}, 502), Reply({"fine": 1})]
    assert ask.post("x", [{}]) == [{"fine": 1}]
    server.answer = lambda body: Reply({"error": "out of memory"}, 500)
    with pytest.raises(EngineError, match="out of memory") as raised:
        ask.post("x", [{}])
    assert not raised.value.permanent
    assert len(server.asked) == 3 + 3


def test_a_dropped_connection_is_tried_again(server: FakeServer, ask: Client) -> None:
    server.replies = [Reply(drop=True), Reply({"fine": 1})]
    assert ask.post("x", [{}]) == [{"fine": 1}]


def test_a_hanging_server_is_given_up_once(server: FakeServer) -> None:
    server.answer = lambda body: Reply(hang=3)
    hurried = Client(server.url, timeout=0.2)
    started = time.monotonic()
    with pytest.raises(EngineError, match=r"not answered within 0\.2 seconds") as raised:
        hurried.post("x", [{}])
    assert time.monotonic() - started < 2
    assert not raised.value.permanent
    assert len(server.asked) == 1
    hurried.close()


def test_nobody_there_is_a_passing_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    lost = Client(url, retries=1)
    with pytest.raises(EngineError, match=f"{url} cannot be reached") as raised:
        lost.post("x", [{}])
    assert not raised.value.permanent
    lost.close()


@pytest.mark.parametrize("body", ['{"choices": [', "<html>Welcome</html>", "[1, 2]"])
def test_an_answer_that_is_no_json_object_is_one_plain_error(server: FakeServer, ask: Client, body: str) -> None:
    server.replies = [Reply(body)]
    with pytest.raises(EngineError, match="is the URL right"):
        ask.post("x", [{}])


def test_a_redirect_is_refused_and_the_key_goes_nowhere_else(server: FakeServer, ask: Client) -> None:
    with serving(FakeServer()) as other:
        server.replies = [Reply({}, 307, {"Location": f"{other.url}/x?token=1"})]
        with pytest.raises(EngineError, match="redirects are not followed") as raised:
            ask.post("x", [{}])
        assert other.asked == []
    assert raised.value.permanent
    assert "token=1" not in str(raised.value)


def test_a_refused_key_is_permanent_and_never_shown(
    server: FakeServer, ask: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.replies = [Reply({"error": {"message": f"Incorrect API key provided: {KEY}"}}, 401)]
    with pytest.raises(EngineError, match="refuses the API key") as raised:
        ask.post("x", [{}])
    assert raised.value.permanent
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(raised.value)
    assert KEY not in caplog.text
    assert KEY not in repr(BackendSpec("openai", "m", url=server.url, api_key=KEY))


def test_no_key_comes_from_the_environment(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key belongs to the address it was given with, never to another one."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.replies = [Reply({"detail": "who are you?"}, 401)]
    plain = Client(server.url)
    with pytest.raises(EngineError, match="wants an API key"):
        plain.post("x", [{}])
    assert KEY not in str(server.asked[0].headers)
    plain.close()


def test_a_model_that_is_not_served_and_a_wrong_url_are_told_apart(server: FakeServer, ask: Client) -> None:
    server.replies = [
        Reply({"error": {"message": "The model `x` does not exist.", "code": 404}}, 404),
        Reply({"detail": "Not Found"}, 404),
    ]
    with pytest.raises(EngineError, match="The model `x` does not exist") as unknown:
        ask.post("completions", [{}])
    with pytest.raises(EngineError, match="often ends with /v1") as lost:
        ask.post("completions", [{}])
    assert unknown.value.permanent
    assert lost.value.permanent


@pytest.mark.parametrize(
    "url", ["", "ftp://host/v1", "http://", "http://user:secret@host/v1", "host:8000", "http://h/?k=1"]
)
def test_an_impossible_url_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(EngineError, match="URL"):
        load_backend(BackendSpec("openai", "m", url=url))


def test_a_key_with_a_line_break_is_refused_without_showing_it() -> None:
    with pytest.raises(EngineError, match="API key") as raised:
        Client("http://127.0.0.1:1/v1", "abc\ndef")
    assert "abc" not in str(raised.value)


def test_requests_are_many_but_bounded_and_answers_keep_their_order(server: FakeServer) -> None:
    server.answer = lambda body: Reply(
        {"number": body["number"], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}, hang=0.05
    )
    several = Client(server.url, concurrency=3)
    found = several.post("x", [{"number": number} for number in range(12)])
    assert [answer["number"] for answer in found] == list(range(12))
    assert 1 < server.most_at_once <= 3
    assert (several.usage.prompt_tokens, several.usage.completion_tokens) == (36, 24)
    several.close()


def test_a_client_works_where_an_event_loop_already_runs(server: FakeServer) -> None:
    """As in a notebook."""

    async def cell() -> list[object]:
        made = Client(server.url, KEY, timeout=5, retries=0)
        found = made.post("x", [{}, {}])
        made.close()
        made.close()
        return list(found)

    server.answer = lambda body: Reply({"fine": 1})
    assert asyncio.run(cell()) == [{"fine": 1}] * 2


def test_an_interrupted_wait_ends_its_requests(
    server: FakeServer, ask: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = time.monotonic()

    def interrupted(work: object, timeout: float | None = None) -> None:
        time.sleep(0.2)
        raise KeyboardInterrupt

    server.answer = lambda body: Reply({"fine": 1}, hang=3)
    with monkeypatch.context() as patched:
        patched.setattr("concurrent.futures.Future.result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ask.post("x", [{}])
    ask.close()
    assert time.monotonic() - started < 2
