"""Why there is no pair for somebody just now."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from labeling import queries
from labeling.models import Claim, Flag, Pair, Project
from labeling.services import claims
from tests.factories import ClaimFactory, PairFactory


def test_an_empty_queue_says_why(project: Project, bob: User, alice: User) -> None:
    assert "no pairs yet" in queries.empty_reason_for(project, bob)
    PairFactory.create(project=project)
    assert claims.next_claim(project, annotator=alice) is not None
    assert "1 pair is with others" in queries.empty_reason_for(project, bob)


def test_an_empty_queue_counts_a_pair_once_that_two_others_hold(
    project: Project, bob: User, alice: User, dora: User
) -> None:
    Project.objects.update(overlap=2)
    project.refresh_from_db()
    pair = PairFactory.create(project=project)
    now = timezone.now()
    for slot, (holder, minutes) in enumerate([(alice, 9), (dora, 5)]):
        ends = now + timedelta(minutes=minutes)
        ClaimFactory.create(pair=pair, annotator=holder, slot=slot, slots=2, expires_at=ends)
    said = "1 pair is with others; the first lease ends in 5 min"
    assert said in queries.empty_reason_for(project, bob)


@pytest.mark.parametrize("own", ["skipped", "done"])
def test_an_empty_queue_promises_no_pair_that_can_never_come(
    project: Project, bob: User, alice: User, own: str
) -> None:
    mine, settled = PairFactory.create_batch(2, project=project)
    for pair in (mine, settled):
        ClaimFactory.create(pair=pair, annotator=alice)
    ClaimFactory.create(pair=mine, annotator=bob, state=own, slot=1, slots=2)
    Pair.objects.filter(pk=settled.pk).update(closed=True)
    assert "Every one of the 2 pairs is labelled" in queries.empty_reason_for(project, bob)
    Claim.objects.filter(annotator=bob).update(state="expired")
    assert "1 pair is with others" in queries.empty_reason_for(project, bob)


def test_an_empty_queue_tells_annotators_of_no_disagreement(project: Project, bob: User, dora: User) -> None:
    """They could tell by it what the judge says of the pair that they have just labelled."""
    pair = PairFactory.create(project=project, closed=True)
    before = queries.empty_reason_for(project, bob)
    Flag.objects.create(pair=pair, kind="judge_disagrees")
    assert queries.empty_reason_for(project, bob) == before
    assert "1 waits for an adjudicator." in queries.empty_reason_for(project, dora)
