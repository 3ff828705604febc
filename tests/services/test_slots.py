"""Slots of pairs that came with labels: an imported label fills one, and has no number."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from labeling.errors import ClaimGone
from labeling.models import Claim, Pair
from labeling.services import claims
from labeling.services.labels import commit_label
from tests.factories import ClaimFactory, LabelFactory, PairFactory, ProjectFactory


def with_one_imported(*, overlap: int) -> Pair:
    pair = PairFactory.create(project=ProjectFactory.create(overlap=overlap))
    LabelFactory.create(pair=pair)
    return pair


def taken_at_once(pair: Pair, *users: User) -> list[int | None]:
    """The slots that they get of whom each has looked before any of them takes the pair."""
    looks = [(user, claims._candidates(pair.project, user)) for user in users]
    found = [claims._take(seen, project=pair.project, annotator=user, ahead=False) for user, [seen] in looks]
    return [claim.slot if claim else None for claim in found]


def test_of_two_who_ask_at_once_one_gets_the_slot_that_an_imported_label_leaves(bob: User, alice: User) -> None:
    assert taken_at_once(with_one_imported(overlap=2), bob, alice) == [0, None]


def test_imported_labels_leave_slots_whatever_their_numbers(bob: User, alice: User) -> None:
    pair = with_one_imported(overlap=3)
    ClaimFactory.create(pair=pair, slot=2, slots=3)
    assert taken_at_once(pair, bob, alice) == [0, None]


def test_a_heartbeat_takes_no_slot_that_an_imported_label_fills(bob: User, alice: User) -> None:
    pair = with_one_imported(overlap=2)
    first = claims.next_claim(pair.project, annotator=bob)
    assert first is not None
    Claim.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    second = claims.next_claim(pair.project, annotator=alice)
    assert second is not None
    with pytest.raises(ClaimGone, match="somebody else has it"):
        claims.renew(first)
    commit_label(first, choice="left")
    first.refresh_from_db()
    assert (first.state, first.slot, first.slots) == ("done", 1, 2), "a late verdict is one label more all the same"
