"""Training runs over REST."""

from datetime import datetime
from typing import Any, Literal

from django.http import HttpRequest
from ninja import Field, Router, Schema, Status

from labeling import access, run_queries
from labeling.api.auth import user_of
from labeling.api.fields import Sent, TrainMethod
from labeling.models import ApiToken, Member, TrainingRun
from labeling.services import training

router = Router(tags=["training runs"])


class RunIn(Sent):
    method: Literal["", TrainMethod] = Field(default="", description="empty: the project's")


class RunOut(Schema):
    """A run: ``start`` is the champion that it must beat, ``origin`` the judge whose weights it starts from.

    ``seconds`` are by phase, over all attempts. ``queue_position`` is that of a waiting run among all active ones of
    the installation, those under way included; null for one that does not wait.
    """

    id: int
    method: str
    trigger: str
    state: str
    phase: str
    message: str
    progress: float
    training_pairs: int
    replay_pairs: int
    holdout_pairs: int
    start: str
    origin: str
    candidate: str
    queue_position: int | None
    seconds: dict[str, float]
    tokens: int
    metrics: dict[str, Any]
    gate: dict[str, Any]
    yields: list[dict[str, Any]]
    error: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @staticmethod
    def resolve_candidate(run: TrainingRun) -> str:
        return run.candidate.name if run.candidate else ""

    @staticmethod
    def resolve_start(run: TrainingRun) -> str:
        return run.start.name

    @staticmethod
    def resolve_origin(run: TrainingRun) -> str:
        return run.origin.name

    @staticmethod
    def resolve_queue_position(run: TrainingRun) -> int | None:
        return run_queries.queue_position(run)


@router.post("/projects/{slug}/training-runs", response={202: RunOut})
def request_run(request: HttpRequest, slug: str, body: RunIn) -> Status[TrainingRun]:
    """Ask for a retraining, by the project's method unless another is named; 409 with what is missing."""
    user = user_of(request, scope=ApiToken.Scope.MANAGE)
    project = access.project_for(user, slug, role=Member.Role.MANAGER)
    method = body.method or project.retrain_method
    return Status(202, training.request_run(project, method=method, trigger=TrainingRun.Trigger.API, by=user))


@router.get("/projects/{slug}/training-runs", response=list[RunOut])
def list_runs(request: HttpRequest, slug: str) -> list[TrainingRun]:
    """The project's newest hundred runs."""
    project = access.project_for(user_of(request), slug, role=Member.Role.MANAGER)
    return list(TrainingRun.objects.select_related("candidate", "start", "origin").filter(project=project)[:100])


@router.get("/training-runs/{run_id}", response=RunOut)
def get_run(request: HttpRequest, run_id: int) -> TrainingRun:
    return access.run_for(user_of(request), run_id)


@router.post("/training-runs/{run_id}/cancel", response=RunOut)
def cancel_run(request: HttpRequest, run_id: int) -> TrainingRun:
    user = user_of(request, scope=ApiToken.Scope.MANAGE)
    run = access.run_for(user, run_id)
    training.cancel_run(run, by=user)
    run.refresh_from_db()
    return run
