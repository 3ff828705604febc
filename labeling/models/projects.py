"""Projects and who may do what in them."""

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

SHARE = [MinValueValidator(0.0), MaxValueValidator(0.9)]


class Project(models.Model):
    """One labelling effort: its guidelines, policies and judge settings."""

    class Scale(models.TextChoices):
        PLAIN = "plain", "A / B"
        GRADED = "graded", "A much better … B much better"

    class Reveal(models.TextChoices):
        NEVER = "never", "never show the judge"
        AFTER = "after", "show the judge after the annotator has committed"
        BEFORE = "before", "show the judge first (assisted labels, never used to evaluate)"

    class Routing(models.TextChoices):
        RANDOM = "random", "random order"
        UNCERTAINTY = "uncertainty", "what the judge is least sure of first"
        AUDIT = "audit", "random audit, and what the judge is least sure of"
        COVERAGE = "coverage", "prompts without a label first"

    class ConsensusMethod(models.TextChoices):
        MAJORITY = "majority", "majority"
        DAWID_SKENE = "dawid_skene", "Dawid–Skene: annotators weighted by how reliable they are"

    class Comments(models.TextChoices):
        OPTIONAL = "optional", "a comment if the annotator likes"
        REQUIRED = "required", "every verdict needs a comment"

    class RetrainMethod(models.TextChoices):
        STAR_DPO = "star-dpo", "STaR-DPO: the judge's own rationales, right against wrong"
        STAR_SFT = "star-sft", "STaR-SFT: the judge's own right rationales"
        GENRM = "genrm", "GenRM: loss on the indicator token"
        BRADLEY_TERRY = "bradley-terry", "Bradley–Terry: a reward model without rationales, for comparison"
        GRPO = "grpo", "GRPO: reinforcement by the verdict, an experiment"

    class RetrainFrom(models.TextChoices):
        CHAMPION = "champion", "the champion, on the labels that it has not seen"
        BASE = "base", "the judge that the project began with, on all labels"

    class RetrainLabels(models.TextChoices):
        SOFT = "soft", "the share of people for either response"
        CONSENSUS = "consensus", "the response that most people prefer"

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=200)
    guidelines = models.TextField(blank=True, help_text="Markdown, shown to annotators and given to the judge")
    criteria = models.JSONField(
        default=list, blank=True, help_text='what else is compared: [{"name": …, "about": …}, …]'
    )
    criteria_required = models.BooleanField(default=False, help_text="a verdict needs every criterion answered")
    comments = models.CharField(max_length=10, choices=Comments, default=Comments.OPTIONAL)
    highlights = models.BooleanField(default=False, help_text="annotators may mark passages as evidence")
    gold_every = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(2)],
        help_text="one pair in n is a gold question; empty: as drawn",
    )
    least_seconds = models.PositiveSmallIntegerField(
        default=0, help_text="a verdict that took less is marked as too fast, not blocked"
    )
    scale = models.CharField(max_length=10, choices=Scale, default=Scale.PLAIN)
    routing = models.CharField(
        max_length=15, choices=Routing, default=Routing.AUDIT, help_text="which pair a person is asked for next"
    )
    consensus_method = models.CharField(
        max_length=15, choices=ConsensusMethod, default=ConsensusMethod.MAJORITY, help_text="how labels become one"
    )
    wished_agreement = models.FloatField(
        default=0.8,
        validators=[MinValueValidator(0.5), MaxValueValidator(0.99)],
        help_text="how often the judge must agree with people where it labels alone",
    )
    judge_labels = models.BooleanField(
        default=False, help_text="the judge's label counts, and nobody is asked, where it keeps the wished agreement"
    )
    overlap = models.PositiveSmallIntegerField(default=1, validators=[MinValueValidator(1)])
    reveal = models.CharField(max_length=10, choices=Reveal, default=Reveal.AFTER)
    holdout_share = models.FloatField(default=0.3, validators=SHARE, help_text="share of the groups never trained on")
    audit_share = models.FloatField(
        default=0.2, validators=SHARE, help_text="share of pairs labelled in random order, unrevealed, never trained on"
    )
    samples_per_order = models.PositiveSmallIntegerField(
        default=2, help_text="rationales per pair and order; 0: score only"
    )
    retrain_after = models.PositiveIntegerField(
        null=True, blank=True, help_text="retrain after n new blind labels; empty: never"
    )
    retrain_every_days = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="retrain so many days after the last run was asked for; empty: never",
    )
    retrain_method = models.CharField(max_length=20, choices=RetrainMethod, default=RetrainMethod.STAR_DPO)
    retrain_from = models.CharField(
        max_length=10, choices=RetrainFrom, default=RetrainFrom.CHAMPION, help_text="which weights a run starts from"
    )
    retrain_labels = models.CharField(
        max_length=10,
        choices=RetrainLabels,
        default=RetrainLabels.SOFT,
        help_text="what is learnt where several people labelled a pair",
    )
    replay_share = models.FloatField(
        default=0.5,
        validators=[MinValueValidator(0.0), MaxValueValidator(10.0)],
        help_text="older labelled pairs that a run from the champion repeats, for each new one",
    )
    outside = models.ManyToManyField(
        "self",
        symmetrical=False,
        blank=True,
        related_name="+",
        help_text="projects whose labelled hold-out tells how this one's judges do out of distribution",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name", "pk"]
        constraints = [
            models.CheckConstraint(condition=models.Q(overlap__gte=1), name="project_overlap_positive"),
            models.CheckConstraint(
                condition=models.Q(wished_agreement__gte=0.5, wished_agreement__lt=1), name="project_wish_is_a_share"
            ),
            models.CheckConstraint(
                condition=models.Q(holdout_share__gte=0, holdout_share__lt=1, audit_share__gte=0, audit_share__lt=1),
                name="project_shares_are_shares",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Member(models.Model):
    """A user's role in a project. Superusers need none."""

    class Role(models.TextChoices):
        ANNOTATOR = "annotator", "annotator"
        ADJUDICATOR = "adjudicator", "adjudicator"
        MANAGER = "manager", "manager"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="members")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "user"], name="one_role_per_project")]

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"
