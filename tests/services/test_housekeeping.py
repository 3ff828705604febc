"""What the sweep makes up for after the broker was away, and what it does not send twice."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.utils import timezone

from genrm_engine.evaluation.consensus import fit
from labeling import jobs
from labeling.models import (
    Claim,
    Consensus,
    ConsensusFit,
    Deployment,
    Flag,
    Judgement,
    JudgeVersion,
    Label,
    Pair,
    Project,
    TrainingRun,
    WorkerHeartbeat,
)
from labeling.services import dataset_versions, deployments, flags, housekeeping, labels, trust
from tests.conftest import Sent
from tests.factories import ClaimFactory, JudgementFactory, LabelFactory, PairFactory

Step = Callable[[Label], object]


@pytest.fixture
def known(pair: Pair, bob: User) -> Label:
    """Bob says A and has seen the judge, and so does the consensus."""
    label = labels.commit_label(ClaimFactory.create(pair=pair, annotator=bob), choice="left")
    Label.objects.update(revealed_at=timezone.now())
    housekeeping.refresh_pairs([pair.pk])
    label.refresh_from_db()
    return label


def label_more(label: Label) -> None:
    for choice in ("b", "b"):
        LabelFactory.create(pair=label.pair, choice=choice)


def undo(label: Label) -> None:
    assert label.annotator is not None
    labels.undo(label.pair.project, annotator=label.annotator)


def undo_and_label_again(label: Label) -> None:
    undo(label)
    labels.commit_label(Claim.objects.select_related("pair__project", "label").get(), choice="right")


def import_earlier_ones(label: Label) -> None:
    """They come now, and say that they were given long before."""
    label_more(label)
    Label.objects.exclude(pk=label.pk).update(created_at=timezone.now() - timedelta(days=30))


@pytest.mark.parametrize(
    ("step", "verdicts"),
    [
        (label_more, ["b"]),
        (import_earlier_ones, ["b"]),
        (lambda label: labels.revise(label, choice="right"), ["b"]),
        (undo, []),
        (undo_and_label_again, ["b"]),
    ],
    ids=["labels", "earlier labels", "revise", "undo", "relabel"],
)
def test_a_change_whose_refresh_was_lost_is_made_up_for_once(known: Label, step: Step, verdicts: list[str]) -> None:
    step(known)
    assert Consensus.objects.get().choice == "a"
    assert housekeeping.sweep()["refreshed"] == 1
    assert list(Consensus.objects.values_list("choice", flat=True)) == verdicts
    assert housekeeping.sweep()["refreshed"] == 0


def test_what_the_judge_labels_alone_after_an_undo_is_not_refreshed_for_ever(known: Label, judge: JudgeVersion) -> None:
    undo(known)
    Consensus.objects.update(method="judge", judge=judge, labels=0)
    Consensus.objects.update(updated_at=timezone.now() - timedelta(hours=1))
    assert housekeeping.sweep()["refreshed"] == 0


def test_a_sweep_looks_at_the_newest_only(known: Label, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "NEWEST", 1)
    label_more(known)
    other = LabelFactory.create(pair=PairFactory.create(project=known.pair.project))
    housekeeping.refresh_pairs([other.pair_id])
    assert housekeeping.sweep()["refreshed"] == 0


@pytest.fixture
def sure(champion: Deployment, pair: Pair) -> Deployment:
    """The champion has judged two unlabelled pairs and a labelled one, and no refresh came; of two it is sure."""
    PairFactory.create(project=pair.project)
    label = LabelFactory.create(pair=PairFactory.create(project=pair.project), choice="b")
    housekeeping.refresh_pairs([label.pair_id])
    for one, p_a in zip(Pair.objects.order_by("pk"), (0.9, 0.6, 0.9), strict=True):
        JudgementFactory.create(pair=one, judge=champion.judge, p_a=p_a)
    Deployment.objects.update(thresholds={"threshold": 0.8}, measured_of=trust.fingerprint(champion))
    Label.objects.update(stored_at=timezone.now() - timedelta(hours=2))
    Consensus.objects.update(updated_at=timezone.now() - timedelta(hours=1))
    return champion


@pytest.mark.parametrize("routing", Project.Routing.values)
@pytest.mark.parametrize("alone", [False, True])
def test_a_refresh_that_was_lost_after_a_judgement_is_made_up_for_once(
    sure: Deployment, routing: str, alone: bool
) -> None:
    Project.objects.update(routing=routing, judge_labels=alone)
    assert housekeeping.sweep()["refreshed"] == 0, "the job may still be on its way"
    Judgement.objects.update(created_at=timezone.now() - deployments.FOLLOW_UP_AFTER)
    routed = routing in ("uncertainty", "audit")
    assert housekeeping.sweep()["refreshed"] == (3 if routed else 1 + alone)
    first, second, labelled = Pair.objects.order_by("pk")
    assert Flag.objects.get(kind="judge_disagrees").pair == labelled
    assert Consensus.objects.filter(pair=first, method="judge", choice="a").exists() == alone
    assert not Consensus.objects.filter(pair=second).exists()
    assert (second.route_score > 0) == routed
    assert housekeeping.sweep()["refreshed"] == 0


def test_of_a_judge_that_is_not_trusted_nothing_follows(sure: Deployment) -> None:
    Deployment.objects.update(trusted=False)
    Project.objects.update(judge_labels=True)
    Judgement.objects.update(created_at=timezone.now() - deployments.FOLLOW_UP_AFTER)
    assert housekeeping.sweep()["refreshed"] == 0


def test_a_long_refresh_is_not_sent_again_while_it_runs(
    project: Project, champion: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        LabelFactory.create(pair=PairFactory.create(project=project))
    mine, long_ago = Deployment.objects.filter(pk=champion.pk), timezone.now() - timedelta(hours=1)
    noted: list[bool] = []

    def refresh(_pair: Pair) -> None:
        noted.append(mine.get().follow_up != long_ago)
        mine.update(follow_up=long_ago)

    monkeypatch.setattr(housekeeping, "NOTED_EVERY", 2)
    monkeypatch.setattr("labeling.services.flags.refresh", refresh)
    mine.update(follow_up=long_ago)
    housekeeping.refresh_project(project.pk)
    assert noted == [True, False, True, False, True]
    assert mine.get().follow_up is None


@pytest.mark.parametrize("choice", ["ambiguous", "send_back", "tie"])
def test_what_an_adjudicator_decides_while_a_long_refresh_runs_stands(
    project: Project, dora: User, bob: User, monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    first, later = PairFactory.create_batch(2, project=project)
    for pair in (first, later):
        for verdict in "ab":
            LabelFactory.create(pair=pair, choice=verdict)
    housekeeping.refresh_project(project.pk)
    refresh, turns = flags.refresh, iter([True, False])

    def deciding(pair: Pair) -> None:
        if next(turns):
            flags.decide(Pair.objects.get(pk=later.pk), by=dora, choice=choice, reason="")
        refresh(pair)

    monkeypatch.setattr("labeling.services.flags.refresh", deciding)
    Pair.objects.update(closed=True)
    housekeeping.refresh_project(project.pk)
    assert list(Flag.objects.filter(state="open").values_list("pair", flat=True)) == [first.pk]
    methods = {"ambiguous": "ambiguous", "send_back": "majority", "tie": "adjudicated"}
    assert Consensus.objects.get(pair=later).method == methods[choice]


def test_the_method_that_a_manager_chooses_while_a_long_refresh_runs_counts(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        LabelFactory.create(pair=PairFactory.create(project=project), external_annotator="ada")
    fitted = fit({str(n): {"ada": "a", "ben": "a", "eve": "a"} for n in range(40)})
    assert fitted is not None
    ConsensusFit.objects.create(project=project, parameters=fitted.to_json(), labels=2)
    refresh = flags.refresh

    def changing(pair: Pair) -> None:
        refresh(pair)
        Project.objects.update(consensus_method="dawid_skene")

    monkeypatch.setattr("labeling.services.flags.refresh", changing)
    housekeeping.refresh_project(project.pk)
    assert list(Consensus.objects.order_by("pair").values_list("method", flat=True)) == ["majority", "dawid_skene"]


def make_run(champion: Deployment, **fields: Any) -> TrainingRun:
    judge = champion.judge
    return TrainingRun.objects.create(
        project=champion.project, trigger="button", method="genrm", start=judge, origin=judge, config={}, **fields
    )


def test_what_the_sweep_sends_again_is_dropped_if_nobody_takes_it(
    champion: Deployment, sent: Sent, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    run = make_run(champion)
    options: dict[str, Any] = {}
    monkeypatch.undo()  # the real `send`
    monkeypatch.setattr("labeling.jobs.current_app.send_task", lambda name, **known: options.update({name: known}))
    housekeeping.sweep()
    assert options[jobs.TRAIN]["kwargs"] == {"run_id": run.pk}
    assert options[jobs.TRAIN]["expires"] == 3 * settings.ENV.sweep_seconds
    jobs.send(jobs.TRAIN, {"run_id": run.pk})
    assert options[jobs.TRAIN]["expires"] is None, "the first one waits as long as it must"


def test_the_judge_hears_of_a_run_that_is_at_work(champion: Deployment, sent: Sent) -> None:
    housekeeping.sweep()
    assert (jobs.JUDGE, {}) not in sent
    make_run(champion, state="running", leased_until=timezone.now() + timedelta(minutes=1))
    housekeeping.sweep()
    assert (jobs.JUDGE, {}) in sent


def test_a_calibration_whose_message_was_lost_is_made_up_for(champion: Deployment, judge: JudgeVersion) -> None:
    for part in ("calibration", "test"):
        for number in range(10):
            pair = PairFactory.create(project=champion.project, part=part)
            LabelFactory.create(pair=pair, choice="ab"[number % 3 == 0])
            JudgementFactory.create(pair=pair, judge=judge)
    Deployment.objects.update(trusted=False)
    champion.refresh_from_db()
    trust.measure(champion)
    assert champion.calibration
    assert champion.follow_up is None, "no label of the judge hangs on it"
    Label.objects.filter(pair__part="calibration").update(choice="b")
    champion.project.judge_labels = True
    assert not trust.measure(champion)
    assert champion.follow_up is not None


def test_workers_that_fell_silent_long_ago_are_forgotten(db: None) -> None:
    now = timezone.now()
    for name, hours in (("dead", 25), ("silent", 23)):
        seen = now - timedelta(hours=hours)
        WorkerHeartbeat.objects.create(name=name, queues="judge", pid=1, started_at=seen, seen_at=seen)
    housekeeping.sweep()
    assert [row.name for row in WorkerHeartbeat.objects.all()] == ["silent"]


def test_once_a_day_sessions_and_checkpoints_that_nobody_needs_go(champion: Deployment, home: Path) -> None:
    now = timezone.now()
    ended = make_run(champion, state="failed", finished_at=now - timedelta(days=2))
    active = make_run(champion)
    for run in (ended, active):
        (home / "runs" / str(run.pk) / "training" / "checkpoints").mkdir(parents=True)
    for key, days in (("old", -1), ("good", 1)):
        Session.objects.create(session_key=key, session_data="", expire_date=now + timedelta(days=days))
    housekeeping.sweep()
    assert list(Session.objects.values_list("pk", flat=True)) == ["good"]
    assert [path.parents[1].name for path in home.glob("runs/*/training/checkpoints")] == [str(active.pk)]
    Session.objects.update(expire_date=now - timedelta(days=1))
    housekeeping.sweep()
    assert Session.objects.count() == 1, "not twice a day"
    os.utime(home / housekeeping.TIDIED, (0, 0))
    housekeeping.sweep()
    assert not Session.objects.exists()


def test_what_a_killed_worker_left_of_a_frozen_export_is_deleted(champion: Deployment, home: Path) -> None:
    LabelFactory.create(pair=PairFactory.create(project=champion.project))
    dataset, other = (
        dataset_versions.freeze(champion.project, name=name, by=None, source="human") for name in ("one", "two")
    )
    folder = dataset_versions.folder_of(dataset)
    folder.mkdir(parents=True)
    for owner in (dataset, other):
        (folder / f".{owner.pk}.20260101").write_text("half")
    assert dataset_versions.write(dataset.pk)
    assert [path.name for path in folder.glob(".*")] == [f".{other.pk}.20260101"]
