"""Write a frozen dataset; a second delivery finds it taken or written and returns."""

from labeling import jobs
from labeling.services import dataset_versions
from workers.app import app


@app.task(name=jobs.FREEZE_DATASET)
def freeze(dataset_id: int) -> None:
    dataset_versions.write(dataset_id)
