"""Disagreements: the list, and one pair's dossier where an adjudicator settles it."""

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect, render

from labeling import access, queries
from labeling.errors import LabelingError
from labeling.forms import SettleForm
from labeling.http import LabelerRequest, page
from labeling.models import Flag, Member, Pair
from labeling.services import flags as flag_service

PER_PAGE = 50


@page("GET")
def flags(request: LabelerRequest, slug: str) -> HttpResponse:
    project = access.project_for(request.user, slug, role=Member.Role.ADJUDICATOR)
    kind = request.GET.get("kind", Flag.Kind.JUDGE_DISAGREES)
    found = queries.open_flags_for(project).filter(kind=kind)
    context = {
        "project": project,
        "kind": kind,
        "kinds": queries.flag_kinds_for(project),
        "page": Paginator(found, PER_PAGE).get_page(request.GET.get("page")),
        "trust_notice": queries.judge_health_for(project).notice,
    }
    return render(request, "labeling/flags.html", context)


@page("GET", "POST")
def dossier(request: LabelerRequest, slug: str, pair_id: int) -> HttpResponse:
    pair = access.pair_for(request.user, slug, pair_id)
    form = SettleForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            flag_service.settle(pair, by=request.user, **form.cleaned_data)
        except LabelingError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"Settled {pair}.")
            return _next_open(slug, pair)
    context = {"project": pair.project, "pair": pair, "dossier": queries.pair_dossier(pair), "form": form}
    return render(request, "labeling/dossier.html", context, status=422 if form.errors else 200)


def _next_open(slug: str, settled: Pair) -> HttpResponse:
    """The next pair with an open flag, or the list when none is left."""
    following = queries.open_flags_for(settled.project).exclude(pair=settled).first()
    if following is None:
        return redirect("labeling:flags", slug)
    return redirect("labeling:dossier", slug, following.pair_id)
