"""The audit trail: who did what to what."""

from django.contrib.auth.models import User

from labeling.models import AuditEvent


def record(action: str, target: object, *, by: User | None, **detail: object) -> AuditEvent:
    """Append an event in the caller's transaction, so that it stands exactly if the change stands."""
    name = f"{type(target).__name__} {getattr(target, 'pk', '')}: {target}"[:200]
    return AuditEvent.objects.create(actor=by, action=action, target=name, detail=detail)
