"""What judge versions and runs take on the disk, and what may be deleted of it."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from labeling import version_queries
from labeling.models import AuditEvent, Deployment, JudgeVersion, PrunedWeights, TrainingRun
from labeling.models.judges import JudgeCall
from labeling.services import storage
from labeling.services.storage import CannotPrune
from tests.factories import ProjectFactory
from tests.services.test_versions import judged, labelled, version

State = Deployment.State
Capture = Any


def with_weights(home: Path, name: str) -> None:
    folder = home / "judges" / name
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x" * 1000)


@pytest.fixture
def old(champion: Deployment, home: Path) -> Deployment:
    """A rejected version with a kilobyte of weights, which nothing needs."""
    rejected = version(champion.project, "rejected", backend="transformers", method="genrm", weights="judges/genrm-7")
    with_weights(home, "genrm-7")
    return rejected


def kept(deployment: Deployment) -> str:
    [one] = storage.stored([deployment.judge])
    assert one.may_prune == (not one.kept)
    return one.kept


def test_pruning_deletes_the_folder_and_keeps_what_was_said(
    old: Deployment, home: Path, alice: User, django_capture_on_commit_callbacks: Capture
) -> None:
    judged(old, labelled(old.project, 3), right=3)
    assert kept(old) == ""
    with django_capture_on_commit_callbacks(execute=True):
        storage.prune(old.judge, by=alice)
        assert (home / "judges/genrm-7").exists(), "the row comes first"
    assert not (home / "judges/genrm-7").exists()
    row = PrunedWeights.objects.get()
    assert (row.judge, row.by, row.bytes) == (old.judge, alice, 1000)
    assert AuditEvent.objects.get(action="judge.prune").detail == {"bytes": 1000}
    assert version_queries.overview_for(old.project).versions[1].test.n == 3


@pytest.mark.parametrize("again", ["sweep", "button"])
def test_a_deletion_that_broke_off_is_finished(
    old: Deployment, home: Path, alice: User, again: str, django_capture_on_commit_callbacks: Capture
) -> None:
    storage.prune(old.judge, by=alice)  # the process dies before the deletion
    assert (home / "judges/genrm-7").exists()
    judge = JudgeVersion.objects.get(pk=old.judge_id)
    if again == "sweep":
        assert storage.finish_pruning() == 1
        assert storage.finish_pruning() == 0
    else:
        with django_capture_on_commit_callbacks(execute=True):
            storage.prune(judge, by=alice)
    assert not (home / "judges/genrm-7").exists()
    assert PrunedWeights.objects.get().bytes == 1000
    assert AuditEvent.objects.filter(action="judge.prune").count() == 1


def test_what_is_still_needed_is_kept(old: Deployment, home: Path, alice: User) -> None:
    elsewhere = ProjectFactory.create()
    used = Deployment.objects.create(project=elsewhere, judge=old.judge, state=State.CHAMPION)
    assert "reigns" in kept(old)
    with pytest.raises(CannotPrune, match="stay: it reigns"):
        storage.prune(old.judge, by=alice)
    Deployment.objects.filter(pk=used.pk).update(state=State.SHADOW)
    assert "beside a champion" in kept(old)
    Deployment.objects.filter(pk=used.pk).update(state=State.RETIRED, promoted_at="2026-01-01T00:00Z")
    assert "roll-back" in kept(old)
    used.delete()
    for field in ("origin", "start", "candidate"):
        champion = old.project.deployments.get(state=State.CHAMPION).judge
        judges = {"origin": champion, "start": champion, field: old.judge}
        run = TrainingRun.objects.create(project=old.project, trigger="api", method="genrm", **judges)
        assert "training run" in kept(old), field
        run.delete()
    call = JudgeCall.objects.create(project=elsewhere, judge=old.judge, requested_by=alice, method="score", pairs=[])
    assert "a call" in kept(old)
    JudgeCall.objects.filter(pk=call.pk).update(state="done")
    version(old.project, "rejected", parent=old.judge, method="genrm", weights="judges/genrm-8")
    with_weights(home, "genrm-8")
    assert kept(old) == ""
    (home / "judges/genrm-8/adapter_config.json").write_text("{}")
    assert "adapter" in kept(old)
    (home / "judges/genrm-8/adapter_config.json").unlink()
    version(old.project, "rejected", weights="judges/../judges/genrm-7")
    assert "same folder" in kept(old)
    assert (home / "judges/genrm-7/model.safetensors").exists()
    assert not PrunedWeights.objects.exists()


@pytest.mark.parametrize(
    "weights", ["", "judges", "judges/..", "judges/../elsewhere", "elsewhere", "judges/link", "judges/starter-1"]
)
def test_nothing_but_folders_of_trained_judges_is_ever_deleted(
    champion: Deployment, home: Path, alice: User, weights: str, django_capture_on_commit_callbacks: Capture
) -> None:
    for name in ("elsewhere", "judges/starter-1", "judges/other"):
        (home / name).mkdir(parents=True)
        (home / name / "model.safetensors").write_bytes(b"x")
    (home / "judges/link").symlink_to(home / "elsewhere")
    one = version(champion.project, "rejected", weights=weights)
    with django_capture_on_commit_callbacks(execute=True), pytest.raises(CannotPrune):
        storage.prune(one.judge, by=alice)
    assert sorted(path.parent.name for path in home.rglob("*.safetensors")) == ["elsewhere", "other", "starter-1"]


def test_weights_that_lie_nowhere_are_not_pruned(champion: Deployment, home: Path, alice: User) -> None:
    with pytest.raises(CannotPrune, match="do not lie on this disk"):
        storage.prune(version(champion.project, "rejected", weights="judges/gone").judge, by=alice)


def test_finished_runs_keep_their_frozen_rows(
    champion: Deployment, home: Path, alice: User, django_capture_on_commit_callbacks: Capture
) -> None:
    judges = {"start": champion.judge, "origin": champion.judge}
    done, running = (
        TrainingRun.objects.create(project=champion.project, trigger="api", method="genrm", state=state, **judges)
        for state in ("rejected", "running")
    )
    for run in (done, running):
        folder = home / "runs" / str(run.pk)
        (folder / "training/samples").mkdir(parents=True)
        (folder / "training/samples/1.jsonl").write_text("x" * 500)
        for name in ("train.jsonl", "older.jsonl", "holdout.jsonl", "stray.log"):
            (folder / name).write_text("x" * 10)
    assert storage.run_bytes(champion.project) == 510
    with django_capture_on_commit_callbacks(execute=True):
        assert storage.thin_runs(champion.project, by=alice) == 510
    assert {path.name for path in (home / "runs" / str(done.pk)).iterdir()} == {
        "train.jsonl", "older.jsonl", "holdout.jsonl"
    }  # fmt: skip
    assert (home / "runs" / str(running.pk) / "training/samples/1.jsonl").exists()
    assert storage.run_bytes(champion.project) == 0
