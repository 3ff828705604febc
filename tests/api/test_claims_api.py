"""Labelling over REST: claims, labels sent twice, skipping, holding, and nothing handed to two people."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from labeling.models import Claim, Label, Member, Project
from labeling.services.labels import undo
from tests.api.calling import Caller, caller, fields_of, problem_of
from tests.factories import ClaimFactory, PairFactory, UserFactory


@pytest.fixture
def api(bob: User) -> Caller:
    return caller(bob, scope="label")


@pytest.fixture
def claim(project: Project, bob: User) -> Claim:
    """Bob's; B is on his left."""
    return ClaimFactory.create(pair=PairFactory.create(project=project), annotator=bob, swapped=True)


def test_a_claim_shows_the_pair_in_its_order(api: Caller, claim: Claim) -> None:
    answer = api.post("/projects/stories/claims")
    assert answer.status_code == 201
    pair = claim.pair
    assert answer.json()["id"] == claim.pk
    assert answer.json()["pair"] == {
        "id": pair.pk,
        "prompt": pair.prompt,
        "left": pair.response_b,
        "right": pair.response_a,
    }


def test_responses_come_as_they_are(api: Caller, project: Project) -> None:
    PairFactory.create(project=project, response_a="I am Claude.", response_b="I am Claude.  ", model_a="claude")
    pair = api.post("/projects/stories/claims").json()["pair"]
    assert {pair["left"], pair["right"]} == {"I am Claude.", "I am Claude.  "}


def test_the_same_claim_comes_again_unless_it_is_held(api: Caller, project: Project) -> None:
    PairFactory.create_batch(2, project=project)
    first = api.post("/projects/stories/claims").json()["id"]
    assert api.post("/projects/stories/claims", {"held": []}).json()["id"] == first
    assert api.post("/projects/stories/claims", {"held": [first]}).json()["id"] != first


def test_an_empty_queue_says_why(api: Caller, project: Project) -> None:
    answer = api.post("/projects/stories/claims")
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer["X-Empty-Reason"] == "This project has no pairs yet."


@pytest.mark.parametrize(
    ("choice", "stored"), [("left", "b"), ("right", "a"), ("tie", "tie"), ("both_bad", "both_bad")]
)
def test_a_verdict_is_stored_by_the_claims_order(api: Caller, claim: Claim, choice: str, stored: str) -> None:
    answer = api.post(f"/claims/{claim.pk}/label", {"choice": choice, "comment": " clearer ", "seconds": 3.5})
    assert answer.status_code == 201, answer.content
    label = Label.objects.get()
    assert (label.choice, label.comment, label.seconds, label.blind) == (stored, "clearer", 3.5, True)
    shown = answer.json()
    assert (shown["choice"], shown["claim"], shown["comment"]) == (choice, claim.pk, "clearer")
    claim.refresh_from_db()
    assert claim.state == Claim.State.DONE


def test_strength_and_criteria_are_of_the_project(api: Caller, claim: Claim) -> None:
    path = f"/claims/{claim.pk}/label"
    assert fields_of(api.post(path, {"choice": "left", "strength": 2, "criteria": {"Tone": "left"}})) == [
        "strength",
        "criteria.Tone",
    ]
    criteria = [{"name": "Tone", "about": "kinder"}, {"name": "Facts", "about": "right"}]
    Project.objects.update(scale="graded", criteria=criteria, criteria_required=True, comments="required")
    assert fields_of(api.post(path, {"choice": "tie", "strength": 1})) == ["strength"]
    assert fields_of(api.post(path, {"choice": "left", "criteria": {"Tone": "left"}})) == ["comment", "criteria.Facts"]
    body = {"choice": "left", "strength": 2, "criteria": {"Tone": "left", "Facts": "tie"}, "comment": "kind"}
    shown = api.post(path, body).json()
    assert (shown["strength"], shown["criteria"]) == (2, {"Tone": "left", "Facts": "tie"})
    label = Label.objects.get()
    assert (label.choice, label.strength, label.criteria) == ("b", 2, {"Tone": "b", "Facts": "tie"})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "choice"),
        ({"choice": "a"}, "choice"),
        ({"choice": "left", "strength": 3}, "strength"),
        ({"choice": "left", "seconds": -1}, "seconds"),
        ({"choice": "left", "seconds": "soon"}, "seconds"),
        ({"choice": "left", "comment": "x" * 5001}, "comment"),
        ({"choice": "left", "comment": "a\x00b"}, "comment"),
        ({"choice": "left", "comment": "\ud800"}, "comment"),
        ({"choice": "left", "criteria": {"Tone": "best"}}, "criteria.Tone"),
        ({"choice": "left", "verdict": "left"}, "verdict"),
    ],
)
def test_a_bad_label_names_its_field_and_saves_nothing(
    api: Caller, claim: Claim, body: dict[str, Any], field: str
) -> None:
    assert fields_of(api.post(f"/claims/{claim.pk}/label", body)) == [field]
    assert not Label.objects.exists()
    claim.refresh_from_db()
    assert claim.state == Claim.State.LIVE


def test_a_label_sent_twice_with_its_key_is_saved_once(api: Caller, claim: Claim) -> None:
    path, body = f"/claims/{claim.pk}/label", {"choice": "left", "seconds": 2.0}
    first = api.post(path, body, Idempotency_Key="one")
    again = api.post(path, body, Idempotency_Key="one")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert Label.objects.count() == 1


def test_a_label_sent_twice_is_answered_twice_whatever_the_settings_have_become(api: Caller, claim: Claim) -> None:
    path, body = f"/claims/{claim.pk}/label", {"choice": "left"}
    first = api.post(path, body, Idempotency_Key="one")
    Project.objects.update(comments="required")
    again = api.post(path, body, Idempotency_Key="one")
    assert (again.status_code, again.json()) == (200, first.json())
    assert fields_of(api.post(path, body, Idempotency_Key="two")) == ["comment"]


def test_a_key_is_for_one_request(api: Caller, claim: Claim, bob: User) -> None:
    path = f"/claims/{claim.pk}/label"
    api.post(path, {"choice": "left"}, Idempotency_Key="one")
    assert fields_of(api.post(path, {"choice": "right"}, Idempotency_Key="one")) == ["Idempotency-Key"]
    other = ClaimFactory.create(pair=PairFactory.create(project=claim.pair.project), annotator=bob)
    refused = api.post(f"/claims/{other.pk}/label", {"choice": "left"}, Idempotency_Key="one")
    assert fields_of(refused) == ["Idempotency-Key"]
    assert Label.objects.count() == 1


def test_two_people_may_use_the_same_key(api: Caller, claim: Claim, alice: User) -> None:
    theirs = ClaimFactory.create(pair=PairFactory.create(project=claim.pair.project), annotator=alice)
    assert api.post(f"/claims/{claim.pk}/label", {"choice": "left"}, Idempotency_Key="1").status_code == 201
    answer = caller(alice).post(f"/claims/{theirs.pk}/label", {"choice": "left"}, Idempotency_Key="1")
    assert answer.status_code == 201


def test_the_first_verdict_stands(api: Caller, claim: Claim) -> None:
    path = f"/claims/{claim.pk}/label"
    assert api.post(path, {"choice": "left"}).status_code == 201
    assert api.post(path, {"choice": "left"}).status_code == 200
    found = problem_of(api.post(path, {"choice": "right"}), 409)
    assert found["type"] == "urn:tandem:problem:already-labelled"
    assert Label.objects.get().choice == "b"


def test_a_label_that_was_undone_is_given_again(api: Caller, claim: Claim, bob: User) -> None:
    path = f"/claims/{claim.pk}/label"
    api.post(path, {"choice": "left"})
    undo(claim.pair.project, annotator=bob)
    assert api.post(path, {"choice": "right"}).status_code == 201
    assert Label.objects.get().choice == "a"


def test_skip_gives_the_pair_back_and_renew_holds_it(api: Caller, claim: Claim, alice: User) -> None:
    Claim.objects.update(expires_at=timezone.now() + timedelta(seconds=5))
    before = timezone.now() + timedelta(seconds=60)
    renewed = api.post(f"/claims/{claim.pk}/renew")
    assert renewed.status_code == 200
    claim.refresh_from_db()
    assert claim.expires_at > before
    skipped = api.post(f"/claims/{claim.pk}/skip", {"reason": "not my field"})
    assert (skipped.status_code, skipped.json()["state"]) == (200, "skipped")
    claim.refresh_from_db()
    assert claim.skip_reason == "not my field"
    assert caller(alice).post("/projects/stories/claims").status_code == 201
    assert problem_of(api.post(f"/claims/{claim.pk}/renew"), 409)["type"] == "urn:tandem:problem:claim-gone"


def test_a_labelled_pair_is_not_renewed(api: Caller, claim: Claim) -> None:
    api.post(f"/claims/{claim.pk}/label", {"choice": "left"})
    assert "the label stands" in problem_of(api.post(f"/claims/{claim.pk}/renew"), 409)["detail"]


def test_a_skipped_pair_is_not_renewed(api: Caller, claim: Claim) -> None:
    api.post(f"/claims/{claim.pk}/skip")
    assert "skipped" in problem_of(api.post(f"/claims/{claim.pk}/renew"), 409)["detail"]
    claim.refresh_from_db()
    assert claim.state == Claim.State.SKIPPED


def test_a_labelled_pair_is_not_skipped(api: Caller, claim: Claim) -> None:
    api.post(f"/claims/{claim.pk}/label", {"choice": "tie"})
    assert "label stands" in problem_of(api.post(f"/claims/{claim.pk}/skip"), 409)["detail"]


@pytest.mark.parametrize("action", ["label", "skip", "renew"])
def test_claims_are_ones_own(alice: User, claim: Claim, action: str) -> None:
    problem_of(
        caller(alice).post(f"/claims/{claim.pk}/{action}", {"choice": "left"} if action == "label" else None), 404
    )


def test_a_token_that_reads_does_not_label(bob: User, claim: Claim) -> None:
    reader = caller(bob, scope="read")
    for path in ("/projects/stories/claims", f"/claims/{claim.pk}/renew", f"/claims/{claim.pk}/skip"):
        assert "scope label" in problem_of(reader.post(path), 403)["detail"]
    problem_of(reader.post(f"/claims/{claim.pk}/label", {"choice": "left"}), 403)
    assert not Label.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_eight_clients_at_once_never_get_the_same_pair(project: Project) -> None:
    PairFactory.create_batch(24, project=project)
    people = UserFactory.create_batch(8)
    for person in people:
        Member.objects.create(project=project, user=person, role=Member.Role.ANNOTATOR)
    callers = [caller(person) for person in people]

    def label_three(client: Caller) -> list[int]:
        found = []
        try:
            for _ in range(3):
                claim = client.post("/projects/stories/claims").json()
                found.append(claim["pair"]["id"])
                client.post(f"/claims/{claim['id']}/label", {"choice": "left"})
        finally:
            connection.close()
        return found

    with ThreadPoolExecutor(8) as pool:
        taken = [pair for pairs in pool.map(label_three, callers) for pair in pairs]
    assert sorted(taken) == sorted(set(taken))
    assert Label.objects.count() == 24
