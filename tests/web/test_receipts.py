"""What the browser's outbox and reserve get from the server: receipts in JSON, the next pair, a plain 401."""

import json
import random
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from labeling.forms import criterion_field
from labeling.models import Claim, Deployment, Label, LabelRevision, Project
from labeling.services.labels import commit_label
from tests import factories

JSON = {"Accept": "application/json"}


def send(client: Client, claim: Claim, action: str = "claim-commit", **data: object) -> Any:
    fields = {"verdict": "left", **data} if action == "claim-commit" else data
    return client.post(reverse(f"labeling:{action}", args=[claim.pk]), fields, headers=JSON)


def test_a_receipt_names_the_label_and_where_the_judge_is_shown(
    as_bob: Client, held: Claim, champion: Deployment
) -> None:
    answer = send(as_bob, held).json()
    label = Label.objects.get()
    assert answer["saved"]
    assert (answer["label"], answer["verdict"]) == (label.pk, "left")
    assert answer["reveal"] == reverse("labeling:label-reveal", args=[label.pk])
    assert label.revealed_at is None, "the receipt itself reveals nothing"


@pytest.mark.parametrize("fields", [{"part": "gate"}, {"audit": True}])
def test_a_receipt_promises_no_reveal_where_there_is_none(
    as_bob: Client, held: Claim, champion: Deployment, fields: dict[str, object]
) -> None:
    type(held.pair).objects.filter(pk=held.pair_id).update(**fields)
    assert "reveal" not in send(as_bob, held).json()


def test_a_receipt_brings_one_more_pair_for_the_reserve(as_bob: Client, held: Claim, project: Project) -> None:
    factories.PairFactory.create_batch(3, project=project)
    answer = send(as_bob, held, held="").json()
    waiting = Claim.objects.get(ahead=True)
    assert f'data-claim="{waiting.pk}"' in answer["next"]
    assert "next" not in send(as_bob, waiting).json(), "who has not said what it holds gets none"


def test_who_holds_enough_gets_no_more(as_bob: Client, held: Claim, project: Project) -> None:
    factories.PairFactory.create_batch(5, project=project)
    claims: list[int] = []
    url = reverse("labeling:reserve", args=["stories"])
    for _ in range(2):
        page = as_bob.get(url, {"held": ",".join(map(str, [held.pk, *claims]))}).content.decode()
        claims.append(Claim.objects.filter(ahead=True).latest("pk").pk)
        assert f'data-claim="{claims[-1]}"' in page
    full = as_bob.get(url, {"held": ",".join(map(str, [held.pk, *claims]))})
    assert full.status_code == 204
    assert Claim.objects.count() == 3


@pytest.mark.parametrize("rubbish", ["a,b", "1;drop", "9" * 40, ",".join("1" * 50)])
def test_rubbish_in_held_is_nothing_held(as_bob: Client, held: Claim, rubbish: str) -> None:
    assert as_bob.get(reverse("labeling:reserve", args=["stories"]), {"held": rubbish}).status_code == 200


def test_a_page_that_goes_away_gives_its_reserve_back(as_bob: Client, held: Claim, project: Project) -> None:
    factories.PairFactory.create(project=project)
    as_bob.get(reverse("labeling:reserve", args=["stories"]), {"held": held.pk})
    waiting = Claim.objects.get(ahead=True)
    data = {"held": f"{held.pk},{waiting.pk}"}
    assert as_bob.post(reverse("labeling:release", args=["stories"]), data).status_code == 204
    assert dict(Claim.objects.values_list("pk", "state")) == {held.pk: "live", waiting.pk: "expired"}


def test_the_second_window_learns_that_the_first_verdict_stands(as_bob: Client, held: Claim) -> None:
    send(as_bob, held, verdict="left", idempotency_key="k1")
    answer = send(as_bob, held, verdict="right", idempotency_key="k2").json()
    assert answer["verdict"] == "left"
    assert "first verdict stands" in answer["notice"]
    assert Label.objects.count() == 1
    assert send(as_bob, held, verdict="left", idempotency_key="k1").json()["notice"] == ""


def test_a_verdict_changed_after_the_reveal_and_an_undo_is_the_one_that_stands(
    as_bob: Client, held: Claim, champion: Deployment
) -> None:
    factories.JudgementFactory.create(pair=held.pair, judge=champion.judge)
    send(as_bob, held, verdict="left")
    as_bob.get(reverse("labeling:label-reveal", args=[Label.objects.get().pk]))
    as_bob.post(reverse("labeling:undo", args=["stories"]))
    answer = send(as_bob, held, verdict="right").json()
    assert (answer["verdict"], answer["notice"]) == ("right", "")
    assert Label.objects.get().choice == "b", "the blind verdict is kept"


def test_a_sending_that_comes_again_after_an_undo_changes_nothing(as_bob: Client, held: Claim) -> None:
    send(as_bob, held, verdict="left", idempotency_key="k1")
    as_bob.post(reverse("labeling:undo", args=["stories"]))
    assert send(as_bob, held, verdict="left", idempotency_key="k1").json()["saved"]
    assert Label.objects.get().withdrawn
    send(as_bob, held, verdict="right", idempotency_key="k2")
    assert not Label.objects.get().withdrawn


def test_what_is_refused_says_why(as_bob: Client, held: Claim) -> None:
    answer = send(as_bob, held, verdict="sideways")
    assert answer.status_code == 422
    assert answer.json() == {"saved": False, "notice": "This project has no such verdict."}
    send(as_bob, held)
    refused = send(as_bob, held, "claim-skip")
    assert refused.status_code == 409
    assert "labelled this pair already" in refused.json()["notice"]


@pytest.mark.parametrize(
    ("action", "data", "limit"),
    [
        ("claim-report", {"comment": "x" * 5001}, "5,000 characters"),
        ("claim-skip", {"reason": "x" * 201}, "200 characters"),
        (
            "claim-commit",
            {"highlights": json.dumps([{"side": "left", "start": 0, "end": 5001, "quote": "x" * 5001}])},
            "5,000 characters",
        ),
    ],
)
def test_what_is_too_long_is_refused_with_its_limit(
    as_bob: Client, held: Claim, action: str, data: dict[str, str], limit: str
) -> None:
    answer = send(as_bob, held, action, **data)
    assert answer.status_code == 422
    assert limit in answer.json()["notice"]


def test_skip_report_keep_and_revise_give_receipts(as_bob: Client, held: Claim, champion: Deployment) -> None:
    assert "Reported" in send(as_bob, held, "claim-report", comment="odd").json()["notice"]
    send(as_bob, held)
    label = Label.objects.get()
    factories.JudgementFactory.create(pair=held.pair, judge=champion.judge)
    as_bob.get(reverse("labeling:label-reveal", args=[label.pk]))
    for action, data in (("label-keep", {}), ("label-revise", {"choice": "right"})):
        assert as_bob.post(reverse(f"labeling:{action}", args=[label.pk]), data, headers=JSON).json()["saved"]
    assert list(LabelRevision.objects.values_list("kind", flat=True)) == ["keep", "revise"]
    other = factories.ClaimFactory.create(pair__project=held.pair.project, annotator=held.annotator)
    assert send(as_bob, other, "claim-skip", reason="odd").json()["notice"] == "Skipped."


@pytest.mark.parametrize("headers", [JSON, {"X-Tandem-Login": "in-place", "HX-Request": "true"}])
def test_an_ended_session_is_a_plain_401_for_a_page_that_asks_in_place(held: Claim, headers: dict[str, str]) -> None:
    url = reverse("labeling:claim-commit", args=[held.pk])
    answer = Client().post(url, {"verdict": "left"}, headers=headers)
    assert answer.status_code == 401
    assert not Label.objects.exists()


@pytest.mark.parametrize("drawn_first", [False, True])
def test_commit_and_the_next_pair_take_ten_queries(
    as_bob: Client, held: Claim, project: Project, monkeypatch: pytest.MonkeyPatch, drawn_first: bool
) -> None:
    """Also where nothing is left in the lane that was looked at first."""
    monkeypatch.setattr(random.SystemRandom, "random", lambda _: 0.0 if drawn_first else 1.0)
    factories.PairFactory.create_batch(30, project=project)
    with CaptureQueriesContext(connection) as seen:
        answer = send(as_bob, held, held="", seconds="4", comment="clear", idempotency_key="k")
    assert answer.json()["next"]
    queries = [query["sql"] for query in seen if "SAVEPOINT" not in query["sql"]]  # the test's own transaction
    assert len(queries) <= 10, "\n".join(queries)


CRITERIA = [{"name": "Facts", "about": "Is it right?"}, {"name": "Tone", "about": ""}]
FACTS, TONE = criterion_field("Facts"), criterion_field("Tone")
PASSAGE = '[{"side": "left", "start": 0, "end": %s, "quote": "%s"}]'


def test_criteria_are_stored_in_stored_order(as_bob: Client, held: Claim) -> None:
    Project.objects.update(criteria=CRITERIA)
    page = as_bob.get("/p/stories/label/").content.decode()
    assert "Is it right?" in page
    assert page.count('type="radio"') == 6
    send(as_bob, held, **{FACTS: "left", TONE: "tie"})
    assert Label.objects.get().criteria == {"Facts": "b", "Tone": "tie"}  # B is on Bob's left


def test_criteria_that_changed_while_the_pair_was_on_the_screen_keep_their_meaning(as_bob: Client, held: Claim) -> None:
    Project.objects.update(criteria=[{"name": "Style", "about": ""}, CRITERIA[0]])
    send(as_bob, held, **{FACTS: "left", TONE: "right"})
    assert Label.objects.get().criteria == {"Facts": "b"}, "what is not asked any more is left out, never moved"


@pytest.mark.parametrize(
    ("fields", "data", "why"),
    [
        ({"criteria": CRITERIA, "criteria_required": True}, {FACTS: "left"}, "Tone"),
        ({"criteria": CRITERIA}, {FACTS: "up"}, "up is not one of"),
        ({"comments": "required"}, {}, "asks for a comment"),
        ({"highlights": True}, {"highlights": '[{"side": "up"}]'}, "passages"),
        ({"highlights": True}, {"highlights": "[1]"}, "passages"),
        ({"highlights": True}, {"highlights": "no json"}, "valid JSON"),
        ({"highlights": True}, {"highlights": PASSAGE % ("1", r"\ud83d")}, "valid JSON"),
        ({"highlights": True}, {"highlights": PASSAGE % ("1", r"\u0000")}, "valid JSON"),
        ({"highlights": True}, {"highlights": PASSAGE % ("9" * 5000, "x")}, "valid JSON"),
        ({"highlights": True}, {"highlights": "[" * 100_000}, "valid JSON"),
        ({"highlights": True}, {"highlights": "[" * 100 + "]" * 100}, "valid JSON"),
    ],
)
def test_what_a_project_asks_for_is_checked(
    as_bob: Client, held: Claim, fields: dict[str, object], data: dict[str, str], why: str
) -> None:
    Project.objects.update(**fields)
    answer = send(as_bob, held, **data)
    assert answer.status_code == 422
    assert why in answer.json()["notice"]
    assert not Label.objects.exists()


def test_evidence_is_stored_for_the_response_it_stands_in(as_bob: Client, held: Claim) -> None:
    Project.objects.update(highlights=True)
    marked = [{"side": "left", "start": 2, "end": 9, "quote": "There w"}]
    send(as_bob, held, highlights=json.dumps(marked))
    assert Label.objects.get().highlights == [{"response": "b", "start": 2, "end": 9, "quote": "There w"}]


def test_evidence_and_ratings_come_back_after_an_undo(as_bob: Client, held: Claim, htmx: dict[str, str]) -> None:
    Project.objects.update(highlights=True, criteria=CRITERIA)
    marked = [{"side": "left", "start": 2, "end": 9, "quote": "There w"}]
    send(as_bob, held, highlights=json.dumps(marked), comment="so so", **{FACTS: "right"})
    page = as_bob.post(reverse("labeling:undo", args=["stories"]), headers=htmx).content.decode()
    assert "so so" in page
    assert "&quot;side&quot;: &quot;left&quot;" in page
    assert f'name="{FACTS}" value="right" data-draft checked' in page


@pytest.mark.parametrize(("seconds", "too_fast"), [("2.9", True), ("3.1", False), ("", False)])
def test_a_too_fast_verdict_is_marked_not_blocked(as_bob: Client, held: Claim, seconds: str, too_fast: bool) -> None:
    Project.objects.update(least_seconds=3)
    assert send(as_bob, held, seconds=seconds).json()["saved"]
    assert Label.objects.get().too_fast is too_fast


def test_a_heartbeat_tells_when_somebody_else_has_the_pair(
    as_bob: Client, held: Claim, alice: User, htmx: dict[str, str]
) -> None:
    url = reverse("labeling:claim-renew", args=[held.pk])
    page = as_bob.post(url, headers=htmx).content.decode()
    assert 'data-left="600"' in page
    Claim.objects.update(state="expired")
    other = factories.ClaimFactory.create(pair=held.pair, annotator=alice)
    commit_label(other, choice="left")
    page = as_bob.post(url, headers=htmx).content.decode()
    assert "somebody else has it now" in page


def test_a_heartbeat_says_which_waiting_pairs_are_still_held(as_bob: Client, held: Claim, htmx: dict[str, str]) -> None:
    waiting = factories.ClaimFactory.create_batch(
        2, pair__project=held.pair.project, annotator=held.annotator, ahead=True
    )
    Claim.objects.filter(pk=waiting[0].pk).update(state="expired")
    url = reverse("labeling:claim-renew", args=[held.pk])
    page = as_bob.post(url, {"held": ",".join(str(claim.pk) for claim in waiting)}, headers=htmx).content.decode()
    assert f'data-held="{waiting[1].pk}"' in page


def test_differences_are_shown_in_the_annotators_order(as_bob: Client, held: Claim, htmx: dict[str, str]) -> None:
    held.pair.response_a, held.pair.response_b = "The old fox ran.", "The red fox ran."
    held.pair.save()
    page = as_bob.get(reverse("labeling:claim-diff", args=[held.pk]), headers=htmx).content.decode()
    assert "The <del>red </del>fox ran." in page  # B is on Bob's left
    assert "The <ins>old </ins>fox ran." in page


def test_text_that_names_its_model_is_masked_until_the_reveal(
    as_bob: Client, held: Claim, champion: Deployment
) -> None:
    held.pair.response_a = "I'm Claude, made to help. The fox is red."
    held.pair.save()
    page = as_bob.get("/p/stories/label/").content.decode()
    assert "Claude" not in page
    assert "The fox is red." in page
    diff = as_bob.get(reverse("labeling:claim-diff", args=[held.pk])).content.decode()
    assert "Claude" not in diff
    send(as_bob, held)
    reveal = reverse("labeling:label-reveal", args=[Label.objects.get().pk])
    assert "Claude" not in as_bob.get(reveal).content.decode(), "not judged yet: still blind"
    factories.JudgementFactory.create(pair=held.pair, judge=champion.judge)
    assert "Claude" in as_bob.get(reveal).content.decode()
