"""The adjudicators' queue through its addresses: order, filters, saved filters, counts, many pairs at once."""

import re
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from labeling.models import Deployment, Flag, Label, Pair, Project, SavedFilter
from labeling.services import flags
from tests import factories

URL = "/p/stories/flags/"
COUNTS = {"HX-Request": "true", "HX-Target": "counts"}
Kind = Flag.Kind


def flagged(
    project: Project, *kinds: str, value: float = 0.5, detail: dict[str, Any] | None = None, **fields: Any
) -> Pair:
    pair = factories.PairFactory.create(project=project, **fields)
    for kind in kinds or (Kind.REPORTED,):
        Flag.objects.create(pair=pair, kind=kind, value=value, detail=detail or {})
    return pair


def listed(client: Client, query: str = "") -> list[int]:
    """The pairs on the page, from top to bottom."""
    html = client.get(f"{URL}{query}").content.decode()
    return [int(number) for number in re.findall(r"/p/stories/pairs/(\d+)/", html)]


def text(client: Client, url: str, **headers: str) -> str:
    """The page as it is read: without tags, white space as one space."""
    html = client.get(url, headers=headers).content.decode()
    return unescape(" ".join(re.sub(r"<[^>]+>", " ", html).split()))


# --- the queue -----------------------------------------------------------------------------------------------------


def test_one_row_a_pair_the_most_valuable_first(as_dora: Client, project: Project) -> None:
    low = flagged(project, Kind.LOW_MARGIN, value=0.2)
    high = flagged(project, Kind.ANNOTATORS_SPLIT, value=0.6)
    both = flagged(project, Kind.ORDER_FLIP, Kind.ANNOTATORS_SPLIT, value=0.3)
    Flag.objects.filter(pair=both, kind=Kind.ANNOTATORS_SPLIT).update(value=0.9)
    Flag.objects.create(pair=low, kind=Kind.REPORTED, value=1.0, state="settled")
    flagged(factories.ProjectFactory.create(), value=1.0)
    assert listed(as_dora) == [both.pk, high.pk, low.pk]


def test_a_row_says_why_what_people_and_the_judge_say_and_what_it_is_worth(
    as_dora: Client, project: Project, champion: Deployment, bob: User
) -> None:
    Deployment.objects.update(calibration={"temperature": 2.0})
    detail = {"human": "a", "judge": "b", "confidence": 0.75}
    pair = flagged(project, Kind.JUDGE_DISAGREES, value=0.75, detail=detail)
    Flag.objects.create(pair=pair, kind=Kind.REPORTED, detail={"by": "bob", "comment": "B is <b>cut</b> off"})
    claim = factories.ClaimFactory.create(pair=pair, annotator=bob, state="done")
    Label.objects.create(
        pair=pair, claim=claim, annotator=bob, source="claim", choice="b", final_choice="tie", blind=True
    )
    factories.JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.1)
    page = text(as_dora, URL)
    for wanted in (
        "judge and people disagree people say A, the judge B (75 % sure)",
        "reported by a person bob: B is <b>cut</b> off",
        "People bob tie",
        "Judge B 75 %",
        "Value 0.75",
    ):
        assert wanted in page
    Deployment.objects.update(trusted=False)
    assert "Judge B" not in text(as_dora, URL)


@pytest.mark.parametrize(
    ("kind", "detail", "words"),
    [
        (Kind.ANNOTATORS_SPLIT, {"choices": ["a", "b", "b", "both_bad"]}, "2 × B, 1 × A, 1 × both bad"),
        (Kind.ORDER_FLIP, {"straight": 0.8, "swapped": 0.3}, "P(A) is 80 % with A first, 30 % with B first"),
        (Kind.LOW_MARGIN, {"judge": "a", "confidence": 0.52}, "A (52 % sure)"),
        (Kind.GOLD_MISSED, {"gold": "b", "choices": ["a", "tie"]}, "the known answer is B, people said A, tie"),
        (Kind.REPORTED, {"by": "x", "comment": "1", "more": [{"by": "y", "comment": "2"}]}, "x: 1; y: 2"),
        (Kind.JUDGE_DISAGREES, {}, "people say ?, the judge ?"),
    ],
)
def test_every_kind_has_its_reason_in_words(
    as_dora: Client, project: Project, kind: str, detail: dict[str, Any], words: str
) -> None:
    pair = flagged(project, kind, detail=detail)
    assert f"{Kind(kind).label} {words}" in text(as_dora, URL)
    assert f"{Kind(kind).label} {words}" in text(as_dora, f"/p/stories/pairs/{pair.pk}/")


def test_every_filter_leaves_its_own(as_dora: Client, project: Project, bob: User) -> None:
    plain = flagged(project, Kind.REPORTED, value=0.5)
    by_kind = flagged(project, Kind.ORDER_FLIP, value=0.3)
    sourced = flagged(project, Kind.ANNOTATORS_SPLIT, value=0.4, meta={"source": "web & books"})
    modelled = flagged(project, Kind.GOLD_MISSED, value=0.35, model_b="small-7b")
    worded = flagged(project, value=0.45, prompt=[{"role": "user", "content": 'Say "grüße" to C:\\x'}])
    claim = factories.ClaimFactory.create(pair=plain, annotator=bob, state="done")
    Label.objects.create(
        pair=plain, claim=claim, annotator=bob, source="claim", choice="a", final_choice="a", blind=True
    )
    factories.LabelFactory.create(pair=modelled, external_annotator="nora")
    factories.LabelFactory.create(pair=worded, external_annotator="nora", withdrawn=True)
    for query, wanted in [
        ("", [plain, worded, sourced, modelled, by_kind]),
        ("?kind=order_flip", [by_kind]),
        ("?kind=order_flip&kind=gold_missed", [modelled, by_kind]),
        ("?source=web+%26+books", [sourced]),
        ("?model=small-7b", [modelled]),
        ("?annotator=bob", [plain]),
        ("?annotator=nora", [modelled]),
        (f"?text={modelled.external_id}", [modelled]),
        ("?text=gr%C3%BC%C3%9Fe", [worded]),
        ("?text=%22gr", [worded]),
        ("?text=C%3A%5Cx", [worded]),
        ("?text=RIVER", [plain, worded, sourced, modelled, by_kind]),
        ("?text=100%25", []),
        ("?least=0.4", [plain, worded, sourced]),
        ("?least=0.4&kind=annotators_split", [sourced]),
        ("?least=lots&kind=nothing&source=%00", [plain, worded, sourced, modelled, by_kind]),
    ]:
        assert listed(as_dora, query) == [pair.pk for pair in wanted], query


def test_the_filters_offer_what_there_is_and_keep_what_was_chosen(as_dora: Client, project: Project) -> None:
    flagged(project, meta={"source": "web"}, model_a="big")
    factories.PairFactory.create(project=project, meta={"source": "unflagged"})
    html = as_dora.get(f"{URL}?kind=reported&source=gone&least=0.25&text=fox").content.decode()
    for wanted in (
        "<option>web</option>",
        "<option selected>gone</option>",
        "<option>big</option>",
        'name="kind" value="reported"',
        'value="0.25"',
        'value="fox"',
    ):
        assert wanted in html
    assert "unflagged" not in html


def test_every_row_and_page_keeps_the_filters(as_dora: Client, project: Project) -> None:
    for _ in range(51):
        flagged(project, Kind.ORDER_FLIP, Kind.REPORTED)
    html = as_dora.get(f"{URL}?kind=order_flip&text=fox&page=1").content.decode()
    assert len(re.findall(r'/p/stories/pairs/\d+/\?kind=order_flip&amp;text=fox"', html)) == 50
    assert "?kind=order_flip&amp;text=fox&amp;page=2" in html
    assert len(listed(as_dora, "?kind=order_flip&text=fox&page=2")) == 1


def test_the_counts_come_by_themselves_and_count_under_the_other_filters(as_dora: Client, project: Project) -> None:
    flagged(project, Kind.ORDER_FLIP, Kind.REPORTED, value=0.3)
    flagged(project, Kind.REPORTED, value=0.8)
    flagged(project, Kind.REPORTED, value=0.9)
    part = as_dora.get(f"{URL}?kind=order_flip&least=0.5", headers=COUNTS).content.decode()
    assert part.strip().startswith('<nav id="counts"')
    assert f'hx-get="{URL}?kind=order_flip&amp;least=0.5" hx-trigger="every 5s"' in part
    assert "<h1>" not in part
    words = text(as_dora, f"{URL}?kind=order_flip&least=0.5", **COUNTS)
    assert "All 2 " in words
    assert "The judge's verdict flips with the order 0" in words
    assert "Reported by a person 2" in words
    assert f'href="{URL}?kind=order_flip&amp;kind=reported&amp;least=0.5">Reported' in part
    assert f'href="{URL}?least=0.5" aria-current="true">The judge' in part
    flags.settle(Pair.objects.filter(flags__value=0.9)[0], by=User.objects.get(username="dora"), choice="a", reason="")
    assert "All 1 " in text(as_dora, f"{URL}?least=0.5", **COUNTS)


@pytest.mark.parametrize("trusted", [True, False])
def test_a_judge_below_the_trust_floor_gives_one_notice(as_dora: Client, champion: Deployment, trusted: bool) -> None:
    Deployment.objects.update(trusted=trusted)
    for _ in range(3):
        flagged(champion.project, Kind.ANNOTATORS_SPLIT)
    assert text(as_dora, f"{URL}?kind=annotators_split").count("Label about") == (0 if trusted else 1)


def test_whoever_read_the_judges_verdict_in_the_queue_is_not_asked_about_the_pair(
    as_dora: Client, dora: User, champion: Deployment
) -> None:
    told, reported = flagged(champion.project, Kind.JUDGE_DISAGREES), flagged(champion.project, Kind.REPORTED)
    for _ in range(2):
        assert len(listed(as_dora)) == 2
    assert list(dora.claims.values_list("pair_id", "state")) == [(told.pk, "skipped")]
    champion.trusted = True
    champion.save()
    factories.JudgementFactory.create(pair=reported, judge=champion.judge)
    listed(as_dora)
    assert dora.claims.filter(pair=reported, state="skipped").exists(), "a trusted judge's verdict stands in the row"


@pytest.mark.parametrize("rows", [1, 50])
def test_the_queue_takes_as_many_queries_for_fifty_pairs_as_for_one(
    as_dora: Client, champion: Deployment, rows: int, django_assert_max_num_queries: Any
) -> None:
    for _ in range(rows):
        pair = flagged(champion.project, Kind.JUDGE_DISAGREES, Kind.REPORTED, meta={"source": "web"})
        factories.LabelFactory.create(pair=pair)
        factories.JudgementFactory.create(pair=pair, judge=champion.judge)
    with django_assert_max_num_queries(19):  # the first time, four to keep away from these pairs
        assert len(listed(as_dora)) == rows
    with django_assert_max_num_queries(16):
        assert len(listed(as_dora)) == rows
    with django_assert_max_num_queries(6):
        as_dora.get(URL, headers=COUNTS)


# --- many at once --------------------------------------------------------------------------------------------------


def test_the_ticked_pairs_are_decided_together(as_dora: Client, as_alice: Client, project: Project) -> None:
    first, second, third = (flagged(project, value=value) for value in (0.9, 0.8, 0.7))
    elsewhere = flagged(factories.ProjectFactory.create())
    as_alice.post(f"/p/stories/pairs/{first.pk}/", {"choice": "a"})
    ticked = [first.pk, second.pk, elsewhere.pk, 10**17]
    sent = {"pair": ticked, "choice": "tie", "reason": "both are fine"}
    page = as_dora.post(f"{URL}decide/?text=fox", sent, follow=True)
    assert page.redirect_chain == [(f"{URL}?text=fox", 302)]
    said = page.content.decode()
    assert "Settled as “Tie”: 1." in said
    assert "1 had been settled by somebody else before." in said
    assert list(Label.objects.filter(choice="tie").values_list("pair", "comment")) == [(second.pk, "both are fine")]
    assert listed(as_dora) == [third.pk]
    assert Flag.objects.get(pair=elsewhere).state == "open"


@pytest.mark.parametrize(("choice", "done"), [("tie", "settled"), ("send_back", "sent back"), ("ambiguous", "settled")])
def test_of_pairs_that_are_not_open_any_more_it_is_said_who_decided_them(
    as_dora: Client, as_alice: Client, project: Project, bob: User, choice: str, done: str
) -> None:
    pairs = [flagged(project) for _ in range(4)]
    as_dora.post(f"/p/stories/pairs/{pairs[0].pk}/", {"choice": choice})
    as_alice.post(f"/p/stories/pairs/{pairs[1].pk}/", {"choice": choice})
    Flag.objects.filter(pair=pairs[2]).update(state="obsolete")
    sent = {"pair": [pair.pk for pair in pairs], "choice": choice, "reason": "odd"}
    page = as_dora.post(f"{URL}decide/", sent, follow=True).content.decode()
    assert f": 1. 1 had been {done} by you before. 1 had been {done} by somebody else before." in page
    assert "1 had nothing open any more." in page
    again = as_dora.post(f"{URL}decide/", sent, follow=True).content.decode()
    assert f": 0. 2 had been {done} by you before. 1 had been {done} by somebody else before." in again


@pytest.mark.parametrize(("choice", "said"), [("send_back", "Sent back: 2."), ("ambiguous", "Marked ambiguous: 2.")])
def test_the_ticked_pairs_are_sent_back_or_marked(
    as_dora: Client, project: Project, bob: User, choice: str, said: str
) -> None:
    pairs = [flagged(project), flagged(project)]
    sent = {"pair": [pair.pk for pair in pairs], "choice": choice, "reason": "odd"}
    assert said in as_dora.post(f"{URL}decide/", sent, follow=True).content.decode()
    assert listed(as_dora) == []


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"pair": []}, "Tick the pairs first."),
        ({"pair": ["x"]}, "Select a valid choice."),
        ({"pair": list(range(1, 202))}, "At most 200 pairs at once."),
        ({"choice": ""}, "Choose what to do with them."),
        ({"choice": "delete"}, "Select a valid choice."),
        ({"reason": "  "}, "Give one reason for all of them."),
    ],
)
def test_what_is_missing_is_said_and_the_ticks_are_kept(
    as_dora: Client, project: Project, changed: dict[str, Any], problem: str
) -> None:
    pair = flagged(project)
    other = flagged(project)
    sent = {"pair": [pair.pk], "choice": "both_bad", "reason": "my <reason>"} | changed
    response = as_dora.post(f"{URL}decide/", sent)
    html = response.content.decode()
    assert response.status_code == 422
    assert problem in html
    assert Flag.objects.filter(state="open").count() == 2
    if sent["pair"] == [pair.pk]:
        assert f'value="{pair.pk}" form="bulk" checked' in html
        assert f'value="{other.pk}" form="bulk">' in html
    if sent["choice"] == "both_bad":
        assert '<option value="both_bad" selected>' in html
    if sent["reason"] == "my <reason>":
        assert 'value="my &lt;reason&gt;"' in html


# --- saved filters -------------------------------------------------------------------------------------------------


def test_filters_are_saved_opened_replaced_and_deleted(as_dora: Client, dora: User, project: Project) -> None:
    url = f"{URL}filters/?kind=order_flip&kind=nonsense&text=a+%26+b&page=3"
    page = as_dora.post(url, {"name": "flips"}, follow=True)
    assert page.redirect_chain == [(f"{URL}?kind=order_flip&text=a+%26+b", 302)]
    assert "Saved these filters as “flips”." in page.content.decode()
    as_dora.post(f"{URL}filters/?kind=order_flip&kind=reported", {"name": "flips"})
    saved = SavedFilter.objects.get()
    assert (saved.user, saved.project, saved.query) == (dora, project, "kind=order_flip&kind=reported")
    assert f'href="{URL}?kind=order_flip&amp;kind=reported">flips</a>' in as_dora.get(URL).content.decode()
    page = as_dora.post(f"{URL}filters/{saved.pk}/delete/?text=x", follow=True)
    assert page.redirect_chain == [(f"{URL}?text=x", 302)]
    assert not SavedFilter.objects.exists()


@pytest.mark.parametrize(
    ("name", "query", "problem"),
    [
        ("", "kind=reported", "Give the filters a name."),
        ("x" * 61, "kind=reported", "at most 60"),
        ("long", "text=" + "%E2%82%AC" * 199, "too long to be saved"),
    ],
)
def test_a_filter_that_cannot_be_saved_says_why(
    as_dora: Client, project: Project, name: str, query: str, problem: str
) -> None:
    response = as_dora.post(f"{URL}filters/?{query}", {"name": name})
    assert response.status_code == 422
    assert problem in response.content.decode()
    assert not SavedFilter.objects.exists()


def test_saved_filters_are_ones_own(as_dora: Client, as_alice: Client, dora: User, project: Project) -> None:
    saved = flags.save_filter(project, user=dora, name="mine", query="kind=reported")
    flags.save_filter(project, user=User.objects.get(username="alice"), name="mine", query="")
    elsewhere = factories.ProjectFactory.create(slug="elsewhere")
    other = flags.save_filter(elsewhere, user=dora, name="other", query="")
    assert ">mine</a>" in as_dora.get(URL).content.decode()
    assert ">other</a>" not in as_dora.get(URL).content.decode()
    assert f'href="{URL}?kind=reported">mine' not in as_alice.get(URL).content.decode()
    assert as_alice.post(f"{URL}filters/{saved.pk}/delete/").status_code == 404
    assert as_dora.post(f"{URL}filters/{other.pk}/delete/").status_code == 404
    assert SavedFilter.objects.count() == 3
