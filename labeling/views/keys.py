"""A user's own keys for the label screen. Knows no rule of which keys are good."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from labeling import keymap
from labeling.http import LabelerRequest, page
from labeling.settings_forms import KeysForm


@page("GET", "POST")
def keys(request: LabelerRequest) -> HttpResponse:
    table = keymap.keys_of(request.user)
    if "defaults" in request.POST:
        keymap.save_keys(request.user, {})
        messages.success(request, "Back to the defaults.")
        return redirect("labeling:keys")
    form = KeysForm(request.POST if request.method == "POST" else None, initial=dict(table.own))
    if form.is_valid():
        keymap.save_keys(request.user, form.own)
        messages.success(request, "Saved. The label screen shows your keys.")
        return redirect("labeling:keys")
    context = {"form": form, "groups": form.groups(), "changed": bool(table.own)}
    return render(request, "labeling/keys.html", context, status=422 if form.errors else 200)
