"""The judge that stays loaded in a worker process: one model at a time, changed when another judge is asked for."""

import os
from pathlib import Path
from typing import Literal, cast

import structlog
from django.conf import settings

from genrm_engine.backends import Backend, load_backend
from genrm_engine.embedded import resolve_model
from genrm_engine.starter import EMBEDDED
from genrm_engine.types import BackendSpec
from labeling.models import JudgeVersion

log = structlog.get_logger(__name__)

_loaded: dict[int, Backend] = {}


def judge_backend(judge: JudgeVersion) -> Backend:
    """The judge's backend, loaded if it is not the resident one. Raises EngineError."""
    if judge.pk not in _loaded:
        unload()
        log.info("loading the judge", judge=judge.name)
        _loaded[judge.pk] = load_backend(spec_of(judge))
    return _loaded[judge.pk]


def unload() -> None:
    """Free the resident judge's memory."""
    while _loaded:
        _loaded.popitem()[1].close()


def spec_of(judge: JudgeVersion) -> BackendSpec:
    """Where and how a judge runs in this installation."""
    return BackendSpec(
        kind=cast("Literal['transformers', 'scripted']", judge.backend),
        model=judge.base_model if judge.backend == "scripted" else str(weights_of(judge)),
        device=settings.ENV.device,
        threads=settings.ENV.judge_threads or max(1, (os.cpu_count() or 2) - 1),
    )


def weights_of(judge: JudgeVersion) -> Path:
    """The folder of a judge's weights; the embedded judges are made on their first use."""
    if judge.base_model in EMBEDDED and judge.method == "base":
        return Path(resolve_model(judge.base_model, settings.HOME, progress=log.info))
    return Path(settings.HOME, judge.weights)
