"""Training runs: one row a run, the truth about its state."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from labeling.models.judges import JudgeVersion
from labeling.models.pairs import Pair
from labeling.models.projects import Project


class TrainingRun(models.Model):
    """A retraining of the judge on a project's blind human labels, and its end."""

    class State(models.TextChoices):
        QUEUED = "queued", "waiting for the training worker"
        RUNNING = "running", "running"
        PROMOTED = "promoted", "promoted"
        REJECTED = "rejected", "rejected by the gate"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"

    ACTIVE = (State.QUEUED, State.RUNNING)

    class Trigger(models.TextChoices):
        BUTTON = "button", "button"
        ADMIN = "admin", "admin action"
        API = "api", "API"
        POLICY = "policy", "enough new labels"
        SCHEDULE = "schedule", "schedule"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="runs")
    trigger = models.CharField(max_length=10, choices=Trigger)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    method = models.CharField(max_length=20, choices=Project.RetrainMethod)
    start = models.ForeignKey(
        JudgeVersion, on_delete=models.PROTECT, related_name="+", help_text="the champion that it must beat"
    )
    origin = models.ForeignKey(
        JudgeVersion, on_delete=models.PROTECT, related_name="+", help_text="the judge whose weights it starts from"
    )
    candidate = models.ForeignKey(JudgeVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    config = models.JSONField(default=dict, blank=True, help_text="frozen engine configuration")
    snapshot_sha256 = models.CharField(
        max_length=64, blank=True, help_text="hash of the frozen training and hold-out rows"
    )
    training_pairs = models.PositiveIntegerField(default=0, help_text="new to the judge that it starts from")
    replay_pairs = models.PositiveIntegerField(default=0, help_text="older ones, repeated")
    holdout_pairs = models.PositiveIntegerField(default=0)
    blind_labels = models.PositiveIntegerField(
        default=0, help_text="blind labels in the project when the run was asked for"
    )
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    phase = models.CharField(max_length=30, blank=True)
    message = models.CharField(max_length=300, blank=True)
    progress = models.FloatField(default=0, help_text="0 to 1 of the whole run")
    log = models.TextField(blank=True)
    curve = models.JSONField(default=list, blank=True, help_text="[{step, loss, …}] as training reports it")
    yields = models.JSONField(
        default=list, blank=True, help_text="STaR: [{iteration, right, wrong, unparsed}] of the sampled chains"
    )
    examples = models.JSONField(default=list, blank=True, help_text="a few sampled rationales, right and wrong")
    metrics = models.JSONField(default=dict, blank=True, help_text="hold-out figures of champion and candidate")
    gate = models.JSONField(default=dict, blank=True)
    seconds = models.JSONField(default=dict, blank=True, help_text="{phase: seconds}, over all attempts")
    tokens = models.PositiveBigIntegerField(default=0, help_text="trained on, sampled and judged")
    versions = models.JSONField(default=dict, blank=True, help_text="of the packages that trained it")
    error = models.TextField(blank=True)
    cancel_requested = models.BooleanField(default=False)
    lease = models.CharField(max_length=40, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    rests = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="how often it has rested after a failure that may pass"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["project"], condition=Q(state__in=["queued", "running"]), name="one_active_run_per_project"
            )
        ]

    def __str__(self) -> str:
        return f"run {self.pk} of {self.project} ({self.state})"

    @property
    def active(self) -> bool:
        return self.state in self.ACTIVE


class TrainedPair(models.Model):
    """A pair that a run was the first of its judge's line to train on; repeated ones are not written again.

    One that was too long to train on is among them, or a schedule would ask for the same run for ever.
    """

    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="trained")
    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "pair"], name="one_row_per_trained_pair")]

    def __str__(self) -> str:
        return f"{self.pair} in {self.run}"
