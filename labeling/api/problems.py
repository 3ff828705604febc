"""Errors of the API as problem details (RFC 9457), each with the field that it is about. Knows no route."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar, cast

import structlog
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.signals import got_request_exception
from django.http import Http404, HttpRequest, HttpResponse
from ninja import Field, NinjaAPI, Schema
from ninja.errors import HttpError, ValidationError

from labeling.errors import ExportRefused, ImportRefused, LabelingError
from labeling.services.uploads import UploadCutOff

MEDIA_TYPE = "application/problem+json"
PLAIN = "about:blank"
"""The type of a problem that its status says all about."""
OWN = "urn:tandem:problem:"
UNEXPECTED = "Something went wrong here. It is in the log under this answer's X-Request-ID."

Headers = Mapping[str, str]
NONE: Headers = {}
Error = TypeVar("Error", bound=Exception)

log = structlog.get_logger(__name__)


class FieldProblem(Schema):
    """What is wrong with one field of the request; a field inside others has their names before it."""

    field: str = Field(examples=["choice"])
    message: str = Field(examples=["Input should be 'left', 'right', 'tie' or 'both_bad'"])


class Problem(Schema):
    """What went wrong, by RFC 9457; `errors` names the fields that were refused."""

    type: str = Field(examples=["urn:tandem:problem:invalid"])
    title: str = Field(examples=["Unprocessable Entity"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["choice: Input should be 'left', 'right', 'tie' or 'both_bad'"])
    errors: list[FieldProblem] = []


class Invalid(Exception):
    """The request is well formed and cannot be done as it is: what is wrong, by field."""

    def __init__(self, *errors: tuple[str, str]) -> None:
        super().__init__(*errors)
        self.errors = errors


class TooMany(Exception):
    """The token has used up its requests; ``wait`` is the number of seconds until it has new ones."""

    def __init__(self, wait: int) -> None:
        super().__init__(wait)
        self.wait = wait


def problem(
    status: int, detail: str = "", *, kind: str = PLAIN, errors: Sequence[tuple[str, str]] = (), headers: Headers = NONE
) -> HttpResponse:
    """An answer that says what went wrong."""
    title = HTTPStatus(status).phrase
    found: dict[str, Any] = {"type": kind, "title": title, "status": status, "detail": detail or f"{title}."}
    found["errors"] = [{"field": field, "message": message} for field, message in errors]
    content = json.dumps(found, ensure_ascii=False).encode("utf-8", "backslashreplace")
    return HttpResponse(content, status=status, content_type=MEDIA_TYPE, headers=dict(headers))


def invalid(errors: Sequence[tuple[str, str]]) -> HttpResponse:
    """422: which fields are refused, and why."""
    detail = "; ".join(f"{field}: {message}" if field else message for field, message in errors)
    return problem(422, detail, kind=f"{OWN}invalid", errors=errors)


def kind_of(error: Exception) -> str:
    """A name for an expected failure that a program can rely on: `ClaimGone` is `…:claim-gone`."""
    name = type(error).__name__
    return OWN + "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")


def handle_errors(api: NinjaAPI) -> None:
    """Make every error of the API's routes a problem."""

    def on(kind: type[Error], handler: Callable[[HttpRequest, Error], HttpResponse]) -> None:
        api.add_exception_handler(kind, cast(Any, handler))  # ninja's own type says that a class may come, too

    on(Exception, _unexpected)
    on(HttpError, _http_error)
    on(ValidationError, lambda _request, error: invalid(list(_fields_of(error.errors))))
    on(Invalid, lambda _request, error: invalid(error.errors))
    on(TooMany, _too_many)
    on(SuspiciousOperation, _suspicious)
    on(Http404, lambda _request, error: problem(404, _sentence(error)))
    on(PermissionDenied, lambda _request, error: problem(403, _sentence(error)))
    on(ExportRefused, lambda _request, error: invalid([(error.field, error.reason)]))
    on(ImportRefused, lambda _request, error: invalid([("body", str(error))]))
    on(UploadCutOff, _cut_off)
    on(LabelingError, lambda _request, error: problem(409, str(error), kind=kind_of(error)))


def _http_error(_request: HttpRequest, error: HttpError) -> HttpResponse:
    if error.status_code == HTTPStatus.UNAUTHORIZED:
        detail = "Send a valid token: Authorization: Bearer tandem_…"
        return problem(401, detail, headers={"WWW-Authenticate": 'Bearer realm="Tandem"'})
    if error.status_code == HTTPStatus.BAD_REQUEST:
        return problem(400, "The body is not JSON.", kind=f"{OWN}malformed", errors=[("body", "is not JSON")])
    return problem(error.status_code, error.message)


def _suspicious(_request: HttpRequest, error: SuspiciousOperation) -> HttpResponse:
    if isinstance(error, RequestDataTooBig):
        return problem(413, "The body is too large.", errors=[("body", "is too large")])
    return problem(400)


def _cut_off(_request: HttpRequest, error: UploadCutOff) -> HttpResponse:
    return problem(400, str(error), kind=kind_of(error), errors=[("body", "ended early")])


def _too_many(_request: HttpRequest, error: TooMany) -> HttpResponse:
    detail = f"This token has used up its requests; new ones in {error.wait} s."
    return problem(429, detail, headers={"Retry-After": str(error.wait)})


def _unexpected(request: HttpRequest, error: Exception) -> HttpResponse:
    """500 without a word of what happened; the log and whoever listens to Django's signal get it all."""
    log.error("the API failed", path=request.path, exc_info=error)
    got_request_exception.send(sender=None, request=request)
    return problem(500, UNEXPECTED)


def _fields_of(errors: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    """The fields by their names in the request, without where it is read from and what the body is called here."""
    for error in errors:
        source, *place = error["loc"]
        inside = place[1:] if source == "body" else place
        yield ".".join(str(part) for part in inside) or str(source), str(error["msg"])


def _sentence(error: Exception) -> str:
    """What was raised, as a sentence; nothing where Django says only what it tried."""
    text = str(error.args[0]) if error.args and isinstance(error.args[0], str) else ""
    return f"{text[0].upper()}{text[1:].rstrip('.')}." if text else ""
