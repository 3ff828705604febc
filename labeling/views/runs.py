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

PARTS = {
    "gate": "Accuracy on the gate part, which decides",
    "test": "Accuracy on the test part, only reported",
    "all": "Accuracy on the whole hold-out",
}
DETAILS = {
    "consistency": "Same winner in both orders",
    "unparsed_rate": "Answers without a verdict",
    "ece": "Calibration error",
}


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A judge's accuracy on a part of the hold-out, with its 95 % interval."""

    who: str
    n: int
    value: float | None
    low: float | None
    high: float | None

    @property
    def span(self) -> float:
        """Width of the interval."""
        return (self.high or 0.0) - (self.low or 0.0)


@dataclass(frozen=True, slots=True)
class Measured:
    """Champion and candidate side by side: judges, accuracies by part, and the gate part's other figures."""

    judges: list[tuple[str, str]]
    accuracies: list[tuple[str, list[Accuracy]]]
    details: list[tuple[str, list[float | None]]]


@page("GET")
def run(request: LabelerRequest, run_id: int) -> HttpResponse:
    found = access.run_for(request.user, run_id)
    context = {"run": found, "project": found.project, "measured": measured_of(found)}
    return render_page(request, "labeling/run.html", "run", context)


@page("POST")
def cancel(request: LabelerRequest, run_id: int) -> HttpResponse:
    found = access.run_for(request.user, run_id)
    try:
        training.cancel_run(found, by=request.user)
    except RunNotActive as error:
        messages.error(request, str(error))
    return redirect("labeling:run", run_id)


def measured_of(run: TrainingRun) -> Measured | None:
    """The hold-out figures of both judges; None until they are measured."""
    if not {"champion", "candidate"} <= run.metrics.keys():
        return None
    judges = [("champion", run.start.name), ("candidate", run.candidate.name if run.candidate else "candidate")]
    return Measured(
        judges=judges,
        accuracies=[
            (label, [_accuracy(who, run.metrics[who].get(part) or {}) for who, _ in judges])
            for part, label in PARTS.items()
        ],
        details=[
            (label, [(run.metrics[who].get("gate") or {}).get(field) for who, _ in judges])
            for field, label in DETAILS.items()
        ],
    )


def _accuracy(who: str, figures: dict[str, float | None]) -> Accuracy:
    low, high = figures.get("accuracy_low"), figures.get("accuracy_high")
    return Accuracy(who, int(figures.get("n") or 0), figures.get("accuracy"), low, high)
