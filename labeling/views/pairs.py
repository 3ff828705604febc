"""Every pair of a project, for those who may open its dossier. Tells no verdict of anybody."""

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render

from labeling import access, pair_queries
from labeling.flag_forms import PairsForm
from labeling.http import LabelerRequest, page
from labeling.models import Member
from labeling.services import claims

PER_PAGE = 50


@page("GET")
def pairs(request: LabelerRequest, slug: str) -> HttpResponse:
    project = access.project_for(request.user, slug, role=Member.Role.ADJUDICATOR)
    wanted = PairsForm.read(request.GET)
    found = Paginator(pair_queries.pairs_for(project, wanted), PER_PAGE).get_page(request.GET.get("page"))
    told = [pair for pair in found if pair.ambiguous]  # an adjudicator's word on them
    claims.keep_away(told, project=project, annotator=request.user)
    context = {
        "project": project,
        "wanted": wanted,
        "query": wanted.query,
        "parts": pair_queries.parts_for(wanted),
        "page": found,
    }
    return render(request, "labeling/pairs.html", context)
