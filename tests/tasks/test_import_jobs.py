"""Imports by a worker: nothing is seen before all is there, a cancelled or lost one leaves nothing behind."""

import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError
from django.utils import timezone

from labeling import jobs
from labeling.errors import ImportNotActive, ImportRefused
from labeling.models import AuditEvent, ImportBatch, JudgingRequest, Label, Pair, Project
from labeling.services import checking, housekeeping, import_jobs, imports, pairs, projects, uploads
from labeling.services.checking import Plan
from tests.conftest import Sent
from workers.tasks.imports import import_batch

pytestmark = pytest.mark.django_db(transaction=True)
State = ImportBatch.State


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Every file is a large one, and a chunk has ten rows."""
    monkeypatch.setattr(imports, "AT_ONCE", 10)
    monkeypatch.setattr(checking, "ROWS", 10)
    monkeypatch.setattr(import_jobs, "TOLD_EVERY", 0.0)


def content(count: int = 35, **more: object) -> bytes:
    rows = ({"id": f"p{n}", "prompt": f"Q{n}", "response_a": "x", "response_b": "y", **more} for n in range(count))
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def asked(project: Project, data: bytes = b"", by: User | None = None, **more: Any) -> ImportBatch:
    return imports.import_stream(project, stream=io.BytesIO(data or content()), filename="a.jsonl", by=by, **more)


def left_in(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "imports").iterdir())


def test_a_large_file_waits_for_a_worker_who_imports_it(project: Project, home: Path, sent: Sent, alice: User) -> None:
    batch = asked(project, content() + b"{\n", by=alice)
    assert (batch.state, batch.imported, batch.bytes) == (State.WAITING, 0, len(content()) + 2)
    assert (jobs.IMPORT, {"batch_id": batch.pk}) in sent
    assert not Pair.objects.exists()
    import_batch(batch.pk)
    batch.refresh_from_db()
    assert (batch.state, batch.imported, batch.rejected, batch.format) == (State.DONE, 35, 1, "tandem, jsonl")
    assert batch.bytes_read == batch.bytes
    assert (batch.lease, batch.leased_until) == ("", None)
    assert batch.finished_at is not None
    assert Pair.objects.filter(batch=batch).count() == 35
    assert JudgingRequest.objects.count() == 70
    assert left_in(home) == []
    asked_for, done = AuditEvent.objects.order_by("pk").values_list("action", "actor__username")
    assert (asked_for, done) == (("pairs.import_asked", "alice"), ("pairs.import", "alice"))
    import_batch(batch.pk)  # a second delivery
    assert Pair.objects.count() == 35


def test_the_same_stream_twice_is_one_import(project: Project, home: Path) -> None:
    first = asked(project)
    assert asked(project) == first
    import_jobs.run(first.pk)
    assert asked(project) == first
    assert ImportBatch.objects.count() == 1
    assert left_in(home) == []


def test_a_small_file_waits_too_while_another_import_is_under_way(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = asked(project)
    monkeypatch.setattr(imports, "AT_ONCE", 1_000_000)
    second = asked(project, content(3, group="g"))
    assert second.state == State.WAITING
    import_jobs.run(first.pk)
    import_jobs.run(second.pk)
    second.refresh_from_db()
    assert (second.state, second.duplicates) == (State.DONE, 3)


def test_others_see_how_far_it_is_and_no_pair_before_the_end(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = asked(project)
    seen: list[tuple[str, int]] = []
    report = import_jobs.Watch._reported

    def reported(self: import_jobs.Watch, position: int) -> bool:
        answer = report(self, position)
        row = ImportBatch.objects.get(pk=batch.pk)
        seen.append((row.state, row.bytes_read))
        return answer

    monkeypatch.setattr(import_jobs.Watch, "_reported", reported)
    import_jobs.run(batch.pk)
    assert len(seen) > 2
    assert {state for state, _read in seen} == {"running"}
    assert [read for _state, read in seen] == sorted(read for _state, read in seen)


@pytest.mark.parametrize("when", ["while it is read", "at the last moment"])
def test_cancelling_leaves_nothing(
    project: Project, alice: User, home: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    batch = asked(project, content(labels=[{"annotator": "ada", "choice": "a"}]) + b"{\n")
    close, count = import_jobs._close, checking.outcome_of

    def cancel() -> None:
        ImportBatch.objects.filter(pk=batch.pk).update(cancel_requested=True)

    if when == "at the last moment":

        def cancelled_then_closed(taken: ImportBatch) -> object:
            cancel()
            return close(taken)

        monkeypatch.setattr(import_jobs, "_close", cancelled_then_closed)
    else:
        calls: list[int] = []

        def outcome_of(*given: Any) -> Any:
            calls.append(1)
            if len(calls) == 15:
                import_jobs.cancel(batch, by=alice)
            return count(*given)

        monkeypatch.setattr(checking, "outcome_of", outcome_of)
    import_jobs.run(batch.pk)
    batch.refresh_from_db()
    assert (batch.state, batch.imported, batch.rejected, batch.labels) == (State.CANCELLED, 0, 0, 0)
    assert not Pair.objects.exists()
    assert not Label.objects.exists()
    assert not batch.rejected_lines.exists()
    assert left_in(home) == []
    again = asked(project)
    assert again != batch
    import_jobs.run(again.pk)
    assert Pair.objects.count() == 35


def test_cancelling_before_a_worker_came_and_after_the_end(project: Project, alice: User, home: Path) -> None:
    batch = asked(project)
    import_jobs.cancel(batch, by=alice)
    assert import_jobs.run(batch.pk) is None
    batch.refresh_from_db()
    assert batch.state == State.CANCELLED
    assert left_in(home) == []
    with pytest.raises(ImportNotActive):
        import_jobs.cancel(batch, by=alice)
    assert AuditEvent.objects.filter(action="pairs.import_cancelled", actor=alice).count() == 1


def test_a_file_that_cannot_be_read_fails_with_its_reason(project: Project, home: Path) -> None:
    batch = asked(project, b'[{"prompt": "Q", "response_a": "x", "response_b": "y"}, {"prompt": ')
    import_jobs.run(batch.pk)
    batch.refresh_from_db()
    assert (batch.state, batch.imported) == (State.FAILED, 0)
    assert batch.error.startswith("Entry 2 is not JSON")
    assert not Pair.objects.exists()
    assert left_in(home) == []


def test_the_reason_of_a_failed_file_is_one_that_every_database_takes(project: Project) -> None:
    batch = asked(project, b'[{"prompt": "' + b"x" * 3_000 + b'\x00caf\xe9"}]')
    import_jobs.run(batch.pk)
    batch.refresh_from_db()
    assert batch.state == State.FAILED
    assert "xx�café" in batch.error


def test_a_dead_workers_import_is_taken_up_from_the_start(
    project: Project, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = asked(project)
    store = pairs.store

    def dies(*_given: Any) -> None:
        store(*_given)
        raise KeyboardInterrupt

    monkeypatch.setattr(pairs, "store", dies)
    with pytest.raises(KeyboardInterrupt):
        import_jobs.run(batch.pk)
    monkeypatch.setattr(pairs, "store", store)
    assert not Pair.objects.exists()
    batch.refresh_from_db()
    assert batch.state == State.RUNNING
    assert import_jobs.run(batch.pk) is None  # its lease still runs
    ImportBatch.objects.filter(pk=batch.pk).update(leased_until=timezone.now() - timedelta(seconds=1))
    sent.clear()
    housekeeping.sweep()
    assert (jobs.IMPORT, {"batch_id": batch.pk}) in sent
    import_jobs.run(batch.pk)
    batch.refresh_from_db()
    assert (batch.state, batch.imported, Pair.objects.count()) == (State.DONE, 35, 35)


def test_a_worker_whose_lease_was_taken_writes_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = asked(project)
    close = import_jobs._close

    def late(taken: ImportBatch) -> None:
        ImportBatch.objects.filter(pk=taken.pk).update(lease="somebody else's")
        close(taken)

    monkeypatch.setattr(import_jobs, "_close", late)
    import_jobs.run(batch.pk)
    assert not Pair.objects.exists()


def test_a_file_on_which_workers_die_again_and_again_is_given_up(project: Project) -> None:
    batch = asked(project)
    for _ in range(import_jobs.MOST_TRIES):
        uploads.count_try(batch)
    import_jobs.run(batch.pk)
    batch.refresh_from_db()
    assert (batch.state, Pair.objects.count()) == (State.FAILED, 0)
    assert "each time the worker died" in batch.error


def test_a_lost_import_that_was_to_stop_ends_as_cancelled(project: Project) -> None:
    batch = asked(project)
    past = timezone.now() - timedelta(seconds=1)
    ImportBatch.objects.filter(pk=batch.pk).update(state="running", leased_until=past, cancel_requested=True)
    assert import_jobs.waiting() == []
    batch.refresh_from_db()
    assert batch.state == State.CANCELLED


def test_a_vanished_upload_is_said(project: Project) -> None:
    batch = asked(project)
    uploads.path_of(batch).unlink()
    import_jobs.run(batch.pk)
    batch.refresh_from_db()
    assert (batch.state, batch.error) == (
        State.FAILED,
        "The uploaded file is gone from the data folder. Please upload it again.",
    )


def test_mapping_and_layout_reach_the_worker(project: Project) -> None:
    rows = b"".join(
        json.dumps({"q": f"Q{n}", "one": "x", "two": "y", "best": "left"}).encode() + b"\n" for n in range(20)
    )
    plan = Plan(mapping={"prompt": "q", "response_a": "one", "response_b": "two", "winner": "best"})
    batch = asked(project, rows, plan=plan)
    import_jobs.run(batch.pk)
    named = asked(project, content(), plan=Plan(layout="tandem"))
    import_jobs.run(named.pk)
    assert Label.objects.filter(choice="a").count() == 20
    named.refresh_from_db()
    assert (named.imported, named.duplicates) == (15, 20)


def test_an_unexpected_error_ends_the_import_and_is_raised(
    project: Project, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = asked(project)
    breaking(monkeypatch, KeyError("nobody thought of this"))
    with pytest.raises(KeyError):
        import_batch(batch.pk)
    batch.refresh_from_db()
    assert (batch.state, batch.error, batch.imported) == (State.FAILED, import_jobs.UNEXPECTED, 0)
    assert not Pair.objects.exists()
    assert left_in(home) == []


def test_a_database_that_is_away_ends_no_import(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = asked(project)
    store = pairs.store
    breaking(monkeypatch, OperationalError("server closed the connection"))
    with pytest.raises(OperationalError):
        import_batch(batch.pk)
    monkeypatch.setattr(pairs, "store", store)
    ImportBatch.objects.filter(pk=batch.pk, state=State.RUNNING).update(
        leased_until=timezone.now() - timedelta(seconds=1)
    )
    assert import_jobs.waiting() == [batch.pk]
    import_batch(batch.pk)
    batch.refresh_from_db()
    assert (batch.state, Pair.objects.count()) == (State.DONE, 35)


def test_the_import_of_a_command_is_seen_and_may_be_cancelled(
    project: Project, alice: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content())
    count, calls, seen = checking.outcome_of, iter(range(70)), list[str]()

    def outcome_of(*given: Any) -> Any:
        if next(calls) == 15:
            batch = ImportBatch.objects.get()
            seen.append(batch.state)
            import_jobs.cancel(batch, by=alice)
        return count(*given)

    monkeypatch.setattr(checking, "outcome_of", outcome_of)
    with pytest.raises(CommandError, match=r"The import was cancelled\."):
        call_command("import_pairs", project.slug, str(path))
    assert seen == ["running"]
    assert ImportBatch.objects.get().state == State.CANCELLED
    assert not Pair.objects.exists()
    call_command("import_pairs", project.slug, str(path))
    assert ImportBatch.objects.filter(state=State.DONE).get().imported == Pair.objects.count() == 35


@pytest.mark.parametrize(
    ("error", "reason"), [(KeyboardInterrupt(), import_jobs.BROKEN_OFF), (ImportRefused("No."), "No.")]
)
def test_a_command_that_is_broken_off_leaves_nothing_but_its_reason(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, reason: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content())
    breaking(monkeypatch, error)
    with pytest.raises((KeyboardInterrupt, CommandError)):
        call_command("import_pairs", project.slug, str(path))
    batch = ImportBatch.objects.get()
    assert (batch.state, batch.error, batch.leased_until) == (State.FAILED, reason, None)
    assert not Pair.objects.exists()


def test_the_import_of_a_killed_command_ends_when_its_lease_has_run_out(
    project: Project, alice: User, sent: Sent
) -> None:
    past = timezone.now() - timedelta(seconds=1)
    batch = ImportBatch.objects.create(
        project=project, filename="a.jsonl", sha256="0", state="running", lease="x", leased_until=past
    )
    with pytest.raises(projects.CannotDelete):
        projects.delete_project(project, by=alice)
    housekeeping.sweep()
    assert (jobs.IMPORT, {"batch_id": batch.pk}) in sent
    import_batch(batch.pk)
    batch.refresh_from_db()
    assert batch.state == State.FAILED
    projects.delete_project(project, by=alice)
    assert not Project.objects.exists()


def breaking(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """The database takes the second chunk no more."""
    store, chunks = pairs.store, iter([False, True])

    def stored(*given: Any) -> None:
        if next(chunks):
            raise error
        store(*given)

    monkeypatch.setattr(pairs, "store", stored)
