"""Flags: what somebody should look at, raised and dropped as labels and judgements change, settled by a person."""

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from labeling.errors import AlreadySettled, LabelingError
from labeling.models import Claim, Deployment, Flag, Judgement, Label, Pair
from labeling.models.labels import Choice
from labeling.services import audit, consensus
from labeling.services.claims import close_settled
from labeling.services.judging import champion_of

SURE = 0.6
"""A judge that gives its winner less than this does not disagree with anybody."""

Kind = Flag.Kind
AUTOMATIC = (Kind.JUDGE_DISAGREES, Kind.ANNOTATORS_SPLIT, Kind.GOLD_MISSED)


@transaction.atomic
def refresh(pair: Pair) -> None:
    """Bring the pair's consensus and automatic flags up to date with its labels and the champion's judgement."""
    current = consensus.refresh(pair)
    labels = list(Label.objects.filter(pair=pair, withdrawn=False))
    champion = champion_of(pair.project)
    due: dict[str, dict[str, object]] = {}
    verdicts = [label.final_choice for label in labels if label.source != Label.Source.ADJUDICATION]
    if {"a", "b"} <= set(verdicts) and len(verdicts) == len(labels):
        due[Kind.ANNOTATORS_SPLIT] = {"choices": sorted(verdicts)}
    if pair.gold and any(label.choice != pair.gold for label in labels if label.source == Label.Source.CLAIM):
        due[Kind.GOLD_MISSED] = {"gold": pair.gold}
    if champion is not None and current is not None and (detail := _disagreement(pair, champion, current.choice)):
        due[Kind.JUDGE_DISAGREES] = detail
    for kind in AUTOMATIC:
        _set(pair, kind, champion, due.get(kind))


def report(claim: Claim, *, comment: str) -> Flag:
    """An annotator reports the pair; the label stays theirs to give."""
    flag, _created = Flag.objects.get_or_create(
        pair=claim.pair,
        kind=Kind.REPORTED,
        state=Flag.State.OPEN,
        defaults={"detail": {"by": claim.annotator.get_username(), "comment": comment[:2000]}},
    )
    return flag


@transaction.atomic
def settle(pair: Pair, *, by: User, choice: str, reason: str) -> Label:
    """Settle every open flag of the pair with a verdict in stored order. Raises AlreadySettled if none is open."""
    if choice not in Choice.values:
        raise LabelingError(f"choice: {choice!r} is not one of {', '.join(Choice.values)}")
    open_flags = Flag.objects.filter(pair=pair, state=Flag.State.OPEN)
    settled = open_flags.update(
        state=Flag.State.SETTLED, resolution=choice, reason=reason, resolved_by=by, resolved_at=timezone.now()
    )
    if not settled:
        raise AlreadySettled
    label = Label.objects.create(
        pair=pair,
        annotator=by,
        source=Label.Source.ADJUDICATION,
        choice=choice,
        final_choice=choice,
        comment=reason,
        blind=False,
    )
    consensus.refresh(pair)
    close_settled(Pair.objects.filter(pk=pair.pk), overlap=pair.project.overlap)
    audit.record("flag.settle", pair, by=by, choice=choice, reason=reason)
    return label


def _disagreement(pair: Pair, champion: Deployment, human: str) -> dict[str, object] | None:
    """What the judge says against the people; None below the trust floor, on pairs that stay unrevealed, or unsure."""
    if not champion.trusted or pair.unrevealed or human not in ("a", "b"):
        return None
    judged = Judgement.objects.filter(pair=pair, judge=champion.judge_id, method=champion.counts).first()
    if judged is None or judged.winner == human or judged.confidence < SURE or not judged.consistent:
        return None
    return {"human": human, "judge": judged.winner, "confidence": round(judged.confidence, 4)}


def _set(pair: Pair, kind: str, champion: Deployment | None, detail: dict[str, object] | None) -> None:
    open_flag = Flag.objects.filter(pair=pair, kind=kind, state=Flag.State.OPEN)
    if detail is None:
        open_flag.update(state=Flag.State.OBSOLETE)
        return
    judge = champion.judge if champion is not None and kind == Kind.JUDGE_DISAGREES else None
    if open_flag.update(detail=detail, judge=judge):
        return
    if not Flag.objects.filter(pair=pair, kind=kind, state=Flag.State.SETTLED, judge=judge).exists():
        Flag.objects.get_or_create(
            pair=pair, kind=kind, state=Flag.State.OPEN, defaults={"detail": detail, "judge": judge}
        )
