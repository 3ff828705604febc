"""What a run cost and what made it: seconds by phase, tokens, versions of the packages. Reads files, knows no row."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genrm_engine.files import read_appended

JUDGED = ("champion", "candidate")


class Clock:
    """Seconds by phase, on top of those that earlier attempts of a run took."""

    def __init__(self, so_far: Mapping[str, float]) -> None:
        self._seconds = dict(so_far)
        self._last = time.monotonic()

    def lap(self, phase: str) -> dict[str, float]:
        """Count the time since the last lap to the phase, and return what every phase took."""
        now = time.monotonic()
        self._seconds[phase] = self._seconds.get(phase, 0.0) + now - self._last
        self._last = now
        return {name: round(seconds, 2) for name, seconds in self._seconds.items()}


def tokens_of(folder: Path) -> int:
    """Tokens trained on, sampled and judged in a run's folder, by all its attempts.

    The files are only ever appended to, so that nothing is lost with a killed worker, and nothing counted twice.
    """
    told = read_appended(folder / "training" / "progress.jsonl")
    judged = [row for who in JUDGED for row in read_appended(folder / who / "judgements.jsonl")]
    return sum(int(row.get("tokens") or 0) for row in [*told, *judged])


def versions_of(judge: Path) -> dict[str, str]:
    """The packages that a judge was trained with, as its ``run.json`` names them; empty where there is none."""
    about = _about(judge)
    versions = {**about.get("versions", {}), "python": about.get("python")}
    return {name: str(version) for name, version in versions.items() if version}


def left_out_of(judge: Path) -> int:
    """How many labelled pairs were too long for the judge to be trained on."""
    return int(_about(judge).get("metrics", {}).get("pairs_left_out") or 0)


def _about(judge: Path) -> dict[str, Any]:
    file = judge / "run.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found
