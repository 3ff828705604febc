"""Labels: commit blind, keep or revise after the reveal, undo. Every change is kept as a revision."""

from typing import Literal

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from labeling import jobs
from labeling.errors import ClaimGone, LabelingError, NothingToUndo
from labeling.models import Claim, Label, LabelRevision, Project
from labeling.services.claims import expiry

Shown = Literal["left", "right", "tie", "both_bad"]

_TO_STORED = {"left": "a", "right": "b", "tie": "tie", "both_bad": "both_bad"}
_MIRROR = {"a": "b", "b": "a"}
_TO_SHOWN: dict[str, Shown] = {"a": "left", "b": "right", "tie": "tie", "both_bad": "both_bad"}


def to_stored(shown: str, *, swapped: bool) -> str:
    """A choice as the annotator saw it, in stored order. Raises LabelingError for an unknown one."""
    if shown not in _TO_STORED:
        raise LabelingError(f"choice: {shown!r} is not one of left, right, tie, both_bad")
    stored = _TO_STORED[shown]
    return _MIRROR.get(stored, stored) if swapped else stored


def to_shown(choice: str, *, swapped: bool) -> Shown:
    """A stored choice, as the annotator of this order saw it."""
    return _TO_SHOWN[_MIRROR.get(choice, choice) if swapped else choice]


def commit_label(
    claim: Claim,
    *,
    choice: str,
    strength: int | None = None,
    comment: str = "",
    seconds: float | None = None,
    idempotency_key: str = "",
) -> Label:
    """Close the claim with the annotator's verdict, `choice` as shown to them.

    Sent twice (same key, or the claim is done already) it answers with the label that stands. Raises ClaimGone if the
    lease ran out and somebody else has the slot.
    """
    stored = to_stored(choice, swapped=claim.swapped)
    with transaction.atomic():
        if not Claim.objects.filter(pk=claim.pk, state=Claim.State.LIVE).update(state=Claim.State.DONE):
            return _label_that_stands(claim)
        label = Label.objects.select_for_update().filter(claim=claim).first()
        if label is None:
            label = _new_label(claim, stored, idempotency_key)
        else:
            _label_again(label, stored)
        label.strength = strength
        label.comment = comment
        label.seconds = seconds
        label.save(update_fields=["strength", "comment", "seconds"])
        jobs.enqueue(jobs.REFRESH_PAIRS, pair_ids=[claim.pair_id])
    return label


def keep(label: Label) -> Label:
    """Record that the annotator saw the judge's verdict and kept theirs."""
    return _after_reveal(label, LabelRevision.Kind.KEEP, label.final_choice)


def revise(label: Label, *, choice: str) -> Label:
    """Change the final verdict after the reveal. The first, blind one stays as it was."""
    assert label.claim is not None
    stored = to_stored(choice, swapped=label.claim.swapped)
    kind = LabelRevision.Kind.KEEP if stored == label.final_choice else LabelRevision.Kind.REVISE
    return _after_reveal(label, kind, stored)


@transaction.atomic
def undo(project: Project, *, annotator: User) -> Claim:
    """Take the annotator's newest label in the project back and reopen its claim. Raises NothingToUndo.

    A live claim that was waiting stays with the annotator. What is labelled next on the reopened claim is the same
    label row with one more revision; if the judge had been shown, the first verdict stays the blind one.
    """
    label = (
        Label.objects.select_related("claim__pair__project")
        .filter(pair__project=project, annotator=annotator, source=Label.Source.CLAIM, withdrawn=False)
        .order_by("-pk")
        .first()
    )
    if label is None or label.claim_id is None:
        raise NothingToUndo
    if not Label.objects.filter(pk=label.pk, withdrawn=False).update(withdrawn=True):
        raise NothingToUndo
    reopened = Claim.objects.filter(pk=label.claim_id, state=Claim.State.DONE)
    if not reopened.update(state=Claim.State.LIVE, expires_at=expiry()):
        raise NothingToUndo
    _revision(label, LabelRevision.Kind.UNDO, after="", by=annotator)
    jobs.enqueue(jobs.REFRESH_PAIRS, pair_ids=[label.pair_id])
    return Claim.objects.select_related("pair__project").get(pk=label.claim_id)


def _new_label(claim: Claim, stored: str, idempotency_key: str) -> Label:
    project = claim.pair.project
    if idempotency_key and Label.objects.filter(idempotency_key=idempotency_key).exists():
        raise LabelingError("idempotency_key: this key was used for another pair; nothing was saved.")
    assisted = project.reveal == Project.Reveal.BEFORE and not claim.pair.unrevealed
    return Label.objects.create(
        pair=claim.pair,
        claim=claim,
        annotator=claim.annotator,
        source=Label.Source.CLAIM,
        choice=stored,
        final_choice=stored,
        blind=not assisted,
        idempotency_key=idempotency_key or None,
    )


def _label_again(label: Label, stored: str) -> None:
    """After an undo: a verdict given before any reveal replaces the blind one, a later one only the final one."""
    _revision(label, LabelRevision.Kind.RELABEL, after=stored, by=_annotator(label))
    if label.revealed_at is None:
        label.choice = stored
    label.final_choice = stored
    label.withdrawn = False
    label.save(update_fields=["choice", "final_choice", "withdrawn"])


def _label_that_stands(claim: Claim) -> Label:
    label = Label.objects.filter(claim=claim, withdrawn=False).first()
    if label is None:
        raise ClaimGone
    return label


@transaction.atomic
def _after_reveal(label: Label, kind: LabelRevision.Kind, stored: str) -> Label:
    if label.revealed_at is None:
        raise LabelingError("The judge's verdict has not been shown for this pair.")
    if label.withdrawn:
        raise LabelingError("This label was undone.")
    _revision(label, kind, after=stored, by=_annotator(label))
    label.final_choice = stored
    label.save(update_fields=["final_choice"])
    jobs.enqueue(jobs.REFRESH_PAIRS, pair_ids=[label.pair_id])
    return label


def _revision(label: Label, kind: LabelRevision.Kind, *, after: str, by: User) -> None:
    LabelRevision.objects.create(
        label=label,
        kind=kind,
        before=label.final_choice,
        after=after,
        blind=label.revealed_at is None,
        by=by,
        at=timezone.now(),
    )


def _annotator(label: Label) -> User:
    assert label.annotator is not None, "labels from claims have an annotator"
    return label.annotator
