"""The judge as a reward model over REST: pairs in, probabilities and margins out. Nothing enters the project."""

import math
from datetime import datetime
from typing import Annotated, Literal, cast

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from ninja import Field, Query, Router, Schema, Status
from pydantic import ConfigDict
from pydantic.config import JsonDict

from labeling import access
from labeling.api.auth import user_of
from labeling.api.fields import Content, Sent
from labeling.models import ApiToken, JudgeCall, Member
from labeling.services import judge_calls

router = Router(tags=["judge"])

Manager = Member.Role.MANAGER
AT_ONCE = 64
"""Pairs for whose answer a request may wait."""
MOST = 1_000
LONGEST_WAIT = 30

State = Literal["waiting", "running", "done", "failed"]
Wait = Annotated[bool, Query(description=f"wait for the answer, with at most {AT_ONCE} pairs")]
Timeout = Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="seconds to wait")]

EXAMPLE: JsonDict = {
    "pairs": [
        {"prompt": "Name a colour of the sky.", "response_a": "Blue, on a clear day.", "response_b": "Seven."},
    ],
    "method": "score",
}


class TurnIn(Sent):
    role: Literal["system", "user", "assistant", "tool"]
    content: Content


class PairIn(Sent):
    prompt: Content | Annotated[list[TurnIn], Field(min_length=1, max_length=200)] = Field(
        description="text, or a conversation that ends before the responses"
    )
    response_a: Content
    response_b: Content


class CallIn(Sent):
    """Pairs to judge once; the method that counts for the champion unless another is named."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    pairs: list[PairIn] = Field(min_length=1, max_length=MOST)
    method: Literal["score", "cot"] | None = None


class SaidOut(Schema):
    """What the judge says of a pair; the margin log(p / (1 - p)) is the reward of A over B."""

    p_a: float
    p_a_calibrated: float
    margin: float
    consistent: bool = Field(description="the same winner in both orders")
    method: str
    tokens: int


class CallOut(Schema):
    """A call and its answers so far, in the order of its pairs."""

    id: int
    state: State
    judge: str
    method: str
    pairs: int
    results: list[SaidOut]
    error: str
    created_at: datetime
    finished_at: datetime | None
    url: str


@router.post("/projects/{slug:slug}/judge", response={200: CallOut, 202: CallOut})
def judge_pairs(
    request: HttpRequest, slug: str, body: CallIn, response: HttpResponse, wait: Wait = True, timeout: Timeout = 10
) -> Status[CallOut]:
    """Judge pairs that need not be in the project, for managers.

    200 with the answers, or 202 with the address where they will be: at once without `wait` or for more than 64 pairs,
    else when they are not there within `timeout` seconds. Answers are kept for a day.
    """
    user = user_of(request, scope=ApiToken.Scope.LABEL)
    project = access.project_for(user, slug, role=Manager)
    pairs = [{**pair.model_dump(), "prompt": _turns(pair)} for pair in body.pairs]
    call = judge_calls.request_call(project, pairs=pairs, by=user, method=body.method or "")
    if wait and len(pairs) <= AT_ONCE and math.isfinite(timeout):
        call = judge_calls.wait(call, seconds=timeout)
    shown = _shown(call)
    if call.state in (JudgeCall.State.DONE, JudgeCall.State.FAILED):
        return Status(200, shown)
    response["Location"] = shown.url
    return Status(202, shown)


@router.get("/projects/{slug:slug}/judge/{int:call_id}", response=CallOut)
def get_call(request: HttpRequest, slug: str, call_id: int) -> CallOut:
    """A call and its answers so far, for managers."""
    project = access.project_for(user_of(request), slug, role=Manager)
    call = JudgeCall.objects.select_related("judge", "project").filter(project=project, pk=call_id).first()
    if call is None:
        raise Http404("no such call; calls are kept for a day")
    return _shown(call)


def _turns(pair: PairIn) -> list[dict[str, str]]:
    if isinstance(pair.prompt, str):
        return [{"role": "user", "content": pair.prompt}]
    return [turn.model_dump() for turn in pair.prompt]


def _shown(call: JudgeCall) -> CallOut:
    return CallOut(
        id=call.pk,
        state=cast("State", call.state),
        judge=call.judge.name,
        method=call.method,
        pairs=len(call.pairs),
        results=[SaidOut(**said) for said in call.said],
        error=call.error,
        created_at=call.created_at,
        finished_at=call.finished_at,
        url=reverse("api-1:get_call", args=[call.project.slug, call.pk]),
    )
