"""Labelling by keyboard in a real browser: one page load, every key, and nothing lost or doubled."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, Locator, Page, expect
from pytest_django.live_server_helper import LiveServer

from labeling.models import Claim, Deployment, Flag, KeyMap, Label, LabelRevision, Project
from tests import factories
from tests.browser.conftest import OpenAs
from tests.browser.test_never_loses import GUARD_MS, ready

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

MARK = "window.tandemTestMark"


@pytest.fixture
def quiet(project: Project) -> Project:
    """Nothing is revealed, and five pairs wait."""
    Project.objects.update(reveal="never")
    factories.PairFactory.create_batch(5, project=project)
    return project


@pytest.fixture
def judged(project: Project, champion: Deployment) -> Project:
    """Three pairs, all judged: A is better with 80 %."""
    for pair in factories.PairFactory.create_batch(3, project=project):
        factories.JudgementFactory.create(pair=pair, judge=champion.judge)
    Project.objects.update(samples_per_order=0)
    return project


@pytest.fixture
def screen(open_as: OpenAs, as_bob: Client) -> Callable[[], Page]:
    """The label screen as Bob sees it, marked so that a reload would show."""

    def opened() -> Page:
        page = open_as(as_bob, "/p/stories/label/")
        page.evaluate(f"{MARK} = 'still here'")
        return ready(page)

    return opened


def stage(page: Page) -> str:
    return page.locator("#stage").get_attribute("data-stage") or ""


def press_and_wait(page: Page, key: str) -> None:
    """Press a key, wait until the screen shows something else and takes keys again."""
    before = stage(page)
    page.keyboard.press(key)
    page.wait_for_function("before => document.getElementById('stage').dataset.stage !== before", arg=before)
    page.wait_for_timeout(GUARD_MS)


def never_reloaded(page: Page) -> bool:
    return bool(page.evaluate(f"{MARK} === 'still here'"))


def test_a_round_without_a_reveal(quiet: Project, screen: Callable[[], Page], bob: User) -> None:
    page = screen()
    for key in ("1", "ArrowRight", "t", "x", "2"):
        press_and_wait(page, key)
    expect(page.get_by_role("heading", name="Nothing to label right now")).to_be_visible()
    assert never_reloaded(page)
    shown = {(label.claim.swapped, label.choice) for label in Label.objects.select_related("claim") if label.claim}
    verdicts = list(Label.objects.order_by("pk").values_list("choice", "claim__swapped"))
    expected = ["left", "right", "tie", "both_bad", "right"]
    sides = {False: {"a": "left", "b": "right"}, True: {"a": "right", "b": "left"}}
    assert [sides[swapped].get(choice, choice) for choice, swapped in verdicts] == expected
    assert shown
    assert all(label.seconds is not None and label.seconds < 60 for label in Label.objects.all())


def test_reveal_keep_and_revise(judged: Project, screen: Callable[[], Page]) -> None:
    page = screen()
    press_and_wait(page, "1")
    expect(page.locator("#reveal")).to_contain_text("80 % sure")
    expect(page.locator("#keep")).to_contain_text("Keep: Left is better")
    press_and_wait(page, "Enter")
    for verdict, then in (("1", "2"), ("t", "k")):
        press_and_wait(page, verdict)
        page.wait_for_selector("#keep")
        press_and_wait(page, then)
    expect(page.locator("#stage")).to_have_attribute("data-stage", "empty")
    assert never_reloaded(page)
    assert list(LabelRevision.objects.values_list("kind", flat=True)) == ["keep", "revise", "keep"]
    kept, revised, tied = Label.objects.order_by("pk")
    assert kept.choice == kept.final_choice
    assert {revised.choice, revised.final_choice} == {"a", "b"}
    assert tied.choice == "tie"
    assert all(label.blind and label.revealed_at for label in Label.objects.all())


def test_a_late_verdict_appears_by_itself_and_never_holds_anybody_up(
    project: Project, champion: Deployment, screen: Callable[[], Page]
) -> None:
    Project.objects.update(samples_per_order=0)
    factories.PairFactory.create_batch(2, project=project)
    page = screen()
    press_and_wait(page, "1")
    expect(page.locator("#reveal")).to_contain_text("has not seen this pair yet")
    factories.JudgementFactory.create(pair=Label.objects.get().pair, judge=champion.judge)
    expect(page.locator("#reveal")).to_contain_text("80 % sure")
    expect(page.locator("#announcer")).to_contain_text("80 % sure")
    press_and_wait(page, "Enter")
    press_and_wait(page, "2")
    press_and_wait(page, "Enter")  # without waiting for the judge
    assert never_reloaded(page)
    assert Label.objects.count() == 2


def test_undo_skip_and_the_reason(quiet: Project, screen: Callable[[], Page]) -> None:
    page = screen()
    first = stage(page)
    press_and_wait(page, "1")
    expect(page.locator("#status")).to_have_text("Saved.")
    press_and_wait(page, "u")
    assert stage(page) == first
    expect(page.locator("#status")).to_contain_text("Undone")
    press_and_wait(page, "2")
    page.keyboard.press("s")
    page.keyboard.type("too hard for me 12tx")
    assert Label.objects.filter(withdrawn=False).count() == 1
    press_and_wait(page, "Enter")
    assert Claim.objects.get(state="skipped").skip_reason == "too hard for me 12tx"
    assert list(LabelRevision.objects.values_list("kind", flat=True)) == ["undo", "relabel"]
    assert never_reloaded(page)


def test_a_skip_by_accident_costs_nothing(quiet: Project, screen: Callable[[], Page]) -> None:
    page = screen()
    before = stage(page)
    page.keyboard.press("c")
    page.keyboard.type("an hour's work")
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    press_and_wait(page, "Enter")
    press_and_wait(page, "u")
    assert stage(page) == before
    expect(page.locator("#comment-text")).to_have_value("an hour's work")
    press_and_wait(page, "1")
    expect(page.locator("#saved")).to_have_text("All saved")
    assert Label.objects.get().comment == "an hour's work"


def test_keys_of_ones_own(quiet: Project, screen: Callable[[], Page], bob: User) -> None:
    KeyMap.objects.create(user=bob, keys={"tie": "z", "undo": "+"})
    page = screen()
    before = stage(page)
    page.keyboard.press("t")
    page.wait_for_timeout(GUARD_MS)
    assert stage(page) == before
    expect(page.get_by_role("button", name="Tie Z")).to_be_visible()
    press_and_wait(page, "z")
    press_and_wait(page, "+")
    assert stage(page) == before


def test_keys_never_fire_while_typing_with_modifiers_or_held_down(quiet: Project, screen: Callable[[], Page]) -> None:
    page = screen()
    before = stage(page)
    page.keyboard.press("c")
    page.keyboard.type("1 2 t x s u")
    for chord in ("Control+1", "Alt+2", "Meta+t"):
        page.keyboard.press(chord)
    page.keyboard.press("Escape")
    for chord in ("Control+x", "Alt+ArrowDown", "Shift+T"):
        page.keyboard.press(chord)
    page.keyboard.press("?")
    page.keyboard.press("1")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.wait_for_timeout(200)
    assert stage(page) == before
    assert not Label.objects.exists()
    page.keyboard.down("1")
    for _ in range(5):
        page.keyboard.down("1")  # what a held key repeats
    page.keyboard.up("1")
    page.wait_for_function("before => document.getElementById('stage').dataset.stage !== before", arg=before)
    page.wait_for_timeout(300)
    assert Label.objects.get().comment == "1 2 t x s u"


def test_a_draft_survives_a_reload_and_so_does_the_pair(quiet: Project, screen: Callable[[], Page]) -> None:
    page = screen()
    before = stage(page)
    page.keyboard.press("c")
    page.keyboard.type("half a thought")
    page.reload()
    ready(page)
    assert stage(page) == before
    expect(page.locator("#comment-text")).to_have_value("half a thought")
    press_and_wait(page, "1")
    expect(page.locator("#comment-text")).to_have_value("")
    assert Label.objects.get().comment == "half a thought"


def left_button(page: Page) -> Locator:
    return page.get_by_role("button", name="Left better")


def test_a_double_click_is_one_label(quiet: Project, screen: Callable[[], Page]) -> None:
    page = screen()
    page.wait_for_timeout(400)  # the page is ready for the mouse
    left_button(page).dblclick()
    page.wait_for_timeout(500)
    expect(page.locator("#saved")).to_have_text("All saved")
    assert Label.objects.count() == 1


def test_keys_pressed_at_once_are_one_label(quiet: Project, screen: Callable[[], Page]) -> None:
    page = screen()
    for key in ("1", "2", "t", "1"):
        page.keyboard.press(key)
    page.wait_for_timeout(500)
    expect(page.locator("#saved")).to_have_text("All saved")
    assert Label.objects.count() == 1


def test_an_empty_queue_fills_by_itself(project: Project, screen: Callable[[], Page]) -> None:
    page = screen()
    expect(page.locator("#stage")).to_contain_text("This project has no pairs yet.")
    pair = factories.PairFactory.create(project=project)
    expect(page.locator("#stage")).to_contain_text(pair.response_a, timeout=8000)
    assert never_reloaded(page)


def test_a_graded_scale_has_numbers_and_arrows(quiet: Project, screen: Callable[[], Page]) -> None:
    Project.objects.update(scale="graded")
    page = screen()
    for key in ("1", "2", "Shift+ArrowRight", "ArrowRight"):
        press_and_wait(page, key)
    assert list(Label.objects.order_by("pk").values_list("strength", flat=True)) == [2, 1, 2, 1]


def test_a_report_by_key(quiet: Project, screen: Callable[[], Page]) -> None:
    page = screen()
    before = stage(page)
    page.keyboard.press("f")
    page.keyboard.type("the prompt is empty")
    page.get_by_role("button", name="Report to an adjudicator").click()
    expect(page.locator("#status")).to_contain_text("Reported")
    assert stage(page) == before
    assert Flag.objects.get().detail["comment"] == "the prompt is empty"


def test_progress_moves_by_itself(open_as: OpenAs, as_alice: Client, project: Project, champion: Deployment) -> None:
    pairs = factories.PairFactory.create_batch(4, project=project)
    page = open_as(as_alice, "/p/stories/")
    bar = page.get_by_role("progressbar", name="Scored")
    expect(bar).to_have_attribute("value", "0")
    for pair in pairs[:3]:
        factories.JudgementFactory.create(pair=pair, judge=champion.judge)
    expect(bar).to_have_attribute("value", "3", timeout=8000)


def test_labelling_works_without_javascript(
    chromium: Browser, live_server: LiveServer, judged: Project, as_bob: Client
) -> None:
    context = chromium.new_context(base_url=live_server.url, java_script_enabled=False)
    cookie = as_bob.cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])
    page = context.new_page()
    page.goto("/p/stories/label/")
    expect(page.get_by_role("button", name="Differences")).to_be_hidden()
    page.get_by_role("button", name="Left better").click()
    expect(page.locator("#reveal")).to_contain_text("80 % sure")
    page.get_by_role("button", name="Keep").click()
    page.locator("#skip summary").click()
    page.get_by_role("button", name="Skip this pair").click()
    expect(page.locator("#status")).to_contain_text("Skipped.")
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Tie").click()
    expect(page.locator("#reveal")).to_contain_text("80 % sure")
    context.close()
    assert sorted(Label.objects.values_list("choice", flat=True))[-1] == "tie"
    assert Label.objects.count() == 2


def test_keys_after_an_undo_are_not_typed_into_the_comment(quiet: Project, screen: Callable[[], Page]) -> None:
    page = screen()
    page.keyboard.press("c")
    page.keyboard.type("first")
    page.keyboard.press("Escape")
    press_and_wait(page, "1")
    expect(page.locator("#saved")).to_have_text("All saved")
    press_and_wait(page, "u")
    press_and_wait(page, "2")
    expect(page.locator("#saved")).to_have_text("All saved")
    assert [label.comment for label in Label.objects.filter(withdrawn=False)] == ["first"]


def test_keys_can_be_turned_off_in_a_browser(quiet: Project, screen: Callable[[], Page]) -> None:
    page = screen()
    page.evaluate("localStorage.setItem('tandem-keys-off', '')")
    page.reload()
    ready(page)
    page.keyboard.press("1")
    page.wait_for_timeout(GUARD_MS)
    assert not Label.objects.exists()
    page.goto("/keys/")
    page.get_by_label("No single keys in this browser").uncheck()
    page.goto("/p/stories/label/")
    press_and_wait(ready(page), "1")
    assert Label.objects.count() == 1
