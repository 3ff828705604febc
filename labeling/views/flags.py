"""Adjudication: the queue with its filters, and one pair's dossier where it is settled. Decides no value of a flag."""

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from labeling import access, flag_queries, queries
from labeling.errors import AlreadySettled, LabelingError
from labeling.flag_forms import DECISIONS, BulkForm, FilterForm, OpenForm, SaveFilterForm, SettleForm
from labeling.flag_queries import Wanted
from labeling.http import LabelerRequest, page, wants_partial
from labeling.models import Member, Pair, Project
from labeling.services import claims, judging, opening
from labeling.services import flags as flag_service

PER_PAGE = 50
TEMPLATE = "labeling/flags.html"
TAKE_BACK = "Take the settlement back to change it."
SAID = {flag_service.SEND_BACK: "Sent back", flag_service.AMBIGUOUS: "Marked ambiguous"}


@page("GET")
def flags(request: LabelerRequest, slug: str) -> HttpResponse:
    project = access.project_for(request.user, slug, role=Member.Role.ADJUDICATOR)
    wanted = FilterForm.read(request.GET)
    if wants_partial(request, "counts"):
        return render(request, f"{TEMPLATE}#counts", _counts(project, wanted))
    return _queue(request, project, wanted)


@page("POST")
def decide(request: LabelerRequest, slug: str) -> HttpResponse:
    """One decision for every pair that is ticked."""
    project = access.project_for(request.user, slug, role=Member.Role.ADJUDICATOR)
    wanted = FilterForm.read(request.GET)
    form = BulkForm(request.POST)
    if not form.is_valid():
        return _queue(request, project, wanted, form=form, status=422)
    given = form.cleaned_data
    ticked = Pair.objects.filter(project=project, pk__in=given["pair"])
    decided = flag_service.decide_all(ticked, by=request.user, choice=given["choice"], reason=given["reason"])
    messages.success(request, _outcome(given["choice"], decided))
    return redirect(_address("flags", slug, wanted=wanted, page=request.GET.get("page", "")))


@page("POST")
def save_filter(request: LabelerRequest, slug: str) -> HttpResponse:
    project = access.project_for(request.user, slug, role=Member.Role.ADJUDICATOR)
    wanted = FilterForm.read(request.GET)
    form = SaveFilterForm(request.POST)
    if form.is_valid():
        try:
            flag_service.save_filter(project, user=request.user, name=form.cleaned_data["name"], query=wanted.query)
        except LabelingError as error:
            form.add_error("name", str(error))
        else:
            messages.success(request, f"Saved these filters as “{form.cleaned_data['name']}”.")
            return redirect(_address("flags", slug, wanted=wanted))
    return _queue(request, project, wanted, naming=form, status=422)


@page("POST")
def delete_filter(request: LabelerRequest, slug: str, filter_id: int) -> HttpResponse:
    saved = access.saved_filter_for(request.user, slug, filter_id)
    flag_service.forget_filter(saved)
    messages.success(request, f"The filters “{saved.name}” are no longer saved.")
    return redirect(_address("flags", slug, wanted=FilterForm.read(request.GET)))


@page("GET", "POST")
def dossier(request: LabelerRequest, slug: str, pair_id: int) -> HttpResponse:
    pair = access.pair_for(request.user, slug, pair_id)
    wanted = FilterForm.read(request.GET)
    place = flag_queries.place_of(pair)
    form = SettleForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        choice = form.cleaned_data["choice"]
        try:
            flag_service.decide(pair, by=request.user, **form.cleaned_data)
        except AlreadySettled as error:
            if error.own and error.choice == choice:  # sent twice
                return redirect(_next(pair, wanted, place))
            settled = error.own and error.choice != flag_service.SEND_BACK
            form.add_error(None, f"{error} {TAKE_BACK}" if settled else str(error))
        except LabelingError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"{SAID.get(choice, 'Settled')}: {pair}.")
            return redirect(_next(pair, wanted, place))
    known = flag_queries.pair_dossier(pair)
    if known.tells(request.user):
        claims.keep_away([pair], project=pair.project, annotator=request.user)
    context = {
        "project": pair.project,
        "pair": pair,
        "dossier": known,
        "form": form,
        "query": wanted.query,
        "left": flag_queries.queue_for(pair.project, wanted).count(),
        "next": _next(pair, wanted, place),
    }
    return render(request, "labeling/dossier.html", context, status=422 if form.errors else 200)


@page("POST")
def reopen(request: LabelerRequest, slug: str, pair_id: int) -> HttpResponse:
    """Take a settlement back, and go on with the pair where it was settled."""
    pair = access.pair_for(request.user, slug, pair_id)
    try:
        flag_service.reopen(pair, by=request.user)
    except LabelingError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"Open again: {pair}.")
    return redirect(_address("dossier", slug, pair.pk, wanted=FilterForm.read(request.GET)))


@page("POST")
def open_pair(request: LabelerRequest, slug: str, pair_id: int) -> HttpResponse:
    """Open a pair that no flag names, and go on with it where it was opened."""
    pair = access.pair_for(request.user, slug, pair_id)
    form = OpenForm(request.POST)
    if form.is_valid():
        try:
            opening.open_pair(pair, by=request.user, **form.cleaned_data)
        except LabelingError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"Open now: {pair}.")
    for errors in form.errors.values():
        messages.error(request, " ".join(map(str, errors)))
    return redirect(_address("dossier", slug, pair.pk, wanted=FilterForm.read(request.GET)))


@page("POST")
def ask_again(request: LabelerRequest, slug: str, pair_id: int) -> HttpResponse:
    """Let those who skipped the pair be asked again, and stay with it."""
    pair = access.pair_for(request.user, slug, pair_id)
    try:
        names = opening.ask_again(pair, by=request.user)
    except LabelingError as error:
        messages.error(request, str(error))
    else:
        then = " Send the pair back, so that somebody is." if pair.closed else ""
        messages.success(request, f"Can be asked again: {', '.join(names)}.{then}")
    return redirect(_address("dossier", slug, pair.pk, wanted=FilterForm.read(request.GET)))


def _queue(
    request: LabelerRequest,
    project: Project,
    wanted: Wanted,
    *,
    form: BulkForm | None = None,
    naming: SaveFilterForm | None = None,
    status: int = 200,
) -> HttpResponse:
    champion = judging.champion_of(project)
    trusted = champion is not None and champion.trusted
    found = Paginator(flag_queries.queue_for(project, wanted), PER_PAGE).get_page(request.GET.get("page"))
    rows = flag_queries.rows_for(found.object_list, champion)
    told = [row.pair for row in rows if row.tells(request.user)]
    claims.keep_away(told, project=project, annotator=request.user)
    context = _counts(project, wanted) | {
        "page": found,
        "rows": rows,
        "slices": flag_queries.slices_for(project, wanted),
        "saved": project.saved_filters.filter(user=request.user),
        "decisions": DECISIONS,
        "form": form,
        "ticked": set(request.POST.getlist("pair")),
        "naming": naming,
        "trust_notice": "" if trusted else queries.judge_health_for(project).notice,
    }
    return render(request, TEMPLATE, context, status=status)


def _counts(project: Project, wanted: Wanted) -> dict[str, object]:
    """What changes by itself while the page is open."""
    return {
        "project": project,
        "wanted": wanted,
        "query": wanted.query,
        "kinds": flag_queries.flag_kinds_for(project, wanted),
        "total": flag_queries.queue_for(project, wanted.of_any_kind).count(),
    }


def _outcome(choice: str, decided: flag_service.Decided) -> str:
    said = SAID.get(choice) or f"Settled as “{dict(DECISIONS)[choice]}”"
    parts = [f"{said}: {decided.done}."]
    parts += [f"{count} {words}." for words, count in decided.earlier.items()]
    if decided.refused:
        stay, them = ("stays", "it") if decided.refused == 1 else ("stay", "them")
        parts.append(f"{decided.refused} {stay}: every other member has labelled or skipped {them}.")
    return " ".join(parts)


def _next(pair: Pair, wanted: Wanted, place: float) -> str:
    """The next pair of this part of the queue, or the queue when none is left."""
    following = flag_queries.next_pair_for(pair.project, wanted, after=pair, place=place)
    if following is None:
        return _address("flags", pair.project.slug, wanted=wanted)
    return _address("dossier", pair.project.slug, following, wanted=wanted)


def _address(name: str, *arguments: object, wanted: Wanted, page: str = "") -> str:
    url = reverse(f"labeling:{name}", args=arguments)
    asked = [wanted.query] if wanted.query else []
    if page.isdecimal():
        asked.append(f"page={int(page)}")
    return f"{url}?{'&'.join(asked)}" if asked else url
