"""What people do with pairs: claim, label, revise, flag and settle."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from labeling.models.judges import JudgeVersion
from labeling.models.pairs import Pair
from labeling.models.projects import Project


class Choice(models.TextChoices):
    """A verdict on a pair, in stored order."""

    A = "a", "A is better"
    B = "b", "B is better"
    TIE = "tie", "tie"
    BOTH_BAD = "both_bad", "both bad"


class Claim(models.Model):
    """An annotator's lease of one of a pair's numbered slots, and the order in which the pair is shown to them."""

    class State(models.TextChoices):
        LIVE = "live", "live"
        DONE = "done", "done"
        EXPIRED = "expired", "expired"
        SKIPPED = "skipped", "skipped"

    HELD = (State.LIVE, State.DONE)

    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, related_name="claims")
    annotator = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="claims")
    slot = models.PositiveSmallIntegerField()
    slots = models.PositiveSmallIntegerField(help_text="the project's overlap when the claim was made")
    swapped = models.BooleanField(help_text="B is shown on the left")
    state = models.CharField(max_length=10, choices=State, default=State.LIVE)
    expires_at = models.DateTimeField()
    ahead = models.BooleanField(default=False, help_text="waits in the annotator's browser and was not shown yet")
    assisted = models.BooleanField(
        default=False, help_text="the judge's verdict was shown with the pair, before a label"
    )
    skip_reason = models.CharField(max_length=200, blank=True)
    reason = models.CharField(max_length=40, blank=True, help_text="why this pair was routed to a person")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["pair", "annotator"], name="one_claim_per_annotator"),
            models.UniqueConstraint(
                fields=["pair", "slot"], condition=Q(state__in=["live", "done"]), name="one_holder_per_slot"
            ),
            models.CheckConstraint(condition=Q(slot__lt=F("slots")), name="slot_below_overlap"),
        ]
        indexes = [models.Index(fields=["annotator", "state", "-id"], name="claim_by_annotator")]

    def __str__(self) -> str:
        return f"{self.annotator} on {self.pair} ({self.state})"


class Label(models.Model):
    """A person's verdict. `choice` is the first one, which trains and evaluates if blind; `final_choice` may differ."""

    class Source(models.TextChoices):
        CLAIM = "claim", "labelled here"
        ADJUDICATION = "adjudication", "settled by an adjudicator"
        IMPORT = "import", "came with the imported file"

    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, related_name="labels")
    claim = models.OneToOneField(Claim, on_delete=models.CASCADE, null=True, blank=True, related_name="label")
    annotator = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="labels"
    )
    external_annotator = models.CharField(max_length=150, blank=True, help_text="for labels that came with a file")
    source = models.CharField(max_length=15, choices=Source)
    choice = models.CharField(max_length=10, choices=Choice)
    final_choice = models.CharField(max_length=10, choices=Choice)
    strength = models.PositiveSmallIntegerField(null=True, blank=True, help_text="1 better, 2 much better")
    criteria = models.JSONField(default=dict, blank=True, help_text='by the criterion\'s name: "a", "b" or "tie"')
    highlights = models.JSONField(
        default=list,
        blank=True,
        help_text='passages given as evidence: [{"response": "a", "start": …, "end": …, "quote": …}]',
    )
    comment = models.TextField(blank=True)
    seconds = models.FloatField(null=True, blank=True, help_text="from shown to committed, as the browser measured it")
    too_fast = models.BooleanField(default=False, help_text="took less than the project's least seconds")
    blind = models.BooleanField(help_text="made without having seen the judge's verdict")
    withdrawn = models.BooleanField(default=False, help_text="undone, and not yet labelled again")
    revealed_at = models.DateTimeField(null=True, blank=True, help_text="when the judge's verdict was first shown")
    revealed_judge = models.ForeignKey(JudgeVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    idempotency_key = models.CharField(max_length=64, null=True, blank=True, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    stored_at = models.DateTimeField(
        auto_now_add=True, help_text="when the row was written; a file may say an earlier created_at"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["pair", "external_annotator"],
                condition=Q(source="import"),
                name="one_imported_label_per_annotator",
            ),
            models.CheckConstraint(
                condition=Q(source="claim", claim__isnull=False, annotator__isnull=False)
                | Q(source="adjudication", claim__isnull=True, annotator__isnull=False)
                | Q(source="import", claim__isnull=True, annotator__isnull=True),
                name="label_has_its_origin",
            ),
            models.CheckConstraint(
                condition=Q(choice__in=Choice.values, final_choice__in=Choice.values), name="label_choice_known"
            ),
        ]
        indexes = [models.Index(fields=["pair", "withdrawn"], name="label_by_pair")]

    def __str__(self) -> str:
        return f"{self.choice} on {self.pair}"


class LabelRevision(models.Model):
    """Every change of a label, append-only: the database refuses to update a row."""

    class Kind(models.TextChoices):
        UNDO = "undo", "undone"
        RELABEL = "relabel", "labelled again after an undo"
        KEEP = "keep", "kept after the reveal"
        REVISE = "revise", "revised after the reveal"

    label = models.ForeignKey(Label, on_delete=models.PROTECT, related_name="revisions")
    kind = models.CharField(max_length=10, choices=Kind)
    before = models.CharField(max_length=10)
    after = models.CharField(max_length=10, blank=True)
    blind = models.BooleanField(help_text="the judge had not been shown when this change was made")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.kind}: {self.before} → {self.after}"


class Flag(models.Model):
    """A pair that somebody should look at, and how it was settled."""

    class Kind(models.TextChoices):
        JUDGE_DISAGREES = "judge_disagrees", "judge and people disagree"
        ANNOTATORS_SPLIT = "annotators_split", "annotators disagree"
        ORDER_FLIP = "order_flip", "the judge's verdict flips with the order"
        LOW_MARGIN = "low_margin", "the judge is unsure"
        GOLD_MISSED = "gold_missed", "a gold question was missed"
        REPORTED = "reported", "reported by a person"

    class State(models.TextChoices):
        OPEN = "open", "open"
        SETTLED = "settled", "settled"
        SENT_BACK = "sent_back", "sent back to annotators"
        OBSOLETE = "obsolete", "no longer true"

    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, related_name="flags")
    kind = models.CharField(max_length=20, choices=Kind)
    state = models.CharField(max_length=10, choices=State, default=State.OPEN)
    judge = models.ForeignKey(JudgeVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    value = models.FloatField(default=0.0, help_text="how much settling it is worth; higher first")
    detail = models.JSONField(default=dict, blank=True)
    resolution = models.CharField(max_length=10, blank=True, help_text='the settled choice, or "ambiguous"')
    reason = models.TextField(blank=True)
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="settled_flags"
    )
    resolved_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(fields=["pair", "kind"], condition=Q(state="open"), name="one_open_flag_per_kind")
        ]
        indexes = [models.Index(fields=["state", "-value"], name="flag_by_value")]

    def __str__(self) -> str:
        return f"{self.kind} on {self.pair}"


class Consensus(models.Model):
    """The pair's current label, how sure it is and how it came about; by people, unless the method says judge."""

    class Method(models.TextChoices):
        MAJORITY = "majority", "majority"
        DAWID_SKENE = "dawid_skene", "Dawid–Skene"
        ADJUDICATED = "adjudicated", "adjudicated"
        AMBIGUOUS = "ambiguous", "ambiguous, by an adjudicator"
        JUDGE = "judge", "the judge alone"

    pair = models.OneToOneField(Pair, on_delete=models.CASCADE, related_name="consensus")
    choice = models.CharField(max_length=10, choices=Choice)
    confidence = models.FloatField(help_text="share of the labels that agree, or probability; 1 when adjudicated")
    method = models.CharField(max_length=15, choices=Method)
    judge = models.ForeignKey(
        JudgeVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="+", help_text="where it labelled"
    )
    labels = models.PositiveSmallIntegerField(help_text="by people")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name_plural = "consensus"
        constraints = [
            models.CheckConstraint(
                condition=Q(method="judge", judge__isnull=False, labels=0)
                | (~Q(method="judge") & Q(judge__isnull=True)),
                name="judge_labels_are_marked",
            )
        ]

    def __str__(self) -> str:
        return f"{self.choice} ({self.confidence:.2f})"


class ConsensusFit(models.Model):
    """How reliable a project's annotators are, as Dawid–Skene last estimated it; no parameters: from too few labels."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="consensus_fit")
    parameters = models.JSONField(help_text="priors of the verdicts and each annotator's confusion matrix")
    labels = models.PositiveIntegerField(help_text="how many labels it was fitted on")
    fitted_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.project}: fitted on {self.labels} labels"


class SavedFilter(models.Model):
    """A person's named view of the flags of a project."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="saved_filters")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="saved_filters")
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=500, help_text="the page's query string")

    class Meta:
        ordering = ["name", "pk"]
        constraints = [models.UniqueConstraint(fields=["project", "user", "name"], name="one_filter_per_name")]

    def __str__(self) -> str:
        return self.name
