"""What a screen reader, a keyboard and a small or dark screen need, on every page."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Page

from labeling.models import Flag, TrainingRun
from tests.browser import scene
from tests.browser.conftest import WIDE, OpenAs

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PHONE = {"width": 390, "height": 844}

AUDIT = Path(__file__).with_name("audit.js").read_text(encoding="utf-8")


def audit(page: Page) -> list[str]:
    found: list[Any] = page.evaluate(AUDIT)
    return [str(problem) for problem in found]


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_holds_the_basics(open_as: OpenAs, viewport: dict[str, int], scheme: str) -> None:
    maria = User.objects.create_user("maria", is_staff=True)
    scene.build(maria)
    client = Client()
    client.force_login(maria)
    flag, ended = Flag.objects.filter(kind="judge_disagrees")[0], TrainingRun.objects.get(state="promoted")
    running = TrainingRun.objects.get(state="running")
    paths = ["/", "/p/demo/", "/p/demo/flags/", f"/p/demo/pairs/{flag.pair_id}/", "/p/demo/import/", "/health/"]
    paths += [f"/runs/{ended.pk}/", f"/runs/{running.pk}/", "/p/nothing/", "/p/demo/label/"]
    page = open_as(None, "/login/", viewport=viewport, scheme=scheme)
    problems = {"/login/": audit(page)}
    page = open_as(client, "/", viewport=viewport, scheme=scheme)
    for path in paths:
        page.goto(path)
        problems[path] = audit(page)
    page.keyboard.press("1")
    page.wait_for_selector(".committed")
    problems["reveal"] = audit(page)
    page.keyboard.press("?")
    problems["keys"] = audit(page)
    assert {path: found for path, found in problems.items() if found} == {}


def test_the_whole_label_screen_is_reached_by_tab_in_reading_order(open_as: OpenAs) -> None:
    maria = User.objects.create_user("maria")
    scene.build(maria)
    client = Client()
    client.force_login(maria)
    page = open_as(client, "/p/demo/label/")
    order = []
    for _ in range(20):
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.innerText.split('\\n')[0].trim()")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        if name and name not in order:
            order.append(name)
            assert outline != "none", name
    wanted = ["Skip to the content", "Guidelines", "Left better", "Tie", "Both bad", "Right better", "Skip", "Undo"]
    assert [name for name in (entry.split(" G")[0] for entry in order) if name in wanted] == wanted
