"""Pairs that no flag names: opened by an adjudicator and then decided, and asked of those who skipped them again."""

import pytest
from django.contrib.auth.models import User

from labeling.errors import AlreadyOpen, AlreadySettled, NobodyLeft, NobodySkipped
from labeling.models import AuditEvent, Claim, Consensus, Flag, Label, Member, Pair, Project
from labeling.services import claims, flags, opening
from labeling.services.labels import commit_label, undo
from tests.factories import ClaimFactory, LabelFactory, UserFactory


def skipped_by(pair: Pair, *people: User, reason: str = "") -> None:
    for person in people:
        claim = claims.next_claim(pair.project, annotator=person)
        assert claim is not None
        assert claim.pair == pair
        claims.skip(claim, reason=reason)


def asked(pair: Pair, *people: User) -> list[str]:
    """Those of the people who are asked about the pair now, one after the other."""
    found = []
    for person in people:
        claim = claims.next_claim(pair.project, annotator=person)
        if claim is not None and claim.pair == pair:
            found.append(person.username)
            Claim.objects.filter(pk=claim.pk).update(state="expired")
    return found


def test_a_finished_pair_is_opened_and_settled(pair: Pair, bob: User, dora: User) -> None:
    commit_label(ClaimFactory.create(pair=pair, annotator=bob), choice="left")
    flags.refresh(pair)
    with pytest.raises(AlreadySettled):
        flags.settle(pair, by=dora, choice="b", reason="")
    flag = opening.open_pair(pair, by=dora, reason="A is made up")
    assert (flag.kind, flag.state, flag.detail) == ("reported", "open", {"by": "dora", "comment": "A is made up"})
    assert flag.value == flags.worth("reported", {})
    event = AuditEvent.objects.get()
    assert (event.action, event.actor, event.detail) == ("flag.open", dora, {"reason": "A is made up"})
    assert Consensus.objects.get().choice == "a", "nothing is decided yet"
    flags.settle(pair, by=dora, choice="b", reason="it is")
    assert (Consensus.objects.get().choice, Consensus.objects.get().method) == ("b", "adjudicated")
    opening.open_pair(pair, by=dora, reason="and yet")
    assert Consensus.objects.get().choice == "b", "a settlement stands until it is decided anew"
    flags.mark_ambiguous(pair, by=dora, reason="")
    assert not Label.objects.filter(source="adjudication", withdrawn=False).exists()


@pytest.mark.parametrize("kind", Flag.Kind.values)
def test_an_open_pair_is_not_opened_again(pair: Pair, dora: User, kind: str) -> None:
    Flag.objects.create(pair=pair, kind=kind)
    with pytest.raises(AlreadyOpen):
        opening.open_pair(pair, by=dora, reason="x")
    assert Flag.objects.count() == 1
    assert not AuditEvent.objects.exists()


def test_a_finished_pair_is_opened_and_sent_back(
    pair: Pair, bob: User, alice: User, dora: User, project: Project
) -> None:
    commit_label(ClaimFactory.create(pair=pair, annotator=bob), choice="left")
    opening.open_pair(pair, by=dora, reason="")
    flags.send_back(pair, by=dora, reason="")
    assert asked(pair, bob, dora, alice) == ["alice"]


def test_a_pair_that_everybody_skipped_is_asked_of_them_again(
    pair: Pair, alice: User, bob: User, dora: User, project: Project
) -> None:
    skipped_by(pair, bob, alice, reason="not my field")
    claims.keep_away([pair], project=project, annotator=dora)
    opening.open_pair(pair, by=dora, reason="nobody wants it")
    with pytest.raises(NobodyLeft):
        flags.send_back(pair, by=dora, reason="")
    assert asked(pair, alice, bob, dora) == []
    assert opening.ask_again(pair, by=dora) == ["bob", "alice"]
    event = AuditEvent.objects.latest("pk")
    assert (event.action, event.actor) == ("claim.ask_again", dora)
    assert event.detail == {"skipped": {"bob": "not my field", "alice": "not my field"}}
    assert asked(pair, alice, bob, dora) == ["alice", "bob"]
    flags.send_back(pair, by=dora, reason="")
    claim = claims.next_claim(project, annotator=bob)
    assert claim is not None
    assert commit_label(claim, choice="left").blind
    with pytest.raises(NobodySkipped):
        opening.ask_again(pair, by=dora)


def test_a_finished_pair_that_all_others_skipped_is_sent_back_to_them(
    pair: Pair, alice: User, bob: User, dora: User, project: Project
) -> None:
    skipped_by(pair, bob)
    commit_label(ClaimFactory.create(pair=pair, annotator=alice), choice="left")
    opening.ask_again(pair, by=dora)
    pair.refresh_from_db()
    assert pair.closed
    assert asked(pair, bob) == [], "it has its label"
    opening.open_pair(pair, by=dora, reason="one more")
    flags.send_back(pair, by=dora, reason="")
    assert asked(pair, bob) == ["bob"]


def test_only_members_who_have_seen_nothing_are_asked_again(pair: Pair, bob: User, alice: User, dora: User) -> None:
    gone, away, label = UserFactory.create(), UserFactory.create(is_active=False), LabelFactory.create(pair=pair)
    assert label.pair == pair
    Member.objects.create(project=pair.project, user=away, role="annotator")
    for person in (gone, away, bob, alice):
        ClaimFactory.create(pair=pair, annotator=person, state="skipped", skip_reason="odd")
    claims.keep_away([pair], project=pair.project, annotator=alice)
    assert opening.ask_again(pair, by=dora) == ["bob"]
    assert sorted(Claim.objects.filter(state="expired").values_list("annotator__username", flat=True)) == ["bob"]


def test_the_undo_of_a_skip_that_is_asked_again_takes_no_label_back(pair: Pair, bob: User, dora: User) -> None:
    other = ClaimFactory.create(pair__project=pair.project, annotator=bob)
    commit_label(other, choice="left")
    skipped_by(pair, bob)
    opening.ask_again(pair, by=dora)
    skip = Claim.objects.get(pair=pair)
    assert undo(pair.project, annotator=bob, meant=skip.pk) == skip
    assert not Label.objects.get().withdrawn
