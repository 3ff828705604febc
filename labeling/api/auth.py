"""Bearer tokens: `Authorization: Bearer tandem_…`."""

from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest
from ninja.security import HttpBearer

from labeling import access
from labeling.api import limits
from labeling.compiled import Compiled, Slot
from labeling.models import ApiToken, Claim, DatasetVersion, ImportBatch, TrainingRun
from labeling.services.tokens import owner_of

RANK: dict[str, int] = {ApiToken.Scope.READ: 0, ApiToken.Scope.LABEL: 1, ApiToken.Scope.MANAGE: 2}


def _of_project(rows: type[Model]) -> Compiled[Any]:
    return Compiled(lambda: rows._default_manager.filter(pk=Slot("row"), project=Slot("project")).only("pk"))


OF_PROJECT = {
    "run_id": _of_project(TrainingRun),
    "batch_id": _of_project(ImportBatch),
    "dataset_id": _of_project(DatasetVersion),
}
"""By the name of an address's part: the row that it names, if it is of the project."""


class BearerToken(HttpBearer):
    """Makes the token's owner the request's user; the view then asks `access` as any page does."""

    openapi_description = "A token from the page API or from `manage.py create_token`."

    def authenticate(self, request: HttpRequest, token: str) -> ApiToken | None:
        """The valid token. Raises TooMany, and Http404 where a token of one project asks for another's."""
        found = owner_of(token)
        if found is None:
            return None
        limits.spend(request, found)
        if found.project_id is not None and not _within(found, request):
            raise Http404("no such project")
        request.user = found.owner
        return found


def token_of(request: HttpRequest) -> ApiToken:
    token = getattr(request, "auth", None)
    assert isinstance(token, ApiToken), "every route of the API asks for a token"
    return token


def user_of(request: HttpRequest, *, scope: ApiToken.Scope = ApiToken.Scope.READ) -> User:
    """The owner of the request's token. Raises PermissionDenied if the token's scope is too small."""
    token = token_of(request)
    if RANK[token.scope] < RANK[scope]:
        raise PermissionDenied(f"this needs a token with the scope {scope.value}")
    return token.owner


def claim_of(request: HttpRequest, claim_id: int) -> Claim:
    """One of the claims of the token's owner. Raises Http404, for one outside the token's project too."""
    claim = access.claim_for(user_of(request, scope=ApiToken.Scope.LABEL), claim_id)
    token = token_of(request)
    if token.project_id is not None and token.project_id != claim.pair.project_id:
        raise Http404("no such claim")
    return claim


def _within(token: ApiToken, request: HttpRequest) -> bool:
    """Whether the address is of the token's own project. One that names nothing known is of no project."""
    named = request.resolver_match.kwargs if request.resolver_match else {}
    if not named:
        return True  # the list of projects, which shows this one alone
    if "slug" in named:
        return token.project is not None and token.project.slug == named["slug"]
    if "claim_id" in named:
        return True  # asked when the claim is read, by `claim_of`: labelling is spared a query
    for name, value in named.items():
        if name in OF_PROJECT:
            return str(value).isdecimal() and bool(OF_PROJECT[name].fetch(row=int(value), project=token.project_id))
    return False
