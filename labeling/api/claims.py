"""Labelling over REST: take a pair, say which response is better, skip it or hold it longer."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Field, Header, Router, Schema, Status
from pydantic import ConfigDict, StringConstraints

from labeling import access, queries
from labeling.api.auth import claim_of, user_of
from labeling.api.fields import WHOLE, Comment, Key, Sent, Turn
from labeling.api.problems import Invalid
from labeling.errors import LabelingError
from labeling.forms import CommitForm, criterion_field
from labeling.models import ApiToken, Claim, Label, Project
from labeling.services import claims, labels
from labeling.services.idempotency import key_of, owner_of_key
from labeling.services.labels import to_shown

router = Router(tags=["labelling"])

Labelling = ApiToken.Scope.LABEL
LONGEST_SECONDS = 7 * 86400
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[!-~]+$",
        description="sent again with the same key and body, a label is saved once and answered twice",
    ),
]


class AlreadyLabelled(LabelingError):
    message = "You have labelled this pair already: that first verdict stands."


class ClaimIn(Sent):
    """The claims that the client holds and does not want again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"held": []}]})

    held: list[Key] = Field(default=[], max_length=20)


class ShownPair(Schema):
    """A pair in the order in which this claim shows it."""

    id: int
    prompt: list[Turn]
    left: str
    right: str


class ClaimOut(Schema):
    id: int
    expires_at: datetime
    pair: ShownPair


class HeldOut(Schema):
    id: int
    state: str
    expires_at: datetime


class LabelIn(Sent):
    """A verdict, as the claim shows the pair."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"choice": "left", "comment": "clearer", "seconds": 21}]})

    choice: Literal["left", "right", "tie", "both_bad"]
    strength: Annotated[int, Field(ge=1, le=2), WHOLE] | None = Field(
        default=None, description="2: much better; graded projects only"
    )
    criteria: dict[str, Literal["left", "right", "tie"]] = Field(default={}, description="by the criterion's name")
    comment: Comment = ""
    seconds: Annotated[float, Field(ge=0, le=LONGEST_SECONDS)] | None = Field(
        default=None, description="from shown to decided"
    )


class SkipIn(Sent):
    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "not my field"}]})

    reason: Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")] = ""


class LabelOut(Schema):
    """The verdict that stands, as its claim shows the pair."""

    id: int
    claim: int
    choice: str
    strength: int | None
    criteria: dict[str, str]
    comment: str
    seconds: float | None
    blind: bool
    created_at: datetime


@router.post("/projects/{slug:slug}/claims", response={201: ClaimOut, 204: None})
def take_claim(
    request: HttpRequest, slug: str, response: HttpResponse, body: ClaimIn | None = None
) -> Status[dict[str, Any] | None]:
    """The next pair for the token's owner, leased; or 204 with the reason in `X-Empty-Reason`.

    A pair that the owner holds already comes again unless it is among `held`.
    """
    user = user_of(request, scope=Labelling)
    project = access.project_for(user, slug)
    claim = claims.next_claim(project, annotator=user, held=body.held if body else ())
    if claim is None:
        response["X-Empty-Reason"] = queries.empty_reason_for(project, user).encode("ascii", "replace").decode()
        return Status(204, None)
    pair = claim.pair
    left, right = (pair.response_b, pair.response_a) if claim.swapped else (pair.response_a, pair.response_b)
    shown = {"id": pair.pk, "prompt": pair.prompt, "left": left, "right": right}
    return Status(201, {"id": claim.pk, "expires_at": claim.expires_at, "pair": shown})


@router.post("/claims/{int:claim_id}/label", response={200: LabelOut, 201: LabelOut})
def label_claim(
    request: HttpRequest, claim_id: int, body: LabelIn, key: IdempotencyKey = None
) -> Status[dict[str, Any]]:
    """Label the claim's pair; 200 where that was done before, 409 where another verdict stands.

    With `Idempotency-Key` the same request sent again has the same answer; another one with that key is refused.
    """
    claim = claim_of(request, claim_id)
    user = user_of(request)
    stored = ""
    if key:
        stored = key_of(user, key, {"claim": claim.pk, **body.model_dump()})
        known = owner_of_key(stored)
        if known is not None:
            if known.idempotency_key != stored:
                raise Invalid(("Idempotency-Key", "this key was used for another request"))
            return Status(200, _shown(known, claim))
    verdict, given = _checked(claim.pair.project, body)
    before: Label | None = getattr(claim, "label", None)
    standing = before is not None and not before.withdrawn
    label = labels.commit_label(
        claim, choice=verdict.choice, strength=verdict.strength, given=given, idempotency_key=stored
    )
    shown = _shown(label, claim)
    if shown["choice"] != body.choice:
        raise AlreadyLabelled
    return Status(200 if standing else 201, shown)


@router.post("/claims/{int:claim_id}/skip", response=HeldOut)
def skip_claim(request: HttpRequest, claim_id: int, body: SkipIn | None = None) -> HeldOut:
    """Give the pair back for others; it does not come again."""
    claim = claim_of(request, claim_id)
    claims.skip(claim, reason=body.reason if body else "")
    return _held(claim)


@router.post("/claims/{int:claim_id}/renew", response=HeldOut)
def renew_claim(request: HttpRequest, claim_id: int) -> HeldOut:
    """Hold the pair longer; 409 where somebody else has it now, or it was skipped."""
    return _held(claims.renew(claim_of(request, claim_id)))


def _checked(project: Project, body: LabelIn) -> tuple[Any, labels.Given]:
    """The verdict as the label screen's form takes it. Raises Invalid with every field that the form refuses."""
    graded = project.scale == Project.Scale.GRADED
    sided = body.choice in ("left", "right")
    wrong: list[tuple[str, str]] = []
    if body.strength is not None and not (graded and sided):
        reason = "only a verdict for one side has one" if graded else "this project's scale has none"
        wrong.append(("strength", reason))
    known = {criterion["name"]: criterion_field(criterion["name"]) for criterion in project.criteria}
    wrong += [(f"criteria.{name}", "this project has no such criterion") for name in body.criteria.keys() - known]
    form = CommitForm(
        {
            "verdict": f"{body.choice}-much" if body.strength == 2 else body.choice,
            "comment": body.comment,
            "seconds": body.seconds,
            **{known[name]: side for name, side in body.criteria.items() if name in known},
        },
        project=project,
    )
    names = {field: f"criteria.{name}" for name, field in known.items()} | {"verdict": "choice"}
    if not form.is_valid() and not any(field == "strength" for field, _ in wrong):
        wrong += [(names.get(field, field), str(text)) for field, found in form.errors.items() for text in found]
    if wrong:
        raise Invalid(*wrong)
    return form.cleaned_data["verdict"], form.given()


def _shown(label: Label, claim: Claim) -> dict[str, Any]:
    """A `LabelOut`, which checks it once, as it is sent."""
    criteria: Mapping[str, str] = label.criteria
    return {
        "id": label.pk,
        "claim": claim.pk,
        "choice": to_shown(label.final_choice, swapped=claim.swapped),
        "criteria": {name: to_shown(side, swapped=claim.swapped) for name, side in criteria.items()},
        "strength": label.strength,
        "comment": label.comment,
        "seconds": label.seconds,
        "blind": label.blind,
        "created_at": label.created_at,
    }


def _held(claim: Claim) -> HeldOut:
    claim.refresh_from_db(fields=["state", "expires_at"])
    return HeldOut(id=claim.pk, state=claim.state, expires_at=claim.expires_at)
