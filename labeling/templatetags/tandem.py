"""Template filters of the pages: Markdown, times and shares in words, and the points of a chart. They never query."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django import template
from django.template import Context
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from labeling.keymap import KeyTable
from labeling.markdown import render
from labeling.models import Consensus

register = template.Library()

STORED = {"a": "A is better", "b": "B is better", "tie": "Tie", "both_bad": "Both bad"}
SHOWN = {"left": "Left is better", "right": "Right is better", "tie": "Tie", "both_bad": "Both bad"}
ROLES = {"user": "Prompt", "assistant": "Earlier answer", "system": "System message"}


@register.filter
def markdown(text: str) -> SafeString:
    return render(text or "")


@register.simple_tag(takes_context=True)
def keys_for(context: Context, *actions: str) -> str:
    """All keys of these actions as `data-key` takes them, of the user and the project's scale."""
    table, graded = _keys(context)
    return " ".join(key for action in actions for key in table.for_action(action, graded=graded))


@register.simple_tag(takes_context=True)
def kbd(context: Context, *actions: str) -> SafeString:
    """The keys printed on the buttons of these actions; nothing where the scale has no such action."""
    table, graded = _keys(context)
    printed = [table.printed(action, graded=graded) for action in actions]
    return format_html_join("", "<kbd>{}</kbd>", ((key,) for key in printed if key))


def _keys(context: Context) -> tuple[KeyTable, bool]:
    return context["keys"], context["project"].scale == "graded"


@register.filter
def choice(value: str) -> str:
    """A verdict in words, in stored or in shown order."""
    return STORED.get(value) or SHOWN.get(value, value)


@register.filter
def side(value: str) -> str:
    """A stored verdict in the shortest words: A, B, tie, both bad."""
    return value.upper() if value in ("a", "b") else value.replace("_", " ")


@register.filter
def role(value: str) -> str:
    """Whose words a chat message holds."""
    return ROLES.get(value, value)


@register.filter
def percent(value: object) -> str:
    """A share in per cent; a dash for a figure that is missing (a template hands "" for it)."""
    return f"{100 * value:.0f} %" if isinstance(value, int | float) else "–"


@register.filter
def support(consensus: Consensus) -> str:
    """By how many of its labels a consensus stands, or how probable it is; nothing where somebody settled it."""
    share = percent(consensus.confidence)
    by_method = {
        Consensus.Method.MAJORITY: f"{share} of {consensus.labels}",
        Consensus.Method.DAWID_SKENE: f"{share} likely",
    }
    return by_method.get(Consensus.Method(consensus.method), "")


@register.filter
def points(value: object) -> str:
    """A difference of two shares, signed."""
    if not isinstance(value, int | float):
        return "–"
    rounded = round(100 * value, 1)
    sign = "−" if rounded < 0 else "+"
    return f"{sign}{abs(rounded):.1f} points"


@register.filter
def duration(seconds: float | None) -> str:
    """A time a person can plan with: "40 s", "about 5 min", "about 2.5 h"."""
    if seconds is None or not math.isfinite(seconds):
        return "unknown"
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"


@register.filter
def thousands(value: object) -> str:
    """A count with its thousands set apart."""
    return f"{value:,}" if isinstance(value, int) else "–"


@register.filter
def words(name: str) -> str:
    """A field's name as words: "dpo_pairs" is "dpo pairs"."""
    return name.replace("_", " ")


@register.filter
def figure(value: object) -> str:
    """A number of an unknown kind: a count as it is, a fraction with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True)
class Chart:
    """A curve in a box of `width` by `height`, with the values at its ends."""

    points: str
    width: int
    height: int
    first: float
    last: float
    lowest: float
    highest: float
    steps: int


@register.filter
def curve_chart(rows: Sequence[Mapping[str, object]], of: str = "loss") -> Chart | None:
    """A figure over the steps; None before there are two points."""
    found = [row.get(of) for row in rows]
    values = [float(value) for value in found if isinstance(value, int | float) and math.isfinite(value)]
    if len(values) < 2:
        return None
    width, height, pad = 600, 120, 4
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    across = (width - 2 * pad) / (len(values) - 1)
    dots = (
        f"{pad + index * across:.1f},{pad + (high - value) / span * (height - 2 * pad):.1f}"
        for index, value in enumerate(values)
    )
    return Chart(" ".join(dots), width, height, values[0], values[-1], low, high, _steps(rows))


def _steps(rows: Sequence[Mapping[str, object]]) -> int:
    """How many steps the rows reach: the last one of every stage, one stage after the other."""
    last: dict[object, int] = {}
    for row in rows:
        step = row.get("step")
        last[row.get("stage")] = int(step) if isinstance(step, int | float) else last.get(row.get("stage"), 0) + 1
    return sum(last.values())
