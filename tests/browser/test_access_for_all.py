"""What a screen reader, a keyboard and a small or dark screen need, on every page."""

import re
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Page

from labeling.models import Flag, Project, TrainingRun
from tests.browser import scene
from tests.browser.conftest import WIDE, OpenAs
from tests.browser.scene import hold
from tests.browser.test_never_loses import GUARD_MS

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PHONE = {"width": 390, "height": 844}
Scheme = Literal["light", "dark"]

AUDIT = Path(__file__).with_name("audit.js").read_text(encoding="utf-8")


NAME = """() => {
  const here = document.activeElement;
  const named = document.getElementById(here.getAttribute("aria-labelledby")) ?? here;
  return named.textContent.trim().split("\\n")[0].trim();
}"""
"""What has the focus, by the first line of its name."""
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def audit(page: Page, scheme: Scheme) -> list[str]:
    """What our own audit finds on the page as it stands, in both colour schemes, and axe-core in the given one."""
    found = []
    other: Scheme = "light" if scheme == "dark" else "dark"
    for shown in (other, scheme):
        page.emulate_media(color_scheme=shown)
        found += [f"{shown}: {problem}" for problem in page.evaluate(AUDIT)]
    answer = Axe().run(page, options={"runOnly": {"type": "tag", "values": WCAG}}).response
    return found + [f"{one['id']}: {node['html'][:100]}" for one in answer["violations"] for node in one["nodes"]]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("viewport", "scheme"), [(WIDE, "light"), (PHONE, "dark")], ids=["wide", "phone"])
def test_every_page_holds_the_basics(open_as: OpenAs, viewport: dict[str, int], scheme: Scheme) -> None:
    maria = User.objects.create_user("maria", is_staff=True)
    project = scene.build(maria)
    Project.objects.update(criteria=scene.CRITERIA, highlights=True, scale="graded")
    hold(maria, project.pairs.filter(judgements__method="cot", part="", consensus=None)[0])
    client = Client()
    client.force_login(maria)
    flag, ended = Flag.objects.filter(kind="judge_disagrees")[0], TrainingRun.objects.get(state="promoted")
    running = TrainingRun.objects.get(state="running")
    paths = ["/", "/p/demo/", "/p/demo/flags/", f"/p/demo/pairs/{flag.pair_id}/", "/p/demo/import/", "/health/"]
    paths += ["/p/demo/settings/", "/keys/", "/p/demo/agreement/", "/p/demo/judge/", "/p/demo/datasets/"]
    unflagged = project.pairs.filter(flags=None, consensus__isnull=False)[0]
    paths += ["/p/demo/pairs/", f"/p/demo/pairs/{unflagged.pk}/"]
    paths += ["/p/demo/connect/", f"/trials/{scene.tried(project, maria).pk}/"]
    paths += ["/p/demo/versions/", f"/p/demo/versions/{ended.candidate_id}/changes/", "/tokens/", "/api/"]
    paths += [f"/runs/{ended.pk}/", f"/runs/{running.pk}/", "/p/nothing/", "/p/demo/label/"]
    page = open_as(None, "/login/", viewport=viewport, scheme=scheme)
    problems = {"/login/": audit(page, scheme)}
    page = open_as(client, "/", viewport=viewport, scheme=scheme)
    for path in paths:
        page.goto(path)
        problems[path] = audit(page, scheme)
    page.wait_for_timeout(GUARD_MS)
    page.keyboard.press("d")
    page.wait_for_selector("#diff > *")
    problems["differences"] = audit(page, scheme)
    page.keyboard.press("d")
    for key in ("s", "f", "c"):
        page.keyboard.press(key)
        problems[f"pop-up {key}"] = audit(page, scheme)
        page.keyboard.press("Escape")
    page.keyboard.press("1")
    page.wait_for_selector("#keep")
    problems["reveal"] = audit(page, scheme)
    page.keyboard.press("?")
    problems["list of keys"] = audit(page, scheme)
    page.keyboard.press("Escape")
    page.evaluate("document.getElementById('login').showModal()")
    problems["login in place"] = audit(page, scheme)
    found = [f"{path}: {problem}" for path, problems_here in problems.items() for problem in problems_here]
    assert not found, "\n".join(found)


def test_on_a_phone_the_chart_begins_with_the_newest_version(open_as: OpenAs) -> None:
    maria = User.objects.create_user("maria")
    scene.build(maria)
    client = Client()
    client.force_login(maria)
    page = open_as(client, "/p/demo/versions/", viewport=PHONE)
    right = page.evaluate("[...document.querySelectorAll('.over-versions .axis')].at(-1).getBoundingClientRect().right")
    assert 0 < right < PHONE["width"]


def test_the_whole_label_screen_is_reached_by_tab_in_reading_order(open_as: OpenAs) -> None:
    maria = User.objects.create_user("maria")
    scene.build(maria)
    client = Client()
    client.force_login(maria)
    page = open_as(client, "/p/demo/label/")
    order = []
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('.top') !== null"):
            continue
        name = page.evaluate(NAME)
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        if name and name not in order:
            order.append(name)
            assert outline != "none", name
    wanted = ["Skip to the content", "Guidelines", "Left", "Right", "Left better", "Tie", "Both bad", "Right better"]
    wanted += ["Skip", "Comment", "Report", "Undo", "Differences", "Keys"]
    assert [name for name in (re.sub(" .$", "", entry) for entry in order) if name in wanted] == wanted
