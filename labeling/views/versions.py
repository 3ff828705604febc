"""A project's judge versions: the family tree with figures, who reigns, outside sets, what changed, storage, card."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.db import IntegrityError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.text import slugify

from genrm_engine.evaluation.metrics import Metrics
from labeling import access, version_queries
from labeling.errors import CannotReign, LabelingError
from labeling.http import LabelerRequest, page
from labeling.models import Deployment, Member, Project
from labeling.services import changes as change_service
from labeling.services import claims, deployments, model_card, outside, renewal, storage
from labeling.version_queries import MeasuredSet, Version

TEMPLATE = "labeling/versions.html"
PER_PAGE = 20
LONGEST_REASON = 500
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 240, 48, 12, 12, 28
MOST_TICKS = 24
APART = 5
"""How far the two dots of a version stand from its middle."""
LINES = [("accuracy", "agrees with people", -APART), ("consistency", "same winner in both orders", APART)]
MEANWHILE = "Somebody else changed which version reigns just now. Please look again."


@dataclass(frozen=True, slots=True)
class Dot:
    """A version's figure in the chart, with its interval from ``top`` to ``bottom``."""

    x: float
    y: float
    top: float
    bottom: float

    @property
    def corner(self) -> tuple[float, float]:
        """Of the square that marks it."""
        return self.x - 4, self.y - 4


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    label: str
    dots: list[Dot]

    @property
    def points(self) -> str:
        return " ".join(f"{dot.x:.1f},{dot.y:.1f}" for dot in self.dots)


@dataclass(frozen=True, slots=True)
class Chart:
    """A set's figures over the versions; ``ticks`` are the numbers of the versions and their places."""

    key: str
    measured: MeasuredSet
    lines: list[Line]
    ticks: list[tuple[int, float]]
    levels: list[tuple[str, float]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    end: int = WIDTH - RIGHT


class PromoteForm(forms.Form):
    because = forms.CharField(
        label="Reason",
        required=False,
        max_length=LONGEST_REASON,
        error_messages={"max_length": "Reason: at most %(limit_value)s characters (it has %(show_value)s)."},
    )


class RollBackForm(forms.Form):
    to = forms.IntegerField(error_messages={"required": "To: name the version.", "invalid": "To: not a version."})


class OutsideForm(forms.Form):
    """The sets outside the project, of those that the person may choose."""

    sets = forms.ModelMultipleChoiceField(
        label="Projects",
        queryset=Project.objects.none(),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        error_messages={
            "invalid_choice": "Projects: you are no adjudicator of “%(value)s”, or there is none.",
            "invalid_pk_value": "Projects: “%(pk)s” is none.",
        },
    )

    def __init__(self, request: LabelerRequest, project: Project, *, bound: bool = False) -> None:
        super().__init__(request.POST if bound else None, initial={"sets": project.outside.all()})
        self.offered = access.adjudicated_by(request.user).exclude(pk=project.pk)
        self.fields["sets"].queryset = self.offered  # type: ignore[attr-defined]


@page("GET")
def versions(request: LabelerRequest, slug: str) -> HttpResponse:
    return _whole(request, access.project_for(request.user, slug, role=Member.Role.ADJUDICATOR))


@page("POST")
def promote(request: LabelerRequest, slug: str, judge_id: int) -> HttpResponse:
    found = access.deployment_for(request.user, slug, judge_id, role=Member.Role.MANAGER)
    form = PromoteForm(request.POST)
    if not form.is_valid():
        return _whole(request, found.project, error=_first_error(form), status=422)
    crown = partial(deployments.crown, found, by=request.user, because=form.cleaned_data["because"])
    return _done(request, found.project, crown, f"{found.judge} reigns from now on.")


@page("POST")
def roll_back(request: LabelerRequest, slug: str) -> HttpResponse:
    """Back to the version that the button named: pressed twice it does not go back and forth."""
    project = access.project_for(request.user, slug, role=Member.Role.MANAGER)
    form = RollBackForm(request.POST)
    if not form.is_valid():
        return _whole(request, project, error=_first_error(form), status=422)
    back = partial(_back_to, project, form.cleaned_data["to"], by=request.user)
    return _done(request, project, back, "The former champion reigns again, with what it said.")


@page("POST")
def shadow(request: LabelerRequest, slug: str, judge_id: int) -> HttpResponse:
    found = access.deployment_for(request.user, slug, judge_id, role=Member.Role.MANAGER)
    said = f"{found.judge} judges the hold-out and new pairs beside the champion now."
    return _done(request, found.project, partial(deployments.shadow, found, by=request.user), said)


@page("POST")
def renew(request: LabelerRequest, slug: str, judge_id: int) -> HttpResponse:
    found = access.deployment_for(request.user, slug, judge_id, role=Member.Role.MANAGER)
    said = f"{found.judge} begins anew: it judges the hold-out and new pairs beside the champion, by the present text."
    return _done(request, found.project, partial(renewal.renew, found, by=request.user), said)


@page("POST")
def retire(request: LabelerRequest, slug: str, judge_id: int) -> HttpResponse:
    found = access.deployment_for(request.user, slug, judge_id, role=Member.Role.MANAGER)
    said = f"{found.judge} rests. What it said stays."
    return _done(request, found.project, partial(deployments.retire, found, by=request.user), said)


@page("POST")
def prune(request: LabelerRequest, slug: str, judge_id: int) -> HttpResponse:
    found = access.deployment_for(request.user, slug, judge_id, role=Member.Role.MANAGER)
    said = f"The weights of {found.judge} are deleted. Its judgements and figures stay."
    return _done(request, found.project, partial(storage.prune, found.judge, by=request.user), said)


@page("POST")
def thin(request: LabelerRequest, slug: str) -> HttpResponse:
    project = access.project_for(request.user, slug, role=Member.Role.MANAGER)
    said = "The folders of finished runs hold their frozen rows only."
    return _done(request, project, partial(storage.thin_runs, project, by=request.user), said)


@page("POST")
def choose_outside(request: LabelerRequest, slug: str) -> HttpResponse:
    project = access.project_for(request.user, slug, role=Member.Role.MANAGER)
    form = OutsideForm(request, project, bound=True)
    if not form.is_valid():
        return _whole(request, project, form=form, status=422)
    changed = outside.choose(project, form.cleaned_data["sets"], among=form.offered, by=request.user)
    messages.success(request, "Saved. The champion judges them when nothing else waits." if changed else "No change.")
    return redirect("labeling:versions", slug)


@page("GET")
def changes(request: LabelerRequest, slug: str, judge_id: int) -> HttpResponse:
    new = access.deployment_for(request.user, slug, judge_id)
    others = [one for one in version_queries.versions_for(new.project) if one.pk != new.pk]
    old = _since(new, others, request.GET.get("since"))
    kind = request.GET.get("show", "")
    if kind and kind not in change_service.KINDS:
        raise Http404(f"show: one of {', '.join(change_service.KINDS)}")
    context: dict[str, object] = {"project": new.project, "new": new, "old": old, "others": others, "kind": kind}
    if old is not None:
        listed = Paginator(change_service.flips(old, new, kind=kind), PER_PAGE).get_page(request.GET.get("page"))
        shown = change_service.changes(old, new, listed.object_list)
        claims.keep_away([one.pair for one in shown], project=new.project, annotator=request.user)
        query = urlencode({"since": old.judge_id, "show": kind})
        context |= {"page": listed, "query": query, "changes": shown, "counts": change_service.count(old, new)}
    return render(request, "labeling/changes.html", context)


@page("GET")
def card(request: LabelerRequest, slug: str, judge_id: int) -> HttpResponse:
    found = access.deployment_for(request.user, slug, judge_id)
    response = HttpResponse(model_card.card_of(found), content_type="text/markdown; charset=utf-8")
    name = slugify(found.judge.name) or f"judge-{found.judge_id}"
    response["Content-Disposition"] = f'attachment; filename="{name}-model-card.md"'
    return response


def chart_of(measured: MeasuredSet, versions: Sequence[Version], *, key: str) -> Chart:
    """Accuracy and consistency over all versions; those that have judged nothing of the set leave a gap."""
    across = (WIDTH - LEFT - RIGHT) / max(1, len(versions))
    place = {one.number: LEFT + across * (one.number - 0.5) for one in versions}
    every = 1 + len(versions) // MOST_TICKS
    return Chart(
        key=key,
        measured=measured,
        lines=[
            Line(name, label, [_dot(found, name, place[one.number] + aside) for one, found in measured.measured])
            for name, label, aside in LINES
        ],
        ticks=[(number, x) for number, x in place.items() if (number - 1) % every == 0],
        levels=[(f"{100 * level:.0f} %", _down(level)) for level in (0.0, 0.25, 0.5, 0.75, 1.0)],
    )


def _dot(found: Metrics, name: str, x: float) -> Dot:
    value, low, high = (float(getattr(found, f"{name}{end}") or 0.0) for end in ("", "_low", "_high"))
    return Dot(x, _down(value), _down(high), _down(low))


def _down(share: float) -> float:
    return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)


def _since(new: Deployment, others: Sequence[Deployment], asked: str | None) -> Deployment | None:
    """The version to compare with: the one asked for, or the parent or former champion."""
    if not asked:
        return change_service.compared_with(new)
    found = next((one for one in others if str(one.judge_id) == asked), None)
    if found is None:
        raise Http404("since: no such other version in this project")
    found.project = new.project
    return found


def _back_to(project: Project, judge_id: int, *, by: User) -> Deployment:
    former = deployments.former_champion(project)
    if former is None or former.judge_id != judge_id:
        raise CannotReign("That version is not the last former champion any more. Please look again.")
    return deployments.roll_back(project, by=by)


def _done(request: LabelerRequest, project: Project, action: Callable[[], object], said: str) -> HttpResponse:
    """Do it and show the page again, or say on the page why it cannot be."""
    try:
        action()
    except LabelingError as error:
        return _whole(request, project, error=str(error), status=422)
    except IntegrityError:
        return _whole(request, project, error=MEANWHILE, status=422)
    messages.success(request, said)
    return redirect("labeling:versions", project.slug)


def _first_error(form: forms.Form) -> str:
    return next(str(error) for errors in form.errors.values() for error in errors)


def _whole(
    request: LabelerRequest,
    project: Project,
    *,
    error: str = "",
    form: OutsideForm | None = None,
    status: int = 200,
) -> HttpResponse:
    known = version_queries.overview_for(project)
    charts = [
        chart_of(each, known.versions, key=f"set-{number}")
        for number, each in enumerate([known.holdout, *known.outside])
    ]
    is_manager = access.may(request.user, project, Member.Role.MANAGER)
    context: dict[str, object] = {
        "project": project,
        "known": known,
        "charts": charts,
        "is_manager": is_manager,
        "error": error,
        "longest_reason": LONGEST_REASON,
    }
    if is_manager:
        form = form or OutsideForm(request, project)
        context |= {
            "form": form,
            "by_others": project.outside.exclude(pk__in=form.offered),
            "stored": storage.stored([one.deployment.judge for one in known.versions]),
            "run_bytes": storage.run_bytes(project),
        }
    return render(request, TEMPLATE, context, status=status)
