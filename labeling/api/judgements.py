"""What judges said of the project's pairs, over REST."""

from datetime import datetime
from typing import Annotated, Any, Literal

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema

from labeling import access
from labeling.api.auth import user_of
from labeling.api.paging import AT_ONCE, Cursor, Limit, Page, page_of
from labeling.models import Deployment, Judgement, Member
from labeling.services import claims, exports, trust
from labeling.services.judging import champion_of

router = Router(tags=["judge"])

JudgeName = Annotated[
    str,
    Query(max_length=100, pattern=r"^[^\x00]*$", description="name or number of a version; without it the champion's"),
]


class RationaleOut(Schema):
    """One sampled chain, in stored order; no verdict: none could be read, and none was counted."""

    swapped: bool = Field(description="B was shown to the judge first")
    sample: int
    text: str
    p_a: float | None
    verdict: str


class JudgementOut(Schema):
    """Probabilities are of A, in stored order."""

    id: int
    pair: int
    external_id: str
    judge: str
    method: str
    p_a: float
    p_a_calibrated: float
    p_a_straight: float
    p_a_swapped: float
    consistent: bool
    votes_a: int
    votes_b: int
    samples: int
    unparsed: int
    tokens: int
    seconds: float
    created_at: datetime
    rationales: list[RationaleOut] | None = Field(default=None, description="only if asked for")


@router.get("/projects/{slug:slug}/judgements", response=Page[JudgementOut])
def list_judgements(
    request: HttpRequest,
    slug: str,
    cursor: Cursor | None = None,
    limit: Limit = AT_ONCE,
    judge: JudgeName = "",
    method: Literal["score", "cot"] | None = None,
    rationales: bool = False,
) -> dict[str, Any]:
    """The judgements of the champion, or of the version that is named, for adjudicators and managers.

    The token's owner is never asked about these pairs afterwards: that label would not be blind. 422 where the project
    has no such version.
    """
    user = user_of(request)
    project = access.project_for(user, slug, role=Member.Role.ADJUDICATOR)
    shown = exports.version_of(project, judge) if judge else champion_of(project)
    found = Judgement.objects.select_related("pair", "judge").filter(pair__project=project)
    found = found.filter(judge=shown.judge_id) if shown else found.none()
    if method is not None:
        found = found.filter(method=method)
    if rationales:
        found = found.prefetch_related("rationales")

    def show(judgement: Judgement) -> dict[str, Any]:
        assert shown is not None, "there is a judgement, so there is its judge"
        return _shown(judgement, shown, rationales=rationales)

    def told(page: list[Judgement]) -> None:
        pairs = {judgement.pair_id: judgement.pair for judgement in page}
        claims.keep_away(pairs.values(), project=project, annotator=user)

    return page_of(request, found, cursor=cursor, limit=limit, show=show, told=told)


def _shown(judgement: Judgement, deployment: Deployment, *, rationales: bool) -> dict[str, Any]:
    names = (
        "method", "p_a", "p_a_straight", "p_a_swapped", "consistent", "votes_a", "votes_b", "samples", "unparsed",
        "tokens", "seconds", "created_at",
    )  # fmt: skip
    counts = judgement.method == deployment.counts
    return {
        **{name: getattr(judgement, name) for name in names},
        "id": judgement.pk,
        "pair": judgement.pair_id,
        "external_id": judgement.pair.external_id,
        "judge": judgement.judge.name,
        "p_a_calibrated": trust.calibrated(deployment, judgement.p_a) if counts else judgement.p_a,
        "rationales": [
            {name: getattr(one, name) for name in ("swapped", "sample", "text", "p_a", "verdict")}
            for one in judgement.rationales.all()
        ]
        if rationales
        else None,
    }
