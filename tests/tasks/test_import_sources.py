"""Where an import's rows come from: packed files, kept uploads, folders of the server, the hub."""

import gzip
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from labeling.errors import ImportRefused
from labeling.models import ImportBatch, Pair, Project
from labeling.services import import_jobs, imports, sources, uploads
from labeling.services.checking import Plan
from tests.tasks.test_import_jobs import State, asked, content, left_in, small
from workers.tasks.imports import import_batch

pytestmark = pytest.mark.django_db(transaction=True)

__all__ = ["small"]  # every file is a large one here too


def test_old_uploads_are_forgotten_and_those_still_needed_are_kept(project: Project, home: Path) -> None:
    draft = uploads.receive(project, stream=io.BytesIO(b"x"), filename="a")
    batch = asked(project)
    for path in (home / "imports").iterdir():
        os.utime(path, (1, 1))
    uploads.forget_old()
    assert left_in(home) == [f"batch-{batch.pk}"]
    assert not draft.path.exists()


def test_a_folder_is_imported_by_its_name_and_none_outside(project: Project, home: Path, settings: Any) -> None:
    folder = home / "sets" / "talk"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_bytes(content(12))
    (home / "secret").mkdir()
    (home / "secret" / "a.jsonl").write_bytes(content(1))
    source = sources.Source(folder="talk")
    with pytest.raises(ImportRefused, match="TANDEM_DATASETS_FOLDER is not set"):
        sources.request(project, source, by=None, plan=Plan())
    settings.ENV = settings.ENV.model_copy(update={"datasets_folder": str(home / "sets")})
    batch = sources.request(project, source, by=None, plan=Plan())
    assert batch.bytes == len(content(12))
    import_jobs.run(batch.pk)
    batch.refresh_from_db()
    assert (batch.state, batch.imported, batch.filename) == (State.DONE, 12, "talk")
    assert left_in(home) == []
    for outside in ("../secret", "/etc", "..", ".", "none"):
        with pytest.raises(ImportRefused, match="There is no folder"):
            sources.request(project, sources.Source(folder=outside), by=None, plan=Plan())
    with pytest.raises(ImportRefused, match="TANDEM_HUB_DATASETS is not set"):
        sources.request(project, sources.Source(hub="some/set"), by=None, plan=Plan())


@pytest.fixture
def hub(home: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the hub: the library loads it by its path as it does a name there."""
    datasets = pytest.importorskip("datasets", reason="the web parts alone are installed")
    load = datasets.load_dataset

    def loaded(name: str, **more: Any) -> Any:
        assert name.startswith("hf://datasets/")
        return load(str(home / "hub" / name.removeprefix("hf://datasets/")), **more)

    monkeypatch.setattr(datasets, "load_dataset", loaded)
    settings.ENV = settings.ENV.model_copy(update={"hub_datasets": True})
    return home / "hub"


def asked_of_the_hub(project: Project, name: str) -> ImportBatch:
    batch = sources.request(project, sources.Source(hub=name), by=None, plan=Plan())
    import_jobs.run(batch.pk)
    batch.refresh_from_db()
    return batch


def test_a_data_set_of_the_hub_is_read_by_its_library(project: Project, hub: Path) -> None:
    (hub / "some" / "set").mkdir(parents=True)
    (hub / "some" / "set" / "train.jsonl").write_bytes(content(12))
    batch = asked_of_the_hub(project, "some/set")
    assert (batch.state, batch.imported, batch.error) == (State.DONE, 12, "")
    nowhere = asked_of_the_hub(project, "no/where")
    assert nowhere.state == State.FAILED
    assert "gives no data set" in nowhere.error


def test_a_data_set_of_the_hub_that_breaks_off_fails_with_its_reason(project: Project, hub: Path, home: Path) -> None:
    (hub / "some" / "set").mkdir(parents=True)
    (hub / "some" / "set" / "train.jsonl").write_bytes(content(12) + b"{")
    batch = asked_of_the_hub(project, "some/set")
    assert batch.state == State.FAILED
    assert batch.error.startswith("The hub's data set breaks off after row ")
    assert not Pair.objects.exists()
    assert left_in(home) == []


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, "zstd", asbytes=True))


def as_parquet(data: bytes) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist([json.loads(line) for line in data.splitlines()]), sink)
    return sink.getvalue()


@pytest.mark.parametrize("pack", [gzip.compress, zstd, as_parquet], ids=["gzip", "zstd", "parquet"])
def test_a_small_file_that_may_hold_much_waits_for_a_worker(
    project: Project, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(imports, "AT_ONCE", 1_000_000)
    assert asked(project).state == State.DONE
    packed = pack(content(40))
    monkeypatch.setattr(imports, "PACKED_AT_ONCE", len(packed) - 1)
    batch = asked(project, packed)
    assert batch.state == State.WAITING
    import_batch(batch.pk)
    batch.refresh_from_db()
    assert (batch.state, batch.imported, batch.duplicates) == (State.DONE, 5, 35)


def test_a_file_that_unpacks_to_too_much_fails_and_leaves_nothing(
    project: Project, home: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"unpacked_gib": 100_000 / 2**30})
    batch = asked(project, gzip.compress(content() + b"\n" * 200_000))
    assert batch.state == "waiting"
    import_jobs.run(batch.pk)
    batch.refresh_from_db()
    assert (batch.state, batch.imported) == ("failed", 0)
    assert "Unpacked, the file holds more than" in batch.error
    assert not Pair.objects.exists()
