"""A project's settings, for its managers. Knows no rule of what a good setting is."""

from copy import copy

from django.contrib import messages
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render

from labeling import access
from labeling.errors import SettingsMoved
from labeling.http import LabelerRequest, page
from labeling.models import Member
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
        messages.success(request, "Saved." if changed else "Nothing was changed.")
        return redirect("labeling:settings", slug)
    context = {"project": project, "form": form}
    return render(request, "labeling/settings.html", context, status=422 if form.errors else 200)
