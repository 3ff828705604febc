"""Labels over REST, streamed as NDJSON, Parquet or CSV."""

from typing import Annotated, Literal

from django.http import HttpRequest, StreamingHttpResponse
from ninja import Query, Router, Schema

from labeling import access
from labeling.api.auth import user_of
from labeling.models import Member
from labeling.services import exports

router = Router(tags=["labels"])

Word = Annotated[str, Query(max_length=400, pattern=r"^[^\x00]*$")]


class Filters(Schema):
    """Which labels, and in which form."""

    source: Annotated[
        Literal["human", "judge", "consensus", "hybrid"],
        Query(description="people's own labels, a judge's synthetic ones, the consensus, or both together"),
    ] = "human"
    profile: Annotated[
        Literal["strict", "full"] | None,
        Query(description="`strict`: only a trainer's columns; `full`: everything, with provenance (the default)"),
    ] = None
    format: Literal["ndjson", "parquet", "csv"] = "ndjson"
    shape: Annotated[
        Literal["preference", "reward", "kto", "sft", "prompt"] | None,
        Query(description="the columns of `strict`; naming one asks for `strict`"),
    ] = None
    verdict: Annotated[
        Literal["first", "final"] | None, Query(description="people's verdict before or after the judge was revealed")
    ] = None
    blind: Annotated[bool, Query(description="only labels given before the judge was seen, and no adjudications")] = (
        False
    )
    ties: Annotated[
        Literal["drop", "keep", "soft"] | None,
        Query(
            description="`full` keeps and `strict` drops them; `soft` gives a probability, half for a tie: "
            "`p_a` in `full`, `p_chosen` in `preference`, `score_chosen` in `reward`; other shapes refuse it"
        ),
    ] = None
    min_confidence: Annotated[
        float | None, Query(ge=0, le=1, description="of the consensus, or the judge's calibrated one")
    ] = None
    selective: Annotated[bool, Query(description="of the judge's labels only those where it may label alone")] = False
    judge: Annotated[Word, Query(description="name or number of a version; empty: the champion")] = ""
    rationales: Annotated[bool, Query(description="the judge's rationales too")] = False
    since: Annotated[Word, Query(description="`X-Next-Cursor` of an earlier answer: what came or changed since")] = ""


@router.get("/projects/{slug:slug}/labels")
def list_labels(request: HttpRequest, slug: str, filters: Query[Filters]) -> StreamingHttpResponse:
    """Every label of a source as a file that trains. The header `X-Next-Cursor` begins the next increment."""
    project = access.project_for(user_of(request), slug, role=Member.Role.MANAGER)
    asked = exports.ask(**filters.dict())
    found = exports.open_export(project, asked)
    response = StreamingHttpResponse(found.pieces(), content_type=exports.CONTENT_TYPES[asked.format])
    response["Content-Disposition"] = f'attachment; filename="{slug}-{asked.name}.{asked.format}"'
    response["X-Next-Cursor"] = found.cursor
    return response
