"""Which judge reigns in a project: the first one, promotions and rejections. Every change is atomic and audited."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from genrm_engine.prompts import PROMPT_VERSION, prompt_hash
from genrm_engine.starter import FOLDERS
from labeling import jobs
from labeling.models import Deployment, JudgeVersion, JudgingRequest, Project
from labeling.models.judges import Method
from labeling.services import audit, judging


def first_judge(*, backend: str, model: str) -> JudgeVersion:
    """The judge that new projects begin with: an embedded one, a folder, or a scripted one."""
    weights = FOLDERS.get(model, model)
    name = weights.rstrip("/").rsplit("/", 1)[-1] if backend == "transformers" else model
    judge, _created = JudgeVersion.objects.get_or_create(
        name=name[:100],
        defaults={
            "method": "base",
            "backend": backend,
            "base_model": model,
            "weights": weights,
            "prompt_version": PROMPT_VERSION,
            "prompt_hash": prompt_hash(),
            "trainable": backend == "transformers",
        },
    )
    return judge


@transaction.atomic
def ensure_champion(project: Project) -> Deployment:
    """The project's champion; a project that has none gets the installation's first judge and all its pairs judged."""
    champion = judging.champion_of(project)
    if champion is not None:
        return champion
    judge = first_judge(backend=settings.ENV.judge_backend, model=settings.ENV.judge_model)
    deployment = Deployment.objects.create(
        project=project, judge=judge, state=Deployment.State.CHAMPION, counts=Method.SCORE, promoted_at=timezone.now()
    )
    judging.request_project(project)
    return deployment


@transaction.atomic
def promote(project: Project, judge: JudgeVersion, *, counts: str, gate: dict[str, Any], by: User | None) -> Deployment:
    """Crown the judge: the old champion retires, what it had not judged yet is dropped, everything is judged again."""
    retired = judging.champion_of(project)
    if retired is not None:
        Deployment.objects.filter(pk=retired.pk).update(state=Deployment.State.RETIRED)
        JudgingRequest.objects.filter(pair__project=project, judge=retired.judge_id).delete()
    deployment = _deploy(project, judge, Deployment.State.CHAMPION, counts=counts, gate=gate)
    audit.record("judge.promote", deployment, by=by, former=str(retired.judge) if retired else "", gate=gate)
    judging.request_project(project)
    jobs.enqueue(jobs.REFRESH_PROJECT, project_id=project.pk)
    return deployment


@transaction.atomic
def reject(project: Project, judge: JudgeVersion, *, counts: str, gate: dict[str, Any], by: User | None) -> Deployment:
    """Keep the candidate for the record; the champion stays."""
    deployment = _deploy(project, judge, Deployment.State.REJECTED, counts=counts, gate=gate)
    audit.record("judge.reject", deployment, by=by, gate=gate)
    return deployment


def _deploy(project: Project, judge: JudgeVersion, state: str, *, counts: str, gate: dict[str, Any]) -> Deployment:
    promoted_at = timezone.now() if state == Deployment.State.CHAMPION else None
    deployment, _created = Deployment.objects.update_or_create(
        project=project,
        judge=judge,
        defaults={"state": state, "counts": counts, "gate": gate, "promoted_at": promoted_at},
    )
    return deployment
