"""Figures brought up to date, the sweep and the retraining policies."""

import os

from django.utils import timezone

from labeling import jobs
from labeling.models import WorkerHeartbeat
from labeling.queries import SWEEPS
from labeling.services import housekeeping, training
from workers.app import app


@app.task(name=jobs.REFRESH_PAIRS)
def refresh_pairs(pair_ids: list[int]) -> None:
    housekeeping.refresh_pairs(pair_ids)


@app.task(name=jobs.REFRESH_PROJECT)
def refresh_project(project_id: int) -> None:
    housekeeping.refresh_project(project_id)


@app.task(name=jobs.JUDGE_LABELS)
def apply_judge_labels(project_id: int, answers: str = "") -> None:
    housekeeping.apply_judge_labels(project_id, answers)


@app.task(name=jobs.ROUTE)
def route(project_id: int) -> None:
    housekeeping.route(project_id)


@app.task(name=jobs.FIT_CONSENSUS)
def fit_consensus(project_id: int) -> None:
    housekeeping.fit_consensus(project_id)


@app.task(name=jobs.SWEEP, ignore_result=True)
def sweep() -> dict[str, int]:
    """The page of the installation's health says how long none has begun: the scheduler has no other sign of life."""
    now = timezone.now()
    begun = {"pid": os.getpid(), "seen_at": now}
    WorkerHeartbeat.objects.update_or_create(
        name=SWEEPS, defaults=begun, create_defaults={**begun, "queues": "", "started_at": now}
    )
    return housekeeping.sweep()


@app.task(name=jobs.APPLY_POLICIES)
def apply_retraining_policies() -> list[int]:
    return [run.pk for run in training.apply_policies()]
