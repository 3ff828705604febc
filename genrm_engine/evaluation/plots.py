"""A judge's figures as SVG files for print; draws what it is given and computes nothing.

Colours are Okabe and Ito's, which colour-blind people tell apart, and every line has a marker and a dash of its own, so
that a grey print can be read too. A file depends on its figures alone: the same figures give the same bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrm_engine.evaluation.calibration import Calibration, Reliability
from genrm_engine.evaluation.curves import Bin
from genrm_engine.evaluation.length import LengthFigures
from genrm_engine.types import Judgement

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, VERMILION, GREEN, BLACK, GREY = "#0072B2", "#D55E00", "#009E73", "#000000", "#777777"
_WIDTH, _HEIGHT = 4.6, 3.6  # inches: half a page
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "genrm",
    "svg.fonttype": "none",
}


@dataclass(frozen=True, slots=True)
class Point:
    """One place of a learning curve, with its interval where there is one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


def plot_reliability(file: Path, calibration: Calibration) -> None:
    """Observed share of A against the predicted one, as the judge says it and after the calibrations that were done.

    Intervals are drawn for the first alone, to keep the three apart.
    """
    drawn: list[tuple[str, Reliability | None, str, str]] = [
        ("as judged", calibration.before, BLUE, "o-"),
        ("temperature", calibration.after_temperature, VERMILION, "s--"),
        ("isotonic", calibration.after_isotonic, GREEN, "^:"),
    ]
    with _axes(file) as axes:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
        for name, reliability, color, dash in drawn:
            if reliability is not None:
                label = f"{name}, ECE {reliability.ece:.3f}"
                first = reliability is calibration.before
                _bins(axes, reliability.curve, label, color, dash, intervals=first)
        axes.set(xlabel="P(A is better)", ylabel="share of A among the labels", xlim=(0, 1), ylim=(0, 1))
        _legend(axes)


def plot_length(file: Path, figures: LengthFigures) -> None:
    """Accuracy against the difference in length, beside "the longer one wins"."""
    with _axes(file) as axes:
        axes.axhline(0.5, color=GREY, linewidth=0.8)
        _bins(axes, figures.judge, "judge", BLUE, "o-")
        _bins(axes, figures.longer_wins, "the longer one wins", VERMILION, "s--")
        axes.set(xlabel="difference in length, as a share of the longer", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
        _legend(axes)


def plot_position(file: Path, judgements: Sequence[Judgement]) -> None:
    """P(A) with A shown first against P(A) with B shown first: a judge that ignores position lies on the diagonal."""
    with _axes(file) as axes:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
        axes.axhline(0.5, color=GREY, linewidth=0.8, linestyle=":")
        axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
        for name, consistent, color, marker in (
            ("same winner", True, BLUE, "o"),
            ("the winner changes", False, VERMILION, "x"),
        ):
            rows = [row for row in judgements if row.consistent == consistent]
            axes.plot(
                [row.p_a_straight for row in rows],
                [row.p_a_swapped for row in rows],
                marker,
                color=color,
                markersize=3,
                alpha=0.5,
                label=f"{name}: {len(rows)}",
                rasterized=len(judgements) > 500,
            )
        axes.set(xlabel="P(A is better), A shown first", ylabel="P(A is better), B shown first")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        _legend(axes)


def plot_learning(
    file: Path,
    lines: Mapping[str, Sequence[Point]],
    *,
    levels: Mapping[str, float] | None = None,
    x: str = "iteration",
    y: str = "accuracy",
) -> None:
    """One line for each name (four at most) over ``x``, with its intervals, and named horizontal ``levels``."""
    dashes = [(BLUE, "o-"), (VERMILION, "s--"), (GREEN, "^:"), (BLACK, "D-.")]
    with _axes(file) as axes:
        for name, level in (levels or {}).items():
            axes.axhline(level, color=GREY, linewidth=0.8)
            axes.annotate(name, (0, level), xycoords=("axes fraction", "data"), ha="left", va="bottom", fontsize=7)
        for (name, points), (color, dash) in zip(lines.items(), dashes, strict=False):
            _line(axes, [(each.x, each.y, each.low, each.high) for each in points], name, color, dash)
        axes.set(xlabel=x, ylabel=y)
        places = sorted({point.x for points in lines.values() for point in points})
        axes.set_xticks(places, [f"{place:g}" for place in places])
        _legend(axes)


@contextmanager
def _axes(file: Path) -> Iterator["Axes"]:
    """Axes to draw on; the drawing is written to the file afterwards."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        yield figure.add_subplot()
        figure.savefig(file, format="svg", dpi=200, metadata={"Date": None, "Creator": None})


def _legend(axes: "Axes") -> None:
    """Above the axes, where it hides no point."""
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def _bins(axes: "Axes", bins: Sequence[Bin], name: str, color: str, dash: str, *, intervals: bool = True) -> None:
    points = [(each.x, each.y, *((each.low, each.high) if intervals else (None, None))) for each in bins]
    _line(axes, points, name, color, dash)


def _line(
    axes: "Axes",
    points: Sequence[tuple[float, float, float | None, float | None]],
    name: str,
    color: str,
    dash: str,
) -> None:
    below = [0.0 if low is None else max(0.0, y - low) for _, y, low, _ in points]
    above = [0.0 if high is None else max(0.0, high - y) for _, y, _, high in points]
    axes.errorbar(
        [point[0] for point in points],
        [point[1] for point in points],
        yerr=[below, above] if any(below) or any(above) else None,
        fmt=dash,
        color=color,
        label=name,
        markersize=4,
        linewidth=1.2,
        elinewidth=0.8,
        capsize=2,
    )
