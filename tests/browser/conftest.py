"""A real Chromium against the live server. Skipped with a reason where there is none, failed in CI."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.test import Client
from playwright.sync_api import Browser, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from tests.browser.server import Server
from tests.resilience.conftest import broker_url

# Playwright's synchronous API runs an event loop in this thread; the rows a test reads here are read by nobody else.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WIDE = {"width": 1280, "height": 800}

OpenAs = Callable[..., Page]

__all__ = ["broker_url"]  # a fixture of the real processes


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = Path(os.environ.get("TANDEM_CHROMIUM", "/usr/bin/chromium"))
    if not path.exists():
        reason = f"no Chromium at {path}: install it, or set TANDEM_CHROMIUM"
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(path), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_as(chromium: Browser, live_server: LiveServer) -> Iterator[OpenAs]:
    """A page signed in as a client's user: `open_as(as_bob, "/p/stories/label/")`. Its errors fail the test."""
    contexts = []
    problems: list[str] = []

    def open_page(client: Client | None, path: str, *, viewport: dict[str, int] = WIDE, scheme: str = "light") -> Page:
        context = chromium.new_context(
            base_url=live_server.url,
            viewport={"width": viewport["width"], "height": viewport["height"]},
            color_scheme="dark" if scheme == "dark" else "light",
            reduced_motion="reduce",
        )
        contexts.append(context)
        if client is not None:
            cookie = client.cookies["sessionid"].value
            context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if "Content Security Policy" in line.text else None)
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def server(transactional_db: None, tmp_path: Path, broker_url: str) -> Iterator[Server]:
    """The product's own web server in a process that can be killed, on the test's database."""
    running = Server(tmp_path, broker_url)
    running.start()
    yield running
    running.kill()
