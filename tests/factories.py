"""Rows for tests, with sensible defaults."""

from datetime import timedelta

import factory
from django.contrib.auth.models import User
from django.utils import timezone
from factory.django import DjangoModelFactory

from labeling.models import Claim, Deployment, Judgement, JudgeVersion, Label, Pair, Project


class UserFactory(DjangoModelFactory[User]):
    class Meta:
        model = User

    username = factory.Sequence(lambda n: f"user{n}")


class ProjectFactory(DjangoModelFactory[Project]):
    class Meta:
        model = Project

    slug = factory.Sequence(lambda n: f"project-{n}")
    name = "Short stories"
    guidelines = "Prefer the clearer story."
    audit_share = 0.0


class PairFactory(DjangoModelFactory[Pair]):
    class Meta:
        model = Pair

    project = factory.SubFactory(ProjectFactory)
    external_id = factory.Sequence(lambda n: f"pair-{n}")
    prompt = factory.LazyAttribute(lambda row: [{"role": "user", "content": f"Tell story {row.external_id}."}])
    response_a = factory.LazyAttribute(lambda row: f"A fox crossed the river. ({row.external_id})")
    response_b = factory.LazyAttribute(lambda row: f"There was a fox, and then it was elsewhere. ({row.external_id})")
    prompt_hash = factory.LazyAttribute(lambda row: f"prompt-{row.external_id}")
    content_hash = factory.LazyAttribute(lambda row: f"content-{row.external_id}")
    group_key = factory.LazyAttribute(lambda row: f"group-{row.external_id}")
    shuffle = factory.Sequence(lambda n: n)


class ClaimFactory(DjangoModelFactory[Claim]):
    class Meta:
        model = Claim

    pair = factory.SubFactory(PairFactory)
    annotator = factory.SubFactory(UserFactory)
    slot = 0
    slots = 1
    swapped = False
    expires_at = factory.LazyFunction(lambda: timezone.now() + timedelta(minutes=10))


class LabelFactory(DjangoModelFactory[Label]):
    """A label by an external annotator, as an imported file brings it."""

    class Meta:
        model = Label

    pair = factory.SubFactory(PairFactory)
    source = Label.Source.IMPORT
    external_annotator = factory.Sequence(lambda n: f"external-{n}")
    choice = "a"
    final_choice = factory.SelfAttribute("choice")
    blind = True


class JudgeVersionFactory(DjangoModelFactory[JudgeVersion]):
    class Meta:
        model = JudgeVersion

    name = factory.Sequence(lambda n: f"judge-{n}")
    method = "base"
    backend = "scripted"
    base_model = "scripted:longer"
    weights = "judges/none"
    prompt_version = "1"
    prompt_hash = "0" * 64


class DeploymentFactory(DjangoModelFactory[Deployment]):
    class Meta:
        model = Deployment

    project = factory.SubFactory(ProjectFactory)
    judge = factory.SubFactory(JudgeVersionFactory)
    state = Deployment.State.CHAMPION


class JudgementFactory(DjangoModelFactory[Judgement]):
    class Meta:
        model = Judgement

    pair = factory.SubFactory(PairFactory)
    judge = factory.SubFactory(JudgeVersionFactory)
    method = "score"
    p_a = 0.8
    p_a_straight = factory.SelfAttribute("p_a")
    p_a_swapped = factory.SelfAttribute("p_a")
    consistent = True
    samples = 2
    tokens = 100
    seconds = 0.1


def labelled(project: Project, count: int, **fields: object) -> list[Pair]:
    """So many pairs of these fields, each with a blind label by somebody else."""
    pairs = PairFactory.create_batch(count, project=project, **fields)
    for pair in pairs:
        LabelFactory.create(pair=pair)
    return pairs
