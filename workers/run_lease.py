"""A training run stays this worker's while it works, however long one of its steps takes."""

from contextlib import AbstractContextManager
from functools import partial

from django.conf import settings

from labeling.models import TrainingRun
from labeling.services import training
from workers import lease


def kept(run: TrainingRun) -> AbstractContextManager[None]:
    """Prolong the run's lease from a thread until the block is left, or until the run is somebody else's."""
    return lease.kept(partial(training.heartbeat, run), seconds=settings.ENV.run_lease_seconds, of=f"run {run.pk}")
