"""What every page shares: the signed-in request, login that htmx understands, one template for page and partial."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Concatenate, ParamSpec, cast
from urllib.parse import urlsplit

from django.contrib import messages
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

P = ParamSpec("P")


class LabelerRequest(HttpRequest):
    """A request by somebody who is signed in."""

    user: User
    htmx: HtmxDetails


def page(
    *methods: str,
) -> Callable[
    [Callable[Concatenate[LabelerRequest, P], HttpResponseBase]],
    Callable[Concatenate[HttpRequest, P], HttpResponseBase],
]:
    """A view for signed-in people. Its answers are private, never cached, and differ for htmx."""

    def decorate(
        view: Callable[Concatenate[LabelerRequest, P], HttpResponseBase],
    ) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
        @require_http_methods(list(methods))
        @wraps(view)
        def wrapped(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return _to_login(cast(LabelerRequest, request))
            response = view(cast(LabelerRequest, request), *args, **kwargs)
            patch_vary_headers(response, ["HX-Request", "HX-Target", "Accept"])
            patch_cache_control(response, private=True, no_store=True)
            return response

        return wrapped

    return decorate


IN_PLACE = "X-Tandem-Login"
"""Header of a page that asks for the password itself when the session has ended."""


def _to_login(request: LabelerRequest) -> HttpResponse:
    """Send the whole page to the login form, not its HTML into the region that was to be swapped.

    A page that asks in place, and whoever waits for a receipt, gets a plain 401.
    """
    if wants_receipt(request) or IN_PLACE in request.headers:
        return HttpResponse("The session has ended.", status=401, content_type="text/plain")
    if not request.htmx:
        if request.method in ("GET", "HEAD"):
            return redirect_to_login(request.get_full_path())
        messages.warning(request, "You had been signed out: what you sent was not saved.")
        return redirect_to_login(_came_from(request))
    login = redirect_to_login(request.htmx.current_url_abs_path or "/")
    return HttpResponseClientRedirect(login.url)


def _came_from(request: HttpRequest) -> str:
    """The page of ours on which a form was sent: its own address may take nothing but forms."""
    came = request.headers.get("Referer", "")
    known = url_has_allowed_host_and_scheme(came, {request.get_host()})
    return urlsplit(came).path or "/" if known else "/"


def wants_receipt(request: HttpRequest) -> bool:
    """Whether a script sends what waits in the browser and wants to know in JSON that it is saved."""
    return request.headers.get("Accept", "") == "application/json"


def wants_partial(request: LabelerRequest, target: str = "") -> bool:
    """Whether htmx asks for a region (the named one), not for a page that it restores from its history."""
    if not request.htmx or request.htmx.history_restore_request:
        return False
    return not target or request.htmx.target == target


def render_page(
    request: LabelerRequest, template: str, partial: str, context: Mapping[str, object], *, status: int = 200
) -> HttpResponse:
    """The whole page, or only its partial when htmx swaps that region."""
    name = f"{template}#{partial}" if wants_partial(request) else template
    return render(request, name, dict(context), status=status)
