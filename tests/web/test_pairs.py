"""Every pair of a project through the list's address, and what opens on a pair that nothing flags."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from labeling.models import Claim, Deployment, Flag, Pair, Project
from labeling.services import claims
from labeling.services.claims import open_pairs_of
from labeling.services.labels import commit_label
from tests import factories
from tests.web.test_flags import text

URL = "/p/stories/pairs/"


def listed(client: Client, query: str = "") -> list[int]:
    """The pairs on the page, from top to bottom."""
    html = client.get(f"{URL}{query}").content.decode()
    return [int(number) for number in re.findall(r"/p/stories/pairs/(\d+)/", html)]


def skipped(pair: Pair, *reasons: str) -> None:
    """Skipped for these reasons, the last one newest."""
    start = timezone.now() - timedelta(hours=1)
    for minute, reason in enumerate(reasons):
        at = start + timedelta(minutes=minute)
        factories.ClaimFactory.create(pair=pair, state="skipped", skip_reason=reason, expires_at=at)


def test_every_part_of_the_list_has_its_pairs(as_dora: Client, project: Project) -> None:
    new, labelled, passed, ambiguous, undone, kept_away = factories.PairFactory.create_batch(6, project=project)
    factories.PairFactory.create()
    factories.LabelFactory.create(pair=labelled)
    factories.LabelFactory.create(pair=undone, withdrawn=True)
    skipped(passed, "not my field")
    Pair.objects.filter(pk=ambiguous.pk).update(ambiguous=True)
    factories.ClaimFactory.create(pair=kept_away, state="skipped", skip_reason=claims.SEEN)
    for show, wanted in {
        "": [new, labelled, passed, ambiguous, undone, kept_away],
        "labelled": [labelled],
        "unlabelled": [new, passed, ambiguous, undone, kept_away],
        "skipped": [passed],
        "ambiguous": [ambiguous],
        "nonsense": [new, labelled, passed, ambiguous, undone, kept_away],
    }.items():
        assert listed(as_dora, f"?show={show}") == [pair.pk for pair in wanted], show
    page = text(as_dora, URL)
    assert f"{new} Tell story {new}." in page
    assert "Labels 0 of 1 Skipped 1 time: not my field" in page
    assert "Labels 0 of 1 marked ambiguous" in page
    assert claims.SEEN not in page


def test_a_pair_is_found_by_its_name_or_a_word_of_its_prompt(as_dora: Client, project: Project) -> None:
    named = factories.PairFactory.create(
        project=project, external_id="tides/7", prompt=[{"role": "user", "content": "x"}]
    )
    asked = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": 'Say "grüße" to C:\\x'}]
    worded = factories.PairFactory.create(project=project, prompt=asked, response_a="tides/7")
    factories.LabelFactory.create(pair=worded)
    for query, wanted in {
        "?text=TIDES/7": [named],
        "?text=grüße": [worded],
        "?text=C:\\x": [worded],
        "?text=kind&show=labelled": [worded],
        "?text=kind&show=unlabelled": [],
        "?text=%00": [named, worded],
    }.items():
        assert listed(as_dora, query) == [pair.pk for pair in wanted], query
    page = text(as_dora, URL)
    assert 'Say "grüße" to C:\\x' in page
    assert "Be kind." not in page
    assert 'href="/p/stories/pairs/?show=skipped&amp;text=kind"' in as_dora.get(f"{URL}?text=kind").content.decode()
    assert "No pair is like that." in text(as_dora, f"{URL}?text=nothing")


def test_the_list_says_how_often_and_why_last_a_pair_was_skipped(as_dora: Client, pair: Pair) -> None:
    skipped(pair, "too long", "not <b>my</b> field", "")
    factories.ClaimFactory.create(pair=pair, state="skipped", skip_reason=claims.SEEN)
    assert "Skipped 3 times: not <b>my</b> field" in text(as_dora, f"{URL}?show=skipped")


def test_the_list_tells_no_verdict_and_keeps_nobody_away_but_from_what_is_called_ambiguous(
    as_dora: Client, dora: User, bob: User, champion: Deployment, project: Project
) -> None:
    Project.objects.update(overlap=2)
    project.refresh_from_db()
    pair, ambiguous = factories.PairFactory.create_batch(2, project=project)
    Pair.objects.filter(pk=ambiguous.pk).update(ambiguous=True)
    commit_label(factories.ClaimFactory.create(pair=pair, annotator=bob, slots=2), choice="left")
    factories.JudgementFactory.create(pair=pair, judge=champion.judge)
    Flag.objects.create(pair=pair, kind="judge_disagrees", detail={"human": "a", "judge": "b"})
    page = text(as_dora, URL)
    assert "Labels 1 of 2" in page
    for verdict in ("A is better", "judge and people disagree", "bob", "80 %"):
        assert verdict not in page
    assert list(open_pairs_of(project, dora)) == [pair]


@pytest.mark.parametrize(("rows", "page"), [(3, 1), (60, 1), (60, 2)])
def test_the_list_takes_few_queries(
    as_dora: Client, project: Project, rows: int, page: int, django_assert_num_queries: Any
) -> None:
    for pair in factories.PairFactory.create_batch(rows, project=project):
        skipped(pair, "odd")
    with django_assert_num_queries(5):
        assert len(listed(as_dora, f"?page={page}&show=skipped")) == (min(rows, 50) if page == 1 else rows - 50)
    assert 'href="?show=skipped&amp;page=' in as_dora.get(f"{URL}?show=skipped").content.decode() or rows == 3


@pytest.mark.parametrize("page", ["/p/stories/", "/p/stories/flags/"])
def test_the_list_is_linked_for_those_who_may_see_it(as_dora: Client, as_bob: Client, pair: Pair, page: str) -> None:
    assert f'href="{URL}"' in as_dora.get(page).content.decode()
    assert f'href="{URL}"' not in as_bob.get(page).content.decode()


# --- a pair that nothing flags ---------------------------------------------------------------------------------------


def test_a_pair_that_nothing_flags_is_opened_with_a_reason_and_decided(as_dora: Client, pair: Pair) -> None:
    address = f"{URL}{pair.pk}/"
    html = as_dora.get(address).content.decode()
    assert 'data-key="o"' in html
    assert 'name="choice"' not in html
    refused = as_dora.post(f"{address}open/", {"reason": " "}, follow=True)
    assert "Say why you open this pair." in refused.content.decode()
    opened = as_dora.post(f"{address}open/?kind=reported", {"reason": "B is <i>cut</i> off"}, follow=True)
    assert opened.redirect_chain == [(f"{address}?kind=reported", 302)]
    page = opened.content.decode()
    assert "dora: B is &lt;i&gt;cut&lt;/i&gt; off" in page
    assert 'name="choice" value="send_back"' in page
    assert 'data-key="o"' not in page
    assert "open already" in as_dora.post(f"{address}open/", {"reason": "x"}, follow=True).content.decode()
    as_dora.post(address, {"choice": "a", "reason": ""})
    assert (Flag.objects.get().state, Flag.objects.get().resolution) == ("settled", "a")
    assert 'data-key="o"' not in as_dora.get(address).content.decode(), "the settlement is taken back instead"


def test_those_who_skipped_a_pair_are_asked_again_from_its_page(
    as_dora: Client, pair: Pair, bob: User, project: Project
) -> None:
    address = f"{URL}{pair.pk}/"
    assert "ask-again" not in as_dora.get(address).content.decode()
    skip = factories.ClaimFactory.create(pair=pair, annotator=bob, state="skipped", skip_reason="hard")
    assert f'action="{address}ask-again/"' in as_dora.get(address).content.decode()
    page = as_dora.post(f"{address}ask-again/", follow=True).content.decode()
    assert "Can be asked again: bob.</" in page
    assert "ask-again" not in page
    assert claims.next_claim(project, annotator=bob) == skip
    assert "Nobody who could be asked" in as_dora.post(f"{address}ask-again/", follow=True).content.decode()


@pytest.mark.parametrize("is_open", [True, False])
def test_those_who_skipped_a_finished_pair_are_asked_once_it_is_sent_back(
    as_dora: Client, pair: Pair, bob: User, is_open: bool
) -> None:
    factories.ClaimFactory.create(pair=pair, annotator=bob, state="skipped")
    Pair.objects.update(closed=True)
    if is_open:
        Flag.objects.create(pair=pair, kind="reported")
    assert ("ask-again" in as_dora.get(f"{URL}{pair.pk}/").content.decode()) is is_open
    page = as_dora.post(f"{URL}{pair.pk}/ask-again/", follow=True).content.decode()
    assert "Can be asked again: bob. Send the pair back, so that somebody is." in page
    assert Claim.objects.get(annotator=bob).state == "expired"
