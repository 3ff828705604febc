"""Judges, where they reign, what they said and what they still have to judge."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from labeling.models.pairs import Pair
from labeling.models.projects import Project


class Method(models.TextChoices):
    """How a judgement is made."""

    SCORE = "score", "score: the indicator token's probability"
    COT = "cot", "rationale first, then the verdict"


class JudgeVersion(models.Model):
    """A judge of the installation. Immutable: the database refuses to update a row."""

    MODEL = "backend", "base_model", "weights"
    """What versions share that are one and the same model; of judges on servers also the address."""

    name = models.CharField(max_length=100, unique=True)
    method = models.CharField(max_length=30, help_text="how it was made: base, genrm, star-dpo, …")
    parent = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="children")
    backend = models.CharField(max_length=30)
    base_model = models.CharField(max_length=300)
    weights = models.CharField(
        max_length=500, blank=True, help_text="folder of the weights, relative to the data folder"
    )
    weights_sha256 = models.CharField(max_length=64, blank=True)
    prompt_version = models.CharField(max_length=30)
    prompt_hash = models.CharField(max_length=64)
    trainable = models.BooleanField(default=True, help_text="false for a remote API")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return self.name

    @property
    def renews(self) -> bool:
        """Whether it is its parent once more, begun anew: the same model with the same weights."""
        return self.parent is not None and self.same_model(self.parent)

    def same_model(self, other: "JudgeVersion") -> bool:
        return all(getattr(self, name) == getattr(other, name) for name in self.MODEL)


class JudgeEndpoint(models.Model):
    """Where a remote judge answers. The key is sealed with the installation's secret and never shown."""

    judge = models.OneToOneField(JudgeVersion, on_delete=models.CASCADE, related_name="endpoint")
    url = models.URLField(max_length=300)
    sealed_key = models.TextField(blank=True)

    def __str__(self) -> str:
        return self.url


class PrunedWeights(models.Model):
    """A version whose weights were deleted to free storage; its judgements and figures stay."""

    judge = models.OneToOneField(JudgeVersion, on_delete=models.CASCADE, related_name="pruned")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(auto_now_add=True)
    bytes = models.PositiveBigIntegerField()

    def __str__(self) -> str:
        return f"{self.judge}, pruned"


class JudgeTrial(models.Model):
    """A test call on a few pairs before a judge is connected: what it said, how fast, and what it would cost."""

    class State(models.TextChoices):
        WAITING = "waiting", "waiting for the judge worker"
        RUNNING = "running", "running"
        PASSED = "passed", "passed"
        FAILED = "failed", "failed"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="trials")
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    backend = models.CharField(max_length=30)
    model = models.CharField(max_length=300)
    url = models.URLField(max_length=300, blank=True)
    sealed_key = models.TextField(blank=True)
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    said = models.JSONField(default=list, blank=True, help_text="[{pair, method, p_a, consistent, tokens, seconds, …}]")
    trainable = models.BooleanField(default=False, help_text="whether it can be trained on this installation")
    note = models.CharField(max_length=300, blank=True, help_text="why it can or cannot be trained here")
    error = models.TextField(blank=True)
    judge = models.ForeignKey(
        JudgeVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="+", help_text="once connected"
    )
    leased_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.model} ({self.state})"


class Deployment(models.Model):
    """A judge version in a project."""

    class State(models.TextChoices):
        CHAMPION = "champion", "champion"
        SHADOW = "shadow", "shadow"
        RETIRED = "retired", "retired"
        REJECTED = "rejected", "rejected"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="deployments")
    judge = models.ForeignKey(JudgeVersion, on_delete=models.PROTECT, related_name="deployments")
    state = models.CharField(max_length=10, choices=State)
    counts = models.CharField(
        max_length=10,
        choices=Method,
        default=Method.SCORE,
        help_text="the method whose probability counts, as the gate measured it",
    )
    trusted = models.BooleanField(default=False, help_text="above the floors of accuracy and consistency")
    measured = models.JSONField(default=dict, blank=True, help_text="accuracy and consistency on the blind hold-out")
    measured_of = models.JSONField(default=list, blank=True, help_text="which labels and judgements were measured")
    calibration = models.JSONField(default=dict, blank=True)
    thresholds = models.JSONField(default=dict, blank=True)
    gate = models.JSONField(default=dict, blank=True, help_text="the gate's figures and reasons")
    weighed_of = models.JSONField(
        default=list, blank=True, help_text="the labels and judgements that a shadow's gate compared"
    )
    follow_up = models.DateTimeField(
        null=True, blank=True, help_text="since when its labels, flags and routing wait to be brought up to date"
    )
    overruled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    overruled_because = models.CharField(max_length=500, blank=True, help_text="why the gate's decision did not count")
    shadow_since = models.DateTimeField(
        null=True, blank=True, help_text="from here on it judges new pairs beside the champion"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    promoted_at = models.DateTimeField(null=True, blank=True, help_text="when it last became champion")
    retired_at = models.DateTimeField(null=True, blank=True, help_text="when it last ceased to be champion")

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["project"], condition=Q(state="champion"), name="one_champion_per_project"),
            models.UniqueConstraint(fields=["project", "judge"], name="one_deployment_per_judge"),
        ]

    def __str__(self) -> str:
        return f"{self.judge} in {self.project} ({self.state})"


WITH_VERDICT = Q(unparsed=0) | Q(unparsed__lt=F("samples"))
"""Judgements that name a winner."""


class Judgement(models.Model):
    """What a judge said of a pair by one method. Probabilities are of A, in stored order.

    Where no verdict could be read in any sample they are one half, which says nothing: there is no winner.
    """

    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, related_name="judgements")
    judge = models.ForeignKey(JudgeVersion, on_delete=models.PROTECT, related_name="judgements")
    method = models.CharField(max_length=10, choices=Method)
    p_a = models.FloatField(help_text="P(A better), mean of both orders")
    p_a_straight = models.FloatField(help_text="P(A better) with A shown first")
    p_a_swapped = models.FloatField(help_text="P(A better) with B shown first")
    consistent = models.BooleanField(help_text="same winner in both orders")
    votes_a = models.PositiveSmallIntegerField(default=0)
    votes_b = models.PositiveSmallIntegerField(default=0)
    samples = models.PositiveSmallIntegerField(default=0)
    unparsed = models.PositiveSmallIntegerField(default=0)
    tokens = models.PositiveIntegerField(default=0)
    seconds = models.FloatField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["pair", "judge", "method"], name="one_judgement_per_method"),
            models.CheckConstraint(condition=Q(p_a__gte=0, p_a__lte=1), name="p_a_is_a_probability"),
        ]

    def __str__(self) -> str:
        return f"{self.judge} on {self.pair}: {self.p_a:.2f}"

    @property
    def winner(self) -> str:
        """The response the judge prefers, in stored order; empty where no verdict could be read."""
        if 0 < self.samples <= self.unparsed:
            return ""
        return "a" if self.p_a >= 0.5 else "b"

    @property
    def confidence(self) -> float:
        """Probability that the judge gives to its winner."""
        return max(self.p_a, 1 - self.p_a)


class Rationale(models.Model):
    """One sampled chain: the text, and the verdict that was counted after it (in stored order)."""

    judgement = models.ForeignKey(Judgement, on_delete=models.CASCADE, related_name="rationales")
    swapped = models.BooleanField(help_text="B was shown to the judge first")
    sample = models.PositiveSmallIntegerField()
    text = models.TextField()
    p_a = models.FloatField(null=True)
    verdict = models.CharField(max_length=1, blank=True, help_text="empty: unparsed, never a vote")

    class Meta:
        ordering = ["swapped", "sample"]
        constraints = [
            models.UniqueConstraint(fields=["judgement", "swapped", "sample"], name="one_rationale_per_sample")
        ]

    def __str__(self) -> str:
        return self.text[:60]


class JudgingRequest(models.Model):
    """A judgement still to be made. The row is the truth, the queue a hint: the sweep sends what was left waiting."""

    class Priority(models.IntegerChoices):
        PERSON_WAITING = 0, "a person is waiting"
        NEW_SCORE = 10, "new pair, score"
        NEW_COT = 20, "new pair, rationales"
        AGAIN_SCORE = 30, "judging again, score"
        AGAIN_COT = 40, "judging again, rationales"
        SHADOW = 50, "judging beside the champion"

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        LEASED = "leased", "leased"
        FAILED = "failed", "failed"

    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, related_name="judging_requests")
    judge = models.ForeignKey(JudgeVersion, on_delete=models.CASCADE, related_name="judging_requests")
    method = models.CharField(max_length=10, choices=Method)
    priority = models.PositiveSmallIntegerField(choices=Priority)
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    lease = models.CharField(max_length=40, blank=True, help_text="token of the worker that holds it")
    leased_until = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    error = models.TextField(blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["pair", "judge", "method"], name="one_request_per_method")]
        indexes = [models.Index(fields=["state", "priority", "id"], name="request_next")]

    def __str__(self) -> str:
        return f"{self.judge} on {self.pair} ({self.method}, {self.state})"


class JudgeCall(models.Model):
    """Pairs sent over the API to be judged once: nothing of them enters the project."""

    class State(models.TextChoices):
        WAITING = "waiting", "waiting for the judge worker"
        RUNNING = "running", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="calls")
    judge = models.ForeignKey(JudgeVersion, on_delete=models.PROTECT, related_name="+")
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    method = models.CharField(max_length=10, choices=Method)
    pairs = models.JSONField(help_text="as they were sent, checked")
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    said = models.JSONField(default=list, blank=True, help_text="one answer for each pair, in their order")
    error = models.TextField(blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["state", "id"], name="call_next")]

    def __str__(self) -> str:
        return f"call {self.pk} of {self.project} ({self.state})"
