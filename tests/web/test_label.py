"""The label screen through its addresses: with htmx it swaps one region, without it plain forms and redirects work."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from labeling.models import Claim, Deployment, Flag, Label, LabelRevision, Pair, Project
from labeling.services.labels import Given, commit_label
from tests import factories

Headers = dict[str, str]


def commit(client: Client, claim: Claim, headers: Headers | None = None, **data: object) -> str:
    url = reverse("labeling:claim-commit", args=[claim.pk])
    response = client.post(url, {"verdict": "left", **data}, headers=headers or {}, follow=True)
    return response.content.decode()


def test_the_screen_shows_the_pair_in_the_order_of_the_claim(as_bob: Client, held: Claim) -> None:
    page = as_bob.get("/p/stories/label/").content.decode()
    assert page.index(held.pair.response_b) < page.index(held.pair.response_a)
    assert as_bob.get("/p/stories/label/").context["claim"] == held


def test_the_screen_names_no_model(as_bob: Client, held: Claim) -> None:
    Pair.objects.filter(pk=held.pair_id).update(model_a="secret-model-a", model_b="secret-model-b")
    assert b"secret-model" not in as_bob.get("/p/stories/label/").content


def test_htmx_gets_the_region_and_others_the_page(as_bob: Client, held: Claim, htmx: Headers) -> None:
    whole, part = as_bob.get("/p/stories/label/"), as_bob.get("/p/stories/label/", headers=htmx)
    assert b"<html" in whole.content
    assert part.content.strip().startswith(b'<div id="stage"')
    for response in (whole, part):
        assert "HX-Request" in response["Vary"]
        assert "no-store" in response["Cache-Control"]


def test_left_is_stored_as_the_response_on_the_left(as_bob: Client, held: Claim) -> None:
    commit(as_bob, held, verdict="left", comment="clearer", seconds="3.5")
    label = Label.objects.get()
    assert (label.choice, label.comment, label.seconds, label.strength) == ("b", "clearer", 3.5, None)


def test_a_graded_scale_keeps_the_strength(as_bob: Client, held: Claim) -> None:
    Project.objects.update(scale="graded")
    assert "Left much better" in as_bob.get("/p/stories/label/").content.decode()
    commit(as_bob, held, verdict="right-much")
    assert (Label.objects.get().choice, Label.objects.get().strength) == ("a", 2)


@pytest.mark.parametrize("verdict", ["", "left-much", "a", "<b>"])
def test_an_unknown_verdict_is_refused_and_the_comment_kept(
    as_bob: Client, held: Claim, htmx: Headers, verdict: str
) -> None:
    url = reverse("labeling:claim-commit", args=[held.pk])
    response = as_bob.post(url, {"verdict": verdict, "comment": "typed a lot"}, headers=htmx)
    assert response.status_code == 422
    assert b"typed a lot" in response.content
    assert not Label.objects.exists()


def test_the_same_form_twice_is_one_label(as_bob: Client, held: Claim, htmx: Headers) -> None:
    for _ in range(2):
        commit(as_bob, held, htmx, idempotency_key="k1")
    assert Label.objects.count() == 1


def test_where_nothing_is_revealed_the_next_pair_comes_at_once(as_bob: Client, held: Claim, htmx: Headers) -> None:
    Project.objects.update(reveal="never")
    following = factories.PairFactory.create(project=held.pair.project)
    answer = commit(as_bob, held, htmx)
    assert following.response_a in answer
    assert 'data-notice="Saved."' in answer


@pytest.mark.parametrize("fields", [{"part": "gate"}, {"audit": True}])
def test_holdout_and_audit_pairs_reveal_nothing(
    as_bob: Client, held: Claim, champion: Deployment, htmx: Headers, fields: dict[str, object]
) -> None:
    factories.JudgementFactory.create(pair=held.pair, judge=champion.judge)
    Pair.objects.filter(pk=held.pair_id).update(**fields)
    assert "Judge" not in commit(as_bob, held, htmx)
    assert Label.objects.get().revealed_at is None


@pytest.mark.parametrize("policy", ["after", "never"])
def test_no_page_says_before_the_verdict_which_pairs_measure_the_judge(
    as_bob: Client, held: Claim, champion: Deployment, policy: str
) -> None:
    Project.objects.update(reveal=policy)
    seen = set()
    for fields in ({}, {"part": "gate"}, {"part": "test"}, {"audit": True}):
        Pair.objects.filter(pk=held.pair_id).update(**{"part": "", "audit": False, **fields})
        page = as_bob.get("/p/stories/label/").content.decode()
        seen.add(re.sub(r"\w{32,}", "", page))  # tokens and keys
    [page] = seen
    assert ("data-committed" in page) is (policy == "after")


@pytest.mark.parametrize(("fields", "status"), [({"part": "gate"}, 409), ({"audit": True}, 409), ({}, 422)])
def test_a_revision_that_cannot_be_read_shows_no_made_up_judge(
    as_bob: Client, held: Claim, champion: Deployment, htmx: Headers, fields: dict[str, object], status: int
) -> None:
    factories.JudgementFactory.create(pair=held.pair, judge=champion.judge)
    Pair.objects.filter(pk=held.pair_id).update(**fields)
    commit(as_bob, held, htmx)
    answer = as_bob.post(reverse("labeling:label-revise", args=[Label.objects.get().pk]), {"choice": ""}, headers=htmx)
    assert answer.status_code == status
    assert ("% sure" in answer.content.decode()) is (status == 422)


def test_the_judge_is_shown_after_the_commit_in_the_annotators_order(
    as_bob: Client, held: Claim, champion: Deployment, htmx: Headers
) -> None:
    factories.JudgementFactory.create(pair=held.pair, judge=champion.judge, p_a=0.8)
    assert "Right is better" not in as_bob.get("/p/stories/label/").content.decode()
    answer = commit(as_bob, held, htmx, verdict="left")
    assert "Right is better" in answer  # A, which Bob sees on the right
    assert "80 % sure" in answer
    assert "disagrees with you" in answer


def test_nobody_sees_what_others_said(as_bob: Client, held: Claim, alice: User, htmx: Headers) -> None:
    Project.objects.update(overlap=2, reveal="never")
    other = factories.ClaimFactory.create(pair=held.pair, annotator=alice, slot=1, slots=2)
    commit_label(other, choice="left", given=Given(comment="alice thinks so"))
    before = as_bob.get("/p/stories/label/").content.decode()
    after = commit(as_bob, held, htmx)
    for page in (before, after):
        assert "alice" not in page


def test_a_flip_is_shown_as_one(as_bob: Client, held: Claim, champion: Deployment, htmx: Headers) -> None:
    judged = {"p_a": 0.55, "p_a_straight": 0.9, "p_a_swapped": 0.2, "consistent": False}
    factories.JudgementFactory.create(pair=held.pair, judge=champion.judge, **judged)
    assert "Flips with the order" in commit(as_bob, held, htmx)


def test_a_verdict_that_is_still_to_come_is_polled(
    as_bob: Client, held: Claim, champion: Deployment, htmx: Headers
) -> None:
    assert "appears here by itself" in commit(as_bob, held, htmx)
    url = reverse("labeling:label-reveal", args=[Label.objects.get().pk])
    polling = {**htmx, "HX-Target": "reveal"}
    waiting = as_bob.get(url, headers=polling).content.decode()
    assert waiting.strip().startswith('<section id="reveal"')
    assert 'hx-trigger="every 2s"' in waiting
    factories.JudgementFactory.create(pair=held.pair, judge=champion.judge)
    Project.objects.update(samples_per_order=0)
    shown = as_bob.get(url, headers=polling).content.decode()
    assert "80 % sure" in shown
    assert "every 2s" not in shown


@pytest.mark.parametrize("since", ["undone", "never"])
def test_a_poll_with_nothing_to_reveal_any_more_replaces_the_stage(
    as_bob: Client, held: Claim, champion: Deployment, htmx: Headers, since: str
) -> None:
    commit(as_bob, held, htmx)
    if since == "undone":
        as_bob.post(reverse("labeling:undo", args=["stories"]))
    else:
        Project.objects.update(reveal="never")
    url = reverse("labeling:label-reveal", args=[Label.objects.get().pk])
    answer = as_bob.get(url, headers={**htmx, "HX-Target": "reveal"})
    assert answer["HX-Retarget"] == "#stage"
    assert 'id="stage"' in answer.content.decode()


def test_keep_and_revise_leave_the_blind_verdict_alone(
    as_bob: Client, bob: User, project: Project, champion: Deployment, htmx: Headers
) -> None:
    for route, data, final in [("label-keep", {}, "a"), ("label-revise", {"choice": "right"}, "b")]:
        claim = factories.ClaimFactory.create(pair=factories.PairFactory.create(project=project), annotator=bob)
        factories.JudgementFactory.create(pair=claim.pair, judge=champion.judge, p_a=0.1)
        commit(as_bob, claim, htmx)
        label = Label.objects.get(claim=claim)
        assert as_bob.post(reverse(f"labeling:{route}", args=[label.pk]), data, headers=htmx).status_code == 200
        label.refresh_from_db()
        assert (label.choice, label.final_choice) == ("a", final)
    assert list(LabelRevision.objects.values_list("kind", flat=True)) == ["keep", "revise"]


def test_undo_brings_the_pair_and_its_comment_back(as_bob: Client, held: Claim, htmx: Headers) -> None:
    commit(as_bob, held, htmx, comment="my words")
    response = as_bob.post("/p/stories/undo/", headers=htmx)
    assert held.pair.response_a in response.content.decode()
    assert b"my words" in response.content
    assert Label.objects.get().withdrawn
    assert as_bob.post("/p/stories/undo/", headers=htmx).status_code == 409


def test_an_undo_whose_answer_was_lost_takes_one_label_back(as_bob: Client, held: Claim, htmx: Headers) -> None:
    """The page says: press the key again. Each page says which label its undo means."""
    older = factories.ClaimFactory.create(pair__project=held.pair.project, annotator=held.annotator)
    for claim in (older, held):
        commit(as_bob, claim, htmx)
    meant = re.compile(r'name="claim" value="(\d*)"')
    assert meant.findall(as_bob.get("/p/stories/label/").content.decode()) == [str(held.pk)]
    for _ in range(2):
        page = as_bob.post("/p/stories/undo/", {"claim": held.pk}, headers=htmx).content.decode()
        assert held.pair.response_a in page
        assert meant.findall(page) == [str(older.pk)]
    assert list(Label.objects.filter(withdrawn=False)) == [older.label]
    page = as_bob.post("/p/stories/undo/", {"claim": older.pk}, headers=htmx).content.decode()
    assert meant.findall(page) == [""]
    for odd in ("", "-1", "x", "9" * 30, str(held.pk + 99)):
        assert as_bob.post("/p/stories/undo/", {"claim": odd}, headers=htmx).status_code == 409


def test_skip_gives_the_pair_to_others_with_the_reason(as_bob: Client, held: Claim, htmx: Headers) -> None:
    url = reverse("labeling:claim-skip", args=[held.pk])
    assert as_bob.post(url, {"reason": "x" * 201}, headers=htmx).status_code == 422
    response = as_bob.post(url, {"reason": "not my subject"}, headers=htmx)
    assert "Nothing to label right now" in response.content.decode()
    held.refresh_from_db()
    assert (held.state, held.skip_reason) == ("skipped", "not my subject")


def test_a_verdict_after_a_skip_in_another_window_is_a_label(as_bob: Client, held: Claim) -> None:
    Claim.objects.filter(pk=held.pk).update(state="skipped")
    commit(as_bob, held)
    assert Label.objects.get().claim == held


def test_the_heartbeat_prolongs_the_lease(as_bob: Client, held: Claim) -> None:
    before = held.expires_at
    assert as_bob.post(reverse("labeling:claim-renew", args=[held.pk])).status_code == 200
    held.refresh_from_db()
    assert held.expires_at != before


def test_a_report_raises_a_flag_and_leaves_the_pair(as_bob: Client, held: Claim, htmx: Headers) -> None:
    url = reverse("labeling:claim-report", args=[held.pk])
    assert as_bob.post(url, {"comment": " "}, headers=htmx).status_code == 422
    assert held.pair.response_a in as_bob.post(url, {"comment": "broken"}, headers=htmx).content.decode()
    assert Flag.objects.get().detail["comment"] == "broken"


def test_a_report_is_kept_whole_or_refused(as_bob: Client, held: Claim, htmx: Headers) -> None:
    url = reverse("labeling:claim-report", args=[held.pk])
    refused = as_bob.post(url, {"comment": "x" * 5001}, headers=htmx)
    assert refused.status_code == 422
    assert "at most 5,000 characters" in refused.content.decode()
    as_bob.post(url, {"comment": "x" * 5000}, headers=htmx)
    assert Flag.objects.get().detail["comment"] == "x" * 5000


def test_the_whole_round_works_without_javascript(as_bob: Client, held: Claim, champion: Deployment) -> None:
    factories.JudgementFactory.create(pair=held.pair, judge=champion.judge)
    following = factories.PairFactory.create(project=held.pair.project)
    form = as_bob.get("/p/stories/label/").content.decode()
    found = re.search(r'name="idempotency_key" value="(\w{32})"', form)
    assert found
    page = commit(as_bob, held, idempotency_key=found[1])
    assert "<html" in page
    assert "80 % sure" in page
    label = Label.objects.get()
    page = as_bob.post(reverse("labeling:label-keep", args=[label.pk]), follow=True).content.decode()
    assert following.response_a in page
    page = as_bob.post("/p/stories/undo/", follow=True).content.decode()
    assert held.pair.response_a in page


def test_assisted_labels_show_the_judge_first(as_bob: Client, held: Claim, champion: Deployment, htmx: Headers) -> None:
    Project.objects.update(reveal="before")
    factories.JudgementFactory.create(pair=held.pair, judge=champion.judge)
    assert "80 % sure" in as_bob.get("/p/stories/label/").content.decode()
    commit(as_bob, held, htmx)
    assert not Label.objects.get().blind


def test_a_label_is_assisted_by_what_was_shown_whatever_the_policy_is_by_then(
    as_bob: Client, held: Claim, champion: Deployment, htmx: Headers
) -> None:
    Project.objects.update(reveal="before")
    factories.JudgementFactory.create(pair=held.pair, judge=champion.judge)
    as_bob.get("/p/stories/label/")
    Project.objects.update(reveal="after")
    commit(as_bob, held, htmx)
    assert not Label.objects.get().blind


def test_a_blind_verdict_stays_the_first_one_where_the_judge_is_shown_after_an_undo(
    as_bob: Client, held: Claim, champion: Deployment, htmx: Headers
) -> None:
    Project.objects.update(reveal="never")
    commit(as_bob, held, htmx)
    first = Label.objects.get()
    Project.objects.update(reveal="before")
    factories.JudgementFactory.create(pair=held.pair, judge=champion.judge)
    assert "80 % sure" in as_bob.post("/p/stories/undo/", follow=True).content.decode()
    commit(as_bob, held, htmx, verdict="tie")
    label = Label.objects.get()
    assert (label.blind, label.choice, label.final_choice) == (True, first.choice, "tie")


def test_commit_and_next_pair_stay_within_their_queries(
    as_bob: Client, held: Claim, htmx: Headers, django_assert_max_num_queries: object
) -> None:
    Project.objects.update(reveal="never")
    factories.PairFactory.create_batch(30, project=held.pair.project)
    with django_assert_max_num_queries(22):  # type: ignore[operator]
        commit(as_bob, held, htmx)
