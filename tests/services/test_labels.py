"""Labels: stored order, one per claim, blind verdicts kept, every change a revision."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Model, QuerySet
from django.db.utils import DatabaseError
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from labeling import jobs
from labeling.errors import LabelingError, NothingToUndo
from labeling.models import AuditEvent, Claim, Deployment, JudgeVersion, Label, LabelRevision, Pair, Project
from labeling.services import labels
from labeling.services.claims import next_claim, skip
from labeling.services.reveals import reveal
from tests.conftest import Sent
from tests.factories import ClaimFactory, JudgementFactory, PairFactory


@pytest.fixture
def claim(project: Project, bob: User) -> Claim:
    return ClaimFactory.create(pair__project=project, annotator=bob)


@pytest.fixture
def revealed(claim: Claim, champion: Deployment) -> Label:
    """Bob said left (A), the judge says B, and Bob has seen it."""
    JudgementFactory.create(pair=claim.pair, judge=champion.judge, p_a=0.1)
    label = labels.commit_label(claim, choice="left")
    assert reveal(label).state == "shown"
    label.refresh_from_db()
    return label


@given(st.sampled_from(["left", "right", "tie", "both_bad"]), st.booleans())
def test_shown_and_stored_order_are_inverse(shown: str, swapped: bool) -> None:
    assert labels.to_shown(labels.to_stored(shown, swapped=swapped), swapped=swapped) == shown


@pytest.mark.parametrize(("swapped", "stored"), [(False, "a"), (True, "b")])
def test_left_is_stored_in_stored_order(project: Project, bob: User, swapped: bool, stored: str) -> None:
    claim = ClaimFactory.create(pair__project=project, annotator=bob, swapped=swapped)
    assert labels.commit_label(claim, choice="left").choice == stored


def test_a_commit_closes_the_claim_and_asks_for_the_consensus(
    claim: Claim, sent: Sent, django_capture_on_commit_callbacks: object
) -> None:
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        label = labels.commit_label(claim, choice="tie", given=labels.Given(comment="both fine", seconds=3.5))
        assert sent == []
    claim.refresh_from_db()
    assert (claim.state, label.blind, label.comment, label.seconds) == ("done", True, "both fine", 3.5)
    assert sent == [(jobs.REFRESH_PAIRS, {"pair_ids": [claim.pair_id]})]


def test_the_same_commit_twice_is_one_label(claim: Claim) -> None:
    first = labels.commit_label(claim, choice="left", idempotency_key="k1")
    again = labels.commit_label(claim, choice="right", idempotency_key="k1")
    assert again == first
    assert Label.objects.get().choice == "a"


def test_a_key_used_for_another_pair_is_refused(claim: Claim, project: Project, bob: User) -> None:
    labels.commit_label(claim, choice="left", idempotency_key="k1")
    other = ClaimFactory.create(pair__project=project, annotator=bob)
    with pytest.raises(LabelingError, match="idempotency_key"):
        labels.commit_label(other, choice="left", idempotency_key="k1")
    other.refresh_from_db()
    assert other.state == Claim.State.LIVE


def test_an_unknown_choice_is_refused_by_name(claim: Claim) -> None:
    with pytest.raises(LabelingError, match="choice"):
        labels.commit_label(claim, choice="first")


def test_undo_reopens_and_the_next_verdict_replaces_the_blind_one(claim: Claim, project: Project, bob: User) -> None:
    labels.commit_label(claim, choice="left")
    assert labels.undo(project, annotator=bob) == claim
    assert Label.objects.get().withdrawn
    assert next_claim(project, annotator=bob) == claim
    again = labels.commit_label(Claim.objects.get(), choice="right")
    assert (again.choice, again.final_choice, again.withdrawn) == ("b", "b", False)
    assert list(LabelRevision.objects.values_list("kind", "before", "after")) == [
        ("undo", "a", ""),
        ("relabel", "a", "b"),
    ]


def test_undo_after_the_reveal_never_overwrites_the_blind_verdict(revealed: Label, project: Project, bob: User) -> None:
    labels.undo(project, annotator=bob)
    again = labels.commit_label(Claim.objects.get(), choice="right")
    assert (again.choice, again.final_choice) == ("a", "b")
    assert LabelRevision.objects.latest("pk").blind is False


def test_what_is_given_after_the_reveal_is_no_blind_evidence(
    claim: Claim, champion: Deployment, project: Project, bob: User
) -> None:
    JudgementFactory.create(pair=claim.pair, judge=champion.judge, p_a=0.1)
    passage = {"side": "left", "start": 0, "end": 5, "quote": "A fox"}
    blind = labels.Given(criteria={"Tone": "left"}, highlights=[passage], comment="livelier", seconds=30)
    label = labels.commit_label(claim, choice="left", strength=2, given=blind)
    reveal(label)
    label.refresh_from_db()
    labels.undo(project, annotator=bob)
    later = labels.Given(criteria={"Tone": "right"}, comment="I had misread it", seconds=1)
    again = labels.commit_label(Claim.objects.get(), choice="right", strength=1, given=later)
    again.refresh_from_db()
    assert (again.final_choice, again.withdrawn, again.comment) == ("b", False, "I had misread it")
    for evidence in ("choice", "strength", "criteria", "highlights", "seconds", "too_fast", "blind"):
        assert getattr(again, evidence) == getattr(label, evidence)


def test_undo_goes_back_step_by_step_and_then_says_so(project: Project, bob: User) -> None:
    first, second = ClaimFactory.create_batch(2, pair__project=project, annotator=bob)
    labels.commit_label(first, choice="left")
    labels.commit_label(second, choice="left")
    assert labels.undo(project, annotator=bob) == second
    assert labels.undo(project, annotator=bob) == first
    with pytest.raises(NothingToUndo):
        labels.undo(project, annotator=bob)


@pytest.mark.parametrize("how", ["labelled", "skipped"])
def test_an_undo_that_is_sent_twice_takes_one_label_or_skip_back(project: Project, bob: User, how: str) -> None:
    first, second = ClaimFactory.create_batch(2, pair__project=project, annotator=bob)
    labels.commit_label(first, choice="left")
    if how == "labelled":
        labels.commit_label(second, choice="left")
    else:
        skip(second)
    assert labels.next_undo(project, annotator=bob) == second.pk
    for _ in range(2):
        assert labels.undo(project, annotator=bob, meant=second.pk) == second
    Claim.objects.filter(pk=second.pk).update(state="expired")
    assert labels.undo(project, annotator=bob, meant=second.pk) == second
    assert list(Label.objects.filter(withdrawn=False)) == [first.label]
    assert labels.next_undo(project, annotator=bob) == first.pk
    assert labels.undo(project, annotator=bob, meant=first.pk) == first
    assert labels.next_undo(project, annotator=bob) is None


def test_an_undo_of_one_label_takes_no_other_back(project: Project, bob: User, alice: User) -> None:
    own, older, others = ClaimFactory.create_batch(3, pair__project=project, annotator=bob)
    Claim.objects.filter(pk=others.pk).update(annotator=alice)
    for claim in (own, older):
        labels.commit_label(claim, choice="left")
    Label.objects.filter(claim=older).update(created_at=timezone.now() - labels.UNDO_WITHIN)
    for claim in (others, older):
        with pytest.raises(NothingToUndo):
            labels.undo(project, annotator=bob, meant=claim.pk)
    assert not Label.objects.filter(withdrawn=True).exists()


def test_undo_takes_a_skip_back_in_its_turn(project: Project, bob: User) -> None:
    first, second, third = ClaimFactory.create_batch(3, pair__project=project, annotator=bob)
    labels.commit_label(first, choice="left")
    skip(second, reason="a slip")
    labels.commit_label(third, choice="left")
    assert [labels.undo(project, annotator=bob) for _ in range(3)] == [third, second, first]
    assert set(Claim.objects.values_list("state", flat=True)) == {"live"}
    labels.commit_label(Claim.objects.select_related("label").get(pk=first.pk), choice="right")
    assert labels.undo(project, annotator=bob) == first, "what was done last comes first"


def test_undo_reaches_a_day_back(project: Project, bob: User, claim: Claim) -> None:
    labels.commit_label(claim, choice="left")
    Label.objects.update(created_at=timezone.now() - timedelta(hours=25))
    with pytest.raises(NothingToUndo):
        labels.undo(project, annotator=bob)


def test_after_an_undo_the_reopened_pair_comes_before_the_waiting_one(project: Project, bob: User) -> None:
    PairFactory.create_batch(2, project=project)
    first = next_claim(project, annotator=bob)
    assert first is not None
    labels.commit_label(first, choice="left")
    waiting = next_claim(project, annotator=bob)
    assert waiting != first
    labels.undo(project, annotator=bob)
    assert next_claim(project, annotator=bob) == first


def test_keep_and_revise_are_recorded_and_the_blind_verdict_stays(revealed: Label) -> None:
    assert labels.keep(revealed).final_choice == "a"
    revised = labels.revise(revealed, choice="right")
    assert (revised.choice, revised.final_choice) == ("a", "b")
    assert list(LabelRevision.objects.values_list("kind", flat=True)) == ["keep", "revise"]


def test_nothing_can_be_revised_before_it_was_revealed(claim: Claim) -> None:
    label = labels.commit_label(claim, choice="left")
    with pytest.raises(LabelingError, match="not been shown"):
        labels.revise(label, choice="right")


def test_under_the_policy_before_labels_are_assisted_except_where_the_judge_is_measured(
    project: Project, bob: User
) -> None:
    project.reveal = Project.Reveal.BEFORE
    project.save()
    assisted = ClaimFactory.create(pair__project=project, annotator=bob)
    measured = ClaimFactory.create(pair__project=project, pair__part=Pair.Part.GATE, annotator=bob)
    assert not labels.commit_label(assisted, choice="left").blind
    assert labels.commit_label(measured, choice="left").blind


@pytest.mark.parametrize(
    ("model", "field"), [(LabelRevision, "before"), (JudgeVersion, "name"), (AuditEvent, "action")]
)
def test_the_database_refuses_to_rewrite_history(
    model: type[Model], field: str, revealed: Label, judge: JudgeVersion
) -> None:
    labels.keep(revealed)
    AuditEvent.objects.create(action="x", target="y")
    rows: QuerySet[Model] = model._default_manager.all()
    assert rows.exists()
    with pytest.raises(DatabaseError), transaction.atomic():
        rows.update(**{field: "forged"})


def test_the_database_refuses_an_unknown_choice(claim: Claim) -> None:
    label = labels.commit_label(claim, choice="left")
    with pytest.raises(IntegrityError), transaction.atomic():
        Label.objects.filter(pk=label.pk).update(choice="c")
