"""Files of rows: every container and compression gives the same rows, in whatever form and size."""

import csv
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

from labeling.readers import Raw, open_file

ROWS: list[dict[str, Any]] = [
    {"prompt": "Why?", "response_a": "Because, so.", "response_b": 'A "b"\nc', "id": "1"},
    {"prompt": "Ćo?", "response_a": "日本語", "response_b": "ü", "id": "2"},
]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def table(rows: list[dict[str, Any]], separator: str = ",") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def as_arrow(rows: list[dict[str, Any]], *, file: bool) -> bytes:
    sink, whole = io.BytesIO(), pa.Table.from_pylist(rows)
    with (ipc.new_file if file else ipc.new_stream)(sink, whole.schema) as writer:
        writer.write_table(whole)
    return sink.getvalue()


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


def read(content: bytes, name: str = "rows.jsonl") -> list[Raw]:
    return list(open_file(io.BytesIO(content), name).rows)


CONTAINERS = {
    "jsonl": lines(ROWS),
    "json": json.dumps(ROWS, indent=1).encode(),
    "csv": table(ROWS),
    "tsv": table(ROWS, "\t"),
    "parquet": as_parquet(ROWS),
    "arrow": as_arrow(ROWS, file=False),
}


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd], ids=["plain", "gzip", "zstd"])
@pytest.mark.parametrize("kind", CONTAINERS)
@pytest.mark.parametrize("named", [True, False], ids=["named", "nameless"])
def test_every_container_and_compression_gives_the_same_rows(kind: str, pack: Any, named: bool) -> None:
    opened = open_file(io.BytesIO(pack(CONTAINERS[kind])), f"rows.{kind}" if named else "upload")
    assert opened.container == kind
    assert [raw.row for raw in opened.rows] == ROWS


def test_an_arrow_file_is_read_like_an_arrow_stream() -> None:
    assert [raw.row for raw in read(as_arrow(ROWS, file=True))] == ROWS


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "marked"])
def test_the_separator_is_found_whatever_stands_in_quotes(separator: str, mark: bytes) -> None:
    assert [raw.row for raw in read(mark + table(ROWS, separator), "rows.csv")] == ROWS


def test_rows_of_a_table_are_counted_as_a_spreadsheet_does() -> None:
    found = read(b'a,b\n"one\ntwo",x\n\n1,2,3\n4\n5,6\n', "rows.csv")
    assert [raw.number for raw in found] == [2, 4, 5, 6]
    assert [raw.reason for raw in found] == [
        "",
        "3 cells, but the header has 2 columns",
        "1 cell, but the header has 2 columns",
        "",
    ]


@pytest.mark.parametrize(
    ("before", "number"),
    [(b"sep=;\n", 3), (b"\xef\xbb\xbfsep=;\r\n", 3), (b"\n \n", 4), (b"\r\nsep=;\n\n", 5)],
)
@pytest.mark.parametrize("name", ["rows.csv", "upload"])
def test_blank_lines_and_the_separator_may_stand_before_the_header(before: bytes, number: int, name: str) -> None:
    found = read(before + b'"a,1,2";b\nx;y\n1;2;3\n', name)
    assert [raw.number for raw in found] == [number, number + 1]
    assert (found[0].row, found[1].reason) == ({"a,1,2": "x", "b": "y"}, "3 cells, but the header has 2 columns")


def test_a_separator_that_is_told_is_none_of_the_usual() -> None:
    assert read(b"sep=:\na,1:b\nx:y\n", "rows.csv")[0].row == {"a,1": "x", "b": "y"}


def test_an_empty_cell_is_left_out_but_a_prompt_is_known_to_be_missing() -> None:
    assert [raw.row for raw in read(b"prompt,Question,id\n,,1\nx,,\n", "rows.csv")] == [
        {"prompt": None, "Question": None, "id": "1"},
        {"prompt": "x", "Question": None},
    ]


def test_cells_hold_text_numbers_conversations_or_json_as_their_column_says() -> None:
    talk = [{"role": "user", "content": "Hi"}]
    row = {"prompt": json.dumps(talk), "response_a": '{"a": 1}', "turn": "2", "score_chosen": "1.5", "labels": "[]"}
    [found] = read(table([row]), "rows.csv")
    expected = {"prompt": talk, "response_a": '{"a": 1}', "turn": 2, "score_chosen": 1.5, "labels": []}
    assert found.row == expected
    [wrong] = read(table([{"meta": "{1}", "prompt": "[INST] Hi"}]), "rows.csv")
    assert wrong.reason.startswith("meta: not JSON")
    assert wrong.field == "meta"


def test_a_list_is_read_across_the_blocks_of_the_file() -> None:
    rows = [{"n": n, "text": "ü" * (n % 700)} for n in range(2_000)]
    assert [raw.row for raw in read(json.dumps(rows, ensure_ascii=False).encode(), "a.json")] == rows
    assert [raw.row for raw in read(json.dumps(rows).encode(), "a.json")] == rows


def test_a_list_on_a_first_line_does_not_make_a_json_list() -> None:
    assert [raw.reason for raw in read(b'[1]\n{"a": 1}\n', "a.jsonl")] == ["not a JSON object", ""]


def test_tables_have_dates_missing_values_and_text_that_is_none() -> None:
    rows = [{"day": pa.scalar(19_000, pa.date32()).as_py(), "score": float("nan"), "inner": {"x": [1, None]}}]
    assert read(as_parquet(rows))[0].row == {"day": "2022-01-08", "score": None, "inner": {"x": [1, None]}}
    broken = pa.array([b"fine", b"\xe9t\xe9"]).cast(pa.binary()).view(pa.string())
    sink = io.BytesIO()
    parquet.write_table(pa.table({"a": broken}), sink)
    found = read(sink.getvalue())
    assert found[0].row == {"a": "fine"}
    assert "not UTF-8" in found[1].reason


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_bytes_are_text_and_maps_are_objects(kind: pa.DataType) -> None:
    maps = pa.array([[("ü", b"1")], [], [("a", b"1"), ("a", b"2")]], pa.map_(pa.string(), kind))
    columns = {"said": pa.array(["日本".encode(), b"\xe9t\xe9", None], kind), "inner": maps}
    sink = io.BytesIO()
    with ipc.new_stream(sink, pa.schema([(name, column.type) for name, column in columns.items()])) as writer:
        writer.write_table(pa.table(columns))
    first, second, third = read(sink.getvalue())
    assert first.row == {"said": "日本", "inner": {"ü": "1"}}
    assert second.reason.startswith("said: not UTF-8 (byte 1): it looks like Latin-1")
    assert "duplicate" in third.reason


MEASURE = r"""
import json, re, sys
from pathlib import Path
from labeling.readers import open_file
kind, path = sys.argv[1:]
count = 0
with open(path, "rb") as file:
    for raw in open_file(file, path).rows:
        assert raw.row is not None, raw.reason
        count += 1
peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]
print(json.dumps([count, int(peak) / 1024]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "jsonl.gz", "parquet"])
def test_memory_stays_flat_whatever_the_size(kind: str, tmp_path: Path) -> None:
    """Ten times as much to read takes no more memory than some buffers."""
    peaks = []
    for count in (2_000, 20_000):
        path = tmp_path / f"{count}.{kind}"
        _write(path, kind, count)
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, kind, str(path)], capture_output=True, text=True, check=True, cwd=Path.cwd()
        )
        rows, peak = json.loads(done.stdout)
        assert rows == count
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 16, peaks


def _write(path: Path, kind: str, count: int) -> None:
    """Some 1.6 KB a row."""
    rows = (
        {"id": n, "prompt": f"{n} " + "p" * 300, "response_a": f"{n}" + "a" * 600, "response_b": "b" * 600}
        for n in range(count)
    )
    if kind == "parquet":
        schema = pa.schema(
            {"id": pa.int64(), "prompt": pa.string(), "response_a": pa.string(), "response_b": pa.string()}
        )
        with parquet.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
            batch = []
            for row in rows:
                batch.append(row)
                if len(batch) == 1_000:
                    writer.write_table(pa.Table.from_pylist(batch, schema=schema))
                    batch = []
    elif kind == "csv":
        with path.open("w", newline="") as file:
            table_writer = csv.DictWriter(file, ["id", "prompt", "response_a", "response_b"])
            table_writer.writeheader()
            table_writer.writerows(rows)
    elif kind == "json":
        with path.open("w") as file:
            file.write("[" + ",\n".join(json.dumps(row) for row in rows) + "]")
    else:
        with gzip.open(path, "wt", compresslevel=1) if kind.endswith("gz") else path.open("w") as out:
            out.writelines(json.dumps(row) + "\n" for row in rows)


def test_a_mended_table_loses_the_apostrophes_that_guarded_it() -> None:
    content = b"prompt,'=x,note,rejected_because\n'=1+1,''-2,'plain',why\n"
    [found] = read(content, "a.csv")
    assert found.row == {"prompt": "=1+1", "=x": "'-2", "note": "'plain'", "rejected_because": "why"}
    [other] = read(content.replace(b"rejected_because", b"reason"), "a.csv")
    assert other.row == {"prompt": "'=1+1", "'=x": "''-2", "note": "'plain'", "reason": "why"}
