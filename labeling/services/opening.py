"""What adjudicators do with a pair that no flag names: open it, ask those who skipped it again. Decides no verdict."""

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q

from labeling.errors import AlreadyOpen, NobodySkipped
from labeling.models import Claim, Flag, Member, Pair
from labeling.services import audit, flags
from labeling.services.claims import SEEN


@transaction.atomic
def open_pair(pair: Pair, *, by: User, reason: str) -> Flag:
    """Report the pair as an adjudicator, so that it can be settled, sent back or marked ambiguous.

    What was decided before stands until then. Raises AlreadyOpen if one of its flags is open.
    """
    said = {"by": by.get_username(), "comment": reason}
    open_flags = Flag.objects.filter(pair=pair, state=Flag.State.OPEN)
    if open_flags.exists():
        raise AlreadyOpen
    flag, created = Flag.objects.get_or_create(
        pair=pair,
        kind=Flag.Kind.REPORTED,
        state=Flag.State.OPEN,
        defaults={"detail": said, "value": flags.worth(Flag.Kind.REPORTED, said)},
    )
    if not created:
        raise AlreadyOpen
    audit.record("flag.open", pair, by=by, reason=reason)
    return flag


@transaction.atomic
def ask_again(pair: Pair, *, by: User) -> list[str]:
    """Let those who skipped the pair be asked about it once more; returns their names.

    Not those who were kept away from it: they have seen what the judge or others say. A pair that has its labels asks
    nobody, until it is sent back. Raises NobodySkipped if there is nobody to ask again.
    """
    members = Member.objects.filter(project=pair.project_id).values("user")
    skipped = (
        Claim.objects.filter(pair=pair, state=Claim.State.SKIPPED, annotator__is_active=True)
        .filter(Q(annotator__in=members) | Q(annotator__is_superuser=True))
        .exclude(skip_reason=SEEN)
    )
    said = dict(skipped.order_by("pk").values_list("annotator__username", "skip_reason"))
    if not skipped.update(state=Claim.State.EXPIRED):
        raise NobodySkipped
    audit.record("claim.ask_again", pair, by=by, skipped=said)
    return list(said)
