"""A trial of a judge: three pairs judged by both methods, and whether the judge could be trained here."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog
from django.conf import settings

from genrm_engine import types as engine
from genrm_engine.backends import Backend, load_backend
from genrm_engine.backends.heads import head_of
from genrm_engine.backends.openai import ChatBackend, connect
from genrm_engine.device import acquire_device
from genrm_engine.embedded import resolve_model
from genrm_engine.errors import EngineError
from genrm_engine.judge import judge
from genrm_engine.types import BackendSpec
from labeling.models import JudgeTrial, Pair
from labeling.models.judges import Method
from labeling.queries import DEVICES
from labeling.services import judge_reading, judging, trials
from labeling.services.texts import storable
from workers import lease, resident, trainable

TIMEOUT, RETRIES = 120.0, 2
"""Somebody waits for the answer of a server."""
LONGEST_RATIONALE = 4_000
ON_A_SERVER = "A judge on a server cannot be trained here: its weights are not at hand."
UNEXPECTED = "An unexpected error ended the trial; the log of the judge worker says more."

log = structlog.get_logger(__name__)


def execute(trial: JudgeTrial) -> None:
    """Bring the trial to its end. One that needs the device waits while a training run holds it: the sweep asks again.

    The resident judge is unloaded first, so that two models never lie in memory.
    """
    if trial.backend in judging.REMOTE:
        _run(trial)
        return
    device = acquire_device(settings.HOME / DEVICES, settings.ENV.device, holder=f"trial {trial.pk}", wait=False)
    if device is None:
        return
    with device:
        resident.unload()
        _run(trial)


def _run(waiting: JudgeTrial) -> None:
    trial = trials.take(waiting)
    if trial is None:
        return
    try:
        with lease.kept(partial(trials.prolong, trial), seconds=trials.LEASE.total_seconds(), of=f"trial {trial.pk}"):
            spec = _spec_of(trial)
            said = _said(trial, spec)
            fits, note, checksum = _fitness(trial, spec)
    except EngineError as error:
        log.warning("a trial failed", trial=trial.pk, model=trial.model)
        trials.fail(trial, str(error))
    except Exception:
        trials.fail(trial, UNEXPECTED)
        raise
    else:
        said = [{**row, "weights_sha256": checksum} for row in said]
        trials.finish(trial, said, trainable=fits, note=note)


def _spec_of(trial: JudgeTrial) -> BackendSpec:
    if trial.backend in judging.REMOTE:
        return resident.server_spec(trial.model, url=trial.url, sealed_key=trial.sealed_key)
    return resident.local_spec(trial.backend, resolve_model(trial.model, settings.HOME, progress=log.info))


def _said(trial: JudgeTrial, spec: BackendSpec) -> list[trials.Row]:
    """What the judge says of the pairs, by each method that it knows; written to the row as it comes."""
    head = head_of(spec.model) if trial.backend == "transformers" else None
    pairs = trials.pairs_of(trial.project)
    if not pairs:
        raise EngineError(trials.NO_PAIRS)
    said: list[trials.Row] = []
    backend = connect(spec, timeout=TIMEOUT, retries=RETRIES) if trial.backend in judging.REMOTE else load_backend(spec)
    try:
        for method in (Method.SCORE,) if head else (Method.SCORE, Method.COT):
            said += [{**row, "made": head or "base"} for row in _judged(trial, pairs, method, backend)]
            trials.report(trial, said)
    finally:
        backend.close()
    return said


def _judged(trial: JudgeTrial, pairs: Sequence[Pair], method: Method, backend: Backend) -> list[trials.Row]:
    """The pairs in one chunk, as they would be judged; tokens as the server counts them, where it does."""
    before = _counted(backend)
    found = judge(
        [judge_reading.to_engine(pair) for pair in pairs],
        backend=backend,
        settings=judge_reading.settings_of(trial.project, method, backend=trial.backend),
    )
    read, written = (after - start for after, start in zip(_counted(backend), before, strict=True))
    rows = [_row(one) for one in found]
    if read:
        for row in rows:
            row |= {"read": round(read / len(rows)), "tokens": round((read + written) / len(rows)), "counted": True}
    return rows


def _counted(backend: Backend) -> tuple[int, int]:
    """Tokens read and written so far by a server's own count."""
    if not isinstance(backend, ChatBackend):
        return 0, 0
    return backend.client.usage.prompt_tokens, backend.client.usage.completion_tokens


def _row(judgement: engine.Judgement) -> trials.Row:
    row: dict[str, Any] = {
        name: getattr(judgement, name)
        for name in ("method", "p_a", "p_a_straight", "p_a_swapped", "consistent", "samples", "unparsed", "tokens")
    }
    return {
        **row,
        "pair": int(judgement.pair_id),
        "read": judgement.prompt_tokens,
        "shortened": judgement.shortened,
        "seconds": round(judgement.seconds, 3),
        "rationale": storable(_rationale_of(judgement))[:LONGEST_RATIONALE],
    }


def _rationale_of(judgement: engine.Judgement) -> str:
    """A rationale for the winner if there is one, else any, else what no verdict could be read from."""
    winner = "a" if judgement.p_a >= 0.5 else "b"
    told = sorted(judgement.rationales, key=lambda rationale: rationale.verdict != winner)
    texts = [*(rationale.text for rationale in told), *judgement.unparsed_texts]
    return next((text for text in texts if text), "")


def _fitness(trial: JudgeTrial, spec: BackendSpec) -> tuple[bool, str, str]:
    """Whether it can be trained here, why, and the checksum of its weights."""
    if trial.backend in judging.REMOTE:
        return False, ON_A_SERVER, ""
    folder = trainable.folder_of(spec.model)
    return (*trainable.fitness(folder, settings.ENV.device), trainable.checksum_of(folder))
