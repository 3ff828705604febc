"""How a run measures champion and candidate on the hold-out: as each of them is, or would be, at work."""

import json
from pathlib import Path
from typing import Any

from labeling.models import TrainingRun
from labeling.services import deployments, judge_reading, training

TOKENS_BEFORE = 1536
"""Of a prompt, in a run that began before that was a setting."""


def measured_by(run: TrainingRun, folder: Path) -> dict[str, Any]:
    """By which methods champion and candidate are measured, with how many samples and on how long prompts.

    Written to the run's folder the first time: a run that is taken over goes on as it began.
    """
    file = folder / "measured.json"
    if not file.exists():
        method = training.COUNTS[run.method]
        champion = deployments.counts_of(run.project, run.start) or method
        samples = max(1, run.project.samples_per_order)
        backends = {"champion": run.start.backend, "candidate": run.origin.backend}
        tokens = {who: judge_reading.prompt_tokens(backend) for who, backend in backends.items()}
        part = file.with_suffix(".writing")
        frozen = {"champion": champion, "candidate": method, "samples": samples, "prompt_tokens": tokens}
        part.write_text(json.dumps(frozen))
        part.replace(file)
    found: dict[str, Any] = json.loads(file.read_text())
    return {"prompt_tokens": dict.fromkeys(("champion", "candidate"), TOKENS_BEFORE), **found}
