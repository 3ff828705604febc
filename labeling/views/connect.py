"""Connecting a judge: what it is, a trial on three pairs, and the shadow that comes of it. For managers."""

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters

from genrm_engine.device import device_holder
from labeling import access, queries, trial_queries
from labeling.connect_forms import LocalForm, PriceForm, ServerForm
from labeling.errors import CannotConnect
from labeling.http import LabelerRequest, page, render_page
from labeling.models import Deployment, JudgeTrial, Member
from labeling.services import claims, trials

RECENT = 8
KINDS = {"local": LocalForm, "server": ServerForm}
"""By what the form's button sends as ``where``."""
UNFINISHED = (JudgeTrial.State.WAITING, JudgeTrial.State.RUNNING)


@sensitive_post_parameters("server-key")
@page("GET", "POST")
def connect(request: LabelerRequest, slug: str) -> HttpResponse:
    project = access.project_for(request.user, slug, role=Member.Role.MANAGER)
    where = request.POST.get("where", "")
    forms = {name: kind(request.POST if name == where else None, prefix=name) for name, kind in KINDS.items()}
    sent = forms.get(where)
    if sent is not None and sent.is_valid():
        try:
            trial = trials.request_trial(project, by=request.user, **sent.cleaned_data)
        except CannotConnect as error:
            sent.add_error(None, str(error))
        else:
            return redirect("labeling:trial", trial.pk)
    recent = trial_queries.trials_for(project)[:RECENT]
    context = {"project": project, "local": forms["local"], "server": forms["server"], "sent": sent, "recent": recent}
    return render(request, "labeling/connect.html", context, status=422 if request.method == "POST" else 200)


@page("GET")
def trial(request: LabelerRequest, trial_id: int) -> HttpResponse:
    found = access.trial_for(request.user, trial_id)
    unfinished = found.state in UNFINISHED
    heard = trial_queries.heard_of(found)
    claims.keep_away([one.pair for one in heard], project=found.project, annotator=request.user)
    form = PriceForm(request.GET if {"read", "written"} & request.GET.keys() else None, auto_id="price-%s")
    context = {
        "trial": found,
        "project": found.project,
        "unfinished": unfinished,
        "heard": heard,
        "per_pair": trial_queries.per_pair(found),
        "form": form,
    }
    if unfinished:
        holder = device_holder(settings.HOME / queries.DEVICES, settings.ENV.device)
        context |= {"workers": queries.live_workers("judge"), "device_holder": holder.holder if holder else ""}
    else:
        context |= {
            "estimates": trial_queries.estimates_for(found, form.prices),
            "counted": trials.counted(found),
            "deployment": Deployment.objects.filter(project=found.project_id, judge=found.judge_id).first(),
        }
    return render_page(request, "labeling/trial.html", "trial", context, status=422 if form.errors else 200)


@page("POST")
def accept(request: LabelerRequest, trial_id: int) -> HttpResponse:
    found = access.trial_for(request.user, trial_id)
    try:
        deployment = trials.connect(found, by=request.user)
    except CannotConnect as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{deployment.judge} is connected.")
    return redirect("labeling:trial", trial_id)
