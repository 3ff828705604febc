"""Folders of files: as `datasets` saves them or plain, whole or one split."""

import gzip
from pathlib import Path

import pytest

from labeling.readers import Unreadable, folder_identity, open_folder
from labeling.readers.folders import data_files
from tests.services.test_readers import ROWS, as_arrow, as_parquet, lines


def test_a_folder_as_datasets_saves_it(tmp_path: Path) -> None:
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    for split, rows in (("train", ROWS), ("test", ROWS[:1])):
        folder = tmp_path / split
        folder.mkdir()
        (folder / "dataset_info.json").write_text("{}")
        (folder / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": 1}')
        (folder / "data-00000-of-00001.arrow").write_bytes(as_arrow(rows, file=False))
    found = list(open_folder(tmp_path).rows)
    assert [raw.row for raw in found] == [*ROWS, ROWS[0]]
    assert [raw.number for raw in found] == [1, 2, 3]
    assert len(list(open_folder(tmp_path, "test").rows)) == 1
    with pytest.raises(Unreadable, match="split: there is no 'dev', only train, test"):
        open_folder(tmp_path, "dev")
    (tmp_path / "test" / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(Unreadable, match="lacks data-00000"):
        open_folder(tmp_path)


def test_a_plain_folder_of_files_is_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "b.parquet").write_bytes(as_parquet(ROWS))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines(ROWS[:1])))
    (tmp_path / "README.md").write_text("no data")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "old.jsonl").write_text("{}")
    opened = open_folder(tmp_path)
    assert [raw.row for raw in opened.rows] == [ROWS[0], *ROWS]
    assert opened.position() == sum(path.stat().st_size for path in tmp_path.glob("[ab].*"))
    before = folder_identity(tmp_path)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines(ROWS[1:])))
    assert folder_identity(tmp_path) != before
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(Unreadable, match="no data files"):
        open_folder(empty)


def test_a_split_of_a_plain_folder_is_a_whole_part_of_a_name(tmp_path: Path) -> None:
    names = (
        "latest-train.jsonl",
        "test-00000-of-00001.jsonl",
        "en/test/a.jsonl",
        "contests/b.jsonl",
        "my_test.jsonl.gz",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(lines(ROWS))
    found = [file.relative_to(tmp_path).as_posix() for file in data_files(tmp_path, "test")]
    assert sorted(found) == ["en/test/a.jsonl", "my_test.jsonl.gz", "test-00000-of-00001.jsonl"]
    assert [file.name for file in data_files(tmp_path, "train")] == ["latest-train.jsonl"]
    with pytest.raises(Unreadable, match=r"no data files of a split 'tes\.'"):
        data_files(tmp_path, "tes.")
