"""Exports since the last one: what is new or changed comes, whatever its own time, and nothing is left out."""

import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.utils import timezone

from labeling.errors import ExportRefused
from labeling.models import (
    Consensus,
    ConsensusFit,
    Deployment,
    ImportBatch,
    Judgement,
    Label,
    LabelRevision,
    Pair,
    Project,
)
from labeling.services import exports, pairs
from labeling.services.consensus import refresh
from labeling.services.imports import import_file
from labeling.services.labels import commit_label, undo
from tests.factories import ClaimFactory, JudgementFactory
from tests.services.test_exports import alone, labelled, rows

__all__ = ["alone"]  # a fixture of the exports


def test_an_increment_brings_the_labels_of_a_pair_that_is_ambiguous_no_more(project: Project) -> None:
    [label] = labelled(project, "a")
    Pair.objects.update(ambiguous=True)
    grow_old()
    since = cursor(project, profile="strict")
    Pair.objects.update(ambiguous=False)
    assert rows(project, profile="strict", since=since) == []
    label.pair.refresh_from_db()
    refresh(label.pair)
    assert len(rows(project, profile="strict", since=since)) == 1


def cursor(project: Project, **options: Any) -> str:
    return exports.open_export(project, exports.ask(**options)).cursor


def grow_old(**fields: str) -> None:
    """Everything so far happened an hour ago."""
    before = timezone.now() - timedelta(hours=1)
    Label.objects.update(created_at=before, stored_at=before)
    Judgement.objects.update(created_at=before)
    Consensus.objects.update(updated_at=before)


def test_increments_bring_new_and_revised_labels(project: Project, bob: User) -> None:
    labelled(project, "a", "b")
    claim = ClaimFactory.create(pair__project=project, annotator=bob)
    label = commit_label(claim, choice="left")
    grow_old()
    since = cursor(project)
    assert rows(project, since=since) == []
    [fresh] = labelled(project, "tie")
    undo(project, annotator=bob)
    assert [row["id"] for row in rows(project, since=since)] == [fresh.pair.external_id]
    claim.refresh_from_db()
    commit_label(claim, choice="right")
    assert [row["choice"] for row in rows(project, since=since)] == ["b", "tie"]
    assert LabelRevision.objects.filter(label=label).count() == 2


def test_an_increment_brings_what_was_imported_meanwhile_whatever_its_own_time(project: Project) -> None:
    since = cursor(project)
    label = {"annotator": "ada", "choice": "b", "created_at": "2020-01-01T00:00:00+00:00"}
    row = {"prompt": "A colour?", "response_a": "Blue.", "response_b": "Nine.", "labels": [label]}
    import_file(project, file=io.BytesIO(json.dumps(row).encode()), filename="a.jsonl")
    [found] = rows(project, since=since)
    assert found["provenance"]["created_at"] == label["created_at"]


def test_an_increment_brings_the_judges_label_that_an_undo_brings_back(alone: Deployment, bob: User) -> None:
    claim = ClaimFactory.create(pair__project=alone.project, annotator=bob)
    JudgementFactory.create(pair=claim.pair, judge=alone.judge, p_a=0.95)
    commit_label(claim, choice="right")
    refresh(claim.pair)
    grow_old()
    since = cursor(alone.project, source="hybrid")
    assert rows(alone.project, source="hybrid", since=since) == []
    undo(alone.project, annotator=bob)
    refresh(claim.pair)
    [row] = rows(alone.project, source="hybrid", since=since)
    assert (row["choice"], row["provenance"]["method"]) == ("a", "judge")


def test_an_increment_looks_back_to_the_beginning_of_an_import(project: Project) -> None:
    began = timezone.now() - timedelta(minutes=50)
    batch = ImportBatch.objects.create(project=project, filename="big", sha256="1", state="running")
    ImportBatch.objects.update(created_at=began)
    since = cursor(project)
    [label] = labelled(project, "a")  # written early in the import's transaction, readable only at its end
    Label.objects.update(stored_at=began + timedelta(minutes=1))
    batch.delete()
    assert [row["id"] for row in rows(project, since=since)] == [label.pair.external_id]
    assert rows(project, since=cursor(project)) == []


@pytest.mark.django_db(transaction=True)
def test_an_increment_looks_back_to_the_beginning_of_a_command(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labeling.services.exports.cursors.OVERLAP", timedelta(0))  # the command takes longer
    given: list[str] = []
    store = pairs.store

    def stored(*written: Any) -> None:
        store(*written)
        given.append(cursor(project))

    monkeypatch.setattr(pairs, "store", stored)
    label = {"annotator": "ada", "choice": "b"}
    row = {"id": "p1", "prompt": "A colour?", "response_a": "Blue.", "response_b": "Nine.", "labels": [label]}
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(row))
    call_command("import_pairs", project.slug, str(path))
    [since] = given
    assert [found["id"] for found in rows(project, since=since)] == ["p1"]
    assert rows(project, since=cursor(project)) == []


def test_everything_comes_again_when_what_it_hangs_on_has_changed(alone: Deployment) -> None:
    project = alone.project
    JudgementFactory.create(pair__project=project, judge=alone.judge, p_a=0.95)
    labelled(project, "a")
    grow_old()
    cursors = {source: cursor(project, source=source) for source in ("judge", "consensus", "hybrid")}

    def fresh() -> list[int]:
        return [len(rows(project, source=source, since=since)) for source, since in cursors.items()]

    assert fresh() == [0, 0, 0]
    Deployment.objects.update(thresholds={"threshold": 0.91})
    assert fresh() == [1, 0, 2]
    Deployment.objects.update(thresholds={"threshold": 0.9})
    ConsensusFit.objects.create(project=project, parameters={}, labels=1)
    assert fresh() == [0, 1, 2]


def test_a_cursor_of_something_else_is_refused(project: Project) -> None:
    since = cursor(project)
    for options in ({"since": "nonsense"}, {"since": "W10"}, {"since": since[:-4]}, {"since": since, "blind": True}):
        with pytest.raises(ExportRefused, match=r"^since: "):
            exports.open_export(project, exports.ask(**options))
    assert list(exports.open_export(project, exports.ask(since=since, format="csv")).pieces())
