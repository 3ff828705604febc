"""Try a judge before it is connected; a second delivery finds the trial taken and returns."""

from labeling import jobs
from labeling.services import trials
from workers import trial as tried
from workers.app import app


@app.task(name=jobs.TRY_JUDGE)
def try_judge(trial_id: int) -> None:
    waiting = trials.waiting_trial(trial_id)
    if waiting is not None:
        tried.execute(waiting)
