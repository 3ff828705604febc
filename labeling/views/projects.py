"""A person's projects, and one project with its progress, its judge and its retraining."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render

from labeling import access, queries
from labeling.errors import CannotRetrain
from labeling.forms import RetrainForm
from labeling.http import LabelerRequest, page, wants_partial
from labeling.models import Member, Project, TrainingRun
from labeling.retrain_outlook import outlook_of, policy_of
from labeling.services import training

RECENT = 5
TEMPLATE = "labeling/project.html"


@page("GET")
def projects(request: LabelerRequest) -> HttpResponse:
    return render(request, "labeling/projects.html", {"projects": access.projects_for(request.user)})


@page("GET")
def project(request: LabelerRequest, slug: str) -> HttpResponse:
    found = access.project_for(request.user, slug)
    if wants_partial(request, "pulse"):
        return render(request, f"{TEMPLATE}#pulse", _pulse(request, found))
    return _whole(request, found)


@page("POST")
def retrain(request: LabelerRequest, slug: str) -> HttpResponse:
    found = access.project_for(request.user, slug, role=Member.Role.MANAGER)
    form = RetrainForm(request.POST)
    if not form.is_valid():
        return _whole(request, found, error="Choose a method.", status=422)
    try:
        run = training.request_run(found, trigger=TrainingRun.Trigger.BUTTON, by=request.user, **form.cleaned_data)
    except CannotRetrain as error:
        return _whole(request, found, error=str(error), status=422)
    return redirect("labeling:run", run.pk)


def _whole(request: LabelerRequest, project: Project, *, error: str = "", status: int = 200) -> HttpResponse:
    context = _pulse(request, project) | {"error": error}
    if context["is_manager"]:
        context["readiness"] = ready = training.readiness(project)
        context["outlook"] = outlook_of(project, ready, labelled=context["progress"].labelled)
        context["policy"] = policy_of(project)
        context["deployments"] = queries.deployments_for(project)
        context["batches"] = project.batches.all()[:RECENT]
    return render(request, TEMPLATE, context, status=status)


def _pulse(request: LabelerRequest, project: Project) -> dict[str, Any]:
    """What changes by itself while the page is open."""
    role = access.role_in(request.user, project)
    is_manager = role == Member.Role.MANAGER
    return {
        "project": project,
        "role": role,
        "is_manager": is_manager,
        "is_adjudicator": role is not None and role != Member.Role.ANNOTATOR,
        "progress": queries.progress_for(project),
        "health": queries.judge_health_for(project),
        "runs": queries.runs_for(project)[:RECENT] if is_manager else [],
        "today": queries.labelled_today(project, request.user),
    }
