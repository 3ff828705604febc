"""API tokens: made once, shown once, stored as a hash, revoked at once."""

import hashlib
import secrets
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import CharField, DateTimeField, Q, QuerySet
from django.utils import timezone

from labeling.compiled import Compiled, Slot
from labeling.models import ApiToken, Project
from labeling.services import audit

PREFIX = "tandem_"
LONGEST_DAYS = 3650
NOTED_EVERY = timedelta(minutes=1)
"""A token's last use is written at most so often: a request need not write a row to be answered."""


@transaction.atomic
def create_token(
    owner: User,
    *,
    name: str = "",
    scope: str = ApiToken.Scope.MANAGE,
    project: Project | None = None,
    days: int | None = None,
) -> str:
    """Make a token with its owner's rights, or fewer; the returned secret is not stored and cannot be shown again.

    With ``project`` it opens that project alone; with ``days`` it ends after so many.
    """
    secret = PREFIX + secrets.token_urlsafe(32)
    expires_at = None if days is None else timezone.now() + timedelta(days=days)
    token = ApiToken.objects.create(
        owner=owner, project=project, name=name, scope=scope, sha256=_sha256(secret), expires_at=expires_at
    )
    where = project.slug if project else "all"
    audit.record("token.create", token, by=owner, scope=scope, project=where, days=days)
    return secret


def tokens_of(owner: User) -> QuerySet[ApiToken]:
    """The user's own tokens, newest first, revoked ones too."""
    return ApiToken.objects.select_related("project").filter(owner=owner)


@transaction.atomic
def revoke(token: ApiToken, *, by: User) -> bool:
    """End the token: the next request with it is refused. False if that was done before."""
    if not ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()):
        return False
    audit.record("token.revoke", token, by=by)
    return True


def owner_of(secret: str) -> ApiToken | None:
    """The valid token with this secret, its last use noted; None if unknown, expired, revoked or its owner inactive."""
    now = timezone.now()
    token = _VALID.first(sha256=_sha256(secret), now=now)
    if token is not None and (token.last_used_at is None or token.last_used_at < now - NOTED_EVERY):
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return token


_VALID = Compiled(
    lambda: (
        ApiToken.objects.select_related("owner", "project")
        .defer(
            *[f"project__{field.name}" for field in Project._meta.concrete_fields if field.name not in ("id", "slug")]
        )
        .filter(sha256=Slot("sha256", CharField()), revoked_at=None, owner__is_active=True)
        .filter(Q(expires_at=None) | Q(expires_at__gt=Slot("now", DateTimeField())))
    )
)


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
