"""Files of rows that are damaged or badly written: what is said of the file, what of a row, and no crash."""

import gzip
import io
import json
import re
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pyarrow import feather, ipc, parquet

from labeling.readers import LONGEST_ROW, Raw, Unreadable, as_text
from tests.services.test_readers import CONTAINERS, ROWS, lines, read, zstd


def twice_named(write: Any) -> bytes:
    sink = io.BytesIO()
    write(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), sink)
    return sink.getvalue()


def reasons(content: bytes, name: str = "rows.jsonl") -> list[str]:
    return [raw.reason for raw in read(content, name)]


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
