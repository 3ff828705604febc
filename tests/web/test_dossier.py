"""The dossier through its address: all that is known of a pair, its keys, and the way through the queue."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from labeling.errors import NothingToUndo
from labeling.models import AuditEvent, Consensus, Deployment, Flag, Label, Project, Rationale
from labeling.services import flags, labels
from labeling.services.claims import next_claim
from tests import factories
from tests.web.test_flags import URL, Kind, flagged, listed, text


def test_after_each_decision_comes_the_next_pair_of_the_same_queue(
    as_dora: Client, project: Project, bob: User
) -> None:
    first, second, third = (flagged(project, Kind.ORDER_FLIP, value=value) for value in (0.9, 0.6, 0.6))
    flagged(project, Kind.REPORTED, value=0.7)
    query = "?kind=order_flip"
    for pair, choice, following in [(second, "b", third), (third, "send_back", first)]:
        sent = as_dora.post(f"/p/stories/pairs/{pair.pk}/{query}", {"choice": choice, "reason": "so"})
        assert sent["Location"] == f"/p/stories/pairs/{following.pk}/{query}"
    assert as_dora.post(f"/p/stories/pairs/{first.pk}/{query}", {"choice": "ambiguous"})["Location"] == URL + query
    states = Flag.objects.filter(kind=Kind.ORDER_FLIP).order_by("pair").values_list("state", "resolution", "reason")
    assert list(states) == [("settled", "ambiguous", ""), ("settled", "b", "so"), ("sent_back", "", "so")]
    assert AuditEvent.objects.count() == 3
    assert "Nothing to settle under these filters." in text(as_dora, URL + query)


def test_the_next_key_leads_on_without_settling(as_dora: Client, project: Project) -> None:
    first, second = flagged(project, value=0.9), flagged(project, value=0.6)
    for pair, following in [(first, second), (second, first)]:
        html = as_dora.get(f"/p/stories/pairs/{pair.pk}/?text=fox").content.decode()
        assert f'href="/p/stories/pairs/{following.pk}/?text=fox" data-key="n"' in html
        assert "2 in this queue" in html
    flags.settle(second, by=User.objects.get(username="dora"), choice="a", reason="")
    assert f'href="{URL}" data-key="n"' in as_dora.get(f"/p/stories/pairs/{first.pk}/").content.decode()
    settled = as_dora.get(f"/p/stories/pairs/{second.pk}/").content.decode()
    assert f'href="/p/stories/pairs/{first.pk}/" data-key="n"' in settled
    assert "Nothing is open on this pair." in settled
    assert 'name="choice"' not in settled


def test_the_second_of_two_adjudicators_is_told_and_changes_nothing(
    as_dora: Client, as_alice: Client, project: Project
) -> None:
    pair = flagged(project)
    url = f"/p/stories/pairs/{pair.pk}/"
    as_alice.post(url, {"choice": "a", "reason": "mine"})
    for choice in ("b", "send_back", "ambiguous"):
        response = as_dora.post(url, {"choice": choice, "reason": "too late"})
        assert response.status_code == 422
        assert "Somebody else has settled this pair already." in response.content.decode()
    pair.refresh_from_db()
    assert (pair.ambiguous, pair.extra_labels, Label.objects.get().comment) == (False, 0, "mine")
    assert Consensus.objects.get().choice == "a"


def test_the_dossier_shows_everything_that_is_known(
    as_dora: Client, project: Project, champion: Deployment, bob: User, alice: User
) -> None:
    Deployment.objects.update(calibration={"temperature": 2.0})
    pair = flagged(project, response_a="The fox swam home", response_b="The fox walked home", model_b="small-7b")
    claim = factories.ClaimFactory.create(pair=pair, annotator=bob, state="done", reason="least sure of")
    Label.objects.create(
        pair=pair, claim=claim, annotator=bob, source="claim", choice="b", final_choice="a", blind=True,
        comment="A is kinder", criteria={"Tone": "a"}, highlights=[{"response": "a", "quote": "swam"}],
    )  # fmt: skip
    factories.ClaimFactory.create(
        pair=pair, annotator=alice, state="skipped", skip_reason="not my field", slot=1, slots=2
    )
    judged = factories.JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.9, p_a_swapped=0.7)
    reasoned = factories.JudgementFactory.create(pair=pair, judge=champion.judge, method="cot")
    for swapped, words in ((False, "A says what happened"), (True, "The second is shorter")):
        Rationale.objects.create(judgement=reasoned, swapped=swapped, sample=0, text=words, verdict="a", p_a=0.8)
    assert judged.p_a == 0.9
    page = text(as_dora, f"/p/stories/pairs/{pair.pk}/")
    for wanted in (
        "bob B is better A is better A is kinder Tone: A A: swam least sure of",
        "Skipped by alice: not my field",
        "P(A) before calibration 90 %",
        "P(A) after calibration 75 %",
        "P(A), B first 70 %",
        "75 % sure",
        "small-7b",
        "A, word by word The fox swam home B, word by word The fox walked home",
    ):
        assert wanted in page
    assert re.search(r"A shown first .*A says what happened.* B shown first .*The second is shorter", page)
    assert "<del>swam </del>" in as_dora.get(f"/p/stories/pairs/{pair.pk}/").content.decode()


def test_every_key_of_the_dossier_is_there(as_dora: Client, project: Project) -> None:
    html = as_dora.get(f"/p/stories/pairs/{flagged(project).pk}/").content.decode()
    keys = {key for found in re.findall(r'data-key="([^"]+)"', html) for key in found.split()}
    assert keys == {"1", "a", "ArrowLeft", "2", "b", "ArrowRight", "t", "x", "s", "m", "n", "c", "d"}


def test_a_pair_that_nobody_else_can_label_is_not_sent_back(as_dora: Client, dora: User, project: Project) -> None:
    pair = flagged(project)
    factories.ClaimFactory.create(pair=pair, annotator=dora, state="done")
    sent = {"choice": "send_back", "reason": "look <again>"}
    response = as_dora.post(f"/p/stories/pairs/{pair.pk}/", sent)
    assert response.status_code == 422
    assert "It cannot be sent back" in response.content.decode()
    assert "look &lt;again&gt;</textarea>" in response.content.decode()
    bulk = as_dora.post(f"{URL}decide/", sent | {"pair": [pair.pk]}, follow=True).content.decode()
    assert "Sent back: 0. 1 stays: every other member has labelled or skipped it." in bulk
    assert listed(as_dora) == [pair.pk]


@pytest.mark.parametrize("number", [1, 30])
def test_the_dossier_takes_few_queries(
    as_dora: Client, champion: Deployment, number: int, django_assert_max_num_queries: Any
) -> None:
    pair = flagged(champion.project)
    reasoned = factories.JudgementFactory.create(pair=pair, judge=champion.judge, method="cot")
    for index in range(number):
        factories.LabelFactory.create(pair=pair)
        factories.ClaimFactory.create(pair=pair, state="skipped")
        flagged(champion.project)
        Rationale.objects.create(judgement=reasoned, swapped=False, sample=index, text="x", verdict="a")
    with django_assert_max_num_queries(20):
        as_dora.get(f"/p/stories/pairs/{pair.pk}/")


def test_whoever_has_seen_the_judge_here_is_not_asked_about_the_pair(
    as_dora: Client, project: Project, champion: Deployment, dora: User, bob: User
) -> None:
    """Their label would pass for a blind one."""
    Project.objects.update(overlap=2, reveal=Project.Reveal.NEVER)
    project.refresh_from_db()
    pair = flagged(project)
    held = factories.ClaimFactory.create(pair=pair, annotator=dora, slots=2)
    as_dora.get(f"/p/stories/pairs/{pair.pk}/")
    assert next_claim(project, annotator=dora) is not None, "without a judgement there is nothing to have seen"
    factories.JudgementFactory.create(pair=pair, judge=champion.judge)
    as_dora.get(f"/p/stories/pairs/{pair.pk}/")
    assert next_claim(project, annotator=dora) is None
    assert next_claim(project, annotator=bob) is not None
    with pytest.raises(NothingToUndo):
        labels.undo(project, annotator=dora)
    held.refresh_from_db()
    late = labels.commit_label(held, choice="left")
    assert (late.choice, late.blind) == ("a", False)


@pytest.mark.parametrize("page", [URL, "/p/stories/pairs/{}/"])
@pytest.mark.parametrize(
    ("kind", "label", "asked"),
    [
        (Kind.REPORTED, "", True),
        (Kind.REPORTED, "own", True),
        (Kind.REPORTED, "another's", False),
        (Kind.GOLD_MISSED, "", False),
        (Kind.ANNOTATORS_SPLIT, "", False),
    ],
)
def test_nor_whoever_has_seen_the_known_answer_or_what_others_say(
    as_dora: Client, project: Project, dora: User, page: str, kind: str, label: str, asked: bool
) -> None:
    pair = flagged(project, kind, detail={"gold": "b", "choices": ["a"]})
    claim = factories.ClaimFactory.create(pair=pair, annotator=dora, slots=2)
    if label == "own":
        labels.commit_label(claim, choice="left")
    elif label:
        factories.LabelFactory.create(pair=pair)
    as_dora.get(page.format(pair.pk))
    claim.refresh_from_db()
    assert (claim.skip_reason == "") is asked


def test_nor_about_a_closed_pair_that_is_sent_back(
    as_dora: Client, project: Project, champion: Deployment, dora: User, bob: User
) -> None:
    pair = flagged(project, closed=True)
    factories.JudgementFactory.create(pair=pair, judge=champion.judge)
    as_dora.get(f"/p/stories/pairs/{pair.pk}/")
    flags.send_back(pair, by=factories.UserFactory.create(), reason="")
    assert next_claim(project, annotator=dora) is None
    assert next_claim(project, annotator=bob) is not None


def test_a_settlement_is_taken_back_on_the_page(as_dora: Client, dora: User, project: Project) -> None:
    pair = flagged(project)
    address = f"/p/stories/pairs/{pair.pk}/"
    assert "Take the settlement back" not in as_dora.get(address).content.decode()
    as_dora.post(address, {"choice": "a", "reason": ""})
    assert "Take the settlement back" in as_dora.get(address).content.decode()
    page = as_dora.post(f"{address}reopen/?kind=reported", follow=True)
    assert page.redirect_chain == [(f"{address}?kind=reported", 302)]
    assert "Open again: " in page.content.decode()
    again = as_dora.post(f"{address}reopen/", follow=True).content.decode()
    assert "There is no settlement of this pair to take back." in again


def test_a_decision_that_is_sent_twice_says_nothing_of_somebody_else(
    as_dora: Client, as_alice: Client, project: Project
) -> None:
    pair = flagged(project)
    for _ in range(2):
        page = as_dora.post(f"/p/stories/pairs/{pair.pk}/", {"choice": "a", "reason": ""}, follow=True)
        assert page.redirect_chain == [("/p/stories/flags/", 302)]
    late = as_alice.post(f"/p/stories/pairs/{pair.pk}/", {"choice": "b", "reason": ""})
    assert (late.status_code, "Somebody else has settled" in late.content.decode()) == (422, True)


def test_a_pair_that_was_sent_back_is_sent_back_once_and_says_by_whom(
    as_dora: Client, as_alice: Client, project: Project, bob: User
) -> None:
    pair = flagged(project)
    address = f"/p/stories/pairs/{pair.pk}/"
    for _ in range(2):
        page = as_dora.post(address, {"choice": "send_back", "reason": ""}, follow=True)
        assert page.redirect_chain == [("/p/stories/flags/", 302)]
    pair.refresh_from_db()
    assert pair.extra_labels == 1
    own, late = (client.post(address, {"choice": "a"}).content.decode() for client in (as_dora, as_alice))
    assert "You have sent this pair back already." in own
    assert "Somebody else has sent this pair back already." in late
    assert "Take the settlement back" not in own + late


@pytest.mark.parametrize("before", ["", "a", "send_back"])
def test_a_flag_that_is_no_longer_true_was_settled_by_nobody(
    as_dora: Client, as_alice: Client, project: Project, bob: User, before: str
) -> None:
    pair = flagged(project)
    address = f"/p/stories/pairs/{pair.pk}/"
    if before:
        as_alice.post(address, {"choice": before})
        Flag.objects.create(pair=pair, kind=Kind.ORDER_FLIP)
    Flag.objects.filter(state="open").update(state="obsolete")
    for client in (as_dora, as_alice):
        late = client.post(address, {"choice": "b", "reason": ""})
        assert late.status_code == 422
        assert "Nothing is open on this pair any more." in late.content.decode()
        assert " this pair already." not in late.content.decode()


@pytest.mark.parametrize(
    ("method", "labels", "said"),
    [
        ("majority", 3, "A is better · majority, 97 % of 3"),
        ("dawid_skene", 3, "A is better · Dawid–Skene, 97 % likely"),
        ("adjudicated", 3, "A is better · adjudicated"),
    ],
)
def test_the_consensus_says_a_share_of_labels_only_where_it_is_one(
    as_dora: Client, project: Project, method: str, labels: int, said: str
) -> None:
    pair = flagged(project)
    Consensus.objects.create(pair=pair, choice="a", confidence=0.97, method=method, labels=labels)
    page = text(as_dora, f"/p/stories/pairs/{pair.pk}/")
    assert f"People {said} Who" in page


def test_a_label_of_the_judge_alone_is_shown_as_the_judges(
    as_dora: Client, project: Project, champion: Deployment
) -> None:
    pair = flagged(project)
    factories.JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.93)
    Consensus.objects.create(pair=pair, choice="a", confidence=0.93, method="judge", judge=champion.judge, labels=0)
    page = text(as_dora, f"/p/stories/pairs/{pair.pk}/")
    people, judge = page.index(" People "), page.index(" Judge ")
    assert "A is better ·" not in page[people:judge]
    assert "Nobody has labelled this pair." in page[people:judge]
    assert "It labels this pair alone: A is better, 93 % sure." in page[judge:]
