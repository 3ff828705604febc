"""A project's own exports back into it: nobody votes twice, and no two annotators become one."""

import io
import json
from collections.abc import Iterable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from labeling.models import Flag, ImportBatch, Label, Pair, Project
from labeling.services import annotators, consensus, exports, flags, labels
from labeling.services.imports import import_file
from tests.factories import ClaimFactory, ProjectFactory
from tests.services.test_import_labels import PAIR, load


@pytest.fixture
def labelled(project: Project, bob: User, dora: User) -> Project:
    """A pair with Bob's label, another Bob's of a file, and Dora's label and settlement; and one without a label."""
    load(project, {**PAIR, "id": "x-1", "labels": [{"annotator": "bob", "choice": "tie"}]}, {**PAIR, "prompt": "How?"})
    pair = Pair.objects.get(external_id="x-1")
    for slot, annotator in enumerate((bob, dora)):
        claim = ClaimFactory.create(pair=pair, annotator=annotator, slot=slot, slots=2)
        labels.commit_label(claim, choice="left")
    Flag.objects.get_or_create(pair=pair, kind="reported")
    flags.settle(pair, by=dora, choice="b", reason="")
    return project


def rows_of(project: Project, **options: Any) -> list[dict[str, Any]]:
    return list(exports.export(project, **options))


def said(rows: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(row["provenance"]["annotator"], row["choice"]) for row in rows]


def content(project: Project, form: str, **options: Any) -> bytes:
    return b"".join(exports.open_export(project, exports.ask(format=form, **options)).pieces())


def counts(batch: ImportBatch) -> tuple[int, int, int, int]:
    return batch.imported, batch.duplicates, batch.labels, batch.rejected


@pytest.mark.parametrize("form", ["ndjson", "csv", "parquet"])
def test_peoples_labels_are_there_already(labelled: Project, form: str) -> None:
    before = rows_of(labelled)
    assert said(before) == [("bob (imported)", "tie"), ("bob", "a"), ("dora", "a"), ("dora", "b")]
    batch = import_file(labelled, file=io.BytesIO(content(labelled, form)), filename=f"own.{form}")
    assert counts(batch) == (0, 4, 0, 0), list(batch.rejected_lines.values())
    assert rows_of(labelled) == before


def test_another_verdict_under_the_name_of_somebody_here_is_rejected(labelled: Project) -> None:
    for row in rows_of(labelled):
        name, origin = row["provenance"]["annotator"], row["provenance"]["origin"]
        batch = load(labelled, {**row, "choice": "both_bad"})
        assert counts(batch) == (0, 0, 0, 1)
        known = f"{name} (adjudication)" if origin == "adjudication" else name
        assert batch.rejected_lines.get().reason == f"labels: {known} has labelled this pair before, and differently"


def test_a_label_that_was_taken_back_is_not_there(labelled: Project) -> None:
    [_imported, own, *_others] = rows_of(labelled)
    Label.objects.filter(source="claim", annotator__username="bob").update(withdrawn=True)
    assert counts(load(labelled, own | {"choice": "b"})) == (0, 0, 0, 1), "the other Bob's is"
    Label.objects.filter(source="import").delete()
    assert counts(load(labelled, own)) == (0, 1, 1, 0)


def test_a_consensus_is_no_label_beside_those_that_made_it(labelled: Project) -> None:
    consensus.refresh(Pair.objects.get(external_id="x-1"))
    file = content(labelled, "ndjson", source="consensus")
    batch = import_file(labelled, file=io.BytesIO(file), filename="consensus.ndjson")
    assert counts(batch) == (0, 0, 0, 1)
    line = batch.rejected_lines.get()
    assert (line.field, line.reason) == (
        "labels",
        "labels: this pair has labels by people already, and a consensus is not one more",
    )
    named = {**PAIR, "labels": [{"annotator": "consensus", "choice": "b"}]}
    assert load(labelled, named).rejected == 1
    assert counts(load(labelled, {**named, "prompt": "How?"})) == (0, 1, 1, 0), "nobody has labelled that pair"
    again = {**named, "prompt": "How?", "id": "again"}
    assert counts(load(labelled, again)) == (0, 1, 0, 0)
    ada = {**again, "labels": [{"annotator": "ada", "choice": "b"}]}
    assert counts(load(labelled, ada, {**again, "id": "last"})) == (0, 2, 1, 0)


def test_two_of_one_name_stay_two_wherever_they_go(labelled: Project, bob: User) -> None:
    other = ProjectFactory.create(slug="other")
    batch = import_file(other, file=io.BytesIO(content(labelled, "ndjson")), filename="all.ndjson")
    assert counts(batch) == (1, 3, 4, 0), list(batch.rejected_lines.values())
    names = ["bob (imported)", "bob", "dora", "dora (adjudication)"]
    assert [name for name, _choice in said(rows_of(other))] == names
    load(other, {**PAIR, "prompt": "Who?", "id": "bob's"})
    labels.commit_label(ClaimFactory.create(pair=Pair.objects.get(external_id="bob's"), annotator=bob), choice="left")
    names[:2] = ["bob (imported) (imported)", "bob (imported)"]
    assert [name for name, _choice in said(rows_of(other))] == [*names, "bob"]
    own = import_file(other, file=io.BytesIO(content(other, "csv")), filename="own.csv")
    assert counts(own) == (0, 5, 0, 0), list(own.rejected_lines.values())


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("ada", "ada"),
        ("ada (imported)", "ada (imported)"),
        ("bob", "bob (imported)"),
        ("bob (imported)", "bob (imported) (imported)"),
        ("bob (adjudication)", "bob (adjudication) (imported)"),
        ("b" * 150, "b" * 139 + " (imported)"),
    ],
)
def test_an_imported_name_is_marked_where_a_user_has_it(name: str, found: str) -> None:
    assert annotators.as_exported(name, {"bob", "b" * 150}) == found


def test_what_is_there_is_asked_for_once_for_all_rows(labelled: Project) -> None:
    file = content(labelled, "ndjson")
    more = b"".join(json.dumps({**json.loads(file.splitlines()[1]), "id": f"{n}"}).encode() + b"\n" for n in range(40))
    found = []
    for rows in (file, file + more):
        with CaptureQueriesContext(connection) as sent:
            import_file(labelled, file=io.BytesIO(rows), filename="own.ndjson")
        found.append(len(sent))
    assert found[0] == found[1]
