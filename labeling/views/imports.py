"""Uploading a file of pairs, and what became of its lines."""

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect, render

from labeling import access
from labeling.errors import ImportRefused
from labeling.forms import ImportForm
from labeling.http import LabelerRequest, page
from labeling.models import Member
from labeling.services import imports

PER_PAGE = 50


@page("GET", "POST")
def upload(request: LabelerRequest, slug: str) -> HttpResponse:
    project = access.project_for(request.user, slug, role=Member.Role.MANAGER)
    form = ImportForm(request.POST, request.FILES) if request.method == "POST" else ImportForm()
    if form.is_valid():
        file = form.cleaned_data["file"]
        try:
            taken = imports.import_file(project, file=file.file, filename=file.name, by=request.user)
        except ImportRefused as error:
            form.add_error("file", str(error))
        else:
            return redirect("labeling:batch", taken.pk)
    batches = project.batches.all()[:PER_PAGE]
    context = {"project": project, "form": form, "batches": batches}
    return render(request, "labeling/import.html", context, status=422 if form.errors else 200)


@page("GET")
def batch(request: LabelerRequest, batch_id: int) -> HttpResponse:
    taken = access.batch_for(request.user, batch_id)
    listed = Paginator(taken.rejected_lines.all(), PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "labeling/batch.html", {"project": taken.project, "batch": taken, "page": listed})
