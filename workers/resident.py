"""The judge that stays loaded in a worker process: one model at a time, changed when another judge is asked for.

Judges on servers take no memory here, so their connections stay beside it.
"""

import os
from pathlib import Path
from typing import cast

import structlog
from django.conf import settings
from django.utils import timezone

from genrm_engine.backends import Backend, load_backend
from genrm_engine.backends.openai import connect
from genrm_engine.embedded import resolve_model
from genrm_engine.errors import EngineError
from genrm_engine.starter import EMBEDDED
from genrm_engine.types import BackendKind, BackendSpec
from labeling import sealing
from labeling.errors import SealBroken
from labeling.models import JudgeVersion, TrainingRun
from labeling.services.judging import REMOTE

PATIENCE = 0.75
"""Share of a chunk's lease that a server may take for one answer."""

log = structlog.get_logger(__name__)

_loaded: dict[BackendSpec, Backend] = {}
_connected: dict[BackendSpec, Backend] = {}


def judge_backend(judge: JudgeVersion) -> Backend:
    """The judge's backend, loaded if it is not the resident one, or connected. Raises EngineError.

    Versions that are the same model share it: of a judge that was begun anew nothing is loaded twice.
    """
    spec = spec_of(judge)
    if judge.backend in REMOTE:
        if spec not in _connected:
            _connected[spec] = connect(spec, timeout=PATIENCE * settings.ENV.judge_lease_seconds)
        return _connected[spec]
    if spec not in _loaded:
        _close(_loaded)
        log.info("loading the judge", judge=judge.name)
        _loaded[spec] = load_backend(spec)
    return _loaded[spec]


def unload() -> None:
    """Free the resident judge's memory, and the connections."""
    _close(_loaded)
    _close(_connected)


def make_room() -> None:
    """Free the resident judge's memory while a training run is at work: that needs it more, from its first moment on.

    For a judge that has nothing to do on the device; the next chunk loads it again. Connections stay.
    """
    at_work = TrainingRun.objects.filter(state=TrainingRun.State.RUNNING, leased_until__gt=timezone.now())
    if _loaded and settings.ENV.device != "cpu" and at_work.exists():
        log.info("unloading the judge: a training run is at work")
        _close(_loaded)


def give_way() -> None:
    """Free the resident judge's memory: somebody else holds the device, or waits for it."""
    if settings.ENV.device != "cpu":
        _close(_loaded)


def spec_of(judge: JudgeVersion) -> BackendSpec:
    """Where and how a judge runs in this installation. Raises EngineError where its server's key cannot be read."""
    if judge.backend in REMOTE:
        return server_spec(judge.base_model, url=judge.endpoint.url, sealed_key=judge.endpoint.sealed_key)
    return local_spec(judge.backend, judge.base_model if judge.backend == "scripted" else str(weights_of(judge)))


def server_spec(model: str, *, url: str, sealed_key: str) -> BackendSpec:
    """A model behind an OpenAI-compatible server. Raises EngineError where the key cannot be read."""
    try:
        return BackendSpec("openai", model, url=url, api_key=sealing.unseal(sealed_key))
    except SealBroken as error:
        raise EngineError(str(error)) from error


def local_spec(backend: str, model: str) -> BackendSpec:
    """A model that runs here: a folder or a Hugging Face name."""
    return BackendSpec(
        kind=cast("BackendKind", backend),
        model=model,
        device=settings.ENV.device,
        threads=settings.ENV.judge_threads or max(1, (os.cpu_count() or 2) - 1),
    )


def weights_of(judge: JudgeVersion) -> Path:
    """The folder of a judge's weights, in the data folder or anywhere if absolute, or its Hugging Face name as it is.

    The embedded judges are made on their first use. Only a judge that was connected by its name is asked for by name:
    where the folder of one that was trained here is gone, nothing is downloaded in its place.
    """
    if judge.base_model in EMBEDDED and judge.method == "base":
        return Path(resolve_model(judge.base_model, settings.HOME, progress=log.info))
    folder = Path(settings.HOME, judge.weights)
    by_name = judge.weights == judge.base_model and not Path(judge.weights).is_absolute()
    return Path(judge.weights) if by_name and not folder.exists() else folder


def _close(backends: dict[BackendSpec, Backend]) -> None:
    while backends:
        backends.popitem()[1].close()
