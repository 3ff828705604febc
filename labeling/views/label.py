"""Labelling: the screen, and what its keys send. Knows no rule of who gets which pair."""

from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render

from labeling import access
from labeling.diffs import diff as word_diff
from labeling.errors import ClaimGone, LabelingError, NothingToUndo
from labeling.forms import REASON_TOO_LONG, REPORT_NEEDS, CommitForm, HeldForm, ReportForm, SkipForm, UndoForm
from labeling.http import LabelerRequest, page, render_page, wants_partial, wants_receipt
from labeling.models import Project
from labeling.services import claims, labels
from labeling.services import flags as flag_service
from labeling.views import stage


@page("GET")
def label(request: LabelerRequest, slug: str) -> HttpResponse:
    project = access.project_for(request.user, slug)
    return stage.show_next(request, project, held=HeldForm.read(request.GET))


@page("GET")
def reserve(request: LabelerRequest, slug: str) -> HttpResponse:
    """One more pair for the browser to keep ready, with a short lease; 204 if there is none."""
    project = access.project_for(request.user, slug)
    html = stage.ahead(request, project, held=HeldForm.read(request.GET))
    return HttpResponse(html) if html else HttpResponse(status=204)


@page("POST")
def release(request: LabelerRequest, slug: str) -> HttpResponse:
    """The browser gives its reserve back: the page is going away."""
    project = access.project_for(request.user, slug)
    claims.release(project, annotator=request.user, waiting=HeldForm.read(request.POST))
    return HttpResponse(status=204)


@page("POST")
def commit(request: LabelerRequest, claim_id: int) -> HttpResponse:
    claim = access.claim_for(request.user, claim_id)
    project = claim.pair.project
    form = CommitForm(request.POST, project=project)
    if not form.is_valid():
        return stage.invalid(request, claim, form)
    verdict = form.cleaned_data["verdict"]
    key = form.cleaned_data["idempotency_key"]
    try:
        saved = labels.commit_label(
            claim, choice=verdict.choice, strength=verdict.strength, given=form.given(), idempotency_key=key
        )
    except LabelingError as error:
        return stage.refused(request, project, error)
    saved.claim, saved.pair = claim, claim.pair
    if wants_receipt(request):
        return stage.receipt(request, project, label=saved, asked=verdict.choice)
    return redirect("labeling:label-reveal", saved.pk)


@page("POST")
def skip(request: LabelerRequest, claim_id: int) -> HttpResponse:
    claim = access.claim_for(request.user, claim_id)
    form = SkipForm(request.POST)
    if not form.is_valid():
        return _unfit(request, claim.pair.project, REASON_TOO_LONG)
    try:
        claims.skip(claim, **form.cleaned_data)
    except ClaimGone as error:
        return stage.refused(request, claim.pair.project, error)
    return stage.advance(request, claim.pair.project, notice="Skipped.")


@page("POST")
def renew(request: LabelerRequest, claim_id: int) -> HttpResponse:
    """The heartbeat of an open page: the seconds until the lease ends, a warning if the pair is somebody else's now.

    Says also which of the pairs that wait in the browser are still the annotator's.
    """
    claim = access.claim_for(request.user, claim_id)
    waiting = HeldForm.read(request.POST)
    warning = ""
    try:
        claims.renew(claim, waiting=waiting)
    except ClaimGone as error:
        warning = str(error)
    still = claims.still_waiting(request.user, waiting) if waiting else None
    context = {"claim": claim, "lease": stage.seconds_left(claim), "warning": warning, "held": still}
    return render(request, f"{stage.TEMPLATE}#lease", context)


@page("POST")
def report(request: LabelerRequest, claim_id: int) -> HttpResponse:
    claim = access.claim_for(request.user, claim_id)
    project = claim.pair.project
    form = ReportForm(request.POST)
    if not form.is_valid():
        return _unfit(request, project, REPORT_NEEDS)
    flag_service.report(claim, **form.cleaned_data)
    return stage.advance(request, project, notice="Reported to an adjudicator. The pair is still yours to label.")


@page("GET")
def diff(request: LabelerRequest, claim_id: int) -> HttpResponse:
    """The two responses word by word, in the order of the claim."""
    claim = access.claim_for(request.user, claim_id)
    left, right = (text for _side, _name, text in stage.sides_of(claim))
    context = {"project": claim.pair.project, "claim": claim, "diff": word_diff(left, right)}
    return render_page(request, "labeling/diff.html", "diff", context)


@page("POST")
def undo(request: LabelerRequest, slug: str) -> HttpResponse:
    project = access.project_for(request.user, slug)
    try:
        claim = labels.undo(project, annotator=request.user, meant=UndoForm.read(request.POST))
    except NothingToUndo as error:
        return stage.refused(request, project, error)
    if not wants_partial(request):
        return redirect("labeling:label", slug)
    claim = access.claim_for(request.user, claim.pk)
    return stage.show_claim(request, claim, notice="Undone: label this pair again.", count=True)


def _unfit(request: LabelerRequest, project: Project, notice: str) -> HttpResponse:
    """What is wrong with a skip or a report, for the browser's outbox or above the pair."""
    if wants_receipt(request):
        return JsonResponse({"saved": False, "notice": notice}, status=422)
    return stage.show_next(request, project, status=422, notice=notice)
