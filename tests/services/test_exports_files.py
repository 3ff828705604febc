"""The same rows as NDJSON, CSV and Parquet: safe, typed, and a piece at a time."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq
import pytest

from labeling.models import Deployment, Label, Project
from labeling.services import exports
from labeling.services.exports import parquet, reading, spreadsheet
from tests.factories import JudgementFactory, LabelFactory, PairFactory


def content(project: Project, **options: Any) -> bytes:
    return b"".join(exports.open_export(project, exports.ask(**options)).pieces())


def cells(project: Project, **options: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content(project, format="csv", **options).decode(), newline="")))


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_no_cell_is_a_formula(project: Project, text: str) -> None:
    pair = PairFactory.create(
        project=project, external_id=text, response_a=text, response_b="fine = text", model_a=text
    )
    LabelFactory.create(pair=pair, external_annotator=text, comment=text)
    [row] = cells(project)
    for name in ("id", "response_a", "model_a", "provenance.annotator", "provenance.comment"):
        assert row[name] == f"'{text}", name
    assert row["response_b"] == "fine = text"
    assert json.loads(row["prompt"]) == pair.prompt


def test_csv_holds_line_breaks_quotes_json_and_nothing(project: Project) -> None:
    LabelFactory.create(pair=PairFactory.create(project=project, response_a='one\r\n"two", three\n'), seconds=-1.5)
    [row] = cells(project)
    assert row["response_a"] == 'one\r\n"two", three\n'
    assert (row["audit"], row["gold"], row["provenance.strength"], row["provenance.seconds"]) == (
        "false",
        "",
        "",
        "-1.5",
    )
    [strict] = cells(project, profile="strict")
    assert json.loads(strict["chosen"]) == [{"role": "assistant", "content": row["response_a"]}]


def test_parquet_is_typed_and_says_the_same_as_ndjson(champion: Deployment) -> None:
    project = champion.project
    for p_a in (0.2, 0.7, 0.9):
        pair = PairFactory.create(project=project, meta={"n": 1}, gold="a")
        LabelFactory.create(pair=pair, choice="tie", strength=2, seconds=3.5)
        JudgementFactory.create(pair=pair, judge=champion.judge, p_a=p_a)
    Label.objects.update(revealed_at=datetime(2026, 5, 1, 12, 30, tzinfo=UTC))
    for options in ({}, {"source": "judge", "rationales": True}, {"shape": "reward", "ties": "keep"}, {"shape": "kto"}):
        table = pq.read_table(io.BytesIO(content(project, format="parquet", **options)))
        expected = list(exports.export(project, **options))
        assert [_plain(row) for row in table.to_pylist()] == [_plain(row) for row in expected]


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """The row with times as text and JSON columns as objects, whichever file it comes from."""
    return {
        name: _plain(value)
        if isinstance(value, dict) and name == "provenance"
        else value.isoformat()
        if isinstance(value, datetime)
        else json.loads(value)
        if name in ("meta", "criteria", "highlights", "rationales") and isinstance(value, str)
        else value
        for name, value in row.items()
    }


def test_parquet_comes_in_row_groups(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP", 4)
    for pair in PairFactory.create_batch(10, project=project):
        LabelFactory.create(pair=pair)
    pieces = list(exports.open_export(project, exports.ask(format="parquet")).pieces())
    assert len(pieces) == 4  # three groups, and the end of the file
    assert pq.ParquetFile(io.BytesIO(b"".join(pieces))).metadata.num_row_groups == 3


@pytest.mark.parametrize("form", ["ndjson", "csv", "parquet"])
def test_an_export_of_nothing_is_a_file_of_nothing(project: Project, form: str) -> None:
    found = content(project, format=form)
    if form == "parquet":
        assert pq.read_table(io.BytesIO(found)).num_rows == 0
    else:
        assert found.count(b"\n") == (1 if form == "csv" else 0)


def test_rows_are_read_a_chunk_at_a_time(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CHUNK", 3)
    for pair in PairFactory.create_batch(7, project=project):
        LabelFactory.create(pair=pair)
    found = exports.open_export(project, exports.ask())
    pieces: Iterator[bytes] = found.pieces()
    assert next(pieces).count(b"\n") == 3
    assert found.written == 3
    assert sum(piece.count(b"\n") for piece in pieces) == 4
    assert (found.written, found.read) == (7, {("a", "train"): 7})


def test_an_export_that_is_broken_off_leaves_the_connection_usable(project: Project) -> None:
    for pair in PairFactory.create_batch(3, project=project):
        LabelFactory.create(pair=pair)
    pieces = exports.open_export(project, exports.ask()).pieces()
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert Label.objects.count() == 3


def test_harmless_touches_nothing_else() -> None:
    for text in ("", "plain", "a=b", " =1", "'tis", "'a=1'", "'"):
        assert spreadsheet.harmless(text) == text
