"""What every answer carries: its request id; one of the API also its rate limit, an ETag, and problems as problems."""

import re
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response, patch_cache_control, patch_vary_headers, set_response_etag

from labeling.api import limits
from labeling.api.problems import MEDIA_TYPE, problem

PREFIX = "/api/v1/"
KEPT = ("Allow", "Retry-After", "WWW-Authenticate", "Location")
WORDS = {
    404: "There is no such address; /api/v1/openapi.json lists them all.",
    405: "This address does not take that method; the header Allow lists those that it takes.",
}
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,200}")


def envelope(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """The middleware: after the one that gives a request its id."""

    def answer(request: HttpRequest) -> HttpResponse:
        request_id = _request_id(request)
        of_api = request.path.startswith(PREFIX)
        response = _answer(request, get_response) if of_api else get_response(request)
        response["X-Request-ID"] = request_id
        return response

    return answer


def _answer(request: HttpRequest, get_response: Callable[[HttpRequest], HttpResponse]) -> HttpResponse:
    response = problem(404) if "\x00" in request.path else get_response(request)
    if response.status_code >= 400 and response["Content-Type"] != MEDIA_TYPE:
        headers = {name: response[name] for name in KEPT if name in response}
        response = problem(response.status_code, WORDS.get(response.status_code, ""), headers=headers)
    if not response.has_header("Cache-Control"):
        patch_cache_control(response, private=True, no_cache=True)
    patch_vary_headers(response, ["Authorization"])
    if request.method == "GET" and response.status_code == 200:
        response = _conditional(request, response)
    limits.write_headers(request, response)
    return response


def _conditional(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """304 where the client has this answer already; a stream keeps the ETag that its route gave it, if any."""
    if not response.streaming and not response.has_header("ETag"):
        set_response_etag(response)
    tag = response.headers.get("ETag")
    return get_conditional_response(request, etag=tag, response=response) or response


def _request_id(request: HttpRequest) -> str:
    """The id that the log has for this request: the client's own where it is fit for a header and a line of the log."""
    given = request.headers.get("X-Request-ID", "")
    if _REQUEST_ID.fullmatch(given):
        structlog.contextvars.bind_contextvars(request_id=given)
        return given
    made: str = structlog.contextvars.get_contextvars()["request_id"]
    return made
