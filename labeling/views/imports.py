"""Uploading a file of pairs, looking at it first, following its import, and what became of its rows."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from labeling import access
from labeling.errors import ImportNotActive, ImportRefused
from labeling.forms import ImportForm
from labeling.http import LabelerRequest, page, render_page
from labeling.import_forms import PlanForm, SourceForm
from labeling.models import ImportBatch, Member, Project
from labeling.readers import Unreadable, open_file
from labeling.services import import_jobs, imports, previews, rejections, sources, uploads
from labeling.services.checking import Plan

PER_PAGE = 50
DRY_SECONDS = 8.0
"""Of a large file a trial on the page reads what it can in so many seconds."""
GONE = "That upload is gone. Please choose the file again."
KNOWN = "This file was imported before. Nothing was added; this is what became of it then."


@page("GET", "POST")
def upload(request: LabelerRequest, slug: str) -> HttpResponse:
    """Choose a file: import it, or look at it first, which also happens where its layout is not known."""
    project = access.project_for(request.user, slug, role=Member.Role.MANAGER)
    form = ImportForm(request.POST, request.FILES) if request.method == "POST" else ImportForm()
    if form.is_valid():
        file = form.cleaned_data["file"]
        draft = uploads.receive(project, stream=file.file, filename=file.name)
        try:
            found = previews.preview(draft, Plan())
            if request.POST.get("do") == "look" or found.undetected:
                return redirect("labeling:import-look", slug, UUID(draft.key))
            taken = _import(request, project, draft, Plan())
        except (ImportRefused, Unreadable) as error:
            form.add_error("file", str(error))
        else:
            draft.discard()
            return redirect("labeling:batch", taken.pk)
        draft.discard()
    return _upload_page(request, project, form, SourceForm())


@page("POST")
def named(request: LabelerRequest, slug: str) -> HttpResponse:
    """Import a folder on the server or a data set on the hub, where the installation allows it."""
    project = access.project_for(request.user, slug, role=Member.Role.MANAGER)
    form = SourceForm(request.POST)
    if form.is_valid():
        try:
            taken = sources.request(project, form.source(), by=request.user, plan=Plan())
        except ImportRefused as error:
            form.add_error(None, str(error))
        else:
            return redirect("labeling:batch", taken.pk)
    return _upload_page(request, project, ImportForm(), form)


@page("GET", "POST")
def look(request: LabelerRequest, slug: str, key: UUID) -> HttpResponse:
    """An uploaded file before it is imported: its first rows, how to read it, a trial, and the import itself."""
    project = access.project_for(request.user, slug, role=Member.Role.MANAGER)
    draft = uploads.draft_of(project, key)
    if draft is None:
        messages.error(request, GONE)
        return redirect("labeling:import", slug)
    try:
        found = previews.preview(draft, Plan())
        form = _plan_form(request, found)
        if request.method == "POST" and not form.is_valid():
            return _look_page(request, project, draft, found, form, status=422)
        plan = form.plan() if form.is_bound else Plan()
        if request.POST.get("do") == "import":
            taken = _import(request, project, draft, plan)
            draft.discard()
            return redirect("labeling:batch", taken.pk)
        if plan != Plan():
            found = previews.preview(draft, plan)
        trial = _trial(project, draft, plan) if request.POST.get("do") == "try" else None
    except (ImportRefused, Unreadable) as error:
        messages.error(request, str(error))
        return redirect("labeling:import", slug)
    return _look_page(request, project, draft, found, form, trial=trial)


def _import(request: LabelerRequest, project: Project, draft: uploads.Draft, plan: Plan) -> ImportBatch:
    """The import of the file, or the earlier one of the same file, and then a word that nothing was added."""
    begun = timezone.now()
    taken = imports.import_draft(project, draft, by=request.user, plan=plan)
    if taken.created_at < begun:
        messages.info(request, KNOWN)
    return taken


@page("GET")
def batch(request: LabelerRequest, batch_id: int) -> HttpResponse:
    taken = access.batch_for(request.user, batch_id)
    active = taken.state in (ImportBatch.State.WAITING, ImportBatch.State.RUNNING)
    listed = Paginator(taken.rejected_lines.all(), PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "project": taken.project,
        "batch": taken,
        "active": active,
        "page": listed,
        "reasons": imports.reasons(taken) if taken.rejected and not active else [],
    }
    return render_page(request, "labeling/batch.html", "batch", context)


@page("POST")
def cancel(request: LabelerRequest, batch_id: int) -> HttpResponse:
    taken = access.batch_for(request.user, batch_id)
    try:
        import_jobs.cancel(taken, by=request.user)
    except ImportNotActive as error:
        messages.error(request, str(error))
    return redirect("labeling:batch", batch_id)


@page("GET")
def rejected(request: LabelerRequest, batch_id: int) -> HttpResponse:
    """The rejected rows as a file, with the reason beside each."""
    found = rejections.download(access.batch_for(request.user, batch_id))
    response = StreamingHttpResponse(found.parts, content_type=found.content_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{_ascii(found.filename)}"'
    return response  # type: ignore[return-value]  # a response too, if not by its type


def _upload_page(request: LabelerRequest, project: Project, form: ImportForm, source: SourceForm) -> HttpResponse:
    context = {
        "project": project,
        "form": form,
        "source": source,
        "offered": sources.offered(),
        "page": Paginator(project.batches.all(), PER_PAGE).get_page(request.GET.get("page")),
    }
    return render(request, "labeling/import.html", context, status=422 if form.errors or source.errors else 200)


def _plan_form(request: LabelerRequest, found: previews.Preview) -> PlanForm:
    data = request.POST if request.method == "POST" else None
    return PlanForm(data, columns=found.columns, layout=found.layout, suggested=found.suggested)


def _trial(project: Project, draft: uploads.Draft, plan: Plan) -> imports.DryRun:
    with draft.opened() as file:
        return imports.dry_run(project, lambda: open_file(file, draft.filename), plan=plan, seconds=DRY_SECONDS)


def _look_page(
    request: LabelerRequest,
    project: Project,
    draft: uploads.Draft,
    found: previews.Preview,
    form: PlanForm,
    *,
    trial: imports.DryRun | None = None,
    status: int = 200,
) -> HttpResponse:
    context: dict[str, Any] = {"project": project, "draft": draft, "found": found, "form": form, "trial": trial}
    return render(request, "labeling/import_look.html", context, status=status)


def _ascii(filename: str) -> str:
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "_" for letter in filename)
