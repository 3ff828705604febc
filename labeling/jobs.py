"""The names of the background jobs and how they are sent: after the commit, and only as a hint.

The rows say what is to be done; the sweep sends again what a lost message left waiting. So a broker that cannot be
reached is logged, never an error for the person.
"""

from functools import partial

import structlog
from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

JUDGE = "judging.judge_waiting"
TRY_JUDGE = "judging.try_judge"
JUDGE_CALL = "judging.judge_call"
TRAIN = "training.train"
REFRESH_PAIRS = "housekeeping.refresh_pairs"
REFRESH_PROJECT = "housekeeping.refresh_project"
JUDGE_LABELS = "housekeeping.judge_labels"
ROUTE = "housekeeping.route"
FIT_CONSENSUS = "housekeeping.fit_consensus"
FREEZE_DATASET = "datasets.freeze"
IMPORT = "imports.import_batch"
SWEEP = "housekeeping.sweep"
APPLY_POLICIES = "housekeeping.apply_retraining_policies"

ALL = (
    JUDGE,
    TRY_JUDGE,
    JUDGE_CALL,
    TRAIN,
    REFRESH_PAIRS,
    REFRESH_PROJECT,
    JUDGE_LABELS,
    ROUTE,
    FIT_CONSENSUS,
    FREEZE_DATASET,
    IMPORT,
    SWEEP,
    APPLY_POLICIES,
)

LAST = 9
PRIORITY = {JUDGE: LAST}
"""Jobs that let every other one of their queue go first: somebody waits for the answer to a call."""

log = structlog.get_logger(__name__)


def enqueue(name: str, **kwargs: object) -> None:
    """Send the job once the current transaction has committed."""
    transaction.on_commit(partial(send, name, kwargs))


def send(name: str, kwargs: dict[str, object]) -> None:
    """Send the job now; an unreachable broker is logged and left to the sweep."""
    try:
        current_app.send_task(name, kwargs=kwargs, retry=False, ignore_result=True, priority=PRIORITY.get(name, 0))
    except (OperationalError, ConnectionError) as error:
        log.warning("broker unreachable, left to the sweep", job=name, error=str(error))
