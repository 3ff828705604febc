"""Pairs over REST: a stream of NDJSON in, pages out, and what became of an import."""

from datetime import datetime
from typing import Any, BinaryIO, Literal, cast

from django.core.exceptions import RequestDataTooBig
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from ninja import Field, Router, Schema, Status

from labeling import access
from labeling.api.auth import user_of
from labeling.api.fields import Turn
from labeling.api.paging import AT_ONCE, Cursor, Limit, Page, page_of
from labeling.models import ApiToken, ImportBatch, Member, Pair, RejectedLine
from labeling.services import import_jobs, imports, uploads

router = Router(tags=["pairs"])

NAME = "api.ndjson"
"""What an import over the API is called in the list of imports."""
SHOWN_LINES = 100
Manager = Member.Role.MANAGER
State = ImportBatch.State
Part = Literal["train", "calibration", "gate", "test"]
BODY = {
    "requestBody": {
        "required": True,
        "description": "One JSON object a line, in any of the layouts of an uploaded file.",
        "content": {
            "application/x-ndjson": {
                "schema": {"type": "string", "minLength": 2},
                "examples": {
                    "one": {
                        "value": '{"id": "1", "prompt": "A colour?", "response_a": "Blue.", "response_b": "Nine."}\n'
                    }
                },
            }
        },
    }
}


class PairOut(Schema):
    id: int
    external_id: str
    prompt: list[Turn]
    response_a: str
    response_b: str
    model_a: str
    model_b: str
    meta: dict[str, Any]
    gold: str
    group: str
    part: Part
    audit: bool
    closed: bool = Field(description="nobody is asked about it any more")
    created_at: datetime


class RejectedOut(Schema):
    number: int
    field: str
    reason: str


class RejectedRowOut(RejectedOut):
    row: str = Field(description="its line, or its content as JSON; the beginning of one over a million characters")


class ImportOut(Schema):
    """An import: how far it is, or what became of it; `url` has the rows that were not taken as well."""

    id: int
    state: str
    filename: str
    bytes: int
    bytes_read: int
    imported: int
    duplicates: int
    labels: int
    rejected: int
    error: str
    created_at: datetime
    finished_at: datetime | None
    url: str


class BatchOut(ImportOut):
    """An import: how far it is, and the first hundred rows that were not taken; `…/rejected` has them all."""

    rejected_lines: list[RejectedOut]


@router.post("/projects/{slug:slug}/pairs", response={200: BatchOut, 201: BatchOut, 202: BatchOut}, openapi_extra=BODY)
def send_pairs(request: HttpRequest, slug: str, response: HttpResponse) -> Status[BatchOut]:
    """Import a stream of pairs: all of it or nothing, and nothing twice.

    201 when the pairs can be queried, 202 with the address of its progress where a worker takes it, 200 for a stream
    that was imported before.
    """
    user = user_of(request, scope=ApiToken.Scope.MANAGE)
    project = access.project_for(user, slug, role=Manager)
    began = timezone.now()
    try:
        stream, length = _stream_of(request), _length_of(request)
        batch = imports.import_stream(project, stream=stream, filename=NAME, length=length, by=user)
    except uploads.UploadTooLarge as error:
        raise RequestDataTooBig from error  # 413, as for every body that is too large
    found = _batch(batch)
    response["Location"] = found.url
    if batch.created_at < began:
        return Status(200, found)
    return Status(202 if batch.state in (State.WAITING, State.RUNNING) else 201, found)


@router.get("/projects/{slug:slug}/pairs", response=Page[PairOut])
def list_pairs(
    request: HttpRequest,
    slug: str,
    cursor: Cursor | None = None,
    limit: Limit = AT_ONCE,
    part: Part | None = None,
    audit: bool | None = None,
) -> dict[str, Any]:
    """The project's pairs in the order in which they came, for managers."""
    project = access.project_for(user_of(request), slug, role=Manager)
    found = Pair.objects.filter(project=project)
    if part is not None:
        found = found.filter(part=Pair.Part.TRAIN if part == "train" else part)
    if audit is not None:
        found = found.filter(audit=audit)
    return page_of(request, found, cursor=cursor, limit=limit, show=_shown)


@router.get("/projects/{slug:slug}/imports", response=Page[ImportOut])
def list_imports(
    request: HttpRequest, slug: str, cursor: Cursor | None = None, limit: Limit = AT_ONCE
) -> dict[str, Any]:
    """The project's imports, oldest first, for managers."""
    project = access.project_for(user_of(request), slug, role=Manager)
    return page_of(request, project.batches.all(), cursor=cursor, limit=limit, show=_import)


@router.get("/imports/{int:batch_id}", response=BatchOut)
def get_import(request: HttpRequest, batch_id: int) -> BatchOut:
    """How far an import is, for managers."""
    return _batch(access.batch_for(user_of(request), batch_id))


@router.get("/imports/{int:batch_id}/rejected", response=Page[RejectedRowOut])
def list_rejected(
    request: HttpRequest, batch_id: int, cursor: Cursor | None = None, limit: Limit = AT_ONCE
) -> dict[str, Any]:
    """Every row that an import did not take, with the reason, for managers."""
    batch = access.batch_for(user_of(request), batch_id)
    return page_of(request, batch.rejected_lines.all(), cursor=cursor, limit=limit, show=_rejected)


@router.post("/imports/{int:batch_id}/cancel", response=BatchOut)
def cancel_import(request: HttpRequest, batch_id: int) -> BatchOut:
    """Stop an import that waits or runs; nothing of it stays. 409 where it has ended."""
    user = user_of(request, scope=ApiToken.Scope.MANAGE)
    batch = access.batch_for(user, batch_id)
    import_jobs.cancel(batch, by=user)
    batch.refresh_from_db()
    return _batch(batch)


def _stream_of(request: HttpRequest) -> BinaryIO:
    """The body as it comes. Where it comes in chunks Django knows no length of it, but the server knows its end.

    A body that says itself that it is too large is not read. Raises RequestDataTooBig.
    """
    if (_length_of(request) or 0) > uploads.most_bytes():
        raise RequestDataTooBig
    if _is_chunked(request) and isinstance(request, WSGIRequest) and request.environ.get("wsgi.input_terminated"):
        return cast(BinaryIO, request.environ["wsgi.input"])
    return cast(BinaryIO, request)


def _length_of(request: HttpRequest) -> int | None:
    """How many bytes the body says that it has; None where it comes in chunks."""
    said = request.headers.get("Content-Length", "")
    return int(said) if said.isdecimal() and not _is_chunked(request) else None


def _is_chunked(request: HttpRequest) -> bool:
    return "chunked" in request.headers.get("Transfer-Encoding", "").lower()


def _shown(pair: Pair) -> dict[str, Any]:
    names = ("external_id", "prompt", "response_a", "response_b", "model_a", "model_b", "meta", "gold", "audit")
    return {
        **{name: getattr(pair, name) for name in names},
        "id": pair.pk,
        "group": pair.group_key,
        "part": pair.part or "train",
        "closed": pair.closed,
        "created_at": pair.created_at,
    }


def _rejected(line: RejectedLine) -> dict[str, Any]:
    return {"number": line.number, "field": line.field, "reason": line.reason, "row": line.raw or line.excerpt}


def _import(batch: ImportBatch) -> dict[str, Any]:
    names = (
        "state", "filename", "bytes", "bytes_read", "imported", "duplicates", "labels", "rejected", "error",
        "created_at", "finished_at",
    )  # fmt: skip
    url = reverse("api-1:get_import", args=[batch.pk])
    return {"id": batch.pk, "url": url, **{name: getattr(batch, name) for name in names}}


def _batch(batch: ImportBatch) -> BatchOut:
    lines = [
        RejectedOut(number=one.number, field=one.field, reason=one.reason)
        for one in batch.rejected_lines.all()[:SHOWN_LINES]
    ]
    return BatchOut(rejected_lines=lines, **_import(batch))
