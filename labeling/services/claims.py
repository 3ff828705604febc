"""Leases: who holds which pair. Two annotators never hold the same slot; the database's constraints decide races."""

import random
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Count, Exists, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone

from labeling.errors import ClaimGone
from labeling.models import Claim, Consensus, Label, Pair, Project

CANDIDATES = 40
"""How many open pairs are looked at for each claim: enough that many annotators at once rarely want the same one."""


def next_claim(project: Project, *, annotator: User) -> Claim | None:
    """The annotator's live claim, or a new lease on the next pair; None if nothing is left for them.

    Pairs are served in the project's random order, so hold-out and audit pairs are never chosen by score. A pair
    whose slots are all taken between the look and the insert is passed over: the unique constraints decide.
    """
    now = timezone.now()
    live = (
        Claim.objects.select_related("pair__project")
        .filter(annotator=annotator, pair__project=project, state=Claim.State.LIVE)
        .order_by("-expires_at")  # the one touched last: after an undo the reopened one
        .first()
    )
    if live is not None and (live.expires_at > now or _extend(live)):
        return live
    expire_claims(project=project)
    for pair in _open_pairs(project, annotator)[:CANDIDATES]:
        claim = _take(pair, project=project, annotator=annotator)
        if claim is not None:
            return claim
    return None


def renew(claim: Claim) -> Claim:
    """Prolong a live lease. Raises ClaimGone if it expired and the slot may be somebody else's."""
    if not _extend(claim):
        raise ClaimGone
    return claim


def skip(claim: Claim, *, reason: str = "") -> None:
    """Give the slot back for others; the pair is not offered to this annotator again. Raises ClaimGone."""
    live = Claim.objects.filter(pk=claim.pk, state=Claim.State.LIVE)
    if not live.update(state=Claim.State.SKIPPED, skip_reason=reason[:200]):
        raise ClaimGone


def expire_claims(*, project: Project | None = None) -> int:
    """Free the slots of leases that ran out; returns how many."""
    due = Claim.objects.filter(state=Claim.State.LIVE, expires_at__lt=timezone.now())
    if project is not None:
        due = due.filter(pair__project=project)
    return due.update(state=Claim.State.EXPIRED)


def open_pairs_of(project: Project, annotator: User) -> QuerySet[Pair]:
    """Pairs with a free slot that this annotator has neither held nor skipped (an expired lease may return)."""
    of_pair = Claim.objects.filter(pair=OuterRef("pk"))
    own = of_pair.filter(annotator=annotator).exclude(state=Claim.State.EXPIRED)
    held = of_pair.filter(state__in=Claim.HELD)
    imported = Label.objects.filter(pair=OuterRef("pk"), source=Label.Source.IMPORT)
    settled = Consensus.objects.filter(pair=OuterRef("pk"), method=Consensus.Method.ADJUDICATED)
    return (
        Pair.objects.filter(project=project)
        .filter(~Exists(own), ~Exists(settled))
        .annotate(taken=_count(held) + _count(imported))
        .filter(taken__lt=project.overlap)
    )


def _count(rows: QuerySet[Claim] | QuerySet[Label]) -> Coalesce:
    """How many rows, as a correlated subquery: with a limit it is evaluated only for the pairs that are looked at."""
    counted = rows.order_by().values("pair").annotate(count=Count("pk")).values("count")
    return Coalesce(Subquery(counted, output_field=IntegerField()), 0)


def _open_pairs(project: Project, annotator: User) -> QuerySet[Pair]:
    return open_pairs_of(project, annotator).order_by("shuffle", "pk")


def _extend(claim: Claim) -> bool:
    """Compare-and-set on the state: an expired claim stays expired unless its slot is still free."""
    claim.expires_at = expiry()
    live = Claim.objects.filter(pk=claim.pk, state=Claim.State.LIVE)
    return bool(live.update(expires_at=claim.expires_at))


def _take(pair: Pair, *, project: Project, annotator: User) -> Claim | None:
    taken = set(Claim.objects.filter(pair=pair, state__in=Claim.HELD).values_list("slot", flat=True))
    for slot in (slot for slot in range(project.overlap) if slot not in taken):
        try:
            with transaction.atomic():
                return _claim_slot(pair, slot, project=project, annotator=annotator)
        except IntegrityError:
            continue
    return None


def _claim_slot(pair: Pair, slot: int, *, project: Project, annotator: User) -> Claim | None:
    """Insert the claim, or take up the annotator's own expired one; IntegrityError if the slot is held."""
    pair.project = project
    expired = Claim.objects.filter(pair=pair, annotator=annotator, state=Claim.State.EXPIRED)
    if expired.update(state=Claim.State.LIVE, slot=slot, slots=project.overlap, expires_at=expiry()):
        return Claim.objects.select_related("pair__project").get(pair=pair, annotator=annotator)
    return Claim.objects.create(
        pair=pair,
        annotator=annotator,
        slot=slot,
        slots=project.overlap,
        swapped=random.SystemRandom().random() < 0.5,
        expires_at=expiry(),
        reason=_reason(pair),
    )


def _reason(pair: Pair) -> str:
    if pair.part != Pair.Part.TRAIN:
        return "hold-out"
    return "audit" if pair.audit else "random"


def expiry() -> datetime:
    """When a lease that starts now ends."""
    return timezone.now() + timedelta(seconds=settings.ENV.lease_seconds)
