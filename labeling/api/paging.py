"""Long lists in pages. A cursor says after which row the next page begins, so rows that come in move nothing."""

from collections.abc import Callable
from typing import Annotated, Any, Generic, TypeVar

from django.db.models import Model, QuerySet
from django.http import HttpRequest
from ninja import Field, Query, Schema

from labeling.api.problems import Invalid

MOST = 1_000
AT_ONCE = 100

Item = TypeVar("Item")
Row = TypeVar("Row", bound=Model)


class Page(Schema, Generic[Item]):
    """One page of a list, and where the next one is; null at the end."""

    items: list[Item]
    next: str | None = Field(default=None, examples=["https://tandem.example/api/v1/projects/demo/pairs?cursor=c64"])


Cursor = Annotated[
    str, Query(pattern=r"^c[0-9a-f]{1,15}$", description="from `next` of the page before; to be passed on as it is")
]
Limit = Annotated[int, Query(ge=1, le=MOST, description="rows in a page")]


def cursor_of(row: Model) -> str:
    """Where the page after this row begins."""
    return f"c{row.pk:x}"


def place_of(cursor: str) -> int:
    """The row that the cursor stands for. Raises Invalid for what is no cursor."""
    try:
        return int(cursor.removeprefix("c"), 16)
    except ValueError:
        raise Invalid(("cursor", "this is no cursor of a page")) from None


def page_of(
    request: HttpRequest,
    rows: QuerySet[Row],
    *,
    cursor: str | None,
    limit: int,
    show: Callable[[Row], Any],
    told: Callable[[list[Row]], None] | None = None,
) -> dict[str, Any]:
    """The page of these rows, oldest first, that begins at the cursor; ``told`` hears which rows are on it."""
    if cursor is not None:
        rows = rows.filter(pk__gt=place_of(cursor))
    found = list(rows.order_by("pk")[: limit + 1])
    shown = found[:limit]
    if told is not None:
        told(shown)
    return {"items": [show(row) for row in shown], "next": _next(request, shown[-1]) if len(found) > limit else None}


def _next(request: HttpRequest, last: Model) -> str:
    asked = request.GET.copy()
    asked["cursor"] = cursor_of(last)
    return request.build_absolute_uri(f"{request.path}?{asked.urlencode()}")
