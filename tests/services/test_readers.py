"""Files of rows: every container and compression, and what is said of those that are damaged or badly written."""

import csv
import gzip
import io
import json
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pyarrow import feather, ipc, parquet

from labeling.readers import (
    LONGEST_ROW,
    Raw,
    Unreadable,
    as_text,
    folder_identity,
    open_file,
    open_folder,
)
from labeling.readers.folders import data_files

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


def twice_named(write: Any) -> bytes:
    sink = io.BytesIO()
    write(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), sink)
    return sink.getvalue()


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


def read(content: bytes, name: str = "rows.jsonl") -> list[Raw]:
    return list(open_file(io.BytesIO(content), name).rows)


def reasons(content: bytes, name: str = "rows.jsonl") -> list[str]:
    return [raw.reason for raw in read(content, name)]


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


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        ("id,prompt\n".encode("utf-16"), "a.csv", "UTF-16 text"),
        (lines(ROWS).decode().encode("utf-16-le"), "a.jsonl", "UTF-16 text"),
        ("{}".encode("utf-32"), "a.jsonl", "UTF-32 text"),
        (b"", "a.jsonl", "no lines"),
        (b"\xef\xbb\xbf \n", "a.csv", "no lines"),
        (b"a,b,a\n1,2,3\n", "a.csv", "Two columns are called 'a'"),
        (b"pr\xfcfung,b\n1,2\n", "a.csv", "Latin-1 or Windows-1252"),
        (b"a,b\rc,d\r", "a.csv", "line break without a line feed"),
        (b"PAR1nonsense", "a.parquet", "Parquet file is damaged"),
        (b"ARROW1nonsense", "a.arrow", "Arrow file is damaged"),
        (b"\xff\xff\xff\xffnonsense", "a", "Arrow file is damaged"),
        (gzip.compress(lines(ROWS) * 50)[:-40], "a.gz", "damaged"),
        (zstd(lines(ROWS) * 500)[:-12], "a.zst", "damaged"),
        (b"\x1f\x8bnonsense", "a.gz", "damaged"),
        (b'[{"a": 1}, {"a": 2}', "a.json", "breaks off after entry 2"),
        (b'[{"a": 1}, {"a": ', "a.json", "Entry 2 is not JSON"),
        (b'[{"a": 1}, nonsense]', "a.json", "Entry 2 is not JSON"),
        (b"[" * 100_000, "a.json", "nested too deeply"),
        (b'[{"a": "\xe9"}]', "a.json", "Latin-1"),
        (b'[{"a": 1},\n {"a": 2}]\n{"a": 3}', "a.json", "ends with entry 2, and something else follows"),
        (b"[\n]" + b" " * 300_000 + b"[]", "a.json", "ends with entry 0, and something else follows"),
        (b'[{"a": 1} {"a": 2}]', "a.json", "no comma after entry 1"),
        (b'[{"a": 1},, {"a": 2}]', "a.json", "Entry 2 is not JSON"),
        (b'[{"a": 1},]', "a.json", "Entry 2 is not JSON"),
        (b'[, {"a": 1}]', "a.json", "Entry 1 is not JSON"),
        (twice_named(parquet.write_table), "a.parquet", "Two columns are called 'a'"),
        (twice_named(feather.write_feather), "a.arrow", "Two columns are called 'a'"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(content: bytes, name: str, says: str) -> None:
    with pytest.raises(Unreadable, match=says):
        read(content, name)


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        (b'{"a": 1, "a": 2}', "a.jsonl", "a: given twice"),
        (b'{"a": {"b": 1, "b": 2}}', "a.jsonl", "b: given twice"),
        (b'[{"a": 1, "a": 2}]', "a.json", "a: given twice"),
        (b'{"a": NaN}', "a.jsonl", "NaN is no number"),
        (b'{"a": "\\u0000"}', "a.jsonl", "a: contains a NUL"),
        (b'[{"a": ["\\u0000"]}]', "a.json", "a: contains a NUL"),
        (b'{"a": {"b": "\\ud800"}}', "a.jsonl", "a: contains half of a surrogate pair"),
        (b'{"a": "\xe9t\xe9"}', "a.jsonl", "it looks like Latin-1 or Windows-1252"),
        (b'{"a": "\x81\x00\x02"}', "a.jsonl", "binary data"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "a.jsonl", "not JSON"),
        (b'{"a":' * 50_000, "a.jsonl", "nested too deeply"),
        (b'{"a": "\\u0000", "b": ' + b"[" * 400 + b"]" * 400 + b"}", "a.jsonl", "nested too deeply: more than 64"),
        (b'[{"a": "\\u0000", "b": ' + b"[" * 400 + b"]" * 400 + b"}]", "a.json", "nested too deeply: more than 64"),
        (b"meta\n" + b"[" * 400 + b"]" * 400, "a.csv", "meta: not JSON: nested too deeply"),
        (b'meta\n"{""a"": ""\\u0000""}"', "a.csv", "meta: not JSON: a cell: contains a NUL"),
        (b"a,b\n1,2,3\n", "a.csv", "3 cells, but the header has 2"),
        (b"[1, 2]", "a.json", "not a JSON object"),
        (b"a,b\n1,caf\xe9\n", "a.csv", "b: not UTF-8 .*Latin-1"),
        (b'a,b\n1,"2"3\n', "a.csv", "not CSV: .* expected after"),
        (b'a,b\n1,"never\nclosed\n', "a.csv", "a quote that opens here is never closed"),
    ],
)
def test_a_bad_row_says_why(content: bytes, name: str, says: str) -> None:
    found = read(content, name)
    assert found[0].row is None
    assert re.search(says, found[0].reason), found[0].reason


def test_a_row_after_a_bad_one_is_read() -> None:
    good = {"a": "x" * 100}
    tail = json.dumps(good).encode()
    for bad in (b"{", b'{"a": 1, "a": 2}', b'{"b": "' + b"y" * (LONGEST_ROW + 9) + b'"}'):
        assert [raw.row for raw in read(bad + b"\n" + tail)] == [None, good]
    assert [raw.row for raw in read(b'[{"a": 1, "a": 2}, ' + tail + b"]", "a.json")] == [None, good]
    assert reasons(b'a,b\n1,"2"3\nx,y\n', "a.csv")[1:] == [""]
    assert "longer than 8 MiB" in reasons(b'{"b": "' + b"y" * (LONGEST_ROW + 9) + b'"}\n')[0]


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


@pytest.mark.parametrize(
    "column",
    [
        pa.array([0, 2**62], pa.timestamp("us")),
        pa.array([0, 2**31 - 1], pa.date32()),
        pa.array([0, 2**62], "duration[s]"),
    ],
    ids=["moment", "day", "span"],
)
def test_a_moment_that_python_does_not_have_costs_its_row(column: pa.Array) -> None:
    sink = io.BytesIO()
    with ipc.new_stream(sink, pa.schema({"when": column.type})) as writer:
        writer.write_table(pa.table({"when": column}))
    first, second = read(sink.getvalue())
    assert first.row is not None
    assert second.reason.startswith("cannot be read: ")


def test_a_row_of_a_table_that_arrow_refuses_is_refused_in_its_words() -> None:
    inner = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    sink = io.BytesIO()
    feather.write_feather(pa.table({"a": inner}), sink)
    [raw] = read(sink.getvalue())
    assert "duplicate field names" in raw.reason
    assert "UTF-8" not in raw.reason


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


def test_a_row_can_always_be_kept_as_text() -> None:
    assert as_text(Raw(1, None, line=b'{"a": "\xff\x00"}\n')) == '{"a": "��"}'
    assert as_text(Raw(1, {"a": "ü"})) == '{"a": "ü"}'


NAMES = st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.tsv", "a", "a.parquet", "a.gz"])
MAGIC = (b"\x1f\x8b", b"(\xb5/\xfd", b"ARROW1")
SIGNS = rb"""[ { } ] " , ; : \t \n \r \x00 \xff \xe9 {"a":1} a,b\n 1e9 \xef\xbb\xbf \xff\xfe PAR1 NaN \\ud800"""
PIECES = st.sampled_from([*(sign.decode("unicode-escape").encode("latin-1") for sign in SIGNS.split()), b" ", *MAGIC])


@hypothesis_settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=200) | st.lists(PIECES, max_size=25).map(b"".join), NAMES)
def test_any_bytes_are_rows_or_reasons_or_unreadable(content: bytes, name: str) -> None:
    with suppress(Unreadable):
        for raw in read(content, name):
            assert raw.row is not None or raw.reason
            assert "\x00" not in as_text(raw)
            as_text(raw).encode()


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(CONTAINERS)), st.data())
def test_a_changed_or_cut_file_never_crashes(kind: str, data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from([CONTAINERS[kind], gzip.compress(CONTAINERS[kind], mtime=0)])))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(content[: data.draw(st.integers(0, len(content)))])
    with suppress(Unreadable):
        for raw in read(cut, f"rows.{kind}"):
            assert raw.row is not None or raw.reason


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
