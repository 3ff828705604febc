"""Nothing that an annotator committed is lost or doubled: without a network, a server, a session; at any moment."""

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Page, Route, expect

from labeling.models import Claim, Label, Member, Project
from tests import factories
from tests.browser.conftest import OpenAs
from tests.browser.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LABEL = "/p/stories/label/"
KEYS = {"1": "left", "2": "right", "t": "tie", "x": "both_bad"}
GUARD_MS = 260  # nobody judges a pair sooner, and the page takes it for a slip


@pytest.fixture
def pairs(project: Project) -> Project:
    """Nothing is revealed, and twelve pairs wait."""
    Project.objects.update(reveal="never")
    factories.PairFactory.create_batch(12, project=project)
    return project


@pytest.fixture
def screen(open_as: OpenAs, as_bob: Client) -> Callable[[], Page]:
    return lambda: ready(open_as(as_bob, LABEL))


@pytest.fixture
def on_server(chromium: Browser, server: Server, as_bob: Client) -> Iterator[Page]:
    """Bob's label screen, served by a process that can be killed."""
    context = chromium.new_context(base_url=server.url)
    cookie = as_bob.cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": cookie, "url": server.url}])
    page = context.new_page()
    page.goto(LABEL)
    yield ready(page)
    context.close()


def ready(page: Page) -> Page:
    """Wait until the reserve is filled, as it is long before a person has read the first pair."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(GUARD_MS)
    return page


def claim_on(page: Page) -> int:
    return int(page.locator("#stage").get_attribute("data-claim") or 0)


def press(page: Page, key: str) -> tuple[int, str]:
    """A verdict by key; what the page took it for: claim and verdict as shown."""
    claim = claim_on(page)
    page.keyboard.press(key)
    page.wait_for_function("was => document.getElementById('stage').dataset.claim !== String(was)", arg=claim)
    page.wait_for_timeout(GUARD_MS)
    return claim, KEYS[key]


def all_saved(page: Page) -> None:
    expect(page.locator("#saved")).to_have_text("All saved", timeout=30_000)


def stored() -> dict[int, str]:
    """Every label in the database, by claim, as it was shown."""
    sides = {False: {"a": "left", "b": "right"}, True: {"a": "right", "b": "left"}}
    return {
        label.claim.pk: sides[label.claim.swapped].get(label.choice, label.choice)
        for label in Label.objects.select_related("claim")
        if label.claim is not None
    }


def test_without_a_network_labelling_goes_on_and_catches_up(pairs: Project, screen: Callable[[], Page]) -> None:
    page = screen()
    pressed = dict([press(page, "1")])
    all_saved(page)
    page.wait_for_load_state("networkidle")
    page.context.set_offline(True)
    pressed |= dict([press(page, "2"), press(page, "t")])
    claim = claim_on(page)
    page.keyboard.press("x")
    pressed[claim] = "both_bad"
    expect(page.locator("#trouble")).to_contain_text("3 verdicts wait in this browser")
    assert len(stored()) == 1
    page.context.set_offline(False)
    all_saved(page)
    expect(page.locator("#trouble")).to_be_empty()
    assert stored() == pressed
    page.wait_for_function("was => document.getElementById('stage').dataset.claim !== String(was)", arg=claim)


def test_a_reload_without_a_network_in_between_keeps_what_waits(pairs: Project, screen: Callable[[], Page]) -> None:
    page = screen()
    page.route("**/claims/*/label/", lambda route: route.abort())
    pressed = dict([press(page, "1"), press(page, "2")])
    expect(page.locator("#saved")).to_have_text("2 on the way")
    assert stored() == {}
    page.unroute("**/claims/*/label/")
    page.reload()
    all_saved(page)
    assert stored() == pressed
    for claim in pressed:  # one that was still open as the page was made gives way
        expect(page.locator("#stage")).not_to_have_attribute("data-claim", str(claim))


@pytest.mark.parametrize("cut", ["before", "after"], ids=["lost on the way there", "the receipt is lost"])
def test_a_commit_that_fails_half_way_is_one_label(pairs: Project, screen: Callable[[], Page], cut: str) -> None:
    page = screen()
    tries: list[Route] = []

    def fail_once(route: Route) -> None:
        tries.append(route)
        if len(tries) > 1:
            route.continue_()
            return
        if cut == "after":
            route.fetch()  # the server has it, the browser never hears of it
        route.abort()

    page.route("**/claims/*/label/", fail_once)
    pressed = dict([press(page, "1")])
    all_saved(page)
    assert len(tries) == 2
    assert stored() == pressed
    assert Label.objects.count() == 1


def test_a_server_killed_and_started_again_loses_nothing(pairs: Project, on_server: Page, server: Server) -> None:
    page = on_server
    pressed = dict([press(page, "1")])
    all_saved(page)
    page.wait_for_load_state("networkidle")
    page.keyboard.press("2")  # and the server is killed while it is on the way
    server.kill()
    pressed |= {claim: verdict for claim, verdict in [press_again(page, pressed)] if claim}
    pressed |= dict([press(page, "t")])
    expect(page.locator("#trouble")).to_contain_text("in this browser")
    page.keyboard.press("c")
    page.keyboard.type("half a thought")
    page.keyboard.press("Escape")
    server.start()
    all_saved(page)
    acknowledged = stored()
    assert {claim: acknowledged.get(claim) for claim in pressed} == pressed
    page.reload()
    ready(page)
    assert page.locator("#comment-text").input_value() == "half a thought"
    expect(page.locator("#trouble")).to_be_empty()


def press_again(page: Page, before: dict[int, str]) -> tuple[int, str]:
    """Which pair the key pressed last went to: the one between the pressed ones and that on the screen."""
    page.wait_for_timeout(GUARD_MS)
    others = Claim.objects.exclude(pk__in=before).exclude(pk=claim_on(page)).filter(ahead=False)
    waits = page.evaluate("Object.values(localStorage).filter((text) => text.includes('right')).map(JSON.parse)")
    claims = [int(entry["claim"]) for entry in waits] or list(others.values_list("pk", flat=True))
    return (claims[0], "right") if claims else (0, "")


def test_an_ended_session_asks_in_place_and_then_sends_what_waits(
    pairs: Project, screen: Callable[[], Page], bob: User
) -> None:
    page = screen()
    Session.objects.all().delete()
    pressed = dict([press(page, "1")])
    dialog = page.get_by_role("dialog", name="Your session has ended")
    expect(dialog).to_be_visible()
    dialog.get_by_label("Password").fill("wrong")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("not right")
    assert stored() == {}
    dialog.get_by_label("Password").fill("bob-password")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    all_saved(page)
    page.wait_for_load_state("networkidle")
    pressed |= dict([press(page, "2")])
    all_saved(page)
    assert stored() == pressed
    page.keyboard.press("u")  # a plain form of the page, with its token of before
    expect(page.locator("#status")).to_contain_text("Undone")
    assert re.search("/p/stories/label/$", page.url)


def test_somebody_else_signed_in_sends_nothing_of_mine(
    pairs: Project, screen: Callable[[], Page], as_alice: Client, as_bob: Client
) -> None:
    page = screen()

    def sign_in(client: Client) -> None:
        cookie = client.cookies["sessionid"].value
        page.context.add_cookies([{"name": "sessionid", "value": cookie, "url": page.url.split("/p/")[0]}])

    sign_in(as_alice)
    pressed = dict([press(page, "1")])
    expect(page.locator("#refused")).to_contain_text("could not be saved")
    assert stored() == {}
    sign_in(as_bob)
    page.reload()
    all_saved(page)
    expect(page.locator("#refused")).to_be_hidden()
    assert stored() == pressed, "and it is saved once it is me again"


def test_a_reload_at_every_step_is_one_label_each(pairs: Project, screen: Callable[[], Page]) -> None:
    page = screen()
    pressed = {}
    for key in ("1", "2", "t"):
        ready(page)
        claim = claim_on(page)
        page.reload()
        ready(page)
        assert claim_on(page) == claim, "a reload shows the same pair"
        page.keyboard.press(key)
        pressed[claim] = KEYS[key]
        page.reload()  # at once, whether the verdict has left or not
    all_saved(page)
    assert stored() == pressed


def test_a_receipt_while_the_next_pair_is_on_its_way_brings_no_other(
    pairs: Project, screen: Callable[[], Page], bob: User
) -> None:
    """On a slow network the receipt comes first, with a pair for the reserve: no pair is shown and then replaced."""
    page = screen()
    page.route("**/reserve/*", lambda route: route.fulfill(status=204))
    page.reload()
    ready(page)
    held: list[Route] = []
    page.route(re.compile(r"/label/\?held="), lambda route: held.append(route))
    claim = claim_on(page)
    page.keyboard.press("1")
    all_saved(page)
    assert len(held) == 1
    held[0].continue_()
    page.wait_for_function("was => document.getElementById('stage').dataset.claim !== String(was)", arg=claim)
    page.wait_for_timeout(500)
    assert len(held) == 1, "the pair on the screen stays"
    assert Claim.objects.filter(annotator=bob, state="live", ahead=False).count() == 1


def test_two_windows_and_the_way_back_are_one_label_a_pair(
    pairs: Project, screen: Callable[[], Page], project: Project
) -> None:
    first = screen()
    second = first.context.new_page()
    second.goto(LABEL)
    ready(second)
    assert claim_on(first) == claim_on(second)
    pressed = dict([press(first, "1")])
    all_saved(first)
    press(second, "2")
    all_saved(second)
    expect(second.locator("#status")).to_contain_text("first verdict stands")
    assert stored() == pressed
    first.goto("/p/stories/")
    first.go_back()
    ready(first)
    assert claim_on(first) not in pressed
    pressed |= dict([press(first, "t")])
    all_saved(first)
    assert {claim: verdict for claim, verdict in stored().items() if claim in pressed} == pressed
    assert Label.objects.count() == Claim.objects.filter(state="done").count()


def test_a_page_that_is_left_gives_its_reserve_back(pairs: Project, screen: Callable[[], Page]) -> None:
    page = screen()
    assert Claim.objects.filter(ahead=True, state="live").count() == 2
    page.goto("/p/stories/")
    page.wait_for_load_state("networkidle")
    assert Claim.objects.filter(ahead=True, state="live").count() == 0
    assert Claim.objects.filter(state="live").count() == 1


def test_a_countdown_shows_only_when_the_lease_is_not_renewed(
    pairs: Project, screen: Callable[[], Page], bob: User
) -> None:
    claim = factories.ClaimFactory.create(pair=pairs.pairs.all()[0], annotator=bob, expires_at=in_seconds(600))
    page = screen()
    assert claim_on(page) == claim.pk
    page.wait_for_timeout(1100)
    expect(page.locator("#lease")).to_have_text("")
    page.evaluate("document.getElementById('lease').replaceWith(document.getElementById('lease').cloneNode(true))")
    page.evaluate("document.getElementById('lease').dataset.left = '42'")
    expect(page.locator("#lease")).to_contain_text("held for you for another 4")
    page.evaluate("document.getElementById('lease').replaceWith(document.getElementById('lease').cloneNode(true))")
    page.evaluate("document.getElementById('lease').dataset.left = '0'")
    expect(page.locator("#lease")).to_contain_text("Your verdict still counts")
    press(page, "1")
    all_saved(page)
    assert stored() == {claim.pk: "left"}


def in_seconds(seconds: int) -> datetime:
    return timezone.now() + timedelta(seconds=seconds)


def test_what_another_projects_page_left_behind_brings_none_of_its_pairs(
    pairs: Project, screen: Callable[[], Page], bob: User
) -> None:
    other = factories.ProjectFactory.create(slug="poems", reveal="never")
    Member.objects.create(project=other, user=bob, role=Member.Role.ANNOTATOR)
    factories.PairFactory.create_batch(5, project=other)
    page = screen()
    page.route("**/claims/*/label/", lambda route: route.abort())
    press(page, "1")
    page.unroute("**/claims/*/label/")
    page.goto("/p/poems/label/")
    ready(page)
    all_saved(page)
    for _ in range(4):
        assert Claim.objects.get(pk=claim_on(page)).pair.project == other
        press(page, "2")
    all_saved(page)
    assert Label.objects.filter(pair__project=other).count() == 4
    assert Label.objects.filter(pair__project=pairs).count() == 1


def test_signing_in_elsewhere_ends_the_question_for_the_password(
    pairs: Project, screen: Callable[[], Page], bob: User
) -> None:
    page = screen()
    press(page, "1")
    all_saved(page)
    Session.objects.all().delete()
    page.evaluate("htmx.ajax('POST', document.getElementById('lease').getAttribute('hx-post'), '#lease')")
    expect(page.locator("#login")).to_be_visible()
    again = Client()
    again.force_login(bob)
    origin = page.evaluate("location.origin")
    page.context.add_cookies([{"name": "sessionid", "value": again.cookies["sessionid"].value, "url": origin}])
    expect(page.locator("#login")).to_be_hidden(timeout=15_000)
    ready(page)
    press(page, "2")
    all_saved(page)
    assert len(stored()) == 2
