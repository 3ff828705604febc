"""Labels over REST, streamed as NDJSON."""

import json
from collections.abc import Iterator
from typing import Any, Literal

from django.http import HttpRequest, StreamingHttpResponse
from ninja import Router

from labeling import access
from labeling.api.auth import user_of
from labeling.models import Member
from labeling.services import exports

router = Router(tags=["labels"])


@router.get("/projects/{slug}/labels")
def list_labels(
    request: HttpRequest,
    slug: str,
    source: Literal["human", "judge", "consensus"] = "human",
    profile: Literal["strict", "full"] = "full",
    selective: bool = False,
    format: Literal["ndjson"] = "ndjson",  # noqa: A002  the query parameter's name
) -> StreamingHttpResponse:
    """Every label of a source: `human`, `judge` (synthetic labels of the champion) or `consensus`.

    With `selective` of the judge's labels only those where it keeps the agreement that the project wishes.
    """
    project = access.project_for(user_of(request), slug, role=Member.Role.MANAGER)
    rows = exports.export(project, source=source, profile=profile, selective=selective)
    response = StreamingHttpResponse(_lines(rows), content_type="application/x-ndjson")
    response["Content-Disposition"] = f'attachment; filename="{slug}-{source}-{profile}.{format}"'
    return response


def _lines(rows: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False).encode() + b"\n"
