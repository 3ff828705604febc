"""Where a judge leans: towards a position, the longer, the more formatted, or the response that names its author.

People lean too: many do prefer longer answers. So a leaning is the judge's rate minus people's on the same pairs, and
beside both stands the baseline "the longer one wins". It knows texts, labels and probabilities; whether people's own
leaning is right it does not know.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from genrm_engine.evaluation.agreement import Figure
from genrm_engine.evaluation.bootstrap import group_of
from genrm_engine.evaluation.figures import Values, means
from genrm_engine.evaluation.metrics import correct, lengths_of, longer_right
from genrm_engine.types import Choice, Judgement, LabelledPair

Sides = Mapping[str, Choice]
"""By item, the response that has a property, or more of it."""

HEADING = re.compile(r" {0,3}#{1,6} ")
ITEM = re.compile(r"\s*(?:[-*+]|\d{1,9}[.)]) ")
FENCE = re.compile(r" {0,3}(```|~~~)")
SPAN = re.compile(r"\*\*(?=\S)[^*\n]+(?<=\S)\*\*|__(?=\S)[^_\n]+(?<=\S)__|`[^`\n]+`")
"""Bold or code within a line."""


@dataclass(frozen=True, slots=True)
class Position:
    """How much the order says.

    ``first`` is the share of single-order verdicts for the response shown first (undecided ones count half), ``lean``
    the mean P(first) − ½, ``flips`` the share of pairs whose winner changes with the order.
    """

    first: Figure
    lean: Figure
    flips: Figure


@dataclass(frozen=True, slots=True)
class Leaning:
    """How the response with a property fares, over the pairs of which one response has it or has more of it.

    ``judge``, ``people`` and ``longer_wins`` are how often each chooses it (an undecided judge counts half), ``excess``
    is the judge's rate minus people's, paired. ``accuracy`` and ``baseline`` are how often the judge and "the longer
    one wins" agree with people; ``…_with`` and ``…_without`` the same where people chose the response with the
    property and where they chose the other, None where they never did.
    """

    judge: Figure
    people: Figure
    excess: Figure
    longer_wins: Figure
    accuracy: Figure
    baseline: Figure
    accuracy_with: Figure | None
    baseline_with: Figure | None
    accuracy_without: Figure | None
    baseline_without: Figure | None


@dataclass(frozen=True, slots=True)
class BiasReport:
    """A judge's leanings over ``n`` pairs in ``groups`` groups; None where no pair differs in that property.

    ``lead`` is its accuracy minus that of "the longer one wins", paired.
    """

    n: int
    groups: int
    accuracy: Figure
    longer_wins: Figure
    lead: Figure
    position: Position
    length: Leaning | None
    formatting: Leaning | None
    self_naming: Leaning | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def bias_report(
    judgements: Sequence[Judgement], rows: Sequence[LabelledPair], *, names_itself: Sides | None = None
) -> BiasReport | None:
    """The leanings on the rows that are judged; None where none is.

    ``names_itself`` are the pairs of which exactly one response says what model or company it is from, with its side.
    """
    said = {judgement.pair_id: judgement for judgement in judgements}
    judged = {row.pair.id: row for row in rows if row.pair.id in said}
    if not judged:
        return None
    groups = {item: row.pair.group for item, row in judged.items()}
    found = means(_quantities(judged, [said[item] for item in judged], names_itself or {}), groups)
    return BiasReport(
        n=len(judged),
        groups=len({group_of(item, groups) for item in judged}),
        accuracy=found["accuracy"],
        longer_wins=found["longer_wins"],
        lead=found["lead"],
        position=Position(found["first"], found["lean"], found["flips"]),
        length=_found("length", found),
        formatting=_found("formatting", found),
        self_naming=_found("self_naming", found),
    )


def richness(text: str) -> int:
    """How much Markdown a text holds: headings, list items, bold and code spans, and blocks of code, each once."""
    count, fence = 0, ""
    for line in text.splitlines():
        opened = FENCE.match(line)
        if opened and not fence:
            count, fence = count + 1, opened[1]
        elif fence:
            fence = "" if opened and opened[1] == fence else fence
        else:
            count += bool(HEADING.match(line)) + bool(ITEM.match(line)) + len(SPAN.findall(line))
    return count


def _quantities(
    judged: Mapping[str, LabelledPair], judgements: Sequence[Judgement], names_itself: Sides
) -> dict[str, Values]:
    """Everything that a mean is taken of, by name."""
    right = {one.pair_id: correct(one.p_a, judged[one.pair_id].choice) for one in judgements}
    baseline = longer_right(_choices(judged), {item: lengths_of(row) for item, row in judged.items()})
    found: dict[str, Values] = {
        "accuracy": right,
        "longer_wins": baseline,
        "lead": {item: right[item] - baseline[item] for item in right},
        **_position(judgements),
    }
    properties = {"length": _longer(judged), "formatting": _more_formatted(judged), "self_naming": names_itself}
    for name, sides in properties.items():
        of_judged = {item: side for item, side in sides.items() if item in judged}
        found |= {f"{name}.{part}": values for part, values in _leaning(of_judged, judged, right, baseline)}
    return found


def _choices(judged: Mapping[str, LabelledPair]) -> dict[str, Choice]:
    return {item: row.choice for item, row in judged.items()}


def _longer(judged: Mapping[str, LabelledPair]) -> dict[str, Choice]:
    return _more({item: lengths_of(row) for item, row in judged.items()})


def _more_formatted(judged: Mapping[str, LabelledPair]) -> dict[str, Choice]:
    return _more({item: (richness(row.pair.response_a), richness(row.pair.response_b)) for item, row in judged.items()})


def _more(amounts: Mapping[str, tuple[int, int]]) -> dict[str, Choice]:
    return {item: "a" if a > b else "b" for item, (a, b) in amounts.items() if a != b}


def _position(judgements: Sequence[Judgement]) -> dict[str, Values]:
    """P(first) is that of A in the straight order and that of B in the swapped one."""
    return {
        "first": {
            one.pair_id: (correct(one.p_a_straight, "a") + correct(one.p_a_swapped, "b")) / 2 for one in judgements
        },
        "lean": {one.pair_id: (one.p_a_straight - one.p_a_swapped) / 2 for one in judgements},
        "flips": {one.pair_id: float((one.p_a_straight - 0.5) * (one.p_a_swapped - 0.5) < 0) for one in judgements},
    }


def _leaning(
    sides: Sides, judged: Mapping[str, LabelledPair], right: Values, baseline: Values
) -> Iterator[tuple[str, Values]]:
    """The quantities of a ``Leaning``. Whoever agrees with people chooses the property where people chose it."""
    people = {item: float(judged[item].choice == side) for item, side in sides.items()}
    judge = {item: right[item] if people[item] else 1 - right[item] for item in sides}
    yield "judge", judge
    yield "people", people
    yield "excess", {item: judge[item] - people[item] for item in sides}
    yield "longer_wins", {item: baseline[item] if people[item] else 1 - baseline[item] for item in sides}
    chosen = {
        "": list(sides),
        "_with": [item for item in sides if people[item]],
        "_without": [item for item in sides if not people[item]],
    }
    for ending, items in chosen.items():
        yield f"accuracy{ending}", {item: right[item] for item in items}
        yield f"baseline{ending}", {item: baseline[item] for item in items}


def _found(name: str, found: Mapping[str, Figure]) -> Leaning | None:
    if f"{name}.judge" not in found:
        return None
    return Leaning(**{part: found.get(f"{name}.{part}") for part in Leaning.__slots__})  # type: ignore[arg-type]
