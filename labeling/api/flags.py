"""Flags over REST: what adjudicators should look at, and their decisions."""

from datetime import datetime
from typing import Annotated, Any, Literal

from django.contrib.auth.models import User
from django.http import HttpRequest
from ninja import Field, Router, Schema, Status
from pydantic import ConfigDict, StringConstraints

from labeling import access
from labeling.api.auth import user_of
from labeling.api.fields import NOT_BLANK, Comment, Key, Sent
from labeling.api.paging import AT_ONCE, Cursor, Limit, Page, page_of
from labeling.flag_queries import tells
from labeling.models import ApiToken, Flag, Member, Project
from labeling.services import claims, flags, opening

router = Router(tags=["flags"])

Adjudicator = Member.Role.ADJUDICATOR
Kind = Literal["judge_disagrees", "annotators_split", "order_flip", "low_margin", "gold_missed", "reported"]


class FlagOut(Schema):
    id: int
    pair: int
    external_id: str
    kind: str
    state: str
    value: float = Field(description="how much settling it is worth, 0 to 1")
    detail: dict[str, Any]
    judge: str
    resolution: str
    reason: str
    resolved_by: str
    resolved_at: datetime | None
    created_at: datetime


class Decision(Sent):
    """What becomes of a pair with open flags; the choice is in stored order."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"pair": 17, "choice": "a", "reason": "B is wrong."}]})

    pair: Key
    choice: Literal["a", "b", "tie", "both_bad", "send_back", "ambiguous"]
    reason: Comment = ""


class Opening(Sent):
    """A pair that no flag names, and why it should be looked at."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"pair": 17, "reason": "Both answer another question."}]})

    pair: Key
    reason: Annotated[str, StringConstraints(min_length=1, max_length=5_000, pattern=NOT_BLANK)]


class Skipped(Sent):
    """A pair that people skipped."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"pair": 17}]})

    pair: Key


class AskedOut(Schema):
    """Who can be asked about the pair again; while it is closed nobody is, until it is sent back."""

    pair: int
    closed: bool
    annotators: list[str]


@router.get("/projects/{slug:slug}/flags", response=Page[FlagOut])
def list_flags(
    request: HttpRequest,
    slug: str,
    cursor: Cursor | None = None,
    limit: Limit = AT_ONCE,
    state: Literal["open", "settled", "sent_back", "obsolete"] = "open",
    kind: Kind | None = None,
) -> dict[str, Any]:
    """The project's flags, oldest first, for adjudicators and managers; the open ones unless another state is named.

    The token's owner is never asked about these pairs afterwards, but for those that were only reported.
    """
    user = user_of(request)
    project = access.project_for(user, slug, role=Adjudicator)
    found = Flag.objects.select_related("pair", "judge", "resolved_by").filter(pair__project=project, state=state)
    if kind is not None:
        found = found.filter(kind=kind)

    def told(page: list[Flag]) -> None:
        _keep_away(page, project=project, reader=user)

    return page_of(request, found, cursor=cursor, limit=limit, show=_shown, told=told)


@router.post("/projects/{slug:slug}/flags", response=list[FlagOut])
def settle_flags(request: HttpRequest, slug: str, body: Decision) -> list[dict[str, Any]]:
    """Settle every open flag of a pair, send it back or call it ambiguous; 409 where none is open any more."""
    user = user_of(request, scope=ApiToken.Scope.LABEL)
    access.project_for(user, slug, role=Adjudicator)
    pair = access.pair_for(user, slug, body.pair)
    before = set(Flag.objects.filter(pair=pair, state=Flag.State.OPEN).values_list("pk", flat=True))
    flags.decide(pair, by=user, choice=body.choice, reason=body.reason.strip())
    settled = list(Flag.objects.select_related("pair", "judge", "resolved_by").filter(pk__in=before).order_by("pk"))
    _keep_away(settled, project=pair.project, reader=user)
    return [_shown(flag) for flag in settled]


@router.post("/projects/{slug:slug}/flags/open", response={201: FlagOut})
def open_pair(request: HttpRequest, slug: str, body: Opening) -> Status[dict[str, Any]]:
    """Open a pair on which no flag is open, so that it can be settled, sent back or called ambiguous; 409 if one is."""
    user = user_of(request, scope=ApiToken.Scope.LABEL)
    pair = access.pair_for(user, slug, body.pair)
    return Status(201, _shown(opening.open_pair(pair, by=user, reason=body.reason.strip())))


@router.post("/projects/{slug:slug}/flags/ask-again", response=AskedOut)
def ask_again(request: HttpRequest, slug: str, body: Skipped) -> dict[str, Any]:
    """Let those who skipped a pair be asked about it once more; 409 where there is nobody to ask."""
    user = user_of(request, scope=ApiToken.Scope.LABEL)
    pair = access.pair_for(user, slug, body.pair)
    return {"pair": pair.pk, "closed": pair.closed, "annotators": opening.ask_again(pair, by=user)}


def _keep_away(shown: list[Flag], *, project: Project, reader: User) -> None:
    pairs = {flag.pair_id: flag.pair for flag in shown if tells(flag, reader)}
    claims.keep_away(pairs.values(), project=project, annotator=reader)


def _shown(flag: Flag) -> dict[str, Any]:
    names = ("kind", "state", "value", "detail", "resolution", "reason", "resolved_at", "created_at")
    return {
        **{name: getattr(flag, name) for name in names},
        "id": flag.pk,
        "pair": flag.pair_id,
        "external_id": flag.pair.external_id,
        "judge": flag.judge.name if flag.judge else "",
        "resolved_by": flag.resolved_by.get_username() if flag.resolved_by else "",
    }
