"""Import what waits; a second delivery finds the live lease and returns."""

from labeling import jobs
from labeling.services import import_jobs
from workers.app import app


@app.task(name=jobs.IMPORT)
def import_batch(batch_id: int) -> None:
    """Bring the batch to its end if it is free."""
    import_jobs.run(batch_id)
