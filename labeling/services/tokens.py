"""API tokens: made once, shown once, stored as a hash."""

import hashlib
import secrets

from django.contrib.auth.models import User
from django.db.models import Q
from django.utils import timezone

from labeling.models import ApiToken

PREFIX = "tandem_"


def create_token(owner: User, *, name: str = "", scope: str = ApiToken.Scope.MANAGE) -> str:
    """Make a token with its owner's rights; the returned secret is not stored and cannot be shown again."""
    secret = PREFIX + secrets.token_urlsafe(32)
    ApiToken.objects.create(owner=owner, name=name, scope=scope, sha256=_sha256(secret))
    return secret


def owner_of(secret: str) -> ApiToken | None:
    """The valid token with this secret, its last use noted; None if unknown, expired, revoked or its owner inactive."""
    now = timezone.now()
    token = (
        ApiToken.objects.select_related("owner")
        .filter(sha256=_sha256(secret), revoked_at=None, owner__is_active=True)
        .filter(Q(expires_at=None) | Q(expires_at__gt=now))
        .first()
    )
    if token is not None:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return token


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
