"""A project's settings, for its managers. Knows no rule of what a good setting is."""

from collections.abc import Collection
from copy import copy

from django.contrib import messages
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.html import format_html

from labeling import access
from labeling.errors import SettingsMoved
from labeling.http import LabelerRequest, page
from labeling.models import Member, Project
from labeling.services import judge_reading, judging
from labeling.services.settings import change_settings
from labeling.settings_forms import SettingsForm


@page("GET", "POST")
def settings(request: LabelerRequest, slug: str) -> HttpResponseBase:
    project = access.project_for(request.user, slug, role=Member.Role.MANAGER)
    form = SettingsForm(request.POST if request.method == "POST" else None, instance=copy(project))
    if form.is_valid():
        try:
            changed = change_settings(project, by=request.user, seen=project, **form.changes())
        except SettingsMoved:  # since this request began: the form says where
            return settings(request, slug)
        messages.success(request, _said(project, changed))
        return redirect("labeling:settings", slug)
    context = {"project": project, "form": form}
    return render(request, "labeling/settings.html", context, status=422 if form.errors else 200)


def _said(project: Project, changed: Collection[str]) -> str:
    """What was saved, and what it does not change: a judge's word stays as it was by the former text."""
    if not changed:
        return "Nothing was changed."
    if not judge_reading.READ_BY_JUDGES & set(changed) or not judging.has_judged(project):
        return "Saved."
    return format_html(
        'Saved. What the judge has said already stays as it is; on <a href="{}">Judge versions</a> it can judge anew, '
        "by the new text.",
        reverse("labeling:versions", args=[project.slug]),
    )
