"""The one region of the label screen: a pair to label, its reveal, or why there is none. Decides no verdict."""

import json
from collections.abc import Collection
from uuid import uuid4

from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django_htmx.http import reswap, retarget

from labeling import queries
from labeling.errors import LabelingError
from labeling.forms import CommitForm, HeldForm, criterion_field, revisions_for, verdicts_for
from labeling.http import LabelerRequest, render_page, wants_partial, wants_receipt
from labeling.keymap import keys_of
from labeling.masking import mask
from labeling.models import Claim, Label, Project
from labeling.services import claims, labels, reveals
from labeling.services.labels import to_shown

TEMPLATE = "labeling/label.html"
SAVED = "Saved."
RESERVE = 2
"""So many pairs wait in the browser, so that the next one is there at once even if the network is slow."""


def show_next(
    request: LabelerRequest, project: Project, *, notice: str = "", status: int = 200, held: Collection[int] = ()
) -> HttpResponse:
    """The pair the annotator holds, or a new one, or the reason why there is none."""
    claim = claims.next_claim(project, annotator=request.user, held=held)
    if claim is not None:
        return show_claim(request, claim, notice=notice, status=status)
    context = {
        "project": project,
        "reason": queries.empty_reason_for(project, request.user),
        "notice": notice,
        "today": queries.labelled_today(project, request.user),
        "keys": keys_of(request.user),
    }
    if not wants_partial(request):
        context["undoes"] = _undoes(request, project)
    return render_page(request, TEMPLATE, "stage", context, status=status)


def show_claim(
    request: LabelerRequest,
    claim: Claim,
    *,
    notice: str = "",
    status: int = 200,
    form: CommitForm | None = None,
    count: bool = False,
) -> HttpResponse:
    """A pair to label, in a whole page or as the region alone; with ``count`` the day's labels are counted anew."""
    context = {**_claim_context(request, claim, form), "notice": notice}
    if count or not wants_partial(request):
        context["today"] = queries.labelled_today(claim.pair.project, request.user)
        context["undoes"] = _undoes(request, claim.pair.project)
    return render_page(request, TEMPLATE, "stage", context, status=status)


def ahead(request: LabelerRequest, project: Project, *, held: Collection[int]) -> str:
    """The region of one more pair, for the browser's reserve; empty if nothing is left or the reserve is full."""
    if len(held) > RESERVE:
        return ""
    claim = claims.next_claim(project, annotator=request.user, held=held, ahead=True)
    if claim is None:
        return ""
    return render_to_string(f"{TEMPLATE}#stage", _claim_context(request, claim, None), request=request)


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
        "sides": sides_of(claim, blind=reveal.state != "shown"),
        "turns": turns_of(claim, blind=reveal.state != "shown"),
        "label": label,
        "own": to_shown(label.final_choice, swapped=claim.swapped),
        "revisions": revisions_for(project),
        "reveal": reveal,
        "keys": keys_of(request.user),
    }
    if not wants_partial(request):
        context["today"] = queries.labelled_today(project, request.user)
        context["undoes"] = _undoes(request, project)
    partial = "reveal" if wants_partial(request, "reveal") else "stage"
    return render_page(request, TEMPLATE, partial, context, status=status)


def receipt(
    request: LabelerRequest, project: Project, *, label: Label | None = None, asked: str = "", notice: str = ""
) -> HttpResponse:
    """That something is saved, for the browser's outbox; with one more pair where its reserve has room.

    ``verdict`` is the one that stands: another window may have labelled the pair first.
    """
    answer: dict[str, object] = {"saved": True, "notice": notice}
    if label is not None and label.claim is not None:
        verdict = to_shown(label.final_choice, swapped=label.claim.swapped)
        answer |= {"label": label.pk, "verdict": verdict}
        if reveals.expected(label):
            answer["reveal"] = reverse("labeling:label-reveal", args=[label.pk])
        if asked and verdict != asked:
            answer["notice"] = "You had labelled this pair already: that first verdict stands. Undo changes it."
    if "held" in request.POST:
        answer["next"] = ahead(request, project, held=HeldForm.read(request.POST))
    return JsonResponse(answer)


def advance(request: LabelerRequest, project: Project, *, notice: str = SAVED) -> HttpResponse:
    """On to the next pair: the outbox gets its receipt, htmx the region, a plain form a redirect."""
    if wants_receipt(request):
        return receipt(request, project, notice=notice)
    if wants_partial(request):
        return show_next(request, project, notice=notice)
    messages.success(request, notice)
    return redirect("labeling:label", project.slug)


def invalid(request: LabelerRequest, claim: Claim, form: CommitForm) -> HttpResponse:
    """What is wrong with a verdict, with everything typed still there."""
    if wants_receipt(request):
        errors = [str(error) for found in form.errors.values() for error in found]
        return JsonResponse({"saved": False, "notice": " ".join(errors)}, status=422)
    return show_claim(request, claim, status=422, form=form)


def refused(request: LabelerRequest, project: Project, error: LabelingError) -> HttpResponse:
    """What could not be done, in plain words, above the pair that the annotator holds now."""
    if wants_receipt(request):
        return JsonResponse({"saved": False, "notice": str(error)}, status=409)
    response = show_next(request, project, notice=str(error), status=409)
    return reswap(retarget(response, "#stage"), "outerHTML")


def seconds_left(claim: Claim) -> int:
    """Of the claim's lease, as far as this process knows."""
    return max(0, round((claim.expires_at - timezone.now()).total_seconds()))


def sides_of(claim: Claim, *, blind: bool = True) -> list[tuple[str, str, str]]:
    """The two responses as the annotator sees them: side, its name, text; self-naming masked while blind."""
    pair = claim.pair
    texts = [pair.response_a, pair.response_b]
    if blind:
        texts = [mask(text, (pair.model_a, pair.model_b)).text for text in texts]
    left, right = reversed(texts) if claim.swapped else texts
    return [("left", "Left", left), ("right", "Right", right)]


def turns_of(claim: Claim, *, blind: bool = True) -> list[dict[str, str]]:
    """The conversation before the responses; earlier answers may come from the same models."""
    names = (claim.pair.model_a, claim.pair.model_b)
    return [
        {**turn, "content": mask(turn["content"], names).text} if blind and turn["role"] == "assistant" else turn
        for turn in claim.pair.prompt
    ]


def _undoes(request: LabelerRequest, project: Project) -> int | str:
    """The claim that an undo takes back, for the browser to say which one it means; empty if there is none."""
    return labels.next_undo(project, annotator=request.user) or ""


def _claim_context(request: LabelerRequest, claim: Claim, form: CommitForm | None) -> dict[str, object]:
    """Everything a pair to label needs. The key in the form makes a second sending of the same verdict harmless."""
    project = claim.pair.project
    undone: Label | None = getattr(claim, "label", None)
    given = form.data if form is not None else _given_before(undone)
    return {
        "project": project,
        "claim": claim,
        "pair": claim.pair,
        "turns": turns_of(claim),
        "sides": sides_of(claim),
        "verdicts": verdicts_for(project),
        "criteria": [
            {**criterion, "field": field, "rated": given.get(field, "")}
            for criterion in project.criteria
            for field in [criterion_field(criterion["name"])]
        ],
        "form": form,
        "comment": given.get("comment", ""),
        "highlights": given.get("highlights", ""),
        "key": uuid4().hex,
        "before": reveals.before(claim),
        "reveals": reveals.promised(project),
        "lease": seconds_left(claim),
        "keys": keys_of(request.user),
    }


def _given_before(label: Label | None) -> dict[str, str]:
    """What the annotator gave with a label that was undone, as the form's fields."""
    if label is None or label.claim is None:
        return {}
    swapped = label.claim.swapped
    found = {"comment": label.comment}
    for name, rated in label.criteria.items():
        found[criterion_field(name)] = to_shown(rated, swapped=swapped)
    passages = [
        {**{name: one[name] for name in ("start", "end", "quote")}, "side": to_shown(one["response"], swapped=swapped)}
        for one in label.highlights
    ]
    return {**found, "highlights": json.dumps(passages) if passages else ""}
