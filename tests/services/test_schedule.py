"""Runs by the calendar and by the number of labels: when they start, once, and in silence where they cannot."""

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from labeling.models import AuditEvent, Deployment, Project, TrainingRun
from labeling.services import training
from tests.conftest import Sent
from tests.factories import LabelFactory, PairFactory

State = TrainingRun.State


class Clock:
    """The time, as long as the test wants it."""

    def __init__(self) -> None:
        self.now = timezone.now()

    def __call__(self) -> datetime:
        return self.now

    def goes_on(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    frozen = Clock()
    monkeypatch.setattr(timezone, "now", frozen)
    return frozen


def labelled(project: Project, count: int, *, part: str = "") -> None:
    for pair in PairFactory.create_batch(count, project=project, part=part):
        LabelFactory.create(pair=pair)


@pytest.fixture
def weekly(clock: Clock, champion: Deployment) -> Project:
    """Enough labels for a run, and one wished for every seven days."""
    project = champion.project
    Project.objects.update(retrain_every_days=7, retrain_method="genrm")
    labelled(project, training.LEAST_TRAINING)
    labelled(project, training.LEAST_GATE, part="gate")
    project.refresh_from_db()
    return project


def test_a_run_starts_when_the_days_have_gone_by_and_not_before(weekly: Project, clock: Clock) -> None:
    clock.goes_on(days=7, seconds=-1)
    assert training.apply_policies() == []
    clock.goes_on(seconds=1)
    [run] = training.apply_policies()
    assert (run.trigger, run.project, run.method, run.requested_by) == ("schedule", weekly, "genrm", None)
    assert AuditEvent.objects.get(action="run.request").detail["trigger"] == "schedule"


def test_it_starts_once_and_again_after_as_many_days(weekly: Project, clock: Clock) -> None:
    clock.goes_on(days=7)
    assert len(training.apply_policies()) == 1
    assert training.apply_policies() == [], "the run is active"
    TrainingRun.objects.update(state=State.REJECTED)
    labelled(weekly, 1)
    clock.goes_on(days=6, hours=23)
    assert training.apply_policies() == []
    clock.goes_on(hours=1)
    assert len(training.apply_policies()) == 1


def test_a_run_that_takes_longer_than_the_days_is_not_doubled(weekly: Project, clock: Clock) -> None:
    clock.goes_on(days=7)
    training.apply_policies()
    TrainingRun.objects.update(state=State.RUNNING)
    clock.goes_on(days=8)
    assert training.apply_policies() == []
    assert TrainingRun.objects.count() == 1


def test_a_run_by_hand_puts_the_next_one_off(weekly: Project, clock: Clock) -> None:
    clock.goes_on(days=5)
    training.request_run(weekly, method="genrm", trigger="button")
    TrainingRun.objects.update(state=State.CANCELLED)
    assert training.next_by_schedule(weekly) == clock.now + timedelta(days=7)
    clock.goes_on(days=3)
    assert training.apply_policies() == []
    clock.goes_on(days=4)
    assert len(training.apply_policies()) == 1


def test_while_labels_are_missing_nothing_starts_and_nothing_is_said(
    champion: Deployment, clock: Clock, sent: Sent, capsys: pytest.CaptureFixture[str]
) -> None:
    project = champion.project
    Project.objects.update(retrain_every_days=1)
    labelled(project, training.LEAST_TRAINING - 1)
    labelled(project, training.LEAST_GATE, part="gate")
    for _ in range(3):
        clock.goes_on(days=2)
        assert training.apply_policies() == []
    assert not TrainingRun.objects.exists()
    assert not AuditEvent.objects.exists()
    assert (sent, capsys.readouterr().out) == ([], "")
    labelled(project, 1)
    assert len(training.apply_policies()) == 1, "it is overdue: the last label starts it"


@pytest.mark.parametrize("origin", Project.RetrainFrom.values)
def test_without_a_new_label_since_a_decision_there_is_nothing_to_train_again(
    weekly: Project, clock: Clock, origin: str
) -> None:
    Project.objects.update(retrain_from=origin)
    clock.goes_on(days=7)
    training.apply_policies()
    TrainingRun.objects.update(state=State.REJECTED)
    clock.goes_on(days=30)
    assert training.apply_policies() == []
    labelled(weekly, 1, part="gate")
    assert len(training.apply_policies()) == 1


def test_a_run_that_failed_is_tried_again_after_as_many_days(weekly: Project, clock: Clock) -> None:
    clock.goes_on(days=7)
    training.apply_policies()
    TrainingRun.objects.update(state=State.FAILED)
    assert training.apply_policies() == []
    clock.goes_on(days=7)
    assert len(training.apply_policies()) == 1


def test_both_policies_at_once_start_one_run(weekly: Project, clock: Clock) -> None:
    Project.objects.update(retrain_after=50)
    clock.goes_on(days=7)
    [run] = training.apply_policies()
    assert run.trigger == "policy"
    assert training.apply_policies() == []
    TrainingRun.objects.update(state=State.REJECTED)
    assert training.apply_policies() == [], "both count from the run that was asked for last"
    clock.goes_on(days=7)
    labelled(weekly, 1)
    [run] = training.apply_policies()
    assert run.trigger == "schedule"


def test_each_project_has_its_own_calendar(weekly: Project, clock: Clock) -> None:
    """Another project without a schedule, and one that was made later, are left alone."""
    clock.goes_on(days=6)
    never = Project.objects.create(slug="never", name="never")
    later = Project.objects.create(slug="later", name="later", retrain_every_days=7)
    clock.goes_on(days=1)
    assert training.next_by_schedule(never) is None
    assert training.next_by_schedule(later) == clock.now + timedelta(days=6)
    assert [run.project for run in training.apply_policies()] == [weekly]
