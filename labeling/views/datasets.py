"""Frozen exports of a project: ask for one, see them all, download each."""

from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect

from labeling import access, dataset_files
from labeling.dataset_forms import FreezeForm
from labeling.errors import ExportRefused
from labeling.http import LabelerRequest, page, render_page
from labeling.models import DatasetVersion, Member
from labeling.services import dataset_versions

SHOWN = 100
State = DatasetVersion.State


@page("GET", "POST")
def datasets(request: LabelerRequest, slug: str) -> HttpResponse:
    project = access.project_for(request.user, slug, role=Member.Role.MANAGER)
    form = FreezeForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            frozen = dataset_versions.freeze(project, name=form.cleaned_data["name"], by=request.user, **form.options())
        except ExportRefused as error:
            form.refuse(error)
        else:
            messages.success(request, f"{frozen.name} is being written.")
            return redirect("labeling:datasets", slug)
    versions = list(DatasetVersion.objects.select_related("requested_by").filter(project=project)[:SHOWN])
    busy = any(one.state in (State.WAITING, State.RUNNING) for one in versions)
    context = {"project": project, "form": form, "versions": versions, "busy": busy}
    status = 422 if form.errors else 200
    return render_page(request, "labeling/datasets.html", "versions", context, status=status)


@page("GET")
def dataset_file(request: LabelerRequest, dataset_id: int) -> HttpResponseBase:
    return dataset_files.file_of(request, access.dataset_for(request.user, dataset_id))


@page("GET")
def dataset_manifest(request: LabelerRequest, dataset_id: int) -> HttpResponse:
    return dataset_files.manifest_of(access.dataset_for(request.user, dataset_id))


@page("GET")
def dataset_card(request: LabelerRequest, dataset_id: int) -> HttpResponse:
    return dataset_files.card_of(access.dataset_for(request.user, dataset_id))
