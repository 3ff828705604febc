"""Leases: who holds which pair. Two annotators never hold the same slot; the database's constraints decide races."""

import random
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.db.models import BooleanField, Case, Count, Exists, F, IntegerField, OuterRef, Q, QuerySet, Subquery, When
from django.db.models.functions import Coalesce
from django.db.models.lookups import GreaterThanOrEqual
from django.utils import timezone

from labeling.compiled import Compiled, CompiledInsert, CompiledUpdate, Slot
from labeling.errors import ClaimGone
from labeling.models import Claim, Consensus, Label, Pair, Project
from labeling.services import gold

CANDIDATES = 4
"""How many open pairs are looked at in one go; whoever loses the first to somebody else goes on at random."""
ROUNDS = 15

DRAWN = Q(audit=True) | ~Q(part=Pair.Part.TRAIN)
"""Audit and hold-out pairs: drawn at random when they were imported, and served in random order."""
HELD_OUT = ~Q(part=Pair.Part.TRAIN)
AUDITED = Q(audit=True)
ROUTED = Q(audit=False, part=Pair.Part.TRAIN)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)  # nothing that an undo would reach
HOLDOUT, AUDIT, RANDOM = "hold-out", "audit", "random"


def next_claim(project: Project, *, annotator: User, held: Collection[int] = (), ahead: bool = False) -> Claim | None:
    """A live claim of the annotator that is not among ``held``, or a new lease; None if nothing is left for them.

    ``held`` are the claims that the annotator's browser has already. With ``ahead`` the lease is a short one, for a
    pair that waits in the browser until it is shown. Hold-out and audit pairs come up at their share of the pairs, in
    random order, never chosen by score; the others as the project routes them. A pair whose slots are all taken
    between the look and the insert is passed over: the unique constraints decide.
    """
    live = _live(project, annotator, held)
    if live is not None:
        if not ahead and not _extend(live):
            return next_claim(project, annotator=annotator, held=held)
        return live
    for _ in range(ROUNDS):
        pairs = _candidates(project, annotator)
        if not pairs and expire_claims(project=project):
            pairs = _candidates(project, annotator)
        for pair in pairs:
            claim = _take(pair, project=project, annotator=annotator, ahead=ahead)
            if claim is not None:
                return claim
        if not pairs:
            return None
    return None


def _live(project: Project, annotator: User, held: Collection[int]) -> Claim | None:
    """What was shown comes before what waits; after an undo the claim touched last."""
    found = sorted(_LIVE.fetch(annotator=annotator.pk, project=project.pk), key=_turn)
    claim = next((one for one in found if one.pk not in held), None)
    if claim is not None:
        claim.pair.project = project
    return claim


_LIVE = Compiled(
    lambda: Claim.objects.select_related("pair", "label").filter(
        annotator=Slot("annotator"), pair__project=Slot("project"), state=Claim.State.LIVE
    )
)


def _turn(claim: Claim) -> tuple[bool, float]:
    return claim.ahead, claim.pk if claim.ahead else -claim.expires_at.timestamp()


def renew(claim: Claim, *, waiting: Collection[int] = ()) -> Claim:
    """Prolong the lease of the pair on the screen, and those of the pairs that wait behind it.

    A lease that ran out is taken up again while its slot is free. Raises ClaimGone if it is not, and after a skip in
    another window: that only a verdict or an undo takes back.
    """
    if waiting:
        behind = Claim.objects.filter(pk__in=waiting, annotator=claim.annotator_id, state=Claim.State.LIVE, ahead=True)
        behind.update(expires_at=expiry(ahead=True))
    if not _extend(claim) and not take_back(claim, state=Claim.State.LIVE, extra=False, gone=(Claim.State.EXPIRED,)):
        state = Claim.objects.values_list("state", flat=True).get(pk=claim.pk)
        raise ClaimGone({Claim.State.SKIPPED.value: LET_GO, Claim.State.DONE.value: LABELLED}.get(state, ""))
    return claim


def still_waiting(annotator: User, waiting: Collection[int]) -> list[int]:
    """Those of the claims in a browser's reserve that are still the annotator's."""
    live = Claim.objects.filter(pk__in=waiting, annotator=annotator, state=Claim.State.LIVE)
    return list(live.values_list("pk", flat=True))


def skip(claim: Claim, *, reason: str = "") -> None:
    """Give the slot back for others; the pair is not offered to this annotator again. Raises ClaimGone if labelled.

    That they have seen the judge's verdict stays known, whatever reason they give.
    """
    open_ones = Claim.objects.filter(pk=claim.pk, state__in=(Claim.State.LIVE, Claim.State.EXPIRED))
    now = timezone.now()  # when it was skipped, for an undo
    open_ones.exclude(skip_reason=SEEN).update(skip_reason=reason[:200])
    if open_ones.update(state=Claim.State.SKIPPED, ahead=False, expires_at=now):
        return
    if not Claim.objects.filter(pk=claim.pk, state=Claim.State.SKIPPED).exists():
        raise ClaimGone(LABELLED)


LABELLED = "You have labelled this pair already; the label stands."
LET_GO = "This pair is not held for you: you skipped it, or saw what the judge says of it. You may still label it."
SEEN = "saw what the judge and others say of it"


def keep_away(pairs: Collection[Pair], *, project: Project, annotator: User) -> None:
    """Never ask this person about the pairs: they have seen what the judge or others say, so they are not blind.

    Nor about those that are closed: an adjudicator may send them back. A label that they send all the same (the pair
    was on their screen in another window) counts, as not blind; one that they gave before stays the blind one, whatever
    they give after an undo.
    """
    own = Claim.objects.filter(pair__in=[pair.pk for pair in pairs], annotator=annotator)
    known = set(own.filter(skip_reason=SEEN).values_list("pair_id", flat=True))
    fresh = [pair.pk for pair in pairs if pair.pk not in known]
    if not fresh:
        return
    seen = {"state": Claim.State.SKIPPED, "skip_reason": SEEN, "ahead": False, "expires_at": LONG_AGO}
    new = {"annotator": annotator, "slot": 0, "slots": project.overlap, "swapped": False, **seen}
    Claim.objects.bulk_create([Claim(pair_id=pair, **new) for pair in fresh], ignore_conflicts=True)
    own = own.filter(pair__in=fresh)
    own.filter(state=Claim.State.DONE).update(skip_reason=SEEN)
    own.exclude(state=Claim.State.DONE).exclude(skip_reason=SEEN).update(**seen)


def release(project: Project, *, annotator: User, waiting: Collection[int]) -> int:
    """Give back pairs that waited in a browser that is going away; returns how many."""
    unused = Claim.objects.filter(
        pk__in=waiting, annotator=annotator, pair__project=project, state=Claim.State.LIVE, ahead=True
    )
    return unused.update(state=Claim.State.EXPIRED)


GONE = (Claim.State.EXPIRED, Claim.State.SKIPPED)


def take_back(claim: Claim, *, state: Claim.State, extra: bool, gone: Collection[Claim.State] = GONE) -> bool:
    """Take up a claim that is ``gone`` in a free slot. With ``extra`` in one more slot if all are taken.

    So a verdict that comes late is still a label, never lost; the pair has then one label more than was asked for.
    """
    for _ in range(ROUNDS):
        taken = _taken(claim.pair)
        overlap = claim.pair.project.overlap + claim.pair.extra_labels
        free = _free(overlap, taken, imported=_imported(claim.pair).count())
        if not free and not extra:
            return False
        slot = free[0] if free else next(number for number in range(len(taken) + 1) if number not in taken)
        terms = {"slot": slot, "slots": max(overlap, slot + 1), "expires_at": expiry(), "ahead": False}
        try:
            with transaction.atomic():
                return bool(Claim.objects.filter(pk=claim.pk, state__in=gone).update(state=state, **terms))
        except IntegrityError:
            continue
    return False


def finish(claim: Claim) -> bool:
    """Close a live claim for its label: compare-and-set on the state, so that of two at once one does it."""
    return bool(_FINISH(claim=claim.pk))


_FINISH = CompiledUpdate(
    lambda: (
        Claim.objects.filter(pk=Slot("claim"), state=Claim.State.LIVE),
        {"state": Claim.State.DONE, "ahead": False},
    )
)
SETTLED = (Consensus.Method.ADJUDICATED, Consensus.Method.AMBIGUOUS, Consensus.Method.JUDGE)


def close_settled(pairs: QuerySet[Pair]) -> int:
    """Bring ``closed`` of these pairs up to date with their labels, writing no others; returns how many were not.

    A label or an import that is not committed yet is not seen: its refresh, after its commit, looks again.
    """
    return _wrong(pairs).update(closed=_settled())


def close_if_settled(pair_id: int) -> None:
    """Bring ``closed`` of one pair up to date with its labels."""
    _CLOSE(pair=pair_id)


_CLOSE = CompiledUpdate(lambda: (Pair.objects.filter(pk=Slot("pair")), {"closed": _settled()}))


def wrongly_closed(project: Project) -> QuerySet[Pair]:
    """Pairs whose ``closed`` is not what their labels say. None, unless rows were changed behind the services."""
    return _wrong(Pair.objects.filter(project=project))


def _wrong(pairs: QuerySet[Pair]) -> QuerySet[Pair]:
    return pairs.annotate(settled=_settled()).exclude(closed=F("settled"))


def _settled() -> Case:
    """Whether a pair needs nobody any more: settled, labelled by the judge alone, or with all its labels.

    By the overlap that the project has now, not when it was read.
    """
    of_pair = OuterRef("pk")
    done = Claim.objects.filter(pair=of_pair, state=Claim.State.DONE)
    settled = Consensus.objects.filter(pair=of_pair, method__in=SETTLED)
    overlap = Subquery(Project.objects.filter(pk=OuterRef("project")).values("overlap"))
    enough = GreaterThanOrEqual(_count(done) + _count(_imported(of_pair)), F("extra_labels") + overlap)
    return Case(When(Exists(settled), then=True), When(enough, then=True), default=False, output_field=BooleanField())


def reopen(project: Project) -> int:
    """Look again at which pairs are closed, after the project's overlap has changed; returns of how many that moved."""
    return close_settled(Pair.objects.filter(project=project))


def expire_claims(*, project: Project | None = None) -> int:
    """Free the slots of leases that ran out; returns how many."""
    due = Claim.objects.filter(state=Claim.State.LIVE, expires_at__lt=timezone.now())
    if project is not None:
        due = due.filter(pair__project=project)
    return due.update(state=Claim.State.EXPIRED)


def open_pairs_of(project: Project, annotator: User) -> QuerySet[Pair]:
    """Pairs with a free slot that this annotator has neither held nor skipped (an expired lease may return)."""
    return _open_pairs(project.pk, annotator.pk, project.overlap)


def _open_pairs(project: int | Slot, annotator: int | Slot, overlap: int | Slot) -> QuerySet[Pair]:
    of_pair = Claim.objects.filter(pair=OuterRef("pk"))
    own = of_pair.filter(annotator=annotator).exclude(state=Claim.State.EXPIRED)
    held = of_pair.filter(state__in=Claim.HELD)
    imported = _count(_imported(OuterRef("pk")))
    # A scalar, not Exists: that one PostgreSQL would answer by reading everything that the annotator ever claimed.
    expired = Subquery(of_pair.filter(annotator=annotator).values("pk")[:1])
    return (
        Pair.objects.filter(project=project, closed=False)
        .filter(~Exists(own))
        .annotate(taken=_count(held) + imported, imported=imported, own_expired=expired)
        .filter(taken__lt=F("extra_labels") + overlap)
    )


def _count(rows: QuerySet[Claim] | QuerySet[Label]) -> Coalesce:
    """How many rows, as a correlated subquery: with a limit it is evaluated only for the pairs that are looked at."""
    counted = rows.order_by().values("pair").annotate(count=Count("pk")).values("count")
    return Coalesce(Subquery(counted, output_field=IntegerField()), 0)


def _candidates(project: Project, annotator: User) -> list[Pair]:
    """The next open pairs; a gold question first where one is due."""
    if gold.is_due(project, annotator):
        known = _next_pairs(_GOLD, project, annotator)
        if known:
            return known
    if project.routing == Project.Routing.RANDOM:
        return _in_random_order(_ANY, project, annotator)
    for lane in _lanes(project):
        if lane is ROUTED:
            pairs = _first_then_any(_next_pairs(lane, project, annotator))
        else:
            pairs = _in_random_order(lane, project, annotator)
        if pairs:
            return pairs
    return []


def _next_pairs(lane: Q, project: Project, annotator: User, *, place: int = 0) -> list[Pair]:
    """The next open pairs of a lane; of those in random order from this place on."""
    return _NEXT[lane].fetch(project=project.pk, annotator=annotator.pk, overlap=project.overlap, place=place)


def _lanes(project: Project) -> list[Q]:
    """Where to look for the next pair, first to last. The policy `uncertainty` leaves the audit to the end."""
    without_audit = project.routing == Project.Routing.UNCERTAINTY
    drawn, last = (HELD_OUT, [AUDITED]) if without_audit else (DRAWN, [])
    share = project.holdout_share + (0 if without_audit else (1 - project.holdout_share) * project.audit_share)
    first = random.SystemRandom().random() < share
    return [drawn, ROUTED, *last] if first else [ROUTED, drawn, *last]


def _in_random_order(lane: Q, project: Project, annotator: User) -> list[Pair]:
    """The next pairs of these in the project's random order; where many label each, from the annotator's place on."""
    if project.overlap > 1:
        last = Claim.objects.filter(annotator=annotator, pair__project=project, reason__in=(HOLDOUT, AUDIT, RANDOM))
        place = last.order_by("-pk").values_list("pair__shuffle", flat=True).first()
        further = _next_pairs(lane, project, annotator, place=place) if place is not None else []
        if further:
            return _first_then_any(further)
    return _first_then_any(_next_pairs(lane, project, annotator))


def _ask_for(lane: Q) -> QuerySet[Pair]:
    found = _open_pairs(Slot("project"), Slot("annotator"), Slot("overlap", IntegerField())).filter(lane)
    if lane is ROUTED:
        return found.order_by("-route_score", "shuffle", "pk")[:CANDIDATES]
    return found.filter(shuffle__gte=Slot("place")).order_by("shuffle", "pk")[:CANDIDATES]


_ANY = Q()
_GOLD = ROUTED & ~Q(gold="")
"""Those of the hold-out and the audit come in their own time: served first, they would be more of what measures."""
_NEXT = {lane: Compiled(partial(_ask_for, lane)) for lane in (DRAWN, HELD_OUT, AUDITED, ROUTED, _ANY, _GOLD)}


def _first_then_any(pairs: list[Pair]) -> list[Pair]:
    """The first, then the others at random, so that those who come at once do not all want the same."""
    return pairs[:1] + random.sample(pairs[1:], len(pairs[1:]))


def _extend(claim: Claim) -> bool:
    """Compare-and-set on the state: an expired claim stays expired unless its slot is still free."""
    claim.expires_at = expiry()
    live = Claim.objects.filter(pk=claim.pk, state=Claim.State.LIVE)
    return bool(live.update(expires_at=claim.expires_at, ahead=False))


def _taken(pair: Pair) -> set[int]:
    return set(Claim.objects.filter(pair=pair, state__in=Claim.HELD).values_list("slot", flat=True))


def _imported(pair: Pair | OuterRef) -> QuerySet[Label]:
    return Label.objects.filter(pair=pair, source=Label.Source.IMPORT)


def _free(slots: int, taken: Collection[int], *, imported: int) -> list[int]:
    """The numbers that may be taken. Imported labels have none, so as many of the last are left out.

    Whoever comes at once is then offered the same few, of which the unique constraint gives each to one.
    """
    free = [number for number in range(slots) if number not in taken]
    return free[: max(slots - imported - len(taken), 0)]


def _take(pair: Pair, *, project: Project, annotator: User, ahead: bool) -> Claim | None:
    slots = project.overlap + pair.extra_labels
    taken = _taken(pair) if slots > 1 else set()
    for slot in _free(slots, taken, imported=getattr(pair, "imported", 0)):
        try:
            with _alone():
                return _claim_slot(pair, slot, project=project, annotator=annotator, ahead=ahead)
        except IntegrityError:
            continue
    return None


def _alone() -> AbstractContextManager[object]:
    """For one statement that may fail: a savepoint within a transaction; by itself it needs none."""
    return transaction.atomic() if connection.in_atomic_block else nullcontext()


def _claim_slot(pair: Pair, slot: int, *, project: Project, annotator: User, ahead: bool) -> Claim | None:
    """Insert the claim, or take up the annotator's own expired one; IntegrityError if the slot is held."""
    pair.project = project
    slots = project.overlap + pair.extra_labels
    terms = {"slot": slot, "slots": slots, "expires_at": expiry(ahead=ahead), "ahead": ahead}
    if getattr(pair, "own_expired", None):
        expired = Claim.objects.filter(pair=pair, annotator=annotator, state=Claim.State.EXPIRED)
        if not expired.update(state=Claim.State.LIVE, **terms):
            return None
        claim = Claim.objects.select_related("label").get(pair=pair, annotator=annotator)
        claim.pair = pair
        return claim
    swapped = random.SystemRandom().random() < 0.5
    claim = _INSERT(Claim(pair=pair, annotator=annotator, swapped=swapped, reason=_reason(pair), **terms))
    Claim.label.related.set_cached_value(claim, None)  # known to have none: nobody need ask
    return claim


_INSERT = CompiledInsert(Claim)


def _reason(pair: Pair) -> str:
    """Why this pair comes now, for managers and adjudicators."""
    if pair.part != Pair.Part.TRAIN:
        return HOLDOUT
    return AUDIT if pair.audit else pair.route_reason[:40] or RANDOM


def expiry(*, ahead: bool = False) -> datetime:
    """When a lease that starts now ends; a short one for a pair that only waits in a browser."""
    seconds = settings.ENV.reserve_seconds if ahead else settings.ENV.lease_seconds
    return timezone.now() + timedelta(seconds=seconds)
