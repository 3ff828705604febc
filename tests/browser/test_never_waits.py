"""A hundred pairs by keyboard through a slow network: the next pair is there in the very frame of the key."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, Page, Route, expect

from labeling.models import Claim, Label, Pair, Project
from labeling.services.imports import import_file
from tests import factories
from tests.browser.conftest import OpenAs
from tests.browser.server import Server
from tests.browser.test_never_loses import GUARD_MS, LABEL, ready

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

DELAY_MS = 200
PAIRS = 100

WATCH = """() => {
  window.late = [];
  addEventListener("keydown", (event) => {
    const before = document.getElementById("stage");
    if (document.querySelector("dialog[open]")) return;
    requestAnimationFrame(() => {
      const now = document.getElementById("stage");
      const other = now !== before && now.dataset.claim && !now.classList.contains("loading");
      if (!other) window.late.push([event.key, now.dataset.stage]);
    });
  }, true);
}"""


def slow_down(page: Page) -> None:
    """200 ms for every answer, by Chromium's own network emulation."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("Network.enable")
    conditions = {"offline": False, "latency": DELAY_MS, "downloadThroughput": -1, "uploadThroughput": -1}
    devtools.send("Network.emulateNetworkConditions", conditions)


@pytest.fixture
def slow(open_as: OpenAs, as_bob: Client, project: Project) -> Callable[[], Page]:
    """Bob's screen behind a slow network, with more than a hundred pairs."""
    factories.PairFactory.create_batch(PAIRS + 5, project=project)

    def opened() -> Page:
        page = open_as(as_bob, LABEL)
        slow_down(page)
        page.reload()
        return ready(page)

    return opened


@pytest.mark.timeout(300)
def test_a_hundred_pairs_never_wait(slow: Callable[[], Page], bob: User) -> None:
    Project.objects.update(reveal="never")
    page = slow()
    page.evaluate(WATCH)
    for number in range(PAIRS):
        page.keyboard.press("1tx2"[number % 4])
        page.wait_for_timeout(GUARD_MS + 240)  # a fast annotator: two pairs a second
    expect(page.locator("#saved")).to_have_text("All saved", timeout=30_000)
    assert page.evaluate("window.late") == []
    assert Label.objects.filter(annotator=bob).count() == PAIRS
    assert Claim.objects.filter(annotator=bob, state="done").count() == PAIRS


def test_the_verdict_and_the_way_on_never_wait_for_the_judge(slow: Callable[[], Page], champion: object) -> None:
    """While the server answers no commit at all: the verdict is shown, and the next pair comes by key."""
    page = slow()
    held: list[Route] = []
    page.route("**/claims/*/label/", lambda route: held.append(route))
    for _ in range(2):
        page.keyboard.press("1")
        expect(page.locator("#reveal")).to_contain_text("Your verdict: Left better")
        page.wait_for_timeout(GUARD_MS)
        before = page.locator("#stage").get_attribute("data-claim")
        page.keyboard.press("Enter")
        page.wait_for_function("was => document.getElementById('stage').dataset.claim !== was", arg=before)
        page.wait_for_timeout(GUARD_MS)
    assert Label.objects.count() == 0
    for answering in range(2):  # one after the other, as the outbox sends them
        while len(held) <= answering:
            page.wait_for_timeout(50)
        held[answering].continue_()
    expect(page.locator("#saved")).to_have_text("All saved")
    assert Label.objects.count() == 2


def test_a_pair_that_measures_the_judge_goes_on_by_itself(slow: Callable[[], Page], champion: object) -> None:
    """Once the server has its verdict; until then it looks like any other, and whoever went on is not moved again."""
    Pair.objects.update(part=Pair.Part.GATE)
    page = slow()
    claim = page.locator("#stage").get_attribute("data-claim")
    page.keyboard.press("1")
    page.wait_for_function("was => document.getElementById('stage').dataset.claim !== was", arg=claim)
    expect(page.locator("#saved")).to_have_text("All saved")
    page.wait_for_timeout(GUARD_MS)
    held: list[Route] = []
    page.route("**/claims/*/label/", lambda route: held.append(route))
    page.keyboard.press("2")
    expect(page.locator("#reveal")).to_contain_text("Your verdict: Right better")
    page.wait_for_timeout(GUARD_MS)
    claim = page.locator("#stage").get_attribute("data-claim")
    page.keyboard.press("Enter")
    page.wait_for_function("was => document.getElementById('stage').dataset.claim !== was", arg=claim)
    following = page.locator("#stage").get_attribute("data-claim")
    while not held:
        page.wait_for_timeout(50)
    held[0].continue_()
    expect(page.locator("#saved")).to_have_text("All saved")
    assert page.locator("#stage").get_attribute("data-claim") == following
    assert list(Label.objects.values_list("revealed_at", flat=True)) == [None, None]


def test_the_screen_is_light(chromium: Browser, server: Server, as_bob: Client, project: Project) -> None:
    """Bytes over the wire, gzipped: at most 100 kB for the first load with its reserve, 15 kB for each pair after."""
    Project.objects.update(reveal="never")
    with Path(settings.BASE_DIR, "demo", "pairs.jsonl").open("rb") as file:
        import_file(project, file=file, filename="pairs.jsonl")
    context = chromium.new_context(base_url=server.url)
    cookie = as_bob.cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": cookie, "url": server.url}])
    page = context.new_page()
    devtools = context.new_cdp_session(page)
    devtools.send("Network.enable")
    sizes: list[float] = []
    devtools.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(LABEL)
    ready(page)
    first, count = sum(sizes), 6
    for _ in range(count):
        page.keyboard.press("1")
        page.wait_for_timeout(GUARD_MS)
    expect(page.locator("#saved")).to_have_text("All saved")
    page.wait_for_load_state("networkidle")
    each = (sum(sizes) - first) / count
    context.close()
    print(f"first load {first / 1000:.1f} kB, each pair {each / 1000:.1f} kB")  # noqa: T201  for docs/labelling.md
    assert 10_000 < first <= 100_000
    assert 500 < each <= 15_000
