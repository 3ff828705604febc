"""Which background workers are alive, by their own word."""

from django.db import models


class WorkerHeartbeat(models.Model):
    """A worker process that says every few seconds that it is there."""

    name = models.CharField(max_length=200, unique=True)
    queues = models.CharField(max_length=200)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()

    class Meta:
        ordering = ["queues", "name"]

    def __str__(self) -> str:
        return self.name
