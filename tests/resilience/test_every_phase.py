"""A training run whose worker is killed in every phase, one after the other: it ends as if nothing had been."""

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from genrm_engine.embedded import ensure_converted
from labeling.models import Deployment, Judgement, JudgeVersion, Project, TrainedPair, TrainingRun
from labeling.services import training
from tests.engine.conftest import shared_home
from tests.factories import DeploymentFactory, JudgeVersionFactory, LabelFactory, PairFactory, ProjectFactory
from tests.resilience.conftest import Stack
from tests.short_pairs import short_row

pytestmark = [pytest.mark.slow, pytest.mark.model, pytest.mark.xdist_group("torch"), pytest.mark.timeout(1800)]

TRAINING, HELD_OUT = 16, 17
SMALL = {
    "samples_per_order": 1,
    "max_rationale_tokens": 8,
    "verdict_draws": 8,
    "epochs": 1.0,
    "batch_size": 4,
    "checkpoints": 3,
}
"""Of the run's frozen configuration: as little as still samples, trains on preferences and writes checkpoints."""


def short_pair(project: Project, number: int, **fields: Any) -> None:
    row = short_row(number)
    texts = {name: row[name] for name in ("response_a", "response_b")}
    pair = PairFactory.create(project=project, prompt=[{"role": "user", "content": row["prompt"]}], **texts, **fields)
    LabelFactory.create(pair=pair, choice=row["labels"][0]["choice"])


@pytest.fixture
def queued(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> TrainingRun:
    """A STaR-DPO run of the real small model on a handful of short pairs, which no worker has taken yet."""
    weights = ensure_converted(shared_home(), progress=print)
    project = ProjectFactory.create(samples_per_order=1, guidelines="")
    judge = JudgeVersionFactory.create(backend="transformers", base_model="the small model", weights=str(weights))
    DeploymentFactory.create(project=project, judge=judge)
    for number in range(TRAINING + HELD_OUT):
        part = "" if number < TRAINING else ("gate", "gate", "test")[number % 3]
        short_pair(project, number, part=part)
    monkeypatch.setattr(training, "LEAST_TRAINING", TRAINING)
    monkeypatch.setattr(training, "LEAST_GATE", 10)
    run = training.request_run(project, method="star-dpo", trigger="button")
    TrainingRun.objects.filter(pk=run.pk).update(config={**run.config, **SMALL})
    return run


def rows(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file that may be written just now."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_killed_in_every_phase_a_run_still_ends_in_one_decision(stack: Stack, queued: TrainingRun) -> None:
    folder = stack.home / "runs" / str(queued.pk)
    stack.start("beat", "default", "train")
    under_way: dict[str, Callable[[], object]] = {
        "snapshot": lambda: True,  # as soon as it is taken: freezing the labels takes a few milliseconds
        "sampling": lambda: rows(folder / "training" / "samples.jsonl"),
        "training": lambda: list(folder.glob("training/checkpoints/*/checkpoint-*/complete")),
        "champion": lambda: rows(folder / "champion" / "judgements.jsonl"),
        "candidate": lambda: rows(folder / "candidate" / "judgements.jsonl"),
        "gate": lambda: True,
    }
    hit, hashes = [], set()
    for phase, condition in under_way.items():
        kill_in(stack, queued, phase, condition)
        queued.refresh_from_db()
        if not queued.active:
            break  # the decision was faster than the signal
        hit.append(queued.phase)
        hashes.add(queued.snapshot_sha256)
        stack.start("train")
    assert hit[1:5] == list(under_way)[1:5]
    stack.wait(lambda: not TrainingRun.objects.get().active, seconds=500, what="the end of the run")
    queued.refresh_from_db()
    assert queued.state in (TrainingRun.State.PROMOTED, TrainingRun.State.REJECTED), queued.error
    assert queued.attempts == len(hit) + 1
    assert hashes - {""} == {queued.snapshot_sha256}
    one_of_everything(queued)
    nothing_computed_twice(stack, queued, folder)


def kill_in(stack: Stack, run: TrainingRun, phase: str, condition: Callable[[], object]) -> None:
    """kill -9 as soon as the row tells the phase and there is something to lose in it."""
    deadline = time.monotonic() + 500
    while not (reached(run, phase) and condition()):
        if time.monotonic() > deadline:
            stack.wait(lambda: False, seconds=0, what=f"the phase {phase}")
        time.sleep(0.02 if phase != "snapshot" else 0.002)
    stack.kill("train")


def reached(run: TrainingRun, phase: str) -> bool:
    state, now = TrainingRun.objects.values_list("state", "phase").get(pk=run.pk)
    if phase == "snapshot":
        return bool(state == TrainingRun.State.RUNNING)
    assert state == TrainingRun.State.RUNNING or phase == "gate", f"the run ended before the phase {phase}"
    return now == phase or state not in TrainingRun.ACTIVE


def one_of_everything(run: TrainingRun) -> None:
    """One candidate, deployed once, beside one champion; every judgement and every trained pair once."""
    assert TrainingRun.objects.count() == 1
    candidate = JudgeVersion.objects.get(method="star-dpo")
    assert run.candidate == candidate
    assert candidate.parent == run.origin
    ends = dict(Deployment.objects.values_list("judge", "state"))
    if run.state == TrainingRun.State.PROMOTED:
        assert ends == {run.start_id: "retired", candidate.pk: "champion"}
    else:
        assert ends == {run.start_id: "champion", candidate.pk: "rejected"}
    made = Counter(Judgement.objects.values_list("judge", "method"))
    assert made == {(run.start_id, "score"): HELD_OUT, (candidate.pk, "cot"): HELD_OUT}, "each as it counts"
    assert set(Judgement.objects.values_list("pair__part", flat=True)) == {"gate", "test"}
    assert TrainedPair.objects.filter(run=run, pair__part="").count() == TRAINING
    assert TrainedPair.objects.count() == TRAINING
    assert run.gate["conditions"]


def nothing_computed_twice(stack: Stack, run: TrainingRun, folder: Path) -> None:
    """What an attempt had sampled and judged the next one has found again; its training went on from a checkpoint."""
    asked = Counter((row["iteration"], row["key"]) for row in rows(folder / "training" / "samples.jsonl"))
    assert set(asked.values()) == {1}
    assert len(asked) == 2 * TRAINING
    for who in ("champion", "candidate"):
        judged = Counter(row["pair_id"] for row in rows(folder / who / "judgements.jsonl"))
        assert set(judged.values()) == {1}
        assert len(judged) == HELD_OUT
    steps = [(point["stage"], point["step"]) for point in run.curve]
    assert len(steps) == len(set(steps))
    assert [step for _stage, step in steps] == list(range(1, run.curve[-1]["steps"] + 1))
    assert run.candidate is not None
    about = json.loads(Path(stack.home, run.candidate.weights, "run.json").read_text())
    assert '"resumed_from": "checkpoint-' in json.dumps(about), "it was trained from the beginning again"
    assert not (folder / "training" / "checkpoints").exists()
