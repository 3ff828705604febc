"""Frozen versions: asked for once, written once, always the same bytes, and never half there."""

import hashlib
import json
import re
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.contrib.auth.models import User
from django.utils import timezone

from labeling import jobs
from labeling.errors import ExportRefused
from labeling.models import AuditEvent, DatasetVersion, Deployment, Label, Pair, Project
from labeling.services import dataset_versions, exports, housekeeping
from labeling.services.consensus import refresh
from tests.conftest import Sent
from tests.factories import JudgementFactory, LabelFactory, PairFactory
from workers.tasks.datasets import freeze

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def labels(champion: Deployment) -> Project:
    for number, choice in enumerate(("a", "b", "tie", "a")):
        pair = PairFactory.create(project=champion.project, part="gate" if number == 3 else "")
        LabelFactory.create(pair=pair, choice=choice)
        JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.2 + 0.2 * number)
        refresh(pair)
    return champion.project


def frozen(project: Project, name: str, **options: Any) -> DatasetVersion:
    dataset = dataset_versions.freeze(project, name=name, by=None, **options)
    freeze(dataset.pk)
    dataset.refresh_from_db()
    return dataset


def test_a_version_is_asked_for_after_the_commit(
    labels: Project, alice: User, sent: Sent, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        dataset = dataset_versions.freeze(labels, name="spring-1", by=alice, source="consensus")
        assert sent == []
    assert sent == [(jobs.FREEZE_DATASET, {"dataset_id": dataset.pk})]
    assert (dataset.state, dataset.requested_by) == ("waiting", alice)
    assert AuditEvent.objects.get(action="dataset.freeze").actor == alice


@pytest.mark.parametrize("form", ["ndjson", "csv", "parquet"])
@pytest.mark.parametrize("source", ["human", "judge", "consensus", "hybrid"])
def test_the_same_filters_on_the_same_rows_are_the_same_bytes(labels: Project, source: str, form: str) -> None:
    first = frozen(labels, "one", source=source, format=form)
    second = frozen(labels, "two", source=source, format=form)
    assert first.state == "done", first.error
    path = dataset_versions.path_of(first)
    assert path is not None
    content = path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == first.sha256 == second.sha256
    assert len(content) == first.bytes
    assert content == b"".join(exports.open_export(labels, exports.ask(source=source, format=form)).pieces())
    differing = {name for name in first.manifest if first.manifest[name] != second.manifest[name]}
    assert differing == {"name", "file"}
    Label.objects.filter(choice="tie").update(choice="b")
    third = frozen(labels, "three", source="human", format=form)
    assert path.read_bytes() == content
    assert third.sha256 != first.sha256


def test_the_manifest_says_what_and_where_from(labels: Project, champion: Deployment) -> None:
    dataset = frozen(labels, "judged", source="judge", shape="kto")
    manifest = dataset.manifest
    assert manifest["filters"] == {
        "source": "judge",
        "profile": "strict",
        "shape": "kto",
        "format": "ndjson",
        "ties": "drop",
        "judge": champion.judge.name,
    }
    assert (manifest["rows"], manifest["labels"], manifest["sha256"]) == (8, 4, dataset.sha256)
    assert manifest["by_choice"] == {"a": 2, "b": 2}
    assert manifest["by_part"] == {"gate": 1, "train": 3}
    [judge] = manifest["judges"]
    assert (judge["name"], judge["prompt_hash"], judge["counts"]) == (champion.judge.name, "0" * 64, "score")
    assert [column["name"] for column in manifest["columns"]] == ["prompt", "completion", "label"]


def test_the_card_is_markdown_that_hugging_face_reads(labels: Project) -> None:
    Project.objects.update(name='Stories: "short" | <b>')
    labels.refresh_from_db()
    dataset = frozen(labels, "judged", source="judge")
    _, front, body = dataset.card.split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["pretty_name"] == 'Stories: "short" | <b>: judged'
    assert about["configs"] == [{"config_name": "default", "data_files": dataset.manifest["file"]}]
    assert about["size_categories"] == ["n<1K"]
    assert "synthetic" in about["tags"]
    assert "**Synthetic labels**" in body
    assert "`part: train` and `audit: false`" in body
    assert dataset.sha256 in body
    assert r"\<b\>" in body
    assert Pair.objects.first().response_a not in dataset.card  # type: ignore[union-attr]


@pytest.mark.parametrize("source", ["human", "judge", "consensus", "hybrid"])
def test_a_full_version_loads_as_its_card_says_however_late_a_column_is_filled(
    champion: Deployment, home: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """A loader that guesses types by the first block of 10 MB takes a column that is empty there for one of nothing."""
    datasets = pytest.importorskip("datasets", reason="the web parts alone are installed")
    Deployment.objects.update(trusted=True, thresholds={"threshold": 0.5})
    for last in (False, True):
        for _ in range(1 if last else 3):
            pair = PairFactory.create(
                project=champion.project, response_a="x" * 4_000_000, gold="a" if last else "", meta={str(last): 1}
            )
            JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.9)
            if source != "hybrid" or not last:
                LabelFactory.create(pair=pair, strength=2 if last else None, seconds=1.5 if last else None)
                refresh(pair)
    dataset = frozen(champion.project, "all", source=source, profile="full")
    path = dataset_versions.path_of(dataset)
    assert path is not None
    load = partial(datasets.load_dataset, cache_dir=str(home / "cache"))
    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.chdir(path.parent)
    [snippet] = re.findall(r"```python\n(.*?)```", dataset.card, re.DOTALL)
    found: dict[str, Any] = {}
    exec(snippet, found)
    rows = found["rows"]
    assert rows["gold"] == [None, None, None, "a"]
    assert [row["meta"] for row in rows.select([0, 3])] == [{"False": 1}, {"True": 1}]
    expected = exports.export(champion.project, source=source)
    assert [row["provenance"].keys() for row in rows] == [row["provenance"].keys() for row in expected]


def test_the_judge_of_the_day_is_kept_when_another_one_reigns(labels: Project, champion: Deployment) -> None:
    dataset = dataset_versions.freeze(labels, name="before", by=None, source="judge")
    Deployment.objects.update(state="retired")
    freeze(dataset.pk)
    dataset.refresh_from_db()
    assert dataset.manifest["rows"] == 4
    assert dataset.manifest["judges"][0]["name"] == champion.judge.name


def test_a_name_is_given_once_unless_it_failed(labels: Project) -> None:
    dataset_versions.freeze(labels, name="one", by=None)
    with pytest.raises(ExportRefused, match="name: the project has a version 'one' already"):
        dataset_versions.freeze(labels, name="one", by=None)
    DatasetVersion.objects.update(state="failed", error="disk full")
    again = dataset_versions.freeze(labels, name="one", by=None, source="consensus")
    assert (again.state, again.error, again.filters["source"]) == ("waiting", "", "consensus")
    assert DatasetVersion.objects.count() == 1


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "x" * 101, "é", "a\n"])
def test_a_bad_name_is_refused(labels: Project, name: str) -> None:
    with pytest.raises(ExportRefused, match=r"^name: "):
        dataset_versions.freeze(labels, name=name, by=None)


def test_what_cannot_be_exported_cannot_be_frozen(labels: Project) -> None:
    for options in ({"since": "x"}, {"shape": "kto", "ties": "soft"}, {"source": "judge", "judge": "nobody"}):
        with pytest.raises(ExportRefused):
            dataset_versions.freeze(labels, name="one", by=None, **options)
    assert not DatasetVersion.objects.exists()
    assert not AuditEvent.objects.exists()


def test_a_second_delivery_changes_nothing(labels: Project) -> None:
    dataset = frozen(labels, "one")
    finished = dataset.finished_at
    assert dataset_versions.write(dataset.pk) is False
    dataset.refresh_from_db()
    assert dataset.finished_at == finished


def test_the_sweep_brings_back_what_a_dead_worker_left(labels: Project, sent: Sent) -> None:
    dataset = dataset_versions.freeze(labels, name="one", by=None)
    DatasetVersion.objects.update(state="running", leased_until=timezone.now() + timedelta(seconds=30))
    assert dataset_versions.write(dataset.pk) is False  # somebody is at it
    assert dataset_versions.waiting() == []
    DatasetVersion.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    housekeeping.sweep()
    assert (jobs.FREEZE_DATASET, {"dataset_id": dataset.pk}) in sent
    assert dataset_versions.write(dataset.pk) is True


def test_a_failure_is_said_and_leaves_no_file(labels: Project, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    dataset = frozen(labels, "one")
    assert (dataset.state, dataset.error) == ("failed", "No space left on device")
    assert [path for path in (home / "datasets").rglob("*") if path.is_file()] == []
    assert dataset_versions.path_of(dataset) is None


def test_who_lost_the_lease_writes_nothing(labels: Project, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken_over(_: int) -> None:
        DatasetVersion.objects.update(leased_until=timezone.now() + timedelta(hours=1))

    monkeypatch.setattr("os.fsync", taken_over)
    dataset = dataset_versions.freeze(labels, name="one", by=None)
    assert dataset_versions.write(dataset.pk) is False
    dataset.refresh_from_db()
    assert (dataset.state, dataset.path) == ("running", "")
    assert [path for path in (home / "datasets").rglob("*") if path.is_file()] == []


def test_the_manifest_is_json(labels: Project) -> None:
    assert json.loads(json.dumps(frozen(labels, "one", source="hybrid").manifest))["rows"] == 4
