"""A training run from snapshot to gate: each phase leaves a file, so that a run taken over goes on where it was."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.utils import timezone

from genrm_engine.evaluation import gate, metrics
from genrm_engine.prompts import PROMPT_VERSION, prompt_hash
from genrm_engine.types import Choice, as_choice
from genrm_engine.types import Judgement as EngineJudgement
from genrm_engine.weights import weights_sha256
from labeling.models import JudgeVersion, Pair, TrainingRun
from labeling.queries import DEVICES
from labeling.services import datasets, deployments, judging, training
from workers.engine_process import Ended, ProgressLine, run_engine
from workers.resident import weights_of

LOG_LINES = 400
EXAMPLES = 8
SNAPSHOT = ("train.jsonl", "older.jsonl", "holdout.jsonl")
"""Pairs new to the judge that is trained further, those it has seen, and those no judge trains on."""
SHARES = {"snapshot": (0.0, 0.01), "training": (0.01, 0.75), "champion": (0.75, 0.87), "candidate": (0.87, 0.99)}

log = structlog.get_logger(__name__)


class Stopped(Exception):
    """The run was cancelled, or is no longer this worker's."""


class EngineFailed(Exception):
    """The engine gave up; the message is for the person."""


def execute(run: TrainingRun) -> None:
    """Bring the run to its end: promoted, rejected, failed or cancelled."""
    folder = Path(settings.HOME, "runs", str(run.pk))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _snapshot(run, folder)
        _train(run, folder)
        candidate = _register(run, folder)
        judged = {
            "champion": _evaluate(run, folder, run.start, "champion"),
            "candidate": _evaluate(run, folder, candidate, "candidate"),
        }
        _decide(run, folder, candidate, judged)
    except Stopped:
        training.finish(run, TrainingRun.State.CANCELLED, "Cancelled")
    except EngineFailed as error:
        training.fail(run, str(error))
    else:
        shutil.rmtree(folder / "training" / "checkpoints", ignore_errors=True)


def _snapshot(run: TrainingRun, folder: Path) -> None:
    """Freeze the new, the older and the hold-out rows; a run taken over finds its own again."""
    files = [folder / name for name in SNAPSHOT]
    training.report(run, phase="snapshot", message="Freezing the labels")
    if not all(file.exists() for file in files):
        fresh = datasets.refresh_gate(run.project)
        new, older = training.divided(datasets.training_rows(run.project), run.origin, run.project)
        for file, rows in zip(files, (new, older, datasets.holdout_rows(run.project)), strict=True):
            _write_rows(file, rows)
        training.trains_on(run, [row.pair.pk for row in new])
        if fresh:
            training.report(run, log=_logged(run, f"{fresh} audit groups joined the gate part"))
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
    if run.snapshot_sha256 and run.snapshot_sha256 != digest:
        raise EngineFailed("The frozen labels of this run were changed on disk.")
    new_count, older_count, held_out = (len(_rows(file)) for file in files)
    replayed = min(older_count, round(run.config.get("replay_share", 0.0) * new_count))
    frozen = f"{new_count} new, {replayed} of {older_count} older and {held_out} hold-out pairs, sha256 {digest[:12]}"
    training.report(
        run,
        snapshot_sha256=digest,
        training_pairs=new_count,
        replay_pairs=replayed,
        holdout_pairs=held_out,
        log=_logged(run, frozen),
    )


def _train(run: TrainingRun, folder: Path) -> None:
    if _candidate(run) is not None:
        return
    config = {**run.config, "model": str(weights_of(run.origin))}
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    out = folder / "training"
    arguments = ["train", "--config", str(folder / "config.json"), "--train", str(folder / "train.jsonl")]
    if _rows(folder / "older.jsonl"):
        arguments += ["--replay", str(folder / "older.jsonl")]
    _engine(run, arguments, out, phase="training")


def _register(run: TrainingRun, folder: Path) -> JudgeVersion:
    """The trained weights become an immutable judge version of the installation."""
    known = _candidate(run)
    if known is not None:
        training.report(run, candidate=known)
        return known
    weights = Path("judges", _name(run))
    target = Path(settings.HOME, weights)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / "training" / "judge").replace(target)
    judge = JudgeVersion.objects.create(
        name=_name(run),
        method=run.method,
        parent=run.origin,
        backend=run.origin.backend,
        base_model=run.origin.base_model,
        weights=str(weights),
        weights_sha256=weights_sha256(target),
        prompt_version=PROMPT_VERSION,
        prompt_hash=prompt_hash(),
    )
    training.report(run, candidate=judge, log=_logged(run, f"Weights written as {judge.name}"))
    return judge


def _evaluate(run: TrainingRun, folder: Path, judge: JudgeVersion, who: str) -> list[EngineJudgement]:
    """Judge the hold-out with one of the two, by the method that the candidate was made for."""
    method = training.COUNTS[run.method]
    out = folder / who
    arguments = ["evaluate", "--model", str(weights_of(judge)), "--data", str(folder / "holdout.jsonl")]
    arguments += ["--method", method, "--samples", str(max(1, run.project.samples_per_order))]
    arguments += ["--device", settings.ENV.device, "--plain"]
    (folder / "rubric.txt").write_text(str(run.config.get("rubric", "")), encoding="utf-8")
    arguments += ["--rubric", str(folder / "rubric.txt")]
    _engine(run, arguments, out, phase=who)
    judged = [EngineJudgement.from_json(row) for row in _rows(out / "judgements.jsonl")]
    for row in judged:
        if Pair.objects.filter(pk=row.pair_id).exists():
            judging.store_judgement(int(row.pair_id), judge, row)
    return judged


def _decide(run: TrainingRun, folder: Path, candidate: JudgeVersion, judged: dict[str, list[EngineJudgement]]) -> None:
    """The gate reads the gate part; the test part is only reported."""
    training.report(run, phase="gate", message="Deciding", progress=0.99)
    rows = _rows(folder / "holdout.jsonl")
    parts = dict(Pair.objects.filter(pk__in=[row["id"] for row in rows]).values_list("pk", "part"))
    by_part = {
        part: [row for row in rows if part in ("all", parts.get(int(row["id"])))] for part in ("gate", "test", "all")
    }
    figures = {
        who: {part: _figures(judgements, by_part[part]) for part in by_part} for who, judgements in judged.items()
    }
    choices, groups = _choices(by_part["gate"]), _groups(by_part["gate"])
    gold: dict[str, Choice] = {row["id"]: as_choice(row["gold"]) for row in rows if row.get("gold")}
    decision = gate.decide(
        judged["champion"], judged["candidate"], choices, groups, gold=gold, lengths=_lengths(by_part["gate"])
    )
    counts = training.COUNTS[run.method]
    end = deployments.promote if decision.promote else deployments.reject
    end(run.project, candidate, counts=counts, gate=decision.to_json(), by=None)
    state = TrainingRun.State.PROMOTED if decision.promote else TrainingRun.State.REJECTED
    message = f"{candidate.name} is the new champion" if decision.promote else f"{run.start.name} stays champion"
    training.finish(
        run,
        state,
        message,
        phase="done",
        progress=1.0,
        metrics=figures,
        gate=decision.to_json(),
        log=_logged(run, *decision.reasons, message),
    )


def _engine(run: TrainingRun, arguments: list[str], out: Path, *, phase: str) -> None:
    command = [*arguments, "--out", str(out), "--lease-folder", str(settings.HOME / DEVICES)]
    command += ["--holder", f"training run {run.pk}"]
    if settings.ENV.train_threads:
        command += ["--threads", str(settings.ENV.train_threads)]
    training.report(run, phase=phase, message=_STARTING[phase], progress=SHARES[phase][0])
    ended = run_engine(command, out=out, tick=_ticker(run, phase))
    if ended.cancelled:
        raise Stopped
    if ended.code:
        raise EngineFailed(_reason(ended))


_STARTING = {
    "training": "Starting to train",
    "champion": "Measuring the champion on the hold-out",
    "candidate": "Measuring the candidate on the hold-out",
}


def _reason(ended: Ended) -> str:
    if ended.code < 0:
        return f"{ended.errors}\nThe training process was killed by signal {-ended.code} (out of memory?)."
    return ended.errors or f"The training process ended with code {ended.code}."


def _ticker(run: TrainingRun, phase: str) -> Callable[[list[ProgressLine]], bool]:
    low, high = SHARES[phase]

    def tick(lines: list[ProgressLine]) -> bool:
        if not training.heartbeat(run) or training.cancel_requested(run):
            return False
        if lines:
            training.report(run, **_fields(run, lines, low, high))
        return True

    return tick


def _fields(run: TrainingRun, lines: list[ProgressLine], low: float, high: float) -> dict[str, Any]:
    last = lines[-1]
    fields: dict[str, Any] = {
        "message": str(last.get("message") or "")[:300],
        "progress": low + (high - low) * float(last.get("fraction") or 0.0),
        "log": _logged(run, *(str(line.get("message") or "") for line in lines)),
    }
    points = [
        {key: line[key] for key in ("step", "steps", "loss", "reward_margin") if key in line}
        for line in lines
        if "loss" in line
    ]
    if points:
        fields["curve"] = [*run.curve, *points]
    for line in lines:
        if "yields" in line:
            told = {one["iteration"]: one for one in [*fields.get("yields", run.yields), line["yields"]]}
            fields["yields"] = [told[number] for number in sorted(told)]
        if "examples" in line:
            fields["examples"] = line["examples"][:EXAMPLES]
    return fields


def _logged(run: TrainingRun, *messages: str) -> str:
    now = timezone.now().strftime("%H:%M:%S")
    lines = [*run.log.splitlines(), *(f"{now} {message}" for message in messages if message)]
    return "\n".join(lines[-LOG_LINES:])


def _candidate(run: TrainingRun) -> JudgeVersion | None:
    return JudgeVersion.objects.filter(name=_name(run)).first()


def _name(run: TrainingRun) -> str:
    return f"{run.method}-{run.pk}"


def _figures(judged: list[EngineJudgement], rows: list[dict[str, Any]]) -> dict[str, Any]:
    return metrics.evaluate(judged, _choices(rows), _groups(rows), lengths=_lengths(rows)).to_json()


def _choices(rows: list[dict[str, Any]]) -> dict[str, Choice]:
    return {row["id"]: as_choice(row["choice"]) for row in rows}


def _groups(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["id"]: row["group"] for row in rows}


def _lengths(rows: list[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    return {row["id"]: (len(row["response_a"]), len(row["response_b"])) for row in rows}


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def _write_rows(path: Path, rows: list[datasets.LabelledRow]) -> None:
    temporary = path.with_suffix(".writing")
    temporary.write_text("".join(json.dumps(row.to_engine()) + "\n" for row in rows), encoding="utf-8")
    temporary.replace(path)
