"""Agreement, for adjudicators and managers: the engine's figures, as tables and a chart. Reckons none itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from django.http import HttpResponse
from django.shortcuts import render

from genrm_engine.evaluation.agreement import Figure
from genrm_engine.evaluation.agreement_matrix import AgreementMatrix, Cell, Rater
from genrm_engine.evaluation.resampled import LEAST
from genrm_engine.evaluation.slices import LEAST_IN_SLICE, LEAST_IN_WINDOW, Overall, Window
from labeling import access
from labeling.http import LabelerRequest, page
from labeling.models import Member
from labeling.services.agreement import Report, report_for

MOST_IN_MATRIX = 12
BANDS = (0.2, 0.4, 0.6, 0.8)
"""Where the shades of the matrix change: Landis and Koch's (1977) names for kappa, from slight to almost perfect."""
WIDTH, HEIGHT, PAD = 600, 200, 8


@dataclass(frozen=True, slots=True)
class Shade:
    """A cell of the matrix with its shade, 1 to 5; 0 where there is no kappa."""

    cell: Cell | None
    step: int


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the chart: its pieces (broken where a window has no figure) and a dot for each window."""

    name: str
    kind: str
    pieces: list[str]
    dots: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Figures over time in a box of ``width`` by ``height``, from ``low`` at the bottom to 1 at the top."""

    lines: list[Line]
    low: float
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def zero(self) -> float:
        """How far down nought is."""
        return _down(0.0, self.low)


@page("GET")
def agreement(request: LabelerRequest, slug: str) -> HttpResponse:
    project = access.project_for(request.user, slug, role=Member.Role.ADJUDICATOR)
    report = report_for(project)
    context = {
        "project": project,
        "report": report,
        "missing": missing_of(report),
        "matrix": shaded(report.matrix),
        "chart": chart_of(report.windows),
        "least": LEAST,
        "least_in_slice": LEAST_IN_SLICE,
        "least_in_window": LEAST_IN_WINDOW,
    }
    return render(request, "labeling/agreement.html", context)


def missing_of(report: Report) -> list[str]:
    """What a figure that is not there still needs, in sentences."""
    found: Overall = report.overall
    missing = []
    if found.shared < LEAST:
        missing.append(
            f"Agreement among people needs {LEAST} pairs with two labels or more; there are {found.shared}. "
            "A project's overlap says how many people label a pair."
        )
    elif found.alpha is None:
        missing.append("All labels are the same, so κ and α have no agreement by chance to correct for.")
    elif found.kappa is None:
        missing.append(f"Cohen’s κ needs two people who share {LEAST} pairs and do not always say the same.")
    if not report.judge:
        missing.append("This project has no judge to compare with people.")
    elif found.judged < LEAST:
        missing.append(
            "The judge is compared on hold-out and audit pairs that people have labelled: "
            f"it has judged {found.judged} of them, and {LEAST} are needed."
        )
    return missing


def shaded(matrix: AgreementMatrix) -> list[tuple[Rater, list[Shade | None]]]:
    """The rows of the matrix, of the people with most labels and the judge; None where a rater meets themselves."""
    places = [place for place, rater in enumerate(matrix.raters) if rater.judge or place < MOST_IN_MATRIX]
    cells = {(cell.first, cell.second): cell for cell in matrix.cells}
    return [
        (
            matrix.raters[row],
            [_shade(cells.get((min(row, column), max(row, column)))) if row != column else None for column in places],
        )
        for row in places
    ]


def _shade(cell: Cell | None) -> Shade:
    kappa = cell.kappa if cell else None
    return Shade(cell, 0 if kappa is None else 1 + sum(kappa.value >= band for band in BANDS))


def chart_of(windows: Sequence[Window]) -> Chart | None:
    """Agreement over time; None where there are not two windows."""
    if not windows:
        return None
    figures = [window.figures for window in windows]
    series = {
        ("Raw agreement among people", "raw"): [one.raw for one in figures],
        ("Krippendorff’s α among people", "alpha"): [one.alpha for one in figures],
        ("Accuracy of the judge", "judge"): [one.judge_accuracy for one in figures],
    }
    values = [figure.value for line in series.values() for figure in line if figure]
    low = min([0.0, *values])
    lines = [_line(name, kind, line, low) for (name, kind), line in series.items() if any(line)]
    return Chart(lines, low) if lines else None


def _line(name: str, kind: str, figures: Sequence[Figure | None], low: float) -> Line:
    across = (WIDTH - 2 * PAD) / (len(figures) - 1)
    dots = [
        None if figure is None else f"{PAD + place * across:.1f} {_down(figure.value, low):.1f}"
        for place, figure in enumerate(figures)
    ]
    pieces = [list(run) for there, run in groupby(dots, key=lambda dot: dot is not None) if there]
    return Line(name, kind, [_joined(piece) for piece in pieces], " ".join(f"M{dot}h0" for dot in dots if dot))


def _joined(dots: Iterable[str | None]) -> str:
    return " ".join(dot.replace(" ", ",") for dot in dots if dot)


def _down(value: float, low: float) -> float:
    return PAD + (1 - value) / (1 - low) * (HEIGHT - 2 * PAD)
