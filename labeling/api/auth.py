"""Bearer tokens: `Authorization: Bearer tandem_…`."""

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from ninja.security import HttpBearer

from labeling.models import ApiToken
from labeling.services.tokens import owner_of

RANK: dict[str, int] = {ApiToken.Scope.READ: 0, ApiToken.Scope.LABEL: 1, ApiToken.Scope.MANAGE: 2}


class BearerToken(HttpBearer):
    """Makes the token's owner the request's user; the view then asks `access` as any page does."""

    def authenticate(self, request: HttpRequest, token: str) -> ApiToken | None:
        found = owner_of(token)
        if found is not None:
            request.user = found.owner
        return found


def user_of(request: HttpRequest, *, scope: ApiToken.Scope = ApiToken.Scope.READ) -> User:
    """The owner of the request's token. Raises PermissionDenied if the token's scope is too small."""
    token = getattr(request, "auth", None)
    assert isinstance(token, ApiToken), "every route of the API asks for a token"
    if RANK[token.scope] < RANK[scope]:
        raise PermissionDenied(f"this needs a token with the scope {scope.value}")
    return token.owner
