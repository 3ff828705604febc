"""Labelling: the screen, and what its keys send. Knows no rule of who gets which pair."""

from django.http import HttpResponse
from django.shortcuts import redirect

from labeling import access
from labeling.errors import ClaimGone, LabelingError, NothingToUndo
from labeling.forms import REASON_TOO_LONG, REPORT_NEEDS, CommitForm, ReportForm, SkipForm
from labeling.http import LabelerRequest, page, wants_partial
from labeling.services import claims, labels, reveals
from labeling.services import flags as flag_service
from labeling.views import stage


@page("GET")
def label(request: LabelerRequest, slug: str) -> HttpResponse:
    project = access.project_for(request.user, slug)
    return stage.show_next(request, project)


@page("POST")
def commit(request: LabelerRequest, claim_id: int) -> HttpResponse:
    claim = access.claim_for(request.user, claim_id)
    form = CommitForm(request.POST, project=claim.pair.project)
    if not form.is_valid():
        return stage.show_claim(request, claim, status=422, form=form, comment=request.POST.get("comment", ""))
    verdict = form.cleaned_data.pop("verdict")
    try:
        saved = labels.commit_label(claim, choice=verdict.choice, strength=verdict.strength, **form.cleaned_data)
    except LabelingError as error:
        return stage.refused(request, claim.pair.project, error)
    if not wants_partial(request):
        return redirect("labeling:label-reveal", saved.pk)
    saved.claim, saved.pair = claim, claim.pair
    reveal = reveals.reveal(saved)
    if reveal.state == "hidden":
        return stage.advance(request, claim.pair.project)
    return stage.show_reveal(request, saved, reveal)


@page("POST")
def skip(request: LabelerRequest, claim_id: int) -> HttpResponse:
    claim = access.claim_for(request.user, claim_id)
    form = SkipForm(request.POST)
    if not form.is_valid():
        return stage.show_next(request, claim.pair.project, status=422, notice=REASON_TOO_LONG)
    try:
        claims.skip(claim, **form.cleaned_data)
    except ClaimGone as error:
        return stage.refused(request, claim.pair.project, error)
    return stage.advance(request, claim.pair.project, notice="Skipped.")


@page("POST")
def renew(request: LabelerRequest, claim_id: int) -> HttpResponse:
    """The heartbeat of an open page."""
    claim = access.claim_for(request.user, claim_id)
    try:
        claims.renew(claim)
    except ClaimGone as error:
        return stage.refused(request, claim.pair.project, error)
    return HttpResponse(status=204)


@page("POST")
def report(request: LabelerRequest, claim_id: int) -> HttpResponse:
    claim = access.claim_for(request.user, claim_id)
    project = claim.pair.project
    form = ReportForm(request.POST)
    if not form.is_valid():
        return stage.show_next(request, project, status=422, notice=REPORT_NEEDS)
    flag_service.report(claim, **form.cleaned_data)
    return stage.advance(request, project, notice="Reported to an adjudicator. The pair is still yours to label.")


@page("POST")
def undo(request: LabelerRequest, slug: str) -> HttpResponse:
    project = access.project_for(request.user, slug)
    try:
        claim = labels.undo(project, annotator=request.user)
    except NothingToUndo as error:
        return stage.refused(request, project, error)
    if not wants_partial(request):
        return redirect("labeling:label", slug)
    claim = access.claim_for(request.user, claim.pk)
    return stage.show_claim(request, claim, notice="Undone: label this pair again.", comment=claim.label.comment)
