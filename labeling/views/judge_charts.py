"""Stored and measured figures as the judge's report draws and words them: places in a chart, sentences, bars."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labeling.services.win_rates import ModelLine
from labeling.templatetags.tandem import percent

LEFT, TOP, SIDE = 44, 12, 264
"""Where the square of the reliability curve lies in its drawing."""
HALF = 4.5
METHODS = [("before", "as the judge says it"), ("after_temperature", "temperature"), ("after_isotonic", "isotonic")]


@dataclass(frozen=True, slots=True)
class Dot:
    """A bin of the reliability curve, in the drawing's coordinates; ``top`` and ``bottom`` are its interval."""

    x: float
    y: float
    top: float
    bottom: float

    @property
    def corner(self) -> tuple[float, float]:
        """Of the square that marks it."""
        return self.x - HALF, self.y - HALF


@dataclass(frozen=True, slots=True)
class Line:
    """A reliability curve: its name as a class, its dots, and the points of the line through them."""

    name: str
    dots: tuple[Dot, ...]

    @property
    def points(self) -> str:
        return " ".join(f"{dot.x:.1f},{dot.y:.1f}" for dot in self.dots)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is stored of a calibration: figures by method, the two curves, and their bins side by side."""

    labels: int
    n: int
    temperature: float | None
    problem: str
    methods: list[tuple[str, Mapping[str, Any]]]
    lines: list[Line]
    bins: list[tuple[float, float, list[Mapping[str, Any] | None]]]


@dataclass(frozen=True, slots=True)
class Selection:
    """What selective labelling found, as a sentence, with the thresholds it tested."""

    found: bool
    sentence: str
    wished: float
    certainty: float
    tested: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Bar:
    """A share with its interval; the drawing ends at 0 and 1, the figures do not."""

    value: float
    low: float
    high: float

    @property
    def start(self) -> float:
        return min(max(self.low, 0.0), 1.0)

    @property
    def span(self) -> float:
        return min(max(self.high, 0.0), 1.0) - self.start

    @property
    def mark(self) -> float:
        return min(max(self.value, 0.0), 0.992)


@dataclass(frozen=True, slots=True)
class WinLine:
    """A response model's line in the table of win rates."""

    model: str
    missing: str
    labels: int = 0
    pairs: int = 0
    worth: int = 0
    both: Bar | None = None
    people: Bar | None = None
    left_out: int = 0


def calibration_of(stored: Mapping[str, Any]) -> Calibration | None:
    """None where nothing is stored."""
    if not stored:
        return None
    methods = [(label, stored[name]) for name, label in METHODS if stored.get(name)]
    curves = [("before", stored["before"]["curve"])]
    if stored.get("after_temperature"):
        curves.append(("after", stored["after_temperature"]["curve"]))
    starts = sorted({(one["start"], one["end"]) for _, curve in curves for one in curve})
    return Calibration(
        labels=stored["labels"],
        n=stored["n"],
        temperature=stored.get("temperature"),
        problem="" if stored.get("after_temperature") else stored["fitted_on"].removeprefix("nothing: "),
        methods=methods,
        lines=[Line(name, tuple(_dot(one) for one in curve)) for name, curve in curves],
        bins=[(start, end, [_bin(curve, start) for _, curve in curves]) for start, end in starts],
    )


def selection_of(stored: Mapping[str, Any]) -> Selection | None:
    """None where no label was there to test on."""
    if not stored:
        return None
    tested = [{**one, "agreement": 1 - one["disagreements"] / one["n"]} for one in stored["tested"]]
    return Selection(
        found=stored["threshold"] is not None,
        sentence=_sentence(stored, tested),
        wished=stored["wished"],
        certainty=stored["certainty"],
        tested=tested,
    )


def win_line_of(line: ModelLine) -> WinLine:
    found = line.found
    if found is None:
        return WinLine(line.model, line.missing)
    return WinLine(
        model=line.model,
        missing="",
        labels=found.n,
        pairs=found.items,
        worth=round(found.effective_n),
        both=Bar(found.estimate, found.low, found.high),
        people=Bar(found.classical, found.classical_low, found.classical_high),
        left_out=line.left_out,
    )


def _sentence(stored: Mapping[str, Any], tested: Sequence[Mapping[str, Any]]) -> str:
    wish = percent(stored["wished"])
    if stored["threshold"] is not None:
        return (
            f"From {percent(stored['threshold'])} on the judge agrees with people in at least {wish} of the pairs, "
            f"a tie being no agreement ({percent(stored['certainty'])} certain): "
            f"{percent(stored['coverage'])} of the pairs."
        )
    if stored["labels_missing"] is not None:
        missing = f"about {stored['labels_missing']} more hold-out labels are missing"
        return f"No confidence meets the wish of {wish}; {missing}."
    surest = tested[0]
    return (
        f"No confidence meets the wish of {wish}. Going by the {surest['n']} pairs of which the judge is surest, more "
        f"labels will not help, but a better judge may: there it agrees with people in {percent(surest['agreement'])}, "
        + ("too close to the wish." if surest["agreement"] > stored["wished"] else "no more than is wished.")
    )


def _dot(one: Mapping[str, Any]) -> Dot:
    return Dot(LEFT + SIDE * one["x"], _down(one["y"]), _down(one["high"]), _down(one["low"]))


def _down(share: float) -> float:
    """A share's place from the top."""
    return TOP + SIDE * (1 - share)


def _bin(curve: Sequence[Mapping[str, Any]], start: float) -> Mapping[str, Any] | None:
    return next((one for one in curve if one["start"] == start), None)
