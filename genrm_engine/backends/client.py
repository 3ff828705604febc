"""Asking an HTTP server that speaks JSON: many requests at a time, patience with a busy one, plain errors.

Knows nothing of judging. Made on httpx2 rather than on a vendor's SDK, because those take keys and headers from the
environment and send them to whatever address they are given: here a key goes to the address it was given with, and
nowhere else. Redirects are refused for the same reason. The key stands in no message and in no log line.
"""

import asyncio
import email.utils
import json
import random
import threading
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2

from genrm_engine.errors import EngineError

CONNECT_SECONDS = 10.0
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
LONGEST_RETRY_AFTER = 120.0  # a server that asks for more is left to the caller's own, later attempt
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 529})

T = TypeVar("T")


class BadRequest(EngineError):
    """The server understood the address but not the request (400 or 422)."""


@dataclass(slots=True)
class Usage:
    """Tokens as the server counted them, all requests together."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Client:
    """``timeout``: seconds without an answer; ``retries``: further attempts; ``concurrency``: open requests."""

    def __init__(
        self, url: str, api_key: str = "", *, timeout: float = 600.0, retries: int = 5, concurrency: int = 32
    ) -> None:
        self.url = _checked(url)
        self.usage = Usage()
        self._key = api_key
        self._timeout = timeout
        self._retries = retries
        self._concurrency = concurrency
        self._http = httpx2.AsyncClient(
            headers=_authorization(api_key),
            timeout=httpx2.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS), pool=None),
            limits=httpx2.Limits(max_connections=concurrency),
            follow_redirects=False,
        )
        # A thread of its own: a notebook's already runs an event loop, and a thread can run one only.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tandem-client", daemon=True)
        self._thread.start()

    def post(self, path: str, bodies: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The JSON object that answers each body, in order; the first failure ends all requests as an EngineError."""
        try:
            return self._run(self._all(path, bodies))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self._run(self._http.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        asked = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return asked.result()
        finally:
            asked.cancel()  # what is not done when the wait is interrupted

    async def _all(self, path: str, bodies: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        free = asyncio.Semaphore(self._concurrency)

        async def one(body: dict[str, Any]) -> dict[str, Any]:
            async with free:
                return await self._patiently(path, body)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(body)) for body in bodies]
        return [task.result() for task in tasks]

    async def _patiently(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                response = await self._http.post(f"{self.url}/{path}", json=body)
            except (httpx2.ReadTimeout, httpx2.WriteTimeout) as error:
                # Asked again, a server that is too slow would compute the same twice.
                raise self._error(f"has not answered within {self._timeout:g} seconds", permanent=False) from error
            except httpx2.TransportError as error:
                if last:
                    reason = str(error) or type(error).__name__
                    raise self._error(f"cannot be reached: {reason}", permanent=False) from error
                await asyncio.sleep(_pause(attempt))
                continue
            wait = _retry_after(response)
            if response.status_code not in _PASSING or last or (wait or 0.0) > LONGEST_RETRY_AFTER:
                return self._read(response, path)
            await asyncio.sleep(_pause(attempt) if wait is None else wait)
        raise AssertionError("the last attempt returns or raises")

    def _read(self, response: httpx2.Response, path: str) -> dict[str, Any]:
        if not response.is_success:
            raise self._refusal(response, path)
        try:
            answer = response.json()
        except ValueError as error:
            raise self._error(f"answers /{path} with something that is not JSON; is the URL right?") from error
        if not isinstance(answer, dict):
            raise self._error(f"answers /{path} with JSON that is no object; is the URL right?")
        self._count(answer.get("usage"))
        return answer

    def _count(self, usage: object) -> None:
        if isinstance(usage, dict):
            self.usage.prompt_tokens += int(usage.get("prompt_tokens") or 0)
            self.usage.completion_tokens += int(usage.get("completion_tokens") or 0)

    def _refusal(self, response: httpx2.Response, path: str) -> EngineError:
        """What a status other than success means to a person."""
        status, said = response.status_code, _said(response)
        if response.is_redirect:
            target = response.headers.get("location", "").partition("?")[0]
            return self._error(f"redirects to {target}; redirects are not followed, set the final URL")
        if status in (401, 403):
            return self._error(
                f"refuses the API key ({status}): {said}" if self._key else f"wants an API key ({status})"
            )
        if status == 404 and _names_error(response):
            return self._error(f"does not serve what was asked for (404): {said}")
        if status in (404, 405):
            return self._error(f"has no /{path} ({status}): the URL of an OpenAI-compatible server often ends with /v1")
        if status in (400, 413, 422):
            return BadRequest(self._text(f"refuses the request ({status}): {said}"))
        if status == 429:
            return self._error(f"is asked too often (429): {said}", permanent="insufficient_quota" in response.text)
        return self._error(f"fails ({status}): {said}", permanent=status not in _PASSING)

    def _error(self, text: str, *, permanent: bool = True) -> EngineError:
        return EngineError(self._text(text), permanent=permanent)

    def _text(self, text: str) -> str:
        """A server may quote the key that it was sent."""
        whole = f"the server at {self.url} {text}"
        return whole.replace(self._key, "…") if self._key else whole


def _checked(url: str) -> str:
    """The base URL without a slash at its end; EngineError where it cannot be one."""
    try:
        parsed = httpx2.URL(url.strip())
    except (httpx2.InvalidURL, TypeError) as error:
        raise EngineError(f"the server's URL cannot be read: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise EngineError(f"the server's URL must begin with http:// or https:// and name a host, got {url!r}")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise EngineError("the server's URL may hold no user name, password or query: a key has its own setting")
    return str(parsed).rstrip("/")


def _authorization(api_key: str) -> dict[str, str]:
    if not api_key:
        return {}
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise EngineError("the API key has characters that no key has, such as spaces or line breaks")
    return {"Authorization": f"Bearer {api_key}"}


def _pause(attempt: int) -> float:
    """Exponential, with some chance in it so that many clients do not come back at once."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**attempt) * random.uniform(0.75, 1.0)


def _retry_after(response: httpx2.Response) -> float | None:
    """Seconds that the server asks to wait: the header holds them, or a date."""
    value = response.headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _names_error(response: httpx2.Response) -> bool:
    """Whether the answer is an error as OpenAI's interface writes it, and not some other server's page."""
    try:
        answer = response.json()
    except ValueError:
        return False
    return isinstance(answer, dict) and bool(answer.get("error"))


def _said(response: httpx2.Response) -> str:
    """The server's own words, short and on one line."""
    try:
        answer: Any = response.json()
        found = answer.get("error") or answer.get("message") or answer.get("detail") or answer
        found = found.get("message", found) if isinstance(found, dict) else found
        text = found if isinstance(found, str) else json.dumps(found)
    except (ValueError, AttributeError):
        text = response.text
    return " ".join(text.split())[:300] or "no reason given"
