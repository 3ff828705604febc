"""Undo in a real browser: whatever is on its way, the verdict is taken back and the judge stays hidden."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from labeling.models import Label, LabelRevision, Project
from tests.browser.test_labelling import judged, press_and_wait, quiet, screen, stage
from tests.browser.test_never_loses import GUARD_MS

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

__all__ = ["judged", "quiet", "screen"]  # fixtures of the label screen


def held_back(page: Page, address: str) -> list[Route]:
    """The page's requests to this address, as they come: each waits until the test lets it go on."""
    held: list[Route] = []
    page.route(address, lambda route: held.append(route))
    return held


def wait_for(page: Page, held: list[Route]) -> Route:
    while not held:
        page.wait_for_timeout(50)
    return held[0]


def test_an_undo_before_the_receipt_keeps_the_judge_hidden(judged: Project, screen: Callable[[], Page]) -> None:
    page = screen()
    first = stage(page)
    commits = held_back(page, "**/claims/*/label/")
    press_and_wait(page, "1")
    page.keyboard.press("u")
    page.keyboard.press("u")  # it waits already
    expect(page.locator("#status")).to_contain_text("Undo follows")
    wait_for(page, commits).continue_()
    expect(page.locator("#status")).to_contain_text("Undone")
    assert stage(page) == first
    label = Label.objects.get()
    assert (label.withdrawn, label.revealed_at) == (True, None)
    page.wait_for_timeout(GUARD_MS)
    press_and_wait(page, "2")
    wait_for(page, commits[1:]).continue_()
    expect(page.locator("#reveal")).to_contain_text("80 % sure")
    assert list(LabelRevision.objects.values_list("kind", "blind")) == [("undo", True), ("relabel", True)]


def test_an_undo_before_the_reveal_arrives_brings_the_pair_back(judged: Project, screen: Callable[[], Page]) -> None:
    page = screen()
    first = stage(page)
    reveals = held_back(page, "**/labels/*/reveal/")
    undoes = held_back(page, "**/undo/")
    press_and_wait(page, "1")
    late = wait_for(page, reveals)
    page.keyboard.press("u")
    undo = wait_for(page, undoes)
    late.continue_()
    page.wait_for_timeout(GUARD_MS)
    expect(page.locator("#reveal")).to_contain_text("Your verdict: Left better")
    undo.continue_()
    expect(page.locator("#status")).to_contain_text("Undone")
    assert stage(page) == first
    assert Label.objects.get().withdrawn


def test_an_undo_without_a_network_and_without_a_next_pair_follows_later(
    quiet: Project, screen: Callable[[], Page]
) -> None:
    page = screen()
    page.context.set_offline(True)
    for key in ("1", "2"):
        press_and_wait(page, key)
    last = page.locator("#stage").get_attribute("data-claim")
    page.keyboard.press("t")  # nothing waits behind it
    expect(page.locator("#stage")).to_contain_class("loading")
    page.keyboard.press("u")
    page.context.set_offline(False)
    expect(page.locator("#status")).to_contain_text("Undone", timeout=30_000)
    assert stage(page) == f"claim-{last}"
    assert Label.objects.get(withdrawn=True).claim_id == int(last or 0)
    page.wait_for_timeout(GUARD_MS)
    press_and_wait(page, "x")


def test_an_undo_that_fails_goes_on_where_it_was(quiet: Project, screen: Callable[[], Page]) -> None:
    page = screen()
    press_and_wait(page, "1")
    expect(page.locator("#saved")).to_have_text("All saved")
    before = stage(page)
    page.route("**/undo/", lambda route: route.abort())
    page.keyboard.press("u")
    expect(page.locator("#trouble")).to_contain_text("press the key again")
    page.unroute("**/undo/")
    assert stage(page) == before
    page.wait_for_timeout(GUARD_MS)
    press_and_wait(page, "u")
    expect(page.locator("#status")).to_contain_text("Undone")
    assert Label.objects.get().withdrawn


def test_an_undo_whose_answer_is_lost_takes_one_label_back(quiet: Project, screen: Callable[[], Page]) -> None:
    page = screen()
    for key in ("1", "2"):
        press_and_wait(page, key)
    expect(page.locator("#saved")).to_have_text("All saved")

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/undo/", lose)
    page.keyboard.press("u")
    expect(page.locator("#trouble")).to_contain_text("press the key again")
    page.unroute("**/undo/")
    first, second = Label.objects.order_by("pk")
    assert (first.withdrawn, second.withdrawn) == (False, True)
    page.wait_for_timeout(GUARD_MS)
    press_and_wait(page, "u")
    expect(page.locator("#status")).to_contain_text("Undone")
    assert stage(page) == f"claim-{second.claim_id}"
    first.refresh_from_db()
    assert not first.withdrawn
    page.wait_for_timeout(GUARD_MS)
    press_and_wait(page, "u")
    assert stage(page) == f"claim-{first.claim_id}"
    assert Label.objects.filter(withdrawn=True).count() == 2
