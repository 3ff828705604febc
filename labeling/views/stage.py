"""The one region of the label screen: a pair to label, its reveal, or why there is none. Decides no verdict."""

from uuid import uuid4

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django_htmx.http import reswap, retarget

from labeling import queries
from labeling.errors import LabelingError
from labeling.forms import CommitForm, revisions_for, verdicts_for
from labeling.http import LabelerRequest, render_page, wants_partial
from labeling.models import Claim, Label, Project
from labeling.services import claims, reveals
from labeling.services.labels import to_shown

TEMPLATE = "labeling/label.html"
SAVED = "Saved."


def show_next(request: LabelerRequest, project: Project, *, notice: str = "", status: int = 200) -> HttpResponse:
    """The pair the annotator holds, or a new one, or the reason why there is none."""
    claim = claims.next_claim(project, annotator=request.user)
    if claim is not None:
        return show_claim(request, claim, notice=notice, status=status)
    reason = queries.empty_reason_for(project, request.user)
    today = queries.labelled_today(project, request.user)
    context = {"project": project, "reason": reason, "notice": notice, "today": today}
    return render_page(request, TEMPLATE, "stage", context, status=status)


def show_claim(
    request: LabelerRequest,
    claim: Claim,
    *,
    notice: str = "",
    status: int = 200,
    form: CommitForm | None = None,
    comment: str = "",
) -> HttpResponse:
    """A pair to label. The key in the form makes a second sending of the same verdict harmless."""
    project = claim.pair.project
    context = {
        "project": project,
        "claim": claim,
        "pair": claim.pair,
        "sides": sides_of(claim),
        "verdicts": verdicts_for(project),
        "form": form,
        "comment": comment,
        "key": uuid4().hex,
        "before": reveals.before(claim),
        "notice": notice,
        "today": queries.labelled_today(project, request.user),
    }
    return render_page(request, TEMPLATE, "stage", context, status=status)


def show_reveal(request: LabelerRequest, label: Label, reveal: reveals.Reveal, *, status: int = 200) -> HttpResponse:
    """The labelled pair with the judge's verdict, or with a place where it will appear."""
    claim = label.claim
    if claim is None:
        raise ValueError("only a label made by claim has a reveal")
    claim.pair = label.pair
    project = label.pair.project
    context = {
        "project": project,
        "claim": claim,
        "pair": label.pair,
        "sides": sides_of(claim),
        "label": label,
        "own": to_shown(label.final_choice, swapped=claim.swapped),
        "revisions": revisions_for(project),
        "reveal": reveal,
        "today": queries.labelled_today(project, request.user),
    }
    partial = "reveal" if wants_partial(request, "reveal") else "stage"
    return render_page(request, TEMPLATE, partial, context, status=status)


def advance(request: LabelerRequest, project: Project, *, notice: str = SAVED) -> HttpResponse:
    """On to the next pair: swapped in by htmx, or by a redirect without it."""
    if wants_partial(request):
        return show_next(request, project, notice=notice)
    messages.success(request, notice)
    return redirect("labeling:label", project.slug)


def refused(request: LabelerRequest, project: Project, error: LabelingError) -> HttpResponse:
    """What could not be done, in plain words, above the pair that the annotator holds now."""
    response = show_next(request, project, notice=str(error), status=409)
    return reswap(retarget(response, "#stage"), "outerHTML")


def sides_of(claim: Claim) -> list[tuple[str, str, str]]:
    """The two responses as the annotator sees them: side, its name, text."""
    texts = [claim.pair.response_a, claim.pair.response_b]
    left, right = reversed(texts) if claim.swapped else texts
    return [("left", "Left", left), ("right", "Right", right)]
