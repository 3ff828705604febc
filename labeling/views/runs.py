"""One training run: live while it works, its figures and its end afterwards, its frozen labels as a file."""

from dataclasses import dataclass

from django.contrib import messages
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect

from labeling import access, queries, run_files, run_queries, run_words
from labeling.errors import RunNotActive
from labeling.http import LabelerRequest, page, render_page
from labeling.models import TrainingRun
from labeling.services import claims, training

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
    claims.keep_away(run_queries.example_pairs(found), project=found.project, annotator=request.user)
    queue = run_queries.queue_for(found, request.user)
    costs, seconds = run_queries.costs_of(found)
    context = {
        "run": found,
        "project": found.project,
        "measured": measured_of(found),
        "phases": run_queries.phases_of(found),
        "seconds_left": run_queries.seconds_left(found),
        "queue": queue,
        "no_worker": found.active and not queries.live_workers("train"),
        "yields": run_queries.yields_of(found),
        "costs": costs,
        "seconds": seconds,
        "deployment": run_queries.deployment_of(found),
        "shortfalls": run_words.shortfalls_of(found.gate),
        "failure": run_words.failure_of(found) if found.state == TrainingRun.State.FAILED else None,
        "meaning": run_words.meaning_of(found),
        "options": run_words.options_of(found),
        "frozen": run_files.frozen(found),
    }
    return render_page(request, "labeling/run.html", "run", context)


@page("GET")
def snapshot(request: LabelerRequest, run_id: int) -> StreamingHttpResponse:
    """The run's frozen labels and configuration as a zip. Labels of people, so for managers, as the run itself is."""
    found = access.run_for(request.user, run_id)
    if not run_files.frozen(found):
        raise Http404("this run's labels are not frozen, or no longer kept")
    name = f"run-{found.pk}-{found.snapshot_sha256[:12]}.zip"
    return StreamingHttpResponse(
        run_files.archive(found),
        content_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


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
