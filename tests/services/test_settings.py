"""What follows a change of settings is made up for where its message was lost with the broker."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

from labeling import jobs
from labeling.errors import SettingsMoved
from labeling.models import ConsensusFit, Deployment, JudgingRequest, Pair, Project
from labeling.services import deployments, housekeeping, judging, settings
from labeling.services.labels import commit_label
from tests.conftest import Sent
from tests.factories import ClaimFactory, LabelFactory, PairFactory, ProjectFactory, UserFactory


@pytest.mark.parametrize(
    "changed",
    [{"routing": "coverage"}, {"judge_labels": True}, {"wished_agreement": 0.83}, {"overlap": 2}],
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


@pytest.mark.parametrize("job", ["refresh_pairs", "refresh_project"])
def test_what_was_labelled_while_the_overlap_changed_is_opened_after_it(
    champion: Deployment, alice: User, bob: User, job: str
) -> None:
    pair = PairFactory.create(project=champion.project)
    commit_label(ClaimFactory.create(pair=pair, annotator=bob), choice="left")
    settings.change_settings(champion.project, by=alice, overlap=2)
    assert Deployment.objects.get().follow_up is not None, "the sweep makes up for a job that is lost"
    Pair.objects.update(closed=True)  # by a commit that had read the overlap of before
    getattr(housekeeping, job)([pair.pk] if job == "refresh_pairs" else champion.project_id)
    assert not Pair.objects.get().closed


def test_a_setting_is_not_saved_over_one_that_was_not_seen(project: Project, alice: User) -> None:
    seen = Project.objects.get()
    settings.change_settings(project, by=alice, seen=seen, overlap=2)
    with pytest.raises(SettingsMoved):
        settings.change_settings(project, by=alice, seen=seen, overlap=3, name="Other")
    settings.change_settings(project, by=alice, seen=seen, name="Long stories")
    assert Project.objects.values_list("name", "overlap").get() == ("Long stories", 2)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer")
@pytest.mark.django_db(transaction=True)
def test_another_overlap_and_the_end_of_an_import_wait_for_each_other_in_one_order(sent: Sent) -> None:
    """The import has written a pair that opens, and needs the project's row for those that it adds."""
    project, alice = ProjectFactory.create(), UserFactory.create()
    pair = LabelFactory.create(pair=PairFactory.create(project=project, closed=True)).pair

    def change() -> list[str]:
        try:
            return settings.change_settings(project, by=alice, overlap=2)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            Pair.objects.filter(pk=pair.pk).update(closed=True)
            changing = pool.submit(change)
            while not somebody_waits():
                assert not changing.done()
            PairFactory.create(project=project)
        assert changing.result() == ["overlap"]
    assert not Pair.objects.filter(closed=True).exists()


def somebody_waits() -> bool:
    """For a row that this transaction has written."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND transactionid = pg_current_xact_id()::xid")
        return bool(cursor.fetchone()[0])


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
