"""One of everything a route can name, in Alice's project."""

from dataclasses import dataclass

import pytest
from django.contrib.auth.models import User

from labeling.models import Claim, Deployment, ImportBatch, JudgeTrial, Label, Pair, Project, TrainingRun
from labeling.services import labels
from tests import factories

HTMX = {"HX-Request": "true"}
"""Sent by htmx with every request; without it the answer is a whole page or a redirect."""


@dataclass(frozen=True)
class World:
    """Bob holds one claim and has made one label; both pairs, a run and an import are there."""

    project: Project
    claim: Claim
    label: Label
    pair: Pair
    run: TrainingRun
    batch: ImportBatch
    trial: JudgeTrial


@pytest.fixture
def htmx() -> dict[str, str]:
    return HTMX


@pytest.fixture
def held(project: Project, bob: User) -> Claim:
    """Bob's live claim; B is on his left."""
    pair = factories.PairFactory.create(project=project)
    return factories.ClaimFactory.create(pair=pair, annotator=bob, swapped=True)


@pytest.fixture
def world(project: Project, bob: User, held: Claim, champion: Deployment) -> World:
    done = factories.ClaimFactory.create(pair=factories.PairFactory.create(project=project), annotator=bob)
    label = labels.commit_label(done, choice="left")
    run = TrainingRun.objects.create(
        project=project, trigger="button", method="genrm", start=champion.judge, origin=champion.judge
    )
    batch = ImportBatch.objects.create(project=project, filename="pairs.jsonl", sha256="0")
    trial = JudgeTrial.objects.create(project=project, requested_by=bob, backend="openai", model="judge")
    return World(project, held, label, label.pair, run, batch, trial)
