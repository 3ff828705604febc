"""A training run from snapshot to gate: each phase leaves a file, so that a run taken over goes on where it was."""

import hashlib
import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction

from genrm_engine.errors import EXIT_FOR_NOW, EngineError
from genrm_engine.evaluation import gate, metrics
from genrm_engine.evaluation.run import refused_file
from genrm_engine.files import read_appended
from genrm_engine.prompts import PROMPT_VERSION, prompt_hash
from genrm_engine.training.tracking import VARIABLE
from genrm_engine.types import Choice, as_choice
from genrm_engine.types import Judgement as EngineJudgement
from genrm_engine.weights import check_manifest, weights_sha256
from labeling import jobs
from labeling.errors import CannotReign
from labeling.models import JudgeVersion, Pair, TrainingRun
from labeling.queries import DEVICES
from labeling.run_files import SNAPSHOT, drop_checkpoints, folder_of
from labeling.services import datasets, deployments, judging, training
from workers.accounts import Clock, left_out_of, tokens_of, versions_of
from workers.engine_process import Ended, ProgressLine, run_engine
from workers.resident import spec_of, weights_of
from workers.run_lease import kept
from workers.run_measuring import measured_by
from workers.run_progress import fields, logged

KEY_VARIABLE = "TANDEM_JUDGE_KEY"
PARTS = ("sampling", "training")
"""What the engine's training tells as phases, each one of the row's."""
SHARES = {"snapshot": (0.0, 0.01), "training": (0.01, 0.75), "champion": (0.75, 0.87), "candidate": (0.87, 0.99)}

log = structlog.get_logger(__name__)


class Stopped(Exception):
    """The run was cancelled, or is no longer this worker's."""


class EngineFailed(Exception):
    """The engine gave up; the message is for the person."""


class EngineFailedForNow(EngineFailed):
    """It says that the failure may pass: a server that does not answer, a device whose memory is taken."""


def execute(run: TrainingRun) -> None:
    """Bring the run to its end: promoted, rejected, failed or cancelled; or let it rest, where a failure may pass."""
    folder = folder_of(run)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with kept(run):
            _every_phase(run, folder)
    except Stopped:
        ended = training.finish(run, TrainingRun.State.CANCELLED, "Cancelled")
    except EngineFailedForNow as error:
        training.report(run, log=logged(run, str(error)))
        ended = not training.put_off(run, str(error)) and training.fail(run, str(error))
    except (EngineFailed, EngineError, OSError) as error:  # weights that are gone, a disk that is full
        ended = training.fail(run, str(error))
    except (OperationalError, InterfaceError):  # no database: the run is taken up again when its lease has run out
        raise
    except Exception as error:
        training.fail(run, f"Tandem failed, which is its own fault: {type(error).__name__}: {error}")
        raise
    else:
        ended = True
    if ended:  # else the run is another worker's by now, which may go on from them
        drop_checkpoints(run)


def _every_phase(run: TrainingRun, folder: Path) -> None:
    _snapshot(run, folder)
    _train(run, folder)
    candidate = _register(run, folder)
    judged = {
        "champion": _evaluate(run, folder, run.start, "champion"),
        "candidate": _evaluate(run, folder, candidate, "candidate"),
    }
    _decide(run, folder, candidate, judged)


def _snapshot(run: TrainingRun, folder: Path) -> None:
    """Freeze the new, the older and the hold-out rows; a run taken over finds its own again.

    What lies in the folder before that is another run's, of a database whose rows are lost: the number came again.
    """
    clock, files = Clock(run.seconds), [folder / name for name in SNAPSHOT]
    training.report(run, phase="snapshot", message="Freezing the labels")
    if not run.snapshot_sha256:
        shutil.rmtree(folder)
        folder.mkdir()
        fresh = datasets.refresh_gate(run.project)
        rows = datasets.training_rows(run.project, shares=datasets.learns_shares(run))
        new, older = training.divided(rows, run.origin, run.project)
        for file, frozen in zip(files, (new, older, datasets.holdout_rows(run.project)), strict=True):
            _write_rows(file, frozen)
        if fresh:
            training.report(run, log=logged(run, f"{fresh} audit groups joined the gate part"))
    elif not all(file.exists() for file in files):
        raise EngineFailed(f"The frozen labels of this run are no longer in {folder}.")
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
    if run.snapshot_sha256 and run.snapshot_sha256 != digest:
        raise EngineFailed("The frozen labels of this run were changed on disk.")
    new_count, older_count, held_out = (len(_rows(file)) for file in files)
    replayed = min(older_count, round(run.config.get("replay_share", 0.0) * new_count))
    said = f"{new_count} new, {replayed} of {older_count} older and {held_out} hold-out pairs, sha256 {digest[:12]}"
    training.report(
        run,
        snapshot_sha256=digest,
        training_pairs=new_count,
        replay_pairs=replayed,
        holdout_pairs=held_out,
        log=logged(run, said),
        seconds=clock.lap("snapshot"),
    )
    training.trains_on(run, [int(row["id"]) for row in _rows(files[0])])


def _train(run: TrainingRun, folder: Path) -> None:
    if _candidate(run) is not None or _moved(run, folder):
        return
    config = {**run.config, "model": str(weights_of(run.origin))}
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    out = folder / "training"
    arguments = ["train", "--config", str(folder / "config.json"), "--train", str(folder / "train.jsonl")]
    arguments += ["--track-name", _name(run)]
    if _rows(folder / "older.jsonl"):
        arguments += ["--replay", str(folder / "older.jsonl")]
    _engine(run, arguments, out, phase="training")


def _moved(run: TrainingRun, folder: Path) -> bool:
    """Whether the trained judge lies in its place already: a worker died before it had written the row.

    Raises EngineError where it is damaged, EngineFailed where it was made of other labels: the database may be from
    an older day than the data folder.
    """
    target = Path(settings.HOME, "judges", _name(run))
    if not target.exists():
        return False
    check_manifest(target)
    made, started = (_data_of(file) for file in (target / "run.json", folder / "training" / "started.json"))
    if not made or made != started:
        raise EngineFailed(f"{target} holds the judge of another run: move it away, and retrain.")
    return True


def _data_of(file: Path) -> str:
    """The hash of the labels that a run of the engine was given; empty where it is not told."""
    return str(json.loads(file.read_text()).get("data_sha256", "")) if file.is_file() else ""


def _register(run: TrainingRun, folder: Path) -> JudgeVersion:
    """The trained weights become an immutable judge version of the installation."""
    known = _candidate(run)
    if known is not None:
        training.report(run, candidate=known, versions=versions_of(Path(settings.HOME, known.weights)))
        return known
    weights = Path("judges", _name(run))
    target = Path(settings.HOME, weights)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / "training" / "judge").replace(target)
    checksum, made = weights_sha256(target), versions_of(target)
    with transaction.atomic():  # the run knows its candidate, or there is none
        judge = JudgeVersion.objects.create(
            name=_name(run),
            method=run.method,
            parent=run.origin,
            backend=run.origin.backend,
            base_model=run.origin.base_model,
            weights=str(weights),
            weights_sha256=checksum,
            prompt_version=PROMPT_VERSION,
            prompt_hash=prompt_hash(),
        )
        written = logged(run, f"Weights written as {judge.name}", *_too_long(run, target))
        training.report(run, candidate=judge, versions=made, log=written)
    return judge


def _too_long(run: TrainingRun, judge: Path) -> list[str]:
    """What the run's log says of labelled pairs that were too long to train on, if there were any."""
    count, limit = left_out_of(judge), run.config.get("max_tokens")
    said = f"Pairs that trained nothing because they are longer than {limit} tokens (TANDEM_TRAINING_TOKENS): {count}"
    return [said] if count else []


def _evaluate(run: TrainingRun, folder: Path, judge: JudgeVersion, who: str) -> list[EngineJudgement]:
    """Judge the hold-out with one of the two: the candidate as it would count, the champion as it counts."""
    measured, out = measured_by(run, folder), folder / who
    where, secrets = _model(judge)
    arguments = ["evaluate", *where, "--data", str(folder / "holdout.jsonl")]
    arguments += ["--method", measured[who], "--samples", str(measured["samples"])]
    arguments += ["--max-prompt-tokens", str(measured["prompt_tokens"][who])]
    arguments += ["--device", settings.ENV.device, "--plain"]
    (folder / "rubric.txt").write_text(str(run.config.get("rubric", "")), encoding="utf-8")
    arguments += ["--rubric", str(folder / "rubric.txt")]
    _engine(run, arguments, out, phase=who, secrets=secrets)
    file = out / "judgements.jsonl"
    if refused := read_appended(refused_file(file)):
        said = f"{judge.name} cannot judge {len(refused)} of the hold-out pairs, which decide nothing then"
        training.report(run, log=logged(run, f"{said}: {refused[-1]['error']}"))
    written = {row["pair_id"]: row for row in read_appended(file)}
    judged = [EngineJudgement.from_json(row) for row in written.values()]
    for row in judged:
        if Pair.objects.filter(pk=row.pair_id, project=run.project).exists():
            judging.store_judgement(int(row.pair_id), judge, row)
    return judged


def _model(judge: JudgeVersion) -> tuple[list[str], dict[str, str]]:
    """The judge as options of the engine's command, and what must not be seen in a list of processes."""
    if judge.backend not in judging.REMOTE:
        return ["--model", str(weights_of(judge))], {}
    try:
        spec = spec_of(judge)
    except EngineError as error:
        raise EngineFailed(str(error)) from error
    where = ["--backend", spec.kind, "--url", spec.url, "--model", spec.model]
    return [*where, "--key-variable", KEY_VARIABLE], {KEY_VARIABLE: spec.api_key}


def _decide(run: TrainingRun, folder: Path, candidate: JudgeVersion, judged: dict[str, list[EngineJudgement]]) -> None:
    """The gate reads the gate part; the test part is only reported. Reign and end of the run change together.

    Raises Stopped if the run was cancelled before that.
    """
    clock = Clock(run.seconds)
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
    gold: dict[str, Choice] = {row["id"]: as_choice(row["gold"]) for row in by_part["gate"] if row.get("gold")}
    decision = gate.decide(
        judged["champion"], judged["candidate"], choices, groups, gold=gold, lengths=_lengths(by_part["gate"])
    )
    with transaction.atomic():
        decision, message = _reign(run, candidate, decision)
        ended = training.finish(
            run,
            TrainingRun.State.PROMOTED if decision.promote else TrainingRun.State.REJECTED,
            message,
            phase="done",
            progress=1.0,
            metrics=figures,
            gate=decision.to_json(),
            log=logged(run, *decision.reasons, message),
            seconds=clock.lap("gate"),
        )
        if not ended:
            raise Stopped


def _reign(run: TrainingRun, candidate: JudgeVersion, decision: gate.GateDecision) -> tuple[gate.GateDecision, str]:
    """Crown the candidate or keep it for the record; the decision that stands, and in words.

    If another judge than the one compared with reigns by now, the candidate has beaten nobody: it is kept.
    """
    counts = training.COUNTS[run.method]
    if decision.promote:
        try:
            deployments.promote(
                run.project, candidate, counts=counts, gate=decision.to_json(), by=None, beaten=run.start
            )
        except CannotReign as error:
            message = str(error)
            decision = replace(decision, promote=False, reasons=(message,))
        else:
            return decision, f"{candidate.name} is the new champion"
    else:
        champion = judging.champion_of(run.project)
        message = f"{(champion.judge if champion else run.start).name} stays champion"
    deployments.reject(run.project, candidate, counts=counts, gate=decision.to_json(), by=None)
    return decision, message


def _engine(
    run: TrainingRun, arguments: list[str], out: Path, *, phase: str, secrets: dict[str, str] | None = None
) -> None:
    command = [*arguments, "--out", str(out), "--lease-folder", str(settings.HOME / DEVICES)]
    command += ["--holder", f"training run {run.pk}"]
    if settings.ENV.train_threads:
        command += ["--threads", str(settings.ENV.train_threads)]
    first = "sampling" if phase == "training" and training.samples(run.config) else phase
    training.report(run, phase=first, message=_STARTING[phase], progress=SHARES[phase][0])
    jobs.send(jobs.JUDGE, {})  # a judge that stayed loaded leaves the device's memory while this process starts
    clock = Clock(run.seconds)
    environment = {VARIABLE: settings.ENV.track, **(secrets or {})}
    ended = run_engine(command, out=out, tick=_ticker(run, phase, clock), environment=environment)
    training.report(run, seconds=clock.lap(run.phase), tokens=tokens_of(out.parent))
    if ended.cancelled:
        raise Stopped
    if ended.code == EXIT_FOR_NOW:
        raise EngineFailedForNow(_reason(ended))
    if ended.code:
        raise EngineFailed(_reason(ended))


_STARTING = {
    "training": "Starting to train",
    "champion": "Measuring the champion on the hold-out",
    "candidate": "Measuring the candidate on the hold-out",
}


def _reason(ended: Ended) -> str:
    if ended.code < 0:
        guess = " (out of memory?)" if ended.code == -signal.SIGKILL else ""
        return f"{ended.errors}\nThe training process was killed by signal {-ended.code}{guess}."
    return ended.errors or f"The training process ended with code {ended.code}."


def _ticker(run: TrainingRun, phase: str, clock: Clock) -> Callable[[list[ProgressLine]], bool]:
    """What the row is told of the engine's progress; a database that is away for a while is told later."""
    low, high = SHARES[phase]
    waiting: list[ProgressLine] = []

    def tick(lines: list[ProgressLine]) -> bool:
        waiting.extend(lines)
        try:
            return told()
        except (OperationalError, InterfaceError) as error:
            connection.close_if_unusable_or_obsolete()
            log.warning("progress not written", run=run.pk, error=str(error))
            return True

    def told() -> bool:
        if not training.heartbeat(run):
            raise Stopped  # the folder is another worker's by now: nothing is written there that would stop it too
        if training.cancel_requested(run):
            return False
        if waiting:
            part = str(waiting[-1].get("phase"))
            seconds = clock.lap(part if part == "waiting" else run.phase)
            now = part if phase == "training" and part in PARTS else run.phase
            training.report(run, phase=now, seconds=seconds, **fields(run, waiting, low, high))
            waiting.clear()
        return True

    return tick


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
    return [json.loads(line) for line in path.read_bytes().splitlines() if line]


def _write_rows(path: Path, rows: list[datasets.LabelledRow]) -> None:
    temporary = path.with_suffix(".writing")
    temporary.write_text("".join(json.dumps(row.to_engine()) + "\n" for row in rows), encoding="utf-8")
    temporary.replace(path)
