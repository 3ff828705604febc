"""Adjudication by keyboard in a real browser: a queue that counts by itself, many pairs at once, every decision."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Page, expect

from labeling.models import Flag, Label, Pair, Project, SavedFilter
from tests import factories
from tests.browser.conftest import OpenAs

GUARD_MS = 400

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def flagged(project: Project, *, value: float = 0.5, kind: str = "annotators_split", **fields: object) -> Pair:
    pair = factories.PairFactory.create(project=project, **fields)
    Flag.objects.create(pair=pair, kind=kind, value=value, detail={"choices": ["a", "b"]})
    return pair


def arrived(page: Page, address: str) -> None:
    """Wait for the page, and as long as it takes a key for one that was meant for the page before."""
    page.wait_for_url(address, wait_until="load")
    page.wait_for_timeout(GUARD_MS)


def test_disagreements_are_settled_by_key(open_as: OpenAs, as_dora: Client, project: Project) -> None:
    for _ in range(2):
        pair = factories.PairFactory.create(project=project)
        Flag.objects.create(pair=pair, kind="judge_disagrees", detail={"human": "a", "judge": "b"})
    page = open_as(as_dora, "/p/stories/flags/")
    page.get_by_role("link", name="pair-").first.click()
    arrived(page, "**/pairs/*/")
    page.keyboard.press("c")
    page.keyboard.type("2 is cut off")
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    expect(page.locator("#status")).to_contain_text("Settled")
    arrived(page, "**/pairs/*/")
    page.keyboard.press("x")
    expect(page.locator("#main")).to_contain_text("Nothing to settle")
    assert set(Flag.objects.values_list("state", "resolution", "reason")) == {
        ("settled", "a", "2 is cut off"),
        ("settled", "both_bad", ""),
    }


def test_send_back_ambiguous_and_next_by_key(open_as: OpenAs, as_dora: Client, project: Project, bob: User) -> None:
    first, second, third = (flagged(project, value=value) for value in (0.9, 0.6, 0.3))
    page = open_as(as_dora, f"/p/stories/pairs/{first.pk}/")
    page.keyboard.press("n")
    arrived(page, f"**/pairs/{second.pk}/")
    page.keyboard.press("d")
    expect(page.get_by_text("Differences").locator("xpath=ancestor::details")).to_have_attribute("open", "")
    page.keyboard.press("s")
    arrived(page, f"**/pairs/{third.pk}/")
    page.keyboard.press("m")
    arrived(page, f"**/pairs/{first.pk}/")
    expect(page.locator("#status")).to_contain_text("Marked ambiguous")
    found = {pair.pk: (pair.extra_labels, pair.ambiguous) for pair in Pair.objects.all()}
    assert found == {first.pk: (0, False), second.pk: (1, False), third.pk: (0, True)}


def test_a_pair_that_nothing_flags_is_found_opened_and_sent_back_by_key(
    open_as: OpenAs, as_dora: Client, project: Project, bob: User
) -> None:
    pair = factories.PairFactory.create(project=project, external_id="tides-7")
    factories.PairFactory.create(project=project)
    factories.ClaimFactory.create(pair=pair, annotator=bob, state="skipped", skip_reason="too hard")
    page = open_as(as_dora, "/p/stories/flags/")
    page.get_by_role("link", name="all pairs").click()
    page.get_by_label("Name of the pair").fill("tides")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("text=tides"), wait_until="load")
    expect(page.locator(".entry")).to_have_count(1)
    expect(page.locator(".entry")).to_contain_text("1 time: too hard")
    page.get_by_role("link", name="tides-7").click()
    arrived(page, f"**/pairs/{pair.pk}/")
    page.keyboard.press("o")  # not without a reason
    assert not Flag.objects.exists()
    page.keyboard.type("everybody skips it")
    page.keyboard.press("Escape")
    page.wait_for_timeout(GUARD_MS)  # the same key at once is a bouncing one
    page.keyboard.press("o")
    expect(page.locator("#status")).to_contain_text("Open now")
    arrived(page, f"**/pairs/{pair.pk}/")
    page.keyboard.press("g")
    expect(page.locator("#status")).to_contain_text("Can be asked again: bob.")
    arrived(page, f"**/pairs/{pair.pk}/")
    page.keyboard.press("s")
    expect(page.locator("#status")).to_contain_text("Sent back")
    assert Flag.objects.get().state == "sent_back"
    assert Flag.objects.get().detail == {"by": "dora", "comment": "everybody skips it"}


def test_the_queue_counts_by_itself_and_decides_many_at_once(
    open_as: OpenAs, as_dora: Client, project: Project
) -> None:
    flagged(project)
    page = open_as(as_dora, "/p/stories/flags/")
    split = page.locator("#kind-annotators_split .count")
    expect(split).to_have_text("1")
    flagged(project)
    flagged(project, kind="reported")
    expect(split).to_have_text("2", timeout=15_000)
    page.locator("#kind-annotators_split").click()
    page.wait_for_url(re.compile("kind=annotators_split"), wait_until="load")
    page.get_by_role("button", name="Tick all").click()
    page.get_by_label("What to do with the ticked pairs").select_option("a")
    page.get_by_label("One reason for all of them").fill("A is right in both")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#status")).to_contain_text("2.")
    assert set(Label.objects.values_list("choice", "comment")) == {("a", "A is right in both")}
    assert Flag.objects.get(state="open").kind == "reported"


def test_filters_are_saved_under_a_name(open_as: OpenAs, as_dora: Client, project: Project) -> None:
    flagged(project, response_a="The otter sleeps.")
    flagged(project, response_a="The heron waits.")
    page = open_as(as_dora, "/p/stories/flags/?text=otter")
    expect(page.locator(".entry")).to_have_count(1)
    page.get_by_label("Save these filters as").fill("otters")
    page.get_by_role("button", name="Save", exact=True).click()
    page.goto("/p/stories/flags/")
    expect(page.locator(".entry")).to_have_count(2)
    if not page.get_by_role("link", name="otters").is_visible():
        page.get_by_text("Filters", exact=False).first.click()
    page.get_by_role("link", name="otters").click()
    expect(page.locator(".entry")).to_have_count(1)
    assert SavedFilter.objects.get().query == "text=otter"


def test_a_key_pressed_twice_settles_one_pair(open_as: OpenAs, as_dora: Client, project: Project) -> None:
    first = flagged(project, value=0.9, kind="reported")
    flagged(project, value=0.5, kind="reported")
    page = open_as(as_dora, f"/p/stories/pairs/{first.pk}/")
    page.wait_for_timeout(GUARD_MS)
    page.keyboard.press("1")
    page.wait_for_url(lambda url: f"/{first.pk}/" not in url, wait_until="load")
    page.keyboard.press("1")
    page.wait_for_timeout(GUARD_MS)
    assert Label.objects.count() == 1
    page.go_back()
    page.get_by_role("button", name="Take the settlement back").click()
    expect(page.locator("#status")).to_contain_text("Open again")
    assert Flag.objects.filter(state="open").count() == 2


def test_enter_on_a_tick_decides_nothing(open_as: OpenAs, as_dora: Client, project: Project) -> None:
    flagged(project)
    page = open_as(as_dora, "/p/stories/flags/")
    page.locator("#bulk-choice").select_option("tie")
    page.locator("#bulk-reason").fill("all the same")
    page.locator("input[name=pair]").check()
    page.locator("input[name=pair]").press("Enter")
    page.wait_for_timeout(GUARD_MS)
    assert not Label.objects.exists()
