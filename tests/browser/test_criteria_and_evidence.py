"""What goes with a verdict, by keyboard: criteria, marked passages, a comment, and the aids to read by."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from labeling.models import Label, Pair, Project
from tests.browser.test_labelling import press_and_wait, quiet, screen, stage
from tests.browser.test_never_loses import GUARD_MS

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

__all__ = ["quiet", "screen"]  # fixtures of the label screen


def test_the_reading_aids_by_key(quiet: Project, screen: Callable[[], Page]) -> None:
    """Differences, long responses that scroll together and unfold, on keys."""
    long = "\n\n".join(f"Paragraph {number} of a long answer." for number in range(60))
    Pair.objects.update(response_a=long, response_b=f"Well. {long}")
    page = screen()
    left, right = (page.locator(f".response.{side} .response-body") for side in ("left", "right"))
    left.evaluate("box => box.scrollTop = 400")
    page.wait_for_function("() => document.querySelector('.response.right .response-body').scrollTop > 300")
    page.keyboard.press("e")
    assert right.evaluate("box => box.scrollHeight - box.clientHeight") <= 1
    page.wait_for_timeout(GUARD_MS)
    page.keyboard.press("e")
    assert right.evaluate("box => box.scrollHeight - box.clientHeight") > 400
    page.keyboard.press("d")
    expect(page.locator("#diff ins, #diff del").first).to_contain_text("Well")
    expect(left).to_be_hidden()
    page.wait_for_timeout(GUARD_MS)
    page.keyboard.press("d")
    expect(left).to_be_visible()


def test_criteria_and_evidence_without_a_mouse(quiet: Project, screen: Callable[[], Page]) -> None:
    criteria = [{"name": "Facts", "about": ""}, {"name": "Tone", "about": ""}]
    Project.objects.update(criteria=criteria, criteria_required=True, highlights=True)
    Pair.objects.update(response_a="One thing. Another thing.", response_b="One thing. Another thing!")
    page = screen()
    before = stage(page)
    page.keyboard.press("1")
    page.wait_for_timeout(GUARD_MS)
    assert stage(page) == before, "a criterion is missing"
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("h")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    press_and_wait(page, "1")
    expect(page.locator("#saved")).to_have_text("All saved")
    label = Label.objects.select_related("claim").get()
    assert label.claim is not None
    left = "b" if label.claim.swapped else "a"
    assert label.criteria == {"Facts": left, "Tone": "tie"}
    [passage] = label.highlights
    assert (passage["response"], passage["start"]) == (left, 11)
    assert passage["quote"].startswith("Another thing")


def test_evidence_beyond_what_the_server_takes_is_not_marked(quiet: Project, screen: Callable[[], Page]) -> None:
    Project.objects.update(highlights=True)
    many = " ".join(f"This is sentence {number}." for number in range(41))
    long = "x" * 5001
    Pair.objects.update(response_a=f"{long}.\n\n{many}", response_b=f"{long}!\n\n{many}")
    page = screen()
    page.keyboard.press("h")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("Not marked: a passage has at most 5,000 characters.")
    for _ in range(41):
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("Not marked: at most 40 passages.")
    page.keyboard.press("Escape")
    press_and_wait(page, "1")
    expect(page.locator("#saved")).to_have_text("All saved")
    assert len(Label.objects.get().highlights) == 40


def test_a_required_comment_of_blanks_is_asked_for_again(quiet: Project, screen: Callable[[], Page]) -> None:
    Project.objects.update(comments="required")
    page = screen()
    before = stage(page)
    page.locator("#comment-text").fill("  \n ")
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    page.wait_for_timeout(GUARD_MS)
    assert stage(page) == before
    expect(page.locator("#comment-text")).to_be_focused()
    page.keyboard.type("clearer")
    page.keyboard.press("Escape")
    press_and_wait(page, "1")
    expect(page.locator("#saved")).to_have_text("All saved")
    assert Label.objects.get().comment == "clearer"


def test_enter_on_a_criterion_commits_nothing(quiet: Project, screen: Callable[[], Page]) -> None:
    Project.objects.update(criteria=[{"name": "Facts", "about": "fewer errors"}])
    page = screen()
    page.keyboard.press("r")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_timeout(GUARD_MS)
    assert not Label.objects.exists()
    press_and_wait(page, "1")
    assert Label.objects.get().criteria == {"Facts": "tie"}


def test_a_comment_is_typed_while_passages_are_marked(quiet: Project, screen: Callable[[], Page]) -> None:
    Project.objects.update(highlights=True)
    page = screen()
    page.keyboard.press("h")
    page.keyboard.press("Enter")
    page.keyboard.press("c")
    page.keyboard.type("two words")
    page.keyboard.press("Escape")
    press_and_wait(page, "1")
    label = Label.objects.get()
    assert (label.comment, len(label.highlights)) == ("two words", 1)
