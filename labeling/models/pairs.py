"""Pairs of responses and the files they came from."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from labeling.models.projects import Project


class ImportBatch(models.Model):
    """One imported file. The same file twice imports nothing twice."""

    class State(models.TextChoices):
        WAITING = "waiting", "waiting for a worker"
        RUNNING = "running", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="batches")
    filename = models.CharField(max_length=300)
    sha256 = models.CharField(max_length=64)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    state = models.CharField(max_length=10, choices=State, default=State.DONE)
    format = models.CharField(max_length=30, blank=True, help_text="the layout that was detected or chosen")
    mapping = models.JSONField(default=dict, blank=True, help_text="{field: column}, where a person said so")
    bytes = models.PositiveBigIntegerField(default=0, help_text="size of the file")
    bytes_read = models.PositiveBigIntegerField(default=0)
    error = models.TextField(blank=True)
    cancel_requested = models.BooleanField(default=False)
    lease = models.CharField(max_length=40, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    note = models.TextField(blank=True, help_text="the file's own header, where it has one")
    imported = models.PositiveIntegerField(default=0)
    duplicates = models.PositiveIntegerField(default=0)
    rejected = models.PositiveIntegerField(default=0)
    labels = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "sha256"],
                condition=Q(state__in=["waiting", "running", "done"]),
                name="one_batch_per_file",
            )
        ]

    def __str__(self) -> str:
        return self.filename


class RejectedLine(models.Model):
    """A line of an imported file that was not taken, and why."""

    batch = models.ForeignKey(ImportBatch, on_delete=models.CASCADE, related_name="rejected_lines")
    number = models.PositiveIntegerField()
    field = models.CharField(max_length=60, blank=True)
    reason = models.CharField(max_length=500)
    excerpt = models.CharField(max_length=200, blank=True)
    raw = models.TextField(blank=True, help_text="the row as it was read, to be mended and imported again")

    class Meta:
        ordering = ["number", "pk"]

    def __str__(self) -> str:
        return f"line {self.number}: {self.reason}"


class Pair(models.Model):
    """A prompt with two responses in their stored order. Annotators see them in an order drawn per claim."""

    class Part(models.TextChoices):
        TRAIN = "", "training"
        CALIBRATION = "calibration", "hold-out: calibration"
        GATE = "gate", "hold-out: gate"
        TEST = "test", "hold-out: test"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="pairs")
    batch = models.ForeignKey(ImportBatch, on_delete=models.SET_NULL, null=True, blank=True, related_name="pairs")
    external_id = models.CharField(max_length=200)
    prompt = models.JSONField(help_text='chat messages: [{"role": …, "content": …}, …]')
    response_a = models.TextField()
    response_b = models.TextField()
    model_a = models.CharField(max_length=200, blank=True)
    model_b = models.CharField(max_length=200, blank=True)
    meta = models.JSONField(default=dict, blank=True)
    gold = models.CharField(max_length=10, blank=True, help_text="the known right choice of a gold question")
    prompt_hash = models.CharField(max_length=64)
    content_hash = models.CharField(max_length=64)
    group_key = models.CharField(max_length=200)
    part = models.CharField(max_length=12, choices=Part, default=Part.TRAIN, blank=True)
    audit = models.BooleanField(default=False, help_text="drawn at random with the project's audit share")
    shuffle = models.PositiveIntegerField(help_text="place in the project's random order")
    route_score = models.FloatField(default=0.0, help_text="how much a person's label is worth here; higher first")
    route_reason = models.CharField(max_length=60, blank=True, help_text="why a person's label is worth that much")
    extra_labels = models.PositiveSmallIntegerField(
        default=0, help_text="labels beyond the project's overlap, asked for by adjudicators who sent the pair back"
    )
    ambiguous = models.BooleanField(default=False, help_text="marked by an adjudicator: no verdict is right")
    closed = models.BooleanField(default=False, help_text="has its labels or is adjudicated: nobody is asked any more")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "external_id"], name="one_pair_per_external_id"),
            models.UniqueConstraint(fields=["project", "content_hash"], name="one_pair_per_content"),
        ]
        indexes = [
            models.Index(fields=["project", "shuffle"], name="pair_random_order"),
            models.Index(fields=["project", "part"], name="pair_by_part"),
            models.Index(fields=["project", "shuffle"], condition=Q(closed=False), name="pair_open"),
            models.Index(fields=["project", "shuffle"], condition=Q(closed=False) & ~Q(gold=""), name="pair_open_gold"),
            models.Index(
                fields=["project", "-route_score", "shuffle", "id"],
                condition=Q(closed=False, part="", audit=False),
                name="pair_routed",
            ),
            models.Index(
                fields=["project", "shuffle", "id"],
                condition=Q(closed=False) & (~Q(part="") | Q(audit=True)),
                name="pair_drawn",
            ),
            models.Index(
                fields=["project", "group_key"], condition=Q(part="gate", audit=True), name="pair_joined_gate"
            ),
        ]

    def __str__(self) -> str:
        return self.external_id

    @property
    def unrevealed(self) -> bool:
        """Hold-out and audit pairs never show the judge, whatever the project's policy."""
        return self.audit or self.part != self.Part.TRAIN
