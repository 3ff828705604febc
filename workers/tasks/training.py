"""Take a training run and bring it to its end; a second delivery finds the live lease and returns."""

from uuid import uuid4

from labeling import jobs
from labeling.services import training
from workers import run as runs
from workers.app import app


@app.task(name=jobs.TRAIN)
def train(run_id: int) -> None:
    """Run it if it is free; afterwards the judge has work (a new champion, or what waited for the device)."""
    run = training.take(run_id, lease=uuid4().hex)
    if run is None:
        return
    runs.execute(run)
    jobs.send(jobs.JUDGE, {})
