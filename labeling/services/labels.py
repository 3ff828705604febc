"""Labels: commit blind, keep or revise after the reveal, undo. Every change is kept as a revision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import F, Max
from django.db.models.functions import Coalesce
from django.utils import timezone

from labeling import jobs
from labeling.compiled import CompiledInsert
from labeling.errors import ClaimGone, LabelingError, NothingToUndo
from labeling.models import Claim, Label, LabelRevision, Project
from labeling.services.claims import SEEN, close_if_settled, expiry, finish, take_back

Shown = Literal["left", "right", "tie", "both_bad"]

UNDO_WITHIN = timedelta(days=1)
NOT_SHOWN = "The judge's verdict has not been shown for this pair."

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


@dataclass(frozen=True, slots=True)
class Given:
    """What an annotator gave with a verdict: ratings by criterion and passages, both as shown to them."""

    criteria: Mapping[str, str] = field(default_factory=dict)
    highlights: Sequence[Mapping[str, object]] = ()
    comment: str = ""
    seconds: float | None = None


NOTHING = Given()


def commit_label(
    claim: Claim, *, choice: str, strength: int | None = None, given: Given = NOTHING, idempotency_key: str = ""
) -> Label:
    """Close the claim with the annotator's verdict, `choice` as shown to them.

    Sent twice (same key, or the claim is done already) it answers with the label that stands. A verdict that comes
    after the lease ran out, or after a skip in another window, is a label all the same.
    """
    stored = to_stored(choice, swapped=claim.swapped)
    known: Label | None = getattr(claim, "label", None)
    if known is not None and idempotency_key and known.idempotency_key == idempotency_key:
        return known  # the sending that made the label comes again; whether it was undone since is not changed
    try:
        with transaction.atomic():
            if not finish(claim) and not take_back(claim, state=Claim.State.DONE, extra=True):
                return _label_that_stands(claim)
            label = _save(claim, stored, strength, given, idempotency_key)
            close_if_settled(claim.pair_id)
            jobs.refresh([claim.pair_id])
    except IntegrityError:
        if idempotency_key and Label.objects.filter(idempotency_key=idempotency_key).exclude(claim=claim).exists():
            message = "idempotency_key: this key was used for another pair; nothing was saved."
            raise LabelingError(message) from None
        fresh = Claim.objects.select_related("pair__project", "label").get(pk=claim.pk)
        if getattr(claim, "label", None) is not None or getattr(fresh, "label", None) is None:
            raise
        # Labelled and undone in another window since this claim was read.
        return commit_label(fresh, choice=choice, strength=strength, given=given, idempotency_key=idempotency_key)
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
def undo(project: Project, *, annotator: User, meant: int | None = None) -> Claim:
    """Take the annotator's last label or skip in the project back and reopen its claim, as far back as a day.

    Raises NothingToUndo. Called again it goes one step further; but with ``meant``, the claim that is to be taken back,
    it is that one and no other, so that a second sending (the answer was lost) finds it reopened and changes nothing. A
    live claim that was waiting stays with the annotator. What is labelled next on a reopened claim is the same label
    row with one more revision; if the judge had been shown, the first verdict stays the blind one.
    """
    last, label = _last(project, annotator, meant)
    if label is not None:
        _take_label_back(label, by=annotator)
    elif last is not None:
        if not take_back(last, state=Claim.State.LIVE, extra=True):
            raise NothingToUndo
    elif meant is not None:
        own = Claim.objects.filter(pk=meant, annotator=annotator, pair__project=project)
        last = own.filter(state__in=(Claim.State.LIVE, Claim.State.EXPIRED)).first()
    if last is None:
        raise NothingToUndo
    return Claim.objects.select_related("pair__project", "label").get(pk=last.pk)


def next_undo(project: Project, *, annotator: User) -> int | None:
    """The claim that an undo would reopen now; None if there is nothing to undo."""
    last, _ = _last(project, annotator)
    return last.pk if last is not None else None


def _last(project: Project, annotator: User, meant: int | None = None) -> tuple[Claim | None, Label | None]:
    """The claim that was labelled or skipped last, or ``meant`` if it was, with its label if it was labelled."""
    since = timezone.now() - UNDO_WITHIN
    label = _last_label(project, annotator, since, meant)
    skipped = Claim.objects.select_related("pair__project").filter(
        annotator=annotator, pair__project=project, state=Claim.State.SKIPPED, expires_at__gte=since
    )
    if meant is not None:
        skipped = skipped.filter(pk=meant)
    last_skip = skipped.order_by("-expires_at").first()
    if last_skip is not None and (label is None or last_skip.expires_at > label.changed):
        return last_skip, None
    return (label.claim, label) if label is not None else (None, None)


def _last_label(project: Project, annotator: User, since: datetime, meant: int | None) -> Any:
    """The standing label that the annotator gave or changed last, with the time as ``changed``."""
    own = Label.objects.select_related("claim").filter(
        pair__project=project, annotator=annotator, source=Label.Source.CLAIM, withdrawn=False, created_at__gte=since
    )
    if meant is not None:
        own = own.filter(claim=meant)
    changed = Coalesce(Max("revisions__at"), F("created_at"))
    return own.annotate(changed=changed).order_by("-changed", "-pk").first()


def _take_label_back(label: Label, *, by: User) -> None:
    assert label.claim is not None, "only labels from claims are undone"
    if not Label.objects.filter(pk=label.pk, withdrawn=False).update(withdrawn=True):
        raise NothingToUndo
    reopened = Claim.objects.filter(pk=label.claim.pk, state=Claim.State.DONE)
    if not reopened.update(state=Claim.State.LIVE, expires_at=expiry()):
        raise NothingToUndo
    _revision(label, LabelRevision.Kind.UNDO, after="", by=by)
    close_if_settled(label.pair_id)
    jobs.refresh([label.pair_id])


def _save(claim: Claim, stored: str, strength: int | None, given: Given, key: str) -> Label:
    """The claim's label with this verdict: a new row, or the one that was undone."""
    project = claim.pair.project
    least = project.least_seconds
    fields = {
        "strength": strength,
        "criteria": {name: to_stored(side, swapped=claim.swapped) for name, side in given.criteria.items()},
        "highlights": [_stored_passage(passage, swapped=claim.swapped) for passage in given.highlights],
        "comment": given.comment,
        "seconds": given.seconds,
        "too_fast": bool(least and given.seconds is not None and given.seconds < least),
    }
    assisted = project.reveal == Project.Reveal.BEFORE and not claim.pair.unrevealed
    assisted = assisted or claim.assisted or claim.skip_reason == SEEN
    label: Label | None = getattr(claim, "label", None)
    if label is not None:
        return _label_again(label, stored, fields, assisted=assisted)
    return _INSERT(
        Label(
            pair=claim.pair,
            claim=claim,
            annotator_id=claim.annotator_id,
            source=Label.Source.CLAIM,
            choice=stored,
            final_choice=stored,
            blind=not assisted,
            idempotency_key=key or None,
            **fields,
        )
    )


_INSERT = CompiledInsert(Label)


def _stored_passage(passage: Mapping[str, object], *, swapped: bool) -> dict[str, object]:
    side = to_stored(str(passage["side"]), swapped=swapped)
    return {"response": side, **{name: passage[name] for name in ("start", "end", "quote")}}


def _label_again(label: Label, stored: str, fields: Mapping[str, object], *, assisted: bool) -> Label:
    """After an undo: what is given before any reveal replaces the blind verdict and all that was given with it.

    What is given after one, or ``assisted`` by the judge's verdict where the first was blind, replaces only the final
    verdict, and the comment if there is one.
    """
    label = Label.objects.select_for_update().get(pk=label.pk)
    _revision(label, LabelRevision.Kind.RELABEL, after=stored, by=_annotator(label))
    if label.revealed_at is None and not (label.blind and assisted):
        written = {"choice": stored, **fields}
    else:
        written = {"comment": fields["comment"] or label.comment}
    written |= {"final_choice": stored, "withdrawn": False}
    for name, value in written.items():
        setattr(label, name, value)
    label.save(update_fields=[*written])
    return label


def _label_that_stands(claim: Claim) -> Label:
    label = Label.objects.filter(claim=claim, withdrawn=False).first()
    if label is None:
        raise ClaimGone
    return label


@transaction.atomic
def _after_reveal(label: Label, kind: LabelRevision.Kind, stored: str) -> Label:
    if label.revealed_at is None:
        raise LabelingError(NOT_SHOWN)
    if label.withdrawn:
        raise LabelingError("This label was undone.")
    _revision(label, kind, after=stored, by=_annotator(label))
    label.final_choice = stored
    label.save(update_fields=["final_choice"])
    jobs.refresh([label.pair_id])
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
