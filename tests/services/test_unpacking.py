"""What unpacks to far more than it is: readers count it, and look no further than they may."""

import gzip
import io
import json
from typing import Any

import pytest

from labeling.readers import TooLarge, holds_at_most, open_file
from tests.services.test_readers import ROWS, as_arrow, as_parquet, lines, table, zstd


@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet", "arrow"])
def test_what_is_unpacked_is_bounded(kind: str, pack: Any) -> None:
    rows = [{**ROWS[0], "response_a": "a" * 4_000_000}]
    plain = {"jsonl": lines, "json": lambda each: json.dumps(each).encode(), "csv": table}
    write: Any = {**plain, "parquet": as_parquet, "arrow": lambda each: as_arrow(each, file=True)}[kind]
    packed = pack(write(rows))
    assert len(packed) < 40_000
    assert len(list(open_file(io.BytesIO(packed), f"a.{kind}").within(10_000_000).rows)) == 1
    with pytest.raises(TooLarge, match=r"more than 1\.91 MiB"):
        list(open_file(io.BytesIO(packed), f"a.{kind}").within(2_000_000).rows)


@pytest.mark.parametrize("write", [as_parquet, lambda rows: as_arrow(rows, file=True)], ids=["parquet", "arrow"])
def test_a_table_that_is_packed_inside_is_bounded_too(write: Any) -> None:
    content = write([{"prompt": "p" * 1_000}] * 3_000)
    rows = open_file(io.BytesIO(content), "a").within(2_000_000).rows
    assert next(rows).number == 1, "one batch may hold all rows: the first ones can still be seen"
    with pytest.raises(TooLarge):
        list(rows)


def test_nothing_is_unpacked_to_disk_before_rows_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[object] = []
    monkeypatch.setattr("labeling.readers.opening.shutil.copyfileobj", lambda *given: copied.append(given))
    assert open_file(io.BytesIO(gzip.compress(as_parquet(ROWS))), "a.parquet.gz").container == "parquet"
    assert copied == []


def test_whether_a_file_is_small_is_known_without_unpacking_all_of_it() -> None:
    bomb = io.BytesIO(gzip.compress(lines(ROWS) + b"\n" * 20_000_000))
    assert not holds_at_most(bomb, "a.jsonl", 1_000_000)
    assert bomb.tell() == 0
    assert holds_at_most(io.BytesIO(gzip.compress(lines(ROWS))), "a.jsonl", 1_000_000)
    assert holds_at_most(io.BytesIO(gzip.compress(lines(ROWS))[:-9]), "a.jsonl", 1_000_000), "its import says more"
