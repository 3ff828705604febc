"""What follows a change of settings is made up for where its message was lost with the broker."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from labeling import jobs
from labeling.models import ConsensusFit, Deployment, JudgingRequest, Project
from labeling.services import deployments, housekeeping, judging, settings
from tests.conftest import Sent
from tests.factories import PairFactory


@pytest.mark.parametrize(
    "changed",
    [{"routing": "coverage"}, {"judge_labels": True}, {"wished_agreement": 0.83}],
    ids=lambda changed: str(next(iter(changed))),
)
def test_what_follows_a_change_is_made_up_for(
    champion: Deployment, alice: User, sent: Sent, changed: dict[str, Any]
) -> None:
    settings.change_settings(champion.project, by=alice, **changed)
    refresh = (jobs.REFRESH_PROJECT, {"project_id": champion.project_id})
    sent.clear()  # the broker was away
    housekeeping.sweep()
    assert refresh not in sent, "the job may still be on its way"
    long_ago = timezone.now() - deployments.FOLLOW_UP_AFTER
    assert Deployment.objects.filter(follow_up__isnull=False).update(follow_up=long_ago)
    housekeeping.sweep()
    assert refresh in sent
    housekeeping.refresh_project(champion.project_id)
    assert Deployment.objects.get().follow_up is None


def test_another_setting_asks_for_nothing(champion: Deployment, alice: User) -> None:
    settings.change_settings(champion.project, by=alice, name="Long stories")
    assert Deployment.objects.get().follow_up is None


def test_weights_of_annotators_that_count_no_longer_are_dropped_in_the_end(
    champion: Deployment, project: Project, alice: User, sent: Sent
) -> None:
    Project.objects.update(consensus_method="dawid_skene")
    ConsensusFit.objects.create(project=project, parameters={}, labels=0)
    fit = (jobs.FIT_CONSENSUS, {"project_id": project.pk})
    housekeeping.sweep()
    assert fit not in sent
    settings.change_settings(project, by=alice, consensus_method="majority")
    sent.clear()
    housekeeping.sweep()
    assert fit in sent
    housekeeping.fit_consensus(project.pk)
    sent.clear()
    housekeeping.sweep()
    assert fit not in sent


def test_rationales_that_nobody_wants_any_more_are_not_written_and_those_wanted_are(
    champion: Deployment, project: Project, alice: User
) -> None:
    PairFactory.create_batch(3, project=project)
    judging.request_project(project)
    waiting = JudgingRequest.objects.order_by("method").values_list("method", flat=True)
    assert list(waiting) == ["cot"] * 3 + ["score"] * 3
    settings.change_settings(project, by=alice, samples_per_order=0)
    assert list(waiting.all()) == ["score"] * 3
    settings.change_settings(project, by=alice, samples_per_order=1)
    assert list(waiting.all()) == ["cot"] * 3 + ["score"] * 3


def test_a_judge_that_counts_by_its_rationales_goes_on_writing(
    champion: Deployment, project: Project, alice: User
) -> None:
    Deployment.objects.update(counts="cot")
    PairFactory.create(project=project)
    settings.change_settings(project, by=alice, samples_per_order=0)
    assert JudgingRequest.objects.filter(method="cot").count() == 1
