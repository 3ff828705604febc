"""Columns named by hand and layouts chosen by hand: which field is which, and what cannot be read so."""

import io

import pytest

from labeling.errors import ImportRefused
from labeling.models import ImportBatch, Label, Project
from labeling.services.checking import Plan
from labeling.services.imports import import_file
from labeling.services.mapping import mapped, problems
from labeling.services.texts import BadRow
from tests.services.test_import_labels import HUGE, PAIR, load

MAPPING = {"prompt": "q", "response_a": "left text", "response_b": "right text", "winner": "best", "annotator": "who"}


@pytest.mark.parametrize("sides", [("left text", "right text"), ("chosen", "rejected")])
def test_a_system_column_is_named_by_hand(sides: tuple[str, str]) -> None:
    fields = ("response_a", "response_b") if sides[0] == "left text" else sides
    raw = {"q": "Why?", "system": "Be brief.", sides[0]: "x", sides[1]: "y"}
    mapping = {"prompt": "q", **dict(zip(fields, sides, strict=True))}
    assert [one["role"] for one in mapped(raw, mapping).prompt] == ["user"]
    assert [one["role"] for one in mapped(raw, {**mapping, "system": "system"}).prompt] == ["system", "user"]


@pytest.mark.parametrize(
    "winner", [-1, -2.0, 3, 1.5, HUGE, "-1", "-2", " -1", "-1.0"], ids=lambda winner: f"{winner!r:.9}"
)
def test_a_signed_number_names_no_side_by_hand(project: Project, winner: object) -> None:
    row = {"q": "Why?", "left text": "x", "right text": "y", "best": winner}
    batch = load(project, row, plan=Plan(mapping=MAPPING))
    assert (batch.imported, batch.rejected) == (0, 1)
    assert batch.rejected_lines.get().field == "winner"


@pytest.mark.parametrize("value", [["x"], {"name": "x"}])
def test_lists_and_objects_in_mapped_columns_cost_their_row_at_most(value: object) -> None:
    mapping = {**MAPPING, "model_a": "one", "model_b": "two"}
    row = {"q": "Why?", "left text": "x", "right text": "y", "best": "left"}
    assert mapped({**row, "one": value, "two": value}, mapping).labels[0].choice == "a"
    with pytest.raises(BadRow, match="winner: "):
        mapped({**row, "best": value}, mapping)


def test_a_model_that_wrote_both_responses_is_no_winner() -> None:
    row = {"q": "Why?", "left text": "x", "right text": "y", "best": "m", "one": "m", "two": "m"}
    with pytest.raises(BadRow, match="winner: says neither"):
        mapped(row, {**MAPPING, "model_a": "one", "model_b": "two"})


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


def test_messages_named_by_hand_bring_their_annotator() -> None:
    talks = {name: [{"role": "assistant", "content": name}] for name in ("good", "bad")}
    mapping = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    row = {"q": "Why?", **talks, "who": "ada"}
    assert [one.annotator for one in mapped(row, {**mapping, "annotator": "who"}).labels] == ["ada"]
    assert [one.annotator for one in mapped(row, mapping).labels] == ["file"]


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


def test_an_empty_prompt_cell_is_a_missing_prompt(project: Project) -> None:
    table = b"prompt,chosen,rejected\nColour?,Blue it is.,Blue it is not.\n,The sky is blue.,The sky is green.\n"
    batch = import_file(project, file=io.BytesIO(table), filename="rows.csv")
    assert (batch.imported, batch.rejected_lines.get().reason) == (1, "prompt: missing")
    named = table.replace(b"prompt", b"question")
    asked = Plan(mapping={"prompt": "question", "chosen": "chosen", "rejected": "rejected"})
    again = import_file(project, file=io.BytesIO(named), filename="rows.csv", plan=asked)
    assert (again.duplicates, again.rejected_lines.get().reason) == (1, "prompt: missing (column 'question')")
    assert import_file(project, file=io.BytesIO(named), filename="rows.csv").rejected == 2
