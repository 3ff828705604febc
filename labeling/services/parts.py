"""Which part of the project a pair falls into: drawn by hash, so that it is the same whenever it is imported."""

import hashlib

from django.db.models import QuerySet

from labeling.models import Pair, Project


def part_of(project: Project, group_key: str) -> Pair.Part:
    """The hold-out is drawn by the group's hash, so that all pairs of a group, also later ones, are on one side.

    Of the hold-out's groups a quarter calibrates, half decides at the gate, a quarter is only reported. A group that
    has joined the gate since (`joined_gate`) is there whatever its hash says.
    """
    place = _unit(project, "hold-out", group_key)
    if place >= project.holdout_share:
        return Pair.Part.TRAIN
    inside = place / project.holdout_share
    if inside < 0.25:
        return Pair.Part.CALIBRATION
    return Pair.Part.GATE if inside < 0.75 else Pair.Part.TEST


def joined_gate(project: Project) -> QuerySet[Pair, str]:
    """The groups that joined the gate after they were drawn, by their audit pairs: the hold-out itself has none.

    Looked up with each chunk of an import. By its number PostgreSQL would know that the project had no rows before,
    and read all that it has now; by its slug it might be any project.
    """
    joined = Pair.objects.filter(project__slug=project.slug, part=Pair.Part.GATE, audit=True)
    return joined.order_by().values_list("group_key", flat=True).distinct()


def is_audited(project: Project, content_hash: str) -> bool:
    """Whether the pair is drawn for the random audit; pairs that are drawn for the hold-out are not asked about."""
    return _unit(project, "audit", content_hash) < project.audit_share


def place_of(project: Project, content_hash: str) -> int:
    """The pair's place in the project's random order."""
    return int(_unit(project, "order", content_hash) * (2**31 - 1))


def _unit(project: Project, purpose: str, key: str) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{project.slug}/{purpose}/{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
