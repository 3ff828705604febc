"""Judge versions over REST: what they measure, where they come from, and which one reigns."""

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from ninja import Field, Router, Schema, Status

from labeling import access, version_queries
from labeling.api.auth import user_of
from labeling.api.fields import Key, Reason, Sent
from labeling.errors import CannotReign
from labeling.models import ApiToken, Deployment, Member
from labeling.services import datasets, deployments, renewal
from labeling.version_queries import Overview, Version

router = Router(tags=["judges"])


class PromoteIn(Sent):
    because: Reason = Field(default="", description="why it is to reign though the gate did not promote it")


class RollBackIn(Sent):
    to: Key | None = Field(default=None, description="the judge that is to reign again; refused if another one would")


NO_REASON, ANYWHERE = PromoteIn(), RollBackIn()


class JudgeOut(Schema):
    """A version in the project. The figures are of the hold-out's test part and of the whole hold-out."""

    id: int
    name: str
    method: str
    parent: str
    state: str
    counts: str
    trusted: bool
    pruned: bool
    figures: dict[str, dict[str, Any]]
    training_run: int | None
    created_at: datetime
    promoted_at: datetime | None
    retired_at: datetime | None
    shadow_since: datetime | None


class JudgeDetail(JudgeOut):
    gate: dict[str, Any]
    overruled_because: str
    gate_pairs_missing: int
    lineage: list[str]
    outside: dict[str, dict[str, Any]]
    prompt_version: str
    prompt_hash: str
    weights_sha256: str


@router.get("/projects/{slug}/judges", response=list[JudgeOut])
def list_judges(request: HttpRequest, slug: str) -> list[dict[str, Any]]:
    """The project's versions, newest first."""
    project = access.project_for(user_of(request), slug, role=Member.Role.ADJUDICATOR)
    return [_out(one) for one in reversed(version_queries.overview_for(project).versions)]


@router.post("/projects/{slug}/judges/roll-back", response=JudgeDetail)
def roll_back_judge(request: HttpRequest, slug: str, body: RollBackIn = ANYWHERE) -> dict[str, Any]:
    """Let the former champion reign again; 409 if there is none, or if it is not the one named."""
    user = user_of(request, scope=ApiToken.Scope.MANAGE)
    project = access.project_for(user, slug, role=Member.Role.MANAGER)
    former = deployments.former_champion(project)
    if body.to is not None and (former is None or former.judge_id != body.to):
        raise CannotReign("to: that version is not the last former champion.")
    return _detail(deployments.roll_back(project, by=user))


@router.get("/projects/{slug}/judges/{int:judge_id}", response=JudgeDetail)
def get_judge(request: HttpRequest, slug: str, judge_id: int) -> dict[str, Any]:
    """One version with its figures, the gate's decision and its line of descent."""
    return _detail(access.deployment_for(user_of(request), slug, judge_id))


@router.post("/projects/{slug}/judges/{int:judge_id}/promote", response=JudgeDetail)
def promote_judge(request: HttpRequest, slug: str, judge_id: int, body: PromoteIn = NO_REASON) -> dict[str, Any]:
    """Make it champion; 409 without a reason where the gate did not promote it."""
    found = _managed(request, slug, judge_id)
    return _detail(deployments.crown(found, by=user_of(request), because=body.because))


@router.post("/projects/{slug}/judges/{int:judge_id}/shadow", response=JudgeDetail)
def shadow_judge(request: HttpRequest, slug: str, judge_id: int) -> dict[str, Any]:
    """Let it judge beside the champion."""
    return _detail(deployments.shadow(_managed(request, slug, judge_id), by=user_of(request)))


@router.post("/projects/{slug}/judges/{int:judge_id}/renew", response={201: JudgeDetail})
def renew_judge(request: HttpRequest, slug: str, judge_id: int) -> Status[dict[str, Any]]:
    """Begin it anew after a change of the guidelines: a version that has judged nothing, beside the champion."""
    found = _managed(request, slug, judge_id)
    return Status(201, _detail(renewal.renew(found, by=user_of(request))))


@router.post("/projects/{slug}/judges/{int:judge_id}/retire", response=JudgeDetail)
def retire_judge(request: HttpRequest, slug: str, judge_id: int) -> dict[str, Any]:
    """Let it rest."""
    found = _managed(request, slug, judge_id)
    deployments.retire(found, by=user_of(request))
    return _detail(found)


def _managed(request: HttpRequest, slug: str, judge_id: int) -> Deployment:
    user = user_of(request, scope=ApiToken.Scope.MANAGE)
    return access.deployment_for(user, slug, judge_id, role=Member.Role.MANAGER)


def _detail(deployment: Deployment) -> dict[str, Any]:
    """The version as it stands now, after whatever was done."""
    known = version_queries.overview_for(deployment.project)
    version = next(one for one in known.versions if one.deployment.pk == deployment.pk)
    now, judge = version.deployment, version.deployment.judge
    return _out(version) | {
        "gate": now.gate,
        "overruled_because": now.overruled_because,
        "gate_pairs_missing": version.gate_missing,
        "lineage": [one.name for one in datasets.ancestry(judge)],
        "outside": _outside(known, version),
        "prompt_version": judge.prompt_version,
        "prompt_hash": judge.prompt_hash,
        "weights_sha256": judge.weights_sha256,
    }


def _outside(known: Overview, version: Version) -> dict[str, dict[str, Any]]:
    return {
        each.key: found.to_json()
        for each in known.outside
        for one, found in each.measured
        if one.number == version.number
    }


def _out(version: Version) -> dict[str, Any]:
    deployment, judge = version.deployment, version.deployment.judge
    return {
        "id": judge.pk,
        "name": judge.name,
        "method": judge.method,
        "parent": judge.parent.name if judge.parent else "",
        "state": deployment.state,
        "counts": deployment.counts,
        "trusted": deployment.trusted,
        "pruned": version.pruned,
        "figures": {"test": version.test.to_json(), "all": version.whole.to_json()},
        "training_run": version.run.pk if version.run else None,
        "created_at": deployment.created_at,
        "promoted_at": deployment.promoted_at,
        "retired_at": deployment.retired_at,
        "shadow_since": deployment.shadow_since,
    }
