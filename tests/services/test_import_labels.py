"""Labels that come along, whatever the layout; columns named by hand; Tandem's own exports back in."""

import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import User

from labeling.errors import ImportRefused
from labeling.models import Consensus, ImportBatch, Label, Pair, Project
from labeling.readers import open_file
from labeling.services import claims, consensus, exports, judging, labels
from labeling.services.checking import Plan
from labeling.services.imports import dry_run, import_file
from labeling.services.mapping import mapped, problems
from labeling.services.texts import BadRow
from tests import factories

PAIR: dict[str, Any] = {"prompt": "Why?", "response_a": "Because.", "response_b": "Why not?"}
VOTE = {"prompt": '["Why?"]', "response_a": '["Because."]', "response_b": '["Why not?"]'}


def load(project: Project, *rows: Any, plan: Plan = Plan(), name: str = "rows.jsonl") -> ImportBatch:  # noqa: B008
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    return import_file(project, file=io.BytesIO(content), filename=name, plan=plan)


def given() -> set[tuple[str, str]]:
    return set(Label.objects.values_list("external_annotator", "choice"))


def test_votes_on_one_pair_meet_in_it_whatever_their_order(project: Project) -> None:
    batch = load(
        project,
        {**VOTE, "id": 1, "model_a": "x", "model_b": "y", "winner": "model_a"},
        {
            "id": 2,
            "prompt": VOTE["prompt"],
            "response_a": VOTE["response_b"],
            "response_b": VOTE["response_a"],
            "winner": "model_a",
        },
        {**VOTE, "id": 3, "winner": "tie (bothbad)"},
    )
    pair = Pair.objects.get()
    assert (batch.imported, batch.duplicates, batch.labels, batch.format) == (1, 2, 3, "arena, jsonl")
    assert (pair.response_a, pair.model_a) == ("Because.", "x")
    assert given() == {("arena-1", "a"), ("arena-2", "b"), ("arena-3", "both_bad")}


def test_labels_reach_pairs_of_an_earlier_file_once(project: Project) -> None:
    load(project, {**PAIR, "id": "p", "labels": [{"annotator": "ada", "choice": "a"}]})
    swapped = {**PAIR, "response_a": PAIR["response_b"], "response_b": PAIR["response_a"], "id": "p"}
    again = load(
        project, {**swapped, "labels": [{"annotator": "ada", "choice": "b"}, {"annotator": "ben", "choice": "b"}]}
    )
    assert (again.imported, again.duplicates, again.labels, again.rejected) == (0, 1, 1, 0)
    assert given() == {("ada", "a"), ("ben", "a")}
    assert Pair.objects.get().closed


@pytest.mark.parametrize("overlap", [1, 2, 3])
def test_a_pair_is_closed_when_the_files_have_brought_all_its_labels(project: Project, overlap: int) -> None:
    project.overlap = overlap
    project.save()
    first = [{"annotator": "ada", "choice": "a"}, {"annotator": "ben", "choice": "b"}]
    load(project, {**PAIR, "labels": first}, {**PAIR, "prompt": "How?"})
    assert Pair.objects.filter(closed=True).count() == (overlap <= 2)
    assert not claims.wrongly_closed(project).exists()
    load(project, {**PAIR, "labels": [{"annotator": "cem", "choice": "a"}]})
    assert Pair.objects.filter(closed=True).count() == 1
    assert not claims.wrongly_closed(project).exists()


def test_a_contradiction_by_the_same_annotator_is_rejected(project: Project) -> None:
    batch = load(
        project, {**PAIR, "choice": "a"}, {**PAIR, "choice": "a"}, {**PAIR, "choice": "b"}, {**PAIR, "prompt": "How?"}
    )
    assert (batch.imported, batch.duplicates, batch.rejected, batch.labels) == (2, 1, 1, 1)
    line = batch.rejected_lines.get()
    assert (line.number, line.field) == (3, "labels")
    assert "file has labelled this pair before, and differently" in line.reason


def test_a_strength_comes_along_and_only_with_a_winner(project: Project) -> None:
    load(project, {**PAIR, "preference_strength": -3}, {**PAIR, "prompt": "How?", "preference_strength": 0})
    assert set(Label.objects.values_list("choice", "strength")) == {("a", 2), ("tie", None)}


def test_every_rejected_row_keeps_its_number_field_reason_and_text(project: Project) -> None:
    rows = [{"prompt": "x", "chosen": "y"}, {**VOTE, "winner": "nobody"}, {**PAIR, "response_b": 4}, {"text": "?"}]
    batch = load(project, *rows)
    found = [(line.number, line.field, json.loads(line.raw)) for line in batch.rejected_lines.all()]
    assert found == [(n, field, row) for n, field, row in zip(
        (1, 2, 3, 4), ("rejected", "winner", "response_b", "prompt"), rows, strict=True)]  # fmt: skip
    assert batch.rejected_lines.last().reason == "prompt: missing; the row's fields are: text"  # type: ignore[union-attr]


MAPPING = {"prompt": "q", "response_a": "left text", "response_b": "right text", "winner": "best", "annotator": "who"}


@pytest.mark.parametrize(
    ("winner", "choice", "strength"),
    [
        ("left", "a", None),
        ("2", "b", None),
        (1, "a", None),
        (2.0, "b", None),
        (0, "tie", None),
        ("B is much better", "b", 2),
        ("both bad", "both_bad", None),
    ],
)
def test_columns_named_by_hand(project: Project, winner: object, choice: str, strength: int | None) -> None:
    row = {"q": "Why?", "left text": "Because.", "right text": "Why not?", "best": winner, "who": "ada"}
    batch = load(project, row, {**row, "q": "How?", "best": ""}, plan=Plan(mapping=MAPPING))
    assert (batch.imported, batch.labels, batch.format, batch.mapping) == (2, 1, "mapped, jsonl", MAPPING)
    label = Label.objects.get()
    assert (label.external_annotator, label.choice, label.strength) == ("ada", choice, strength)


def test_the_winner_may_be_a_models_name_and_columns_may_be_nested() -> None:
    mapping = {**MAPPING, "model_a": "m.one", "model_b": "m.two", "prompt": "data.q", "id": "n"}
    row = {"data": {"q": "Why?"}, "left text": "x", "right text": "y", "best": "B-7", "m": {"one": "A-7", "two": "B-7"}}
    found = mapped({**row, "n": 7.0}, mapping)
    assert (found.labels[0].choice, found.labels[0].annotator) == ("b", "file")
    assert (found.model_a, found.model_b, found.external_id) == ("A-7", "B-7", "7")


def test_chosen_and_rejected_by_hand_tell_nothing_by_their_order(project: Project) -> None:
    plan = Plan(mapping={"prompt": "q", "chosen": "good", "rejected": "bad", "annotator": "who"})
    rows = [{"q": f"Q{n}", "good": f"{(n * 7) % 5} good", "bad": f"{(n * 3) % 5} bad", "who": "ada"} for n in range(20)]
    load(project, *rows, plan=plan)
    assert {label.choice for label in Label.objects.all()} == {"a", "b"}
    for label in Label.objects.select_related("pair"):
        chosen = label.pair.response_a if label.choice == "a" else label.pair.response_b
        assert chosen.endswith("good")


def test_reasons_of_a_mapped_row_name_field_and_column() -> None:
    with pytest.raises(BadRow, match=r"response_b: not text \(column 'right text'\)") as caught:
        mapped({"q": "x", "left text": "y", "right text": 3}, MAPPING)
    assert caught.value.field == "response_b"
    with pytest.raises(BadRow, match=r"winner: says neither A, B, tie nor both bad but 'perhaps' \(column 'best'\)"):
        mapped({"q": "x", "left text": "y", "right text": "z", "best": "perhaps"}, MAPPING)


@pytest.mark.parametrize(
    ("mapping", "field"),
    [
        ({}, "response_a"),
        ({"prompt": "p"}, "response_a"),
        ({"prompt": "p", "response_a": "a"}, "response_b"),
        ({"response_a": "a", "response_b": "b"}, "prompt"),
        ({"prompt": "p", "response_a": "a", "response_b": "a"}, "response_b"),
        ({"prompt": "p", "response_a": "a", "response_b": "b", "chosen": "c"}, "chosen"),
        ({"prompt": "p", "response_a": "a", "response_b": "b", "colour": "c"}, "colour"),
    ],
)
def test_a_mapping_that_cannot_work_names_the_field(project: Project, mapping: dict[str, str], field: str) -> None:
    assert field in problems(mapping)
    if mapping:
        with pytest.raises(ImportRefused, match=field):
            load(project, PAIR, plan=Plan(mapping=mapping))
    assert not ImportBatch.objects.exists()


def test_the_same_file_read_in_another_way_is_another_import(project: Project) -> None:
    row = {"q": "Why?", "left text": "x", "right text": "y"}
    assert load(project, row).imported == 0
    second = load(project, row, plan=Plan(mapping=MAPPING))
    assert second.imported == 1
    assert load(project, row, plan=Plan(mapping=MAPPING)) == second


def test_a_named_layout_is_not_guessed(project: Project) -> None:
    row = {"prompt": "Why?", "chosen": "x", "rejected": "y", "response_a": "x", "response_b": "y"}
    assert load(project, row, plan=Plan(layout="tandem")).labels == 0
    assert load(project, row, plan=Plan(layout="trl")).labels == 1
    with pytest.raises(ImportRefused, match="layout: 'csv' is not one of arena, "):
        load(project, row, plan=Plan(layout="csv"))


def test_a_dry_run_says_what_would_be_and_leaves_nothing(project: Project) -> None:
    load(project, PAIR)
    rows = [PAIR, {**PAIR, "prompt": "How?", "choice": "a"}, {**PAIR, "prompt": ""}, {**PAIR, "prompt": ""}, {}]
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    before = ImportBatch.objects.count()
    trial = dry_run(project, lambda: open_file(io.BytesIO(content), "a.jsonl"))
    counted = trial.batch
    assert (counted.imported, counted.duplicates, counted.labels, counted.rejected) == (1, 1, 1, 3)
    assert trial.reasons[0] == ("prompt", "prompt: empty", 2, 3)
    assert trial.complete
    assert (Pair.objects.count(), ImportBatch.objects.count(), Label.objects.count()) == (1, before, 0)


@pytest.fixture
def labelled(project: Project, bob: User, dora: User) -> Project:
    """Two pairs: one labelled by claim with all that a label can have, one labelled by a file."""
    project.scale, project.criteria = "graded", [{"name": "true", "about": ""}]
    project.save()
    row = {**PAIR, "id": "x-1", "model_a": "m", "model_b": "n", "meta": {"topic": "t", "n": [1]}, "group": "g"}
    load(project, {**row, "gold": "a"}, {**PAIR, "id": "x-2", "prompt": "=1+1", "choice": "both_bad"})
    pair = Pair.objects.get(external_id="x-1")
    claim = factories.ClaimFactory.create(pair=pair, annotator=bob, swapped=True)
    passage = {"response": "b", "start": 0, "end": 3, "quote": "Why"}
    facts = labels.Given({"true": "left"}, [], 'said "so", twice\n-', 12.5)
    label = labels.commit_label(claim, choice="left", strength=2, given=facts)
    Label.objects.filter(pk=label.pk).update(highlights=[passage])
    for one in Pair.objects.all():
        consensus.refresh(one)
    return project


def exported(project: Project, kind: str, source: str) -> bytes:
    asked = exports.ask(source=source, profile="full", format=kind)
    return b"".join(exports.open_export(project, asked).pieces())


KEPT = ("id", "prompt", "response_a", "response_b", "model_a", "model_b", "choice", "group", "gold", "meta")
SAID = (
    "annotator",
    "blind",
    "final_choice",
    "strength",
    "criteria",
    "highlights",
    "comment",
    "seconds",
    "too_fast",
    "created_at",
)


@pytest.mark.parametrize("kind", ["ndjson", "csv", "parquet"])
def test_what_was_exported_imports_into_an_empty_project_and_exports_the_same(labelled: Project, kind: str) -> None:
    other = factories.ProjectFactory.create(slug="other")
    content = exported(labelled, kind, "human")
    batch = import_file(other, file=io.BytesIO(content), filename=f"labels.{kind}")
    assert (batch.imported, batch.labels, batch.rejected) == (2, 2, 0), list(batch.rejected_lines.values())
    first, second = (
        [json.loads(line) for line in exported(each, "ndjson", "human").splitlines()] for each in (labelled, other)
    )
    assert len(first) == 2
    for before, after in zip(first, second, strict=True):
        assert [before[name] for name in KEPT] == [after[name] for name in KEPT]
        assert [before["provenance"][name] for name in SAID] == [after["provenance"][name] for name in SAID]
    third = factories.ProjectFactory.create(slug="third")
    import_file(third, file=io.BytesIO(exported(other, kind, "human")), filename=f"again.{kind}")
    again = [json.loads(line) for line in exported(third, "ndjson", "human").splitlines()]
    stable = [({**row, "part": "", "audit": ""}) for row in second]
    assert [({**row, "part": "", "audit": ""}) for row in again] == stable


def test_an_exported_consensus_of_people_comes_as_the_label_of_one(labelled: Project) -> None:
    other = factories.ProjectFactory.create(slug="other")
    batch = import_file(other, file=io.BytesIO(exported(labelled, "ndjson", "consensus")), filename="c.ndjson")
    assert (batch.imported, batch.labels, batch.rejected) == (2, 2, 0)
    assert set(Label.objects.filter(pair__project=other).values_list("external_annotator", flat=True)) == {"consensus"}


def test_what_a_judge_said_never_becomes_a_label(project: Project, labelled: Project) -> None:
    deployment = judging.champion_of(labelled)
    assert deployment is not None
    for pair in Pair.objects.filter(project=labelled):
        factories.JudgementFactory.create(pair=pair, judge=deployment.judge)
        Consensus.objects.filter(pair=pair).update(method="judge", judge=deployment.judge, labels=0)
    for source in ("judge", "consensus"):
        other = factories.ProjectFactory.create(slug=f"other-{source}")
        batch = import_file(other, file=io.BytesIO(exported(labelled, "ndjson", source)), filename="j.ndjson")
        assert (batch.imported, batch.labels, batch.rejected) == (2, 0, 0)
