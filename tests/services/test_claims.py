"""Leases: one holder a slot, expiry, renewal and skipping."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from labeling.errors import ClaimGone
from labeling.models import Claim, Label, Pair, Project
from labeling.services import claims
from labeling.services.imports import import_file
from labeling.services.labels import commit_label, undo
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
    with pytest.raises(ClaimGone, match="somebody else has it"):
        claims.renew(first)


def test_a_late_verdict_is_one_label_more_never_a_lost_one(project: Project, bob: User, alice: User) -> None:
    pair = PairFactory.create(project=project)
    late = claims.next_claim(project, annotator=bob)
    assert late is not None
    expire(late)
    other = claims.next_claim(project, annotator=alice)
    assert other is not None
    commit_label(other, choice="left")
    label = commit_label(late, choice="right")
    assert set(pair.labels.values_list("annotator__username", flat=True)) == {"alice", "bob"}
    late.refresh_from_db()
    assert (label.withdrawn, late.state, late.slot, late.slots) == (False, "done", 1, 2)


@pytest.mark.parametrize("state", ["expired", "skipped"])
def test_a_verdict_after_the_lease_or_a_skip_takes_the_free_slot(project: Project, bob: User, state: str) -> None:
    claim = ClaimFactory.create(pair__project=project, annotator=bob, state=state)
    commit_label(claim, choice="left")
    claim.refresh_from_db()
    assert (claim.state, claim.slot, claim.slots) == ("done", 0, 1)


def test_a_heartbeat_takes_an_expired_lease_up_again(project: Project, bob: User) -> None:
    claim = ClaimFactory.create(pair__project=project, annotator=bob, state="expired")
    claims.renew(claim)
    claim.refresh_from_db()
    assert claim.state == Claim.State.LIVE


def test_a_heartbeat_leaves_a_skip_in_another_window_alone(project: Project, bob: User) -> None:
    claim = ClaimFactory.create(pair__project=project, annotator=bob)
    claims.skip(claim, reason="not my field")
    with pytest.raises(ClaimGone, match="you skipped it"):
        claims.renew(claim)
    claim.refresh_from_db()
    assert (claim.state, claim.skip_reason) == ("skipped", "not my field")


def test_a_heartbeat_of_a_pair_labelled_in_another_window_says_so(project: Project, bob: User) -> None:
    claim = ClaimFactory.create(pair__project=project, annotator=bob)
    commit_label(claim, choice="left")
    with pytest.raises(ClaimGone, match="labelled this pair already; the label stands"):
        claims.renew(claim)
    claim.refresh_from_db()
    assert claim.state == Claim.State.DONE


def test_a_heartbeat_brings_nobody_back_to_a_pair_whose_verdict_they_saw(project: Project, bob: User) -> None:
    claim = ClaimFactory.create(pair__project=project, annotator=bob)
    claims.keep_away([claim.pair], project=project, annotator=bob)
    with pytest.raises(ClaimGone):
        claims.renew(claim)
    claim.refresh_from_db()
    assert (claim.state, claim.skip_reason) == ("skipped", claims.SEEN)


def test_a_blind_label_stays_the_first_one_of_whoever_saw_the_verdict_since(project: Project, bob: User) -> None:
    """Labelled blind, then the judge's verdict read in a queue, then undone and labelled again."""
    claim = ClaimFactory.create(pair__project=project, annotator=bob)
    commit_label(claim, choice="left")
    first = Label.objects.get()
    claims.keep_away([claim.pair], project=project, annotator=bob)
    assert Claim.objects.get().state == "done", "the label stands"
    commit_label(undo(project, annotator=bob), choice="tie")
    label = Label.objects.get()
    assert (label.blind, label.choice, label.final_choice) == (True, first.choice, "tie")


def test_a_skip_does_not_make_an_informed_verdict_blind(project: Project, bob: User) -> None:
    """Labelled blind, the judge's verdict read, undone, skipped, the skip undone, labelled again."""
    claim = ClaimFactory.create(pair__project=project, annotator=bob)
    commit_label(claim, choice="left")
    first = Label.objects.get()
    claims.keep_away([claim.pair], project=project, annotator=bob)
    claims.skip(undo(project, annotator=bob), reason="odd")
    claim.refresh_from_db()
    assert (claim.state, claim.skip_reason) == ("skipped", claims.SEEN)
    commit_label(undo(project, annotator=bob), choice="tie")
    label = Label.objects.get()
    assert (label.blind, label.choice, label.final_choice) == (True, first.choice, "tie")


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
    claims.skip(claim)  # sent twice
    commit_label(other, choice="left")
    with pytest.raises(ClaimGone, match="labelled this pair already"):
        claims.skip(other)


def test_the_database_refuses_a_second_holder_of_a_slot(project: Project, bob: User, alice: User) -> None:
    claim = ClaimFactory.create(pair__project=project, annotator=bob)
    with pytest.raises(IntegrityError), transaction.atomic():
        ClaimFactory.create(pair=claim.pair, annotator=alice)
    with pytest.raises(IntegrityError), transaction.atomic():
        ClaimFactory.create(pair=claim.pair, annotator=alice, slot=1, slots=1)


def held_by(user: User, project: Project, *others: Claim) -> Claim:
    claim = claims.next_claim(project, annotator=user, held=[other.pk for other in others], ahead=True)
    assert claim is not None
    return claim


def test_a_reserve_is_claimed_ahead_for_a_short_time(project: Project, bob: User) -> None:
    PairFactory.create_batch(3, project=project)
    shown = claims.next_claim(project, annotator=bob)
    assert shown is not None
    first = held_by(bob, project, shown)
    second = held_by(bob, project, shown, first)
    assert len({shown.pair_id, first.pair_id, second.pair_id}) == 3
    assert first.ahead
    assert first.expires_at < shown.expires_at
    assert held_by(bob, project, shown) == first, "asked again: what is claimed already, not a fourth pair"
    assert claims.next_claim(project, annotator=bob) == shown, "a second window shows the same pair"


def test_the_heartbeat_keeps_the_reserve_too(project: Project, bob: User) -> None:
    PairFactory.create_batch(2, project=project)
    shown = claims.next_claim(project, annotator=bob)
    assert shown is not None
    waiting = held_by(bob, project, shown)
    expire(waiting)
    claims.renew(shown, waiting=[waiting.pk])
    waiting.refresh_from_db()
    assert waiting.ahead
    assert waiting.expires_at > timezone.now()


def test_a_reserve_is_given_back_but_never_what_is_on_the_screen(project: Project, bob: User, alice: User) -> None:
    PairFactory.create_batch(2, project=project)
    shown = claims.next_claim(project, annotator=bob)
    assert shown is not None
    waiting = held_by(bob, project, shown)
    assert claims.next_claim(project, annotator=alice) is None
    assert claims.release(project, annotator=alice, waiting=[waiting.pk]) == 0
    assert claims.release(project, annotator=bob, waiting=[shown.pk, waiting.pk]) == 1
    taken = claims.next_claim(project, annotator=alice)
    assert taken is not None
    assert taken.pair_id == waiting.pair_id


def golden_places(project: Project, annotator: User, windows: int) -> list[int]:
    """Label so many windows; where the gold question of each comes, which must be one."""
    every = project.gold_every
    assert every is not None
    places = []
    for _ in range(windows):
        window = []
        for _ in range(every):
            claim = claims.next_claim(project, annotator=annotator)
            assert claim is not None
            window.append(claim.pair.gold)
            commit_label(claim, choice="left")
        assert window.count("a") == 1
        places.append(window.index("a"))
    return places


def test_of_every_n_pairs_one_is_a_gold_question_and_nobody_knows_which(bob: User) -> None:
    project = ProjectFactory.create(gold_every=3)
    PairFactory.create_batch(30, project=project)
    PairFactory.create_batch(15, project=project, gold="a", shuffle=2**30)
    assert len(set(golden_places(project, bob, 12))) > 1


def test_pairs_seen_in_a_queue_are_no_turns_of_the_gold_questions(bob: User) -> None:
    project = ProjectFactory.create(gold_every=4)
    PairFactory.create_batch(20, project=project)
    PairFactory.create_batch(6, project=project, gold="a", shuffle=2**30)
    golden_places(project, bob, 1)
    seen = [*PairFactory.create_batch(9, project=project), PairFactory.create(project=project, gold="a")]
    claims.keep_away(seen, project=project, annotator=bob)
    golden_places(project, bob, 3)


def test_gold_questions_that_measure_the_judge_are_not_served_out_of_turn(bob: User) -> None:
    """Served first, they would be more of the labelled hold-out and audit than they are of the pairs."""
    project = ProjectFactory.create(gold_every=1)
    PairFactory.create(project=project, gold="a", part=Pair.Part.GATE)
    PairFactory.create(project=project, gold="a", audit=True)
    assert claims._next_pairs(claims._GOLD, project, bob) == []
    PairFactory.create(project=project, gold="a")
    assert len(claims._next_pairs(claims._GOLD, project, bob)) == 1


def test_pairs_with_their_labels_are_closed_and_an_undo_or_more_overlap_opens_them(project: Project, bob: User) -> None:
    pair = PairFactory.create(project=project)
    claim = claims.next_claim(project, annotator=bob)
    assert claim is not None
    commit_label(claim, choice="left")
    assert closed(pair)
    undo(project, annotator=bob)
    assert not closed(pair)
    commit_label(Claim.objects.select_related("label", "pair__project").get(), choice="left")
    project.overlap = 2
    project.save()
    PairFactory.create(project=project)
    assert claims.reopen(project) == 1, "nothing is written to a pair that is open already"
    assert not closed(pair)


def test_a_label_closes_its_pair_by_the_overlap_of_now(project: Project, bob: User) -> None:
    claim = ClaimFactory.create(pair__project=project, annotator=bob)
    Project.objects.update(overlap=2)  # since the claim was read
    commit_label(claim, choice="left")
    assert not closed(claim.pair)


def test_the_audit_finds_and_mends_what_is_not_so(project: Project, bob: User) -> None:
    pair = PairFactory.create(project=project)
    LabelFactory.create(pair=pair)  # behind the services
    with pytest.raises(CommandError, match="1 pairs are wrong"):
        call_command("audit")
    call_command("audit", "--fix")
    assert closed(pair)
    call_command("audit")


def closed(pair: Pair) -> bool:
    pair.refresh_from_db()
    return pair.closed


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


@pytest.mark.django_db(transaction=True)
def test_labelling_goes_on_while_a_file_is_imported(tmp_path: Path) -> None:
    """An import writes for seconds in one transaction; on SQLite, too, commits beside it only wait."""
    project = ProjectFactory.create()
    PairFactory.create_batch(8, project=project)
    bob = UserFactory.create()
    rows = ({"prompt": f"p{n}", "response_a": f"a{n} " * 50, "response_b": f"b{n} " * 50} for n in range(4000))
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))

    def bring() -> int:
        try:
            with file.open("rb") as opened:
                return import_file(project, file=opened, filename=file.name).imported
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        importing = pool.submit(bring)
        for _ in range(8):
            claim = claims.next_claim(project, annotator=bob)
            assert claim is not None
            commit_label(claim, choice="left")
        assert importing.result() == 4000
    assert Claim.objects.filter(annotator=bob, state="done").count() == 8
