"""Exports that are frozen under a name."""

from django.conf import settings
from django.db import models

from labeling.models.projects import Project


class DatasetVersion(models.Model):
    """An export frozen under a name, with its manifest and card; the file lies in the data folder."""

    class State(models.TextChoices):
        WAITING = "waiting", "waiting for a worker"
        RUNNING = "running", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="datasets")
    name = models.CharField(max_length=100)
    filters = models.JSONField(help_text="source, profile, format and whatever else was asked for")
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    manifest = models.JSONField(default=dict, blank=True, help_text="filters, counts, SHA-256, judge versions")
    card = models.TextField(blank=True, help_text="Markdown")
    path = models.CharField(max_length=300, blank=True, help_text="relative to the data folder")
    sha256 = models.CharField(max_length=64, blank=True)
    bytes = models.PositiveBigIntegerField(default=0)
    error = models.TextField(blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    leased_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-pk"]
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="one_dataset_per_name")]

    def __str__(self) -> str:
        return self.name
