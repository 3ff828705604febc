"""The whole loop as a newcomer meets it: `run_tandem`, the sign-in link, labels by keyboard, and a retrained champion.

Every process, the broker, the browser and the small model are real; only the example labels came with the demo, whose
pairs are short here, so that a slow machine trains on them in minutes.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.test_never_loses import GUARD_MS, ready
from tests.launch.starting import Start, free_port
from tests.short_pairs import as_lines, short_row

pytestmark = [pytest.mark.browser, pytest.mark.model, pytest.mark.xdist_group("torch"), pytest.mark.timeout(1800)]

TRAINING_SECONDS = 1500
PAIRS, UNLABELLED = 140, 12
MARK = "window.tandemTestMark"


@pytest.fixture
def tandem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Tandem with a demo of short pairs and the bare embedded model, from an empty data folder."""
    pytest.importorskip("torch", reason="the web parts alone are installed")
    demo = tmp_path / "demo.jsonl"
    demo.write_text(as_lines([short_row(number, labelled=number >= UNLABELLED) for number in range(PAIRS)]))
    monkeypatch.setenv("TANDEM_DEMO", str(demo))
    monkeypatch.setenv("TANDEM_LEAST_STEPS", "40")
    start = Start(tmp_path / "home", free_port(), tmp_path / "run.log", judge=("transformers", "embedded-base"))
    yield start
    if start.process.poll() is None:
        start.process.send_signal(signal.SIGINT)
        start.process.wait(30)


@pytest.fixture
def page(chromium: Browser, tandem: Start) -> Iterator[Page]:
    link = tandem.wait_until_ready(seconds=300)
    context = chromium.new_context(base_url=tandem.url, viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    opened.goto(link)
    yield opened
    context.close()


def api(tandem: Start, token: str, path: str) -> bytes:
    request = urllib.request.Request(f"{tandem.url}/api/v1{path}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())


def labels(tandem: Start, token: str, query: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in api(tandem, token, f"/projects/demo/labels?{query}").splitlines()]


def token_of(tandem: Start) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", "create_token", "admin"],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "webapp.settings", "TANDEM_HOME": str(tandem.home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()[-1]


def press(page: Page, key: str) -> str:
    """Press a key, wait until the screen shows something else, and say what."""
    before = page.locator("#stage").get_attribute("data-stage")
    page.keyboard.press(key)
    page.wait_for_function("before => document.getElementById('stage').dataset.stage !== before", arg=before)
    page.wait_for_timeout(GUARD_MS)
    return page.locator("#stage").get_attribute("data-stage") or ""


def label_by_keyboard(page: Page, keys: str) -> int:
    """Label pair after pair; where the judge is shown or awaited, Enter goes on. Returns how many were not revealed."""
    straight_on = 0
    for key in keys:
        press(page, key)
        page.wait_for_selector("#stage:not([data-stage^='committed-'])")  # only the receipt says whether it measures
        page.wait_for_timeout(GUARD_MS)
        if (page.locator("#stage").get_attribute("data-stage") or "").startswith("label-"):
            press(page, "Enter")
        else:
            straight_on += 1
    return straight_on


def test_label_retrain_and_export(tandem: Start, page: Page) -> None:
    page.get_by_role("link", name="Demo: everyday questions", exact=True).click()
    expect(page.locator("#pulse")).to_contain_text("not trusted yet")

    page.wait_for_load_state()  # keys are read once the page's scripts have run
    page.keyboard.press("l")
    page.wait_for_url("**/p/demo/label/")
    ready(page)
    page.evaluate(f"{MARK} = 'still here'")
    label_by_keyboard(page, "12tx12")
    press(page, "u")
    assert press(page, "1")
    expect(page.locator("#saved")).to_have_text("All saved")
    assert page.evaluate(MARK) == "still here", "a page load in the middle of labelling"

    page.goto("/p/demo/")
    page.get_by_label(re.compile("GenRM")).check()
    page.get_by_role("button", name="Retrain").click()
    page.wait_for_url("**/runs/1/")
    state = page.locator("#state-title")
    expect(state).to_have_text(re.compile("running"), timeout=120_000)
    deadline = time.monotonic() + TRAINING_SECONDS
    while time.monotonic() < deadline and re.search("running|waiting", state.inner_text()):
        time.sleep(2)
    token = token_of(tandem)
    [run] = json.loads(api(tandem, token, "/projects/demo/training-runs"))
    figures = {who: run["metrics"][who]["all"] for who in ("champion", "candidate")}
    assert figures["candidate"]["accuracy"] > figures["champion"]["accuracy"], "it learnt from the labels"
    gate = {who: run["metrics"][who]["gate"] for who in figures}
    assert gate["candidate"]["accuracy"] > gate["champion"]["accuracy"]
    assert run["gate"]["promote"] is all(condition["met"] for condition in run["gate"]["conditions"])
    expect(state).to_have_text(re.compile("promoted"))
    expect(page.locator("#run")).to_contain_text("genrm-1 is the new champion")

    page.goto("/p/demo/")
    expect(page.locator("#pulse .version")).to_have_text("genrm-1")
    own = [row for row in labels(tandem, token, "source=human&profile=full") if row["provenance"]["origin"] == "claim"]
    assert len(own) == 6
    assert {row["provenance"]["annotator"] for row in own} == {"admin"}
    deadline = time.monotonic() + 600
    synthetic: list[dict[str, Any]] = []
    while time.monotonic() < deadline and len(synthetic) < 100:  # the hold-out was judged at the gate
        synthetic = labels(tandem, token, "source=judge&profile=full")
        time.sleep(2)
    assert len(synthetic) >= 100, "the pairs are judged again by the new champion"
    assert {row["provenance"]["judge"] for row in synthetic} == {"genrm-1"}
