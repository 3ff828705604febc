"""The judge's report: one version's figures in words, tables and curves, and what trusting it further would bring."""

from collections.abc import Sequence

from django import forms
from django.http import Http404, HttpResponse
from django.shortcuts import render

from labeling import access, queries
from labeling.http import LabelerRequest, page, wants_partial
from labeling.models import Deployment, Member, Pair, Project
from labeling.services import judge_report, trust, win_rates
from labeling.settings_forms import LIMITS
from labeling.views import judge_charts

TEMPLATE = "labeling/judge.html"
LEANINGS = [
    ("length", "Length", "the longer response", "one response is longer"),
    ("formatting", "Format", "the more formatted response", "one response holds more Markdown"),
    ("self_naming", "Self-naming", "the response that names its author", "just one response names its author"),
]
"""Name, title, what is chosen, and which pairs tell."""
LEAST_GROUPS = 10
"""With fewer groups an interval by group says little."""


class PlanForm(forms.Form):
    """What to plan for: labels more, or a confidence in per cent; empty fields stand for the defaults."""

    more = forms.IntegerField(
        label="More labels by people", required=False, min_value=0, max_value=100_000, error_messages=LIMITS
    )
    sure = forms.FloatField(
        label="Accept the judge from, confidence in %",
        required=False,
        min_value=50,
        max_value=100,
        error_messages=LIMITS,
        widget=forms.NumberInput(attrs={"step": "0.1"}),
    )


@page("GET")
def judge(request: LabelerRequest, slug: str) -> HttpResponse:
    project = access.project_for(request.user, slug, role=Member.Role.ADJUDICATOR)
    deployments = list(queries.deployments_for(project))
    context: dict[str, object] = {"project": project, "deployments": deployments, "shown": None}
    if not deployments:
        return render(request, TEMPLATE, context)
    shown = _shown(deployments, request.GET.get("version"))
    shown.project = project  # known already
    held = judge_report.held_out(shown)
    form = PlanForm(request.GET if {"more", "sure"} & request.GET.keys() else None, auto_id="plan-%s")
    context |= {"shown": shown, "form": form, **_plan(held, form)}
    if wants_partial(request, "planner"):
        return render(request, f"{TEMPLATE}#planner", context, status=422 if form.errors else 200)
    context |= _report(held) | _win_rates(project, deployments)
    return render(request, TEMPLATE, context, status=422 if form.errors else 200)


def _shown(deployments: Sequence[Deployment], version: str | None) -> Deployment:
    """The version that is asked for; without one the champion, or the newest where none reigns."""
    if version is None:
        reigning = [one for one in deployments if one.state == Deployment.State.CHAMPION]
        return (reigning or deployments)[0]
    for one in deployments:
        if str(one.judge_id) == version:
            return one
    raise Http404("no such version in this project")


def _plan(held: judge_report.Held, form: PlanForm) -> dict[str, object]:
    asked = form.cleaned_data if form.is_valid() else {}
    more, sure = asked.get("more"), asked.get("sure")
    plan = judge_report.plan_of(
        held,
        more=judge_report.MORE if more is None else more,
        confidence=None if sure is None else sure / 100,
    )
    if not form.is_bound:
        chosen = plan.chosen.threshold if plan.chosen else judge_report.CONFIDENCE
        form.initial = {"more": judge_report.MORE, "sure": f"{round(100 * chosen, 1):g}"}
    parts = " and ".join(Pair.Part(part).label.removeprefix("hold-out: ") for part in trust.TESTED_ON)
    return {"plan": plan, "parts_tested": parts}


def _report(held: judge_report.Held) -> dict[str, object]:
    """Everything on the version itself."""
    deployment, report = held.deployment, judge_report.report_of(held)
    said = {one.pair_id for one in held.judged}
    judged = [row.pair.part for row in held.rows if str(row.pair.pk) in said]
    fitted = judged.count(trust.FITTED_ON)
    return {
        "report": report,
        "held_rows": len(held.rows),
        "leanings": [
            (title, phrase, getattr(report.bias, name, None), differs) for name, title, phrase, differs in LEANINGS
        ],
        "few_groups": 0 < report.figures.groups < LEAST_GROUPS,
        "calibration": judge_charts.calibration_of(deployment.calibration),
        "fitted": fitted,
        "measured": len(judged) - fitted,
        "selection": judge_charts.selection_of(deployment.thresholds),
        "alone": trust.labels_alone(deployment),
        "champion_shown": deployment.state == Deployment.State.CHAMPION,
    }


def _win_rates(project: Project, deployments: Sequence[Deployment]) -> dict[str, object]:
    """The champion's, whichever version is shown."""
    champion = next((one for one in deployments if one.state == Deployment.State.CHAMPION), None)
    if champion is None:
        return {"win_lines": []}
    return {
        "champion": champion,
        "win_lines": [judge_charts.win_line_of(line) for line in win_rates.win_rates(project)],
        "audit_only": win_rates.audit_only(project, champion),
    }
