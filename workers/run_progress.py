"""What a run's row tells while the engine works: message, log, curve, yields, examples. Writes nothing."""

from typing import Any

from django.utils import timezone

from labeling.models import TrainingRun
from labeling.services.texts import storable
from workers.engine_process import ProgressLine

LOG_LINES = 400
EXAMPLES = 4
"""Rationales with the right verdict, and as many with the wrong one, that the row keeps."""
POINT = ("stage", "step", "steps", "loss", "reward_margin")


def fields(run: TrainingRun, lines: list[ProgressLine], low: float, high: float) -> dict[str, Any]:
    """What the row's fields become by these lines, which tell of the run's progress between ``low`` and ``high``."""
    last = lines[-1]
    found: dict[str, Any] = {
        "message": storable(str(last.get("message") or ""))[:300],
        "progress": low + (high - low) * float(last.get("fraction") or 0.0),
        "log": logged(run, *(str(line.get("message") or "") for line in lines)),
    }
    points = [{key: line[key] for key in POINT if key in line} for line in lines if "loss" in line]
    if points:
        found["curve"] = curve(run.curve, points)
    for line in lines:
        if "yields" in line:
            told = {one["iteration"]: one for one in [*found.get("yields", run.yields), line["yields"]]}
            found["yields"] = [told[number] for number in sorted(told)]
        if "examples" in line:
            found["examples"] = examples(found.get("examples", run.examples), line["examples"])
    return found


def curve(known: list[ProgressLine], added: list[ProgressLine]) -> list[ProgressLine]:
    """All points; those that a resumed run computes again give way to the new ones."""
    again: dict[str, int] = {}
    for point in added:
        again.setdefault(str(point.get("stage")), point["step"])
    only = next(iter(again)) if len(again) == 1 else ""
    kept = [one for one in known if one["step"] < again.get(str(one.get("stage", only)), one["step"] + 1)]
    return [*kept, *added]


def examples(known: list[ProgressLine], added: list[ProgressLine]) -> list[ProgressLine]:
    """The first few with the right verdict, then the first few with the wrong one."""
    told: dict[bool, dict[str, ProgressLine]] = {True: {}, False: {}}
    for one in [*known, *added]:
        text = storable(one["text"])
        told[one["right"]].setdefault(text, {**one, "text": text})
    return [one for kind in told.values() for one in list(kind.values())[:EXAMPLES]]


def logged(run: TrainingRun, *messages: str) -> str:
    """The run's log with these messages; the newest lines of it."""
    now = timezone.now().strftime("%H:%M:%S")
    lines = [*run.log.splitlines(), *(f"{now} {storable(message)}" for message in messages if message)]
    return "\n".join(lines[-LOG_LINES:])
