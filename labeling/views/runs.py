"""One training run: live while it works, its figures and its end afterwards."""

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect

from labeling import access
from labeling.errors import RunNotActive
from labeling.http import LabelerRequest, page, render_page
from labeling.models import TrainingRun
from labeling.services import training


@dataclass(frozen=True, slots=True)
class Measured:
    """A judge's figures on the hold-out."""

    who: str
    name: str
    metrics: dict[str, float | None]

    @property
    def span(self) -> float:
        """Width of the accuracy's interval."""
        return (self.metrics.get("accuracy_high") or 0.0) - (self.metrics.get("accuracy_low") or 0.0)


@page("GET")
def run(request: LabelerRequest, run_id: int) -> HttpResponse:
    found = access.run_for(request.user, run_id)
    context = {"run": found, "project": found.project, "measured": measured_of(found)}
    return render_page(request, "labeling/run.html", "run", **context)


@page("POST")
def cancel(request: LabelerRequest, run_id: int) -> HttpResponse:
    found = access.run_for(request.user, run_id)
    try:
        training.cancel_run(found, by=request.user)
    except RunNotActive as error:
        messages.error(request, str(error))
    return redirect("labeling:run", run_id)


def measured_of(run: TrainingRun) -> list[Measured]:
    """Champion and candidate side by side; empty until they are measured."""
    names = {"champion": run.start.name, "candidate": run.candidate.name if run.candidate else "candidate"}
    return [
        Measured(who=who, name=name, metrics=run.metrics[who])
        for who, name in names.items()
        if isinstance(run.metrics.get(who), dict)
    ]
