"""Runs as rows: what is missing is said, one at a time, taken once, ended once; policies; blind labels only."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from labeling import jobs
from labeling.errors import CannotReign, CannotRetrain, RunNotActive
from labeling.models import Deployment, JudgeVersion, Label, Pair, Project, TrainingRun
from labeling.services import datasets, deployments, housekeeping, storage, training
from labeling.services.tokens import create_token
from tests.conftest import Sent
from tests.factories import DeploymentFactory, JudgeVersionFactory, LabelFactory, PairFactory

State = TrainingRun.State


def labelled(project: Project, count: int, *, part: str = "", **label: object) -> None:
    for pair in PairFactory.create_batch(count, project=project, part=part):
        LabelFactory.create(pair=pair, **label)


@pytest.fixture
def ready(champion: Deployment) -> Project:
    """Enough labels for a run."""
    labelled(champion.project, training.LEAST_TRAINING)
    labelled(champion.project, training.LEAST_GATE, part="gate")
    return champion.project


def requested(project: Project, **fields: object) -> TrainingRun:
    return training.request_run(project, **{"method": "genrm", "trigger": "button", **fields})  # type: ignore[arg-type]


def test_a_run_is_queued_with_its_frozen_config(
    ready: Project, alice: User, sent: Sent, django_capture_on_commit_callbacks: object
) -> None:
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        run = requested(ready, by=alice)
    assert (run.state, run.training_pairs, run.holdout_pairs) == ("queued", 40, 15)
    assert run.config["method"] == "genrm"
    assert run.config["learning_rate"] is None, "the engine's to fill in, or to refuse for a large model"
    assert run.config["epochs"] == 3.0
    assert run.config["rubric"] == "Prefer the clearer story."
    assert (jobs.TRAIN, {"run_id": run.pk}) in sent


def test_an_installation_can_choose_the_rate_for_a_large_judge(ready: Project, settings: Settings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"learning_rate": 1e-6})
    assert requested(ready).config["learning_rate"] == 1e-6


def test_an_installation_says_how_long_a_pair_may_be_that_trains(ready: Project, settings: Settings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"training_tokens": 4096})
    assert requested(ready).config["max_tokens"] == 4096


@pytest.mark.parametrize(("pairs", "epochs"), [(40, 3.0), (400, 2.0), (5000, 1.5)])
def test_few_labels_are_gone_over_more_often(pairs: int, epochs: float) -> None:
    assert training._epochs(pairs) == epochs


def test_what_is_missing_is_said(champion: Deployment) -> None:
    labelled(champion.project, 10)
    with pytest.raises(CannotRetrain) as caught:
        requested(champion.project)
    assert "Label 30 more pairs for training (10 of 40)" in str(caught.value)
    assert "Label 15 more hold-out pairs" in str(caught.value)


def test_a_judge_that_cannot_be_trained_is_said(ready: Project) -> None:
    Deployment.objects.all().delete()
    DeploymentFactory.create(project=ready, judge=JudgeVersionFactory.create(trainable=False))
    with pytest.raises(CannotRetrain, match="cannot be trained here"):
        requested(ready)


def test_one_active_run_per_project_also_in_the_database(ready: Project) -> None:
    run = requested(ready)
    with pytest.raises(CannotRetrain, match="already active"):
        requested(ready)
    with pytest.raises(IntegrityError), transaction.atomic():
        TrainingRun.objects.create(project=ready, trigger="api", method="genrm", start=run.start, origin=run.start)


def test_training_uses_blind_first_verdicts_and_never_the_holdout(champion: Deployment, dora: User) -> None:
    project = champion.project
    labelled(project, 1, choice="a", final_choice="b")
    labelled(project, 1, blind=False)
    labelled(project, 1, withdrawn=True)
    labelled(project, 1, choice="tie")
    labelled(project, 1, part="gate")
    settled = PairFactory.create(project=project)
    Label.objects.create(pair=settled, annotator=dora, source="adjudication", choice="b", final_choice="b", blind=False)
    [row] = datasets.training_rows(project)
    assert row.choice == "a"
    assert [row.pair.part for row in datasets.holdout_rows(project)] == [Pair.Part.GATE]


def test_the_blind_consensus_carries_its_share_as_weight(project: Project) -> None:
    pair = PairFactory.create(project=project)
    for choice in ("b", "b", "a"):
        LabelFactory.create(pair=pair, choice=choice)
    [row] = datasets.training_rows(project)
    assert (row.choice, row.to_engine()["weight"]) == ("b", 0.6667)


def test_a_run_is_taken_once_and_taken_over_only_from_a_silent_worker(ready: Project) -> None:
    run = requested(ready)
    first = training.take(run.pk, lease="one")
    assert first is not None
    assert training.take(run.pk, lease="two") is None
    TrainingRun.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    assert training.waiting_runs() == [run.pk]
    second = training.take(run.pk, lease="two")
    assert second is not None
    assert not training.heartbeat(first)
    assert training.heartbeat(second)
    assert not training.finish(first, State.FAILED, "late")
    assert training.finish(second, State.PROMOTED, "done")
    assert not training.finish(second, State.FAILED, "again")


def test_a_run_whose_worker_dies_again_and_again_fails(ready: Project) -> None:
    run = requested(ready)
    for number in range(training.MAX_ATTEMPTS):
        assert training.take(run.pk, lease=f"lease {number}") is not None
        TrainingRun.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    assert training.take(run.pk, lease="last") is None
    run.refresh_from_db()
    assert run.state == State.FAILED
    assert "died again and again" in run.error


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
def test_a_candidate_on_which_no_gate_decides_any_more_is_kept_at_rest(
    ready: Project, alice: User, home: Path, as_alice: Client, state: str
) -> None:
    run = training.take(requested(ready, method="star-dpo").pk, lease="x")
    assert run is not None
    candidate = JudgeVersionFactory.create(method="star-dpo", parent=run.start, weights="judges/candidate")
    (home / candidate.weights).mkdir(parents=True)
    (home / candidate.weights / "model.safetensors").write_bytes(b"0" * 1000)
    training.report(run, candidate=candidate)
    assert training.finish(run, state, "so")
    kept = Deployment.objects.get(judge=candidate)
    assert (kept.project, kept.state, kept.counts, kept.gate) == (ready, "retired", "cot", {})
    assert deployments.former_champion(ready) is None
    page = as_alice.get("/p/stories/versions/").content.decode()
    assert candidate.name in page
    assert "Why, against the gate" in page
    headers = {"Authorization": f"Bearer {create_token(alice)}"}
    judge = as_alice.get(f"/api/v1/projects/stories/judges/{candidate.pk}", headers=headers).json()
    assert (judge["state"], judge["gate"], judge["training_run"]) == ("retired", {}, run.pk)
    for address in ("card/", "changes/"):
        assert as_alice.get(f"/p/stories/versions/{candidate.pk}/{address}").status_code == 200
    assert as_alice.get(f"/p/stories/judge/?version={candidate.pk}").status_code == 200
    assert as_alice.get(f"/runs/{run.pk}/").status_code == 200
    with pytest.raises(CannotReign, match="say why"):
        deployments.crown(kept, by=alice)
    assert storage.prune(candidate, by=alice).bytes == 1000


def test_a_worker_that_ends_a_run_too_late_keeps_nothing(ready: Project) -> None:
    run = training.take(requested(ready).pk, lease="x")
    assert run is not None
    training.report(run, candidate=JudgeVersionFactory.create())
    TrainingRun.objects.update(lease="another's")
    assert not training.finish(run, State.FAILED, "late")
    assert Deployment.objects.count() == 1


def test_cancelling(ready: Project, alice: User) -> None:
    queued = requested(ready)
    training.cancel_run(queued, by=alice)
    queued.refresh_from_db()
    assert queued.state == State.CANCELLED
    with pytest.raises(RunNotActive):
        training.cancel_run(queued, by=alice)
    running = training.take(requested(ready).pk, lease="x")
    assert running is not None
    training.cancel_run(running, by=alice)
    assert training.cancel_requested(running)
    assert TrainingRun.objects.get(pk=running.pk).state == State.RUNNING


def test_the_policy_starts_a_run_after_n_new_blind_labels(ready: Project) -> None:
    Project.objects.update(retrain_after=60)
    assert training.apply_policies() == []
    labelled(ready, 5)
    [run] = training.apply_policies()
    assert (run.trigger, run.state) == ("policy", "queued")
    assert training.apply_policies() == []
    TrainingRun.objects.update(state=State.REJECTED)
    assert training.apply_policies() == []
    labelled(ready, 60)
    assert len(training.apply_policies()) == 1


def test_the_sweep_sends_runs_nobody_took(ready: Project, sent: Sent) -> None:
    run = requested(ready)
    sent.clear()
    assert housekeeping.sweep()["runs"] == 1
    assert (jobs.TRAIN, {"run_id": run.pk}) in sent


def test_the_expected_time_follows_the_installations_last_run(ready: Project, judge: JudgeVersion) -> None:
    now = timezone.now()
    TrainingRun.objects.create(
        project=ready,
        trigger="api",
        method="genrm",
        start=judge,
        origin=judge,
        state=State.REJECTED,
        training_pairs=10,
        started_at=now - timedelta(seconds=300),
        finished_at=now,
    )
    assert training.expected_seconds("genrm", 40) == 1200
