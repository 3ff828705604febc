"""Leases: one holder a slot, expiry, renewal, skipping, and why a queue is empty."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from labeling import queries
from labeling.errors import ClaimGone
from labeling.models import Claim, Project
from labeling.services import claims
from labeling.services.labels import commit_label
from tests.factories import ClaimFactory, LabelFactory, PairFactory, ProjectFactory, UserFactory


def expire(claim: Claim) -> None:
    Claim.objects.filter(pk=claim.pk).update(expires_at=timezone.now() - timedelta(seconds=1))


def test_two_annotators_get_different_pairs(project: Project, bob: User, alice: User) -> None:
    PairFactory.create_batch(2, project=project)
    first, second = claims.next_claim(project, annotator=bob), claims.next_claim(project, annotator=alice)
    assert first is not None
    assert second is not None
    assert first.pair_id != second.pair_id


def test_asking_again_gives_the_same_live_claim(project: Project, bob: User) -> None:
    PairFactory.create_batch(3, project=project)
    first, again = claims.next_claim(project, annotator=bob), claims.next_claim(project, annotator=bob)
    assert first == again
    assert Claim.objects.count() == 1


def test_overlap_serves_a_pair_to_as_many_annotators(bob: User) -> None:
    project = ProjectFactory.create(overlap=2)
    PairFactory.create(project=project)
    others = UserFactory.create_batch(2)
    held = [claims.next_claim(project, annotator=user) for user in (bob, *others)]
    assert [claim.slot if claim else None for claim in held] == [0, 1, None]


def test_imported_labels_fill_slots(project: Project, bob: User) -> None:
    labelled, fresh = PairFactory.create_batch(2, project=project)
    LabelFactory.create(pair=labelled)
    claim = claims.next_claim(project, annotator=bob)
    assert claim is not None
    assert claim.pair == fresh


def test_an_expired_lease_goes_to_somebody_else(project: Project, bob: User, alice: User) -> None:
    PairFactory.create(project=project)
    first = claims.next_claim(project, annotator=bob)
    assert first is not None
    assert claims.next_claim(project, annotator=alice) is None
    expire(first)
    second = claims.next_claim(project, annotator=alice)
    assert second is not None
    assert second.pair_id == first.pair_id
    with pytest.raises(ClaimGone):
        claims.renew(first)
    with pytest.raises(ClaimGone):
        commit_label(first, choice="left")


def test_an_expired_lease_may_return_to_the_same_annotator(project: Project, bob: User) -> None:
    PairFactory.create(project=project)
    first = claims.next_claim(project, annotator=bob)
    assert first is not None
    expire(first)
    claims.expire_claims()
    again = claims.next_claim(project, annotator=bob)
    assert again is not None
    assert again.pk == first.pk
    assert again.swapped == first.swapped
    assert Claim.objects.get().state == Claim.State.LIVE


def test_renewing_prolongs(project: Project, bob: User) -> None:
    PairFactory.create(project=project)
    claim = claims.next_claim(project, annotator=bob)
    assert claim is not None
    before = claim.expires_at
    assert claims.renew(claim).expires_at > before


def test_a_skipped_pair_is_offered_to_others_only(project: Project, bob: User, alice: User) -> None:
    pair = PairFactory.create(project=project)
    claim = claims.next_claim(project, annotator=bob)
    assert claim is not None
    claims.skip(claim, reason="cannot read it")
    assert claims.next_claim(project, annotator=bob) is None
    other = claims.next_claim(project, annotator=alice)
    assert other is not None
    assert other.pair == pair
    with pytest.raises(ClaimGone):
        claims.skip(claim)


def test_the_database_refuses_a_second_holder_of_a_slot(project: Project, bob: User, alice: User) -> None:
    claim = ClaimFactory.create(pair__project=project, annotator=bob)
    with pytest.raises(IntegrityError), transaction.atomic():
        ClaimFactory.create(pair=claim.pair, annotator=alice)
    with pytest.raises(IntegrityError), transaction.atomic():
        ClaimFactory.create(pair=claim.pair, annotator=alice, slot=1, slots=1)


def test_an_empty_queue_says_why(project: Project, bob: User, alice: User) -> None:
    assert "no pairs yet" in queries.empty_reason_for(project, bob)
    PairFactory.create(project=project)
    assert claims.next_claim(project, annotator=alice) is not None
    assert "1 pair is with others" in queries.empty_reason_for(project, bob)


def test_the_shown_order_is_drawn_per_claim(project: Project) -> None:
    PairFactory.create_batch(40, project=project)
    users = UserFactory.create_batch(40)
    orders = {claim.swapped for user in users if (claim := claims.next_claim(project, annotator=user))}
    assert orders == {True, False}


@pytest.mark.django_db(transaction=True)
def test_eight_threads_never_hold_the_same_slot() -> None:
    """Eight annotators at once, forty pairs with two slots each: eighty claims, no slot twice, nobody fails."""
    project = ProjectFactory.create(overlap=2)
    PairFactory.create_batch(40, project=project)
    users = UserFactory.create_batch(8)

    def label_ten(user: User) -> int:
        done = 0
        try:
            for _ in range(10):
                claim = claims.next_claim(project, annotator=user)
                if claim is not None:
                    commit_label(claim, choice="left")
                    done += 1
        finally:
            connection.close()
        return done

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(label_ten, users))
    slots = list(Claim.objects.filter(state=Claim.State.DONE).values_list("pair_id", "slot"))
    assert sum(done) == len(slots) == len(set(slots))
    assert sum(done) >= 72  # the last pairs of a user's own may run out, a slot is never handed out twice
