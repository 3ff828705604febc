"""Where the next increment begins: a time before which nothing is missing, in a text that clients keep as it is."""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from labeling.errors import ExportRefused
from labeling.models import ConsensusFit, Deployment, ImportBatch, Project
from labeling.services import trust
from labeling.services.exports.asked import Asked

OVERLAP = timedelta(minutes=1)
"""A row carries the time at which it was written, not at which it could be read: an increment looks back a little."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Rows changed since then come; all of them if what they are computed from (``basis``) is another one."""

    at: datetime
    basis: str

    def changed_since(self, basis: str) -> datetime | None:
        return self.at if self.basis == basis else None


def next_cursor(project: Project, asked: Asked, *, basis: str) -> str:
    """The cursor after an export that begins now. Rows may come twice, none is missed."""
    at = timezone.now() - OVERLAP
    running = ImportBatch.objects.filter(project=project, state=ImportBatch.State.RUNNING)
    earliest = running.order_by("created_at").values_list("created_at", flat=True).first()
    at = min(at, earliest) if earliest else at
    return base64.urlsafe_b64encode(json.dumps([at.isoformat(), asked.digest, basis]).encode()).decode().rstrip("=")


def read_cursor(asked: Asked) -> Cursor | None:
    """The cursor that was asked for. Raises ExportRefused if it is none, or belongs to other options."""
    if not asked.since:
        return None
    try:
        padded = asked.since + "=" * (-len(asked.since) % 4)
        at, digest, basis = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        found = Cursor(datetime.fromisoformat(at), str(basis))
        if timezone.is_naive(found.at):
            raise ValueError
    except (ValueError, TypeError, binascii.Error):
        raise ExportRefused("since", "not a cursor that an export gave") from None
    if digest != asked.digest:
        raise ExportRefused("since", "this cursor was given for other options; begin again without it")
    return found


def basis_of(project: Project, asked: Asked, deployment: Deployment | None) -> str:
    """What all rows hang on beside their own time: which judge speaks, how it is calibrated, who weighs as much."""
    if asked.source == "human":
        return ""
    fitted = ConsensusFit.objects.filter(project=project).values_list("fitted_at", flat=True).first()
    people = f"{project.consensus_method} {fitted.isoformat() if fitted else ''}"
    if deployment is None:
        return people if asked.source != "judge" else ""
    judge = f"{deployment.judge_id} {deployment.counts} {deployment.calibration.get('temperature')}"
    judge = f"{judge} {trust.labels_alone(deployment)}"
    return {"judge": judge, "consensus": people, "hybrid": f"{people} {judge}"}[asked.source]
