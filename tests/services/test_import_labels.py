"""Labels that come along, whatever the layout, and what a row must hold to be taken."""

import io
import json
from typing import Any

import pytest

from labeling.models import ImportBatch, Label, Pair, Project
from labeling.readers import open_file
from labeling.services import checking, claims
from labeling.services.checking import Plan
from labeling.services.imports import dry_run, import_file
from labeling.services.rows import Row, layout_of, to_row
from labeling.services.texts import BadRow
from tests import factories

PAIR: dict[str, Any] = {"prompt": "Why?", "response_a": "Because.", "response_b": "Why not?"}
CHOSEN = {"prompt": "Why?", "chosen": "x", "rejected": "y"}
HUGE = 10**400
VOTE = {"prompt": '["Why?"]', "response_a": '["Because."]', "response_b": '["Why not?"]'}
MODELS = {"model_a": "x", "model_b": "y"}


def load(project: Project, *rows: Any, plan: Plan = Plan(), name: str = "rows.jsonl") -> ImportBatch:  # noqa: B008
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    return import_file(project, file=io.BytesIO(content), filename=name, plan=plan)


def given() -> set[tuple[str, str]]:
    return set(Label.objects.values_list("external_annotator", "choice"))


def test_votes_on_one_pair_meet_in_it_whatever_their_order(project: Project) -> None:
    batch = load(
        project,
        {**VOTE, **MODELS, "id": 1, "winner": "model_a"},
        {
            "id": 2,
            "prompt": VOTE["prompt"],
            "response_a": VOTE["response_b"],
            "response_b": VOTE["response_a"],
            "model_a": "y",
            "model_b": "x",
            "winner": "model_a",
        },
        {**VOTE, **MODELS, "id": 3, "winner": "tie (bothbad)"},
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


def test_imported_pairs_are_closed_by_the_overlap_at_the_end_of_the_import(project: Project) -> None:
    Project.objects.update(overlap=2)  # since the project was read
    load(project, {**PAIR, "labels": [{"annotator": "ada", "choice": "a"}]}, {**PAIR, "prompt": "How?", "choice": "b"})
    load(project, {**PAIR, "prompt": "Who?", "choice": "b"}, {**PAIR, "labels": [{"annotator": "ben", "choice": "b"}]})
    assert list(Pair.objects.order_by("pk").values_list("closed", flat=True)) == [True, False, False]
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


@pytest.mark.parametrize("name", ["preference", "preference_strength", "overall_preference"])
def test_a_scale_says_the_same_in_every_container(project: Project, name: str) -> None:
    values = range(-2, 3)
    rows = [{**PAIR, "prompt": f"Q{value}", name: value} for value in values]
    table = f"prompt,response_a,response_b,{name}\n" + "".join(f"Q{n},Because.,Why not?,{n}\n" for n in values)
    other = factories.ProjectFactory.create(slug="other")
    plan = Plan(layout="scale") if name == "preference" else Plan()
    load(project, *rows, plan=plan)
    batch = import_file(other, file=io.BytesIO(table.encode()), filename="rows.csv", plan=plan)
    assert (batch.imported, batch.rejected, batch.format) == (5, 0, "scale, csv")
    said = [
        list(each.pairs.order_by("prompt_hash").values_list("prompt_hash", "labels__choice", "labels__strength"))
        for each in (project, other)
    ]
    assert said[0] == said[1]
    assert [choice for _hash, choice, _strength in said[0]].count("a") == 2


@pytest.mark.parametrize("strength", [1, 1.0, "1", "1.0"], ids=repr)
def test_a_strength_may_have_become_a_float(project: Project, strength: object) -> None:
    said = {"annotator": "ada", "choice": "a", "strength": strength}
    batch = load(
        project,
        {**PAIR, "labels": [said]},
        {**PAIR, "prompt": "How?", "choice": "a", "provenance": {**said, "blind": True}},
        {**PAIR, "prompt": "Who?", "labels": [{**said, "strength": 1.5}]},
        {**PAIR, "prompt": "Who?", "labels": [{**said, "strength": True}]},
    )
    assert (batch.imported, batch.rejected) == (2, 2)
    assert list(Label.objects.values_list("strength", flat=True)) == [1, 1]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**PAIR, "labels": [{"annotator": "ada", "choice": "a", "seconds": HUGE}]}, "labels: entry 1: seconds 1000"),
        ({**PAIR, "labels": [{"annotator": "ada", "choice": "a", "strength": HUGE}]}, "labels: entry 1: strength 1000"),
        ({**CHOSEN, "score_chosen": HUGE}, "score_chosen: not a number but 1000"),
        ({**CHOSEN, "weight": HUGE}, "weight: not a number but 1000"),
        ({**PAIR, "preference": HUGE}, "preference: not between -2 and 2 but 1000"),
    ],
)
def test_a_number_that_no_float_holds_costs_its_row(project: Project, row: dict[str, Any], reason: str) -> None:
    batch = load(project, row, {**PAIR, "prompt": "How?"})
    assert (batch.imported, batch.rejected) == (1, 1)
    assert batch.rejected_lines.get().reason.startswith(reason)


@pytest.mark.parametrize("error", [ValueError, TypeError, OverflowError, RecursionError])
def test_what_no_check_foresaw_costs_its_row(
    project: Project, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def odd(raw: dict[str, Any], layout: str | None) -> Row:
        if "odd" in raw:
            raise error("so odd \x00")
        return to_row(raw, layout)

    monkeypatch.setattr(checking, "to_row", odd)
    batch = load(project, {**PAIR, "odd": 1}, {**PAIR, "prompt": "How?"})
    assert (batch.imported, batch.rejected) == (1, 1)
    assert batch.rejected_lines.get().reason == "cannot be read: so odd �"


@pytest.mark.parametrize(
    "row",
    [
        {**PAIR, "labels": [{"annotator": name, "choice": "a"} for name in ("bob", "bob ")]},
        {**PAIR, "winner": "x", "labels": [{"annotator": name, "choice": "a"} for name in ("bob", " bob")]},
        {"prompt": "Why?", "fields": {"prompt": "Why?", "text1": "x", "text2": "y"}, "responses": {
            "best": [{"value": "text1", "user_id": name} for name in ("bob", "bob ")]}},
        {"prompt": "Why?", "fields": {"prompt": "Why?", "text1": "x", "text2": "y"}, "responses": {
            "best": [{"value": "text1", "user_id": "x" * 150 + name} for name in "ab"]}},
    ],
)  # fmt: skip
def test_two_labels_that_become_one_annotators_are_rejected(project: Project, row: dict[str, Any]) -> None:
    plan = Plan(layout="tandem") if "winner" in row else Plan()
    batch = load(project, row, {**PAIR, "prompt": "How?"}, plan=plan)
    assert (batch.imported, batch.rejected) == (1, 1)
    assert batch.rejected_lines.get().reason.startswith(("labels: two labels by bob", "labels: two labels by xxx"))


@pytest.mark.parametrize(
    ("winner", "choice", "strength"),
    [
        ("model_a", "a", None),
        ("B is much better", "b", 2),
        ("tie (inconsistent)", "tie", None),
        ("both bad", "both_bad", None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_a_bare_winner_is_a_label_of_tandems_own_layout(winner: object, choice: str | None, strength: object) -> None:
    row = {**PAIR, "id": "w-1", "prompt": "[1]", "winner": winner}
    found = to_row(row)
    assert (layout_of(row), found.external_id, found.prompt[0]["content"]) == ("tandem", "w-1", "[1]")
    expected = [("file", choice, strength)] if choice else []
    assert [(one.annotator, one.choice, one.strength) for one in found.labels] == expected
    assert [one.annotator for one in to_row({**row, "annotator": 7.0}).labels] == ["7"] * len(expected)
    assert to_row({**row, "labels": [{"annotator": "ada", "choice": "b"}]}).labels[0].annotator == "ada"


@pytest.mark.parametrize("winner", [0, 1, 2.0, "1", "model_c", ["a"]])
def test_a_bare_winner_that_names_no_side_costs_its_row(winner: object) -> None:
    with pytest.raises(BadRow, match=r"^winner: ") as caught:
        to_row({**PAIR, "winner": winner})
    assert caught.value.field == "winner"


@pytest.mark.parametrize("value", [0, 1, 2, "1", 2.0])
def test_a_preference_without_a_sign_is_not_guessed(project: Project, value: object) -> None:
    row = {**PAIR, "preference": value}
    assert (layout_of(row), layout_of({**row, "preference": -1}), layout_of({**row, "choice": "a"})) == (
        None,
        "scale",
        "tandem",
    )
    assert load(project, row).rejected_lines.get().reason.startswith(f"preference: {value!r} has no sign; choose the")
    assert load(project, row, plan=Plan(layout="scale")).labels == 1


@pytest.mark.parametrize("named", ["ada", 7, 7.0])
@pytest.mark.parametrize(
    "row",
    [
        CHOSEN,
        {**CHOSEN, "prompt": [{"role": "user", "content": "Why?"}]},
        {"chosen": "Why? So.", "rejected": "Why? No."},
        {"chosen": "\n\nHuman: Why?\n\nAssistant: So.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."},
        {**CHOSEN, "score_chosen": 1, "score_rejected": 1},
        {**PAIR, "preference_strength": -2},
        {**PAIR, "choice": "a"},
    ],
)
def test_a_choice_is_the_named_annotators(row: dict[str, Any], named: object) -> None:
    who = str(named).removesuffix(".0")
    assert [label.annotator for label in to_row({**row, "annotator": named}).labels] == [who]
    assert [label.annotator for label in to_row({**row, "annotator": ""}).labels] == ["file"]


def test_two_annotators_of_one_chosen_row_meet_in_its_pair(project: Project) -> None:
    turned = {"chosen": CHOSEN["rejected"], "rejected": CHOSEN["chosen"], "prompt": CHOSEN["prompt"]}
    batch = load(project, {**CHOSEN, "annotator": "ada"}, {**turned, "annotator": "ben"})
    assert (batch.imported, batch.duplicates, batch.labels, batch.rejected) == (1, 1, 2, 0)
    assert {who for who, _choice in given()} == {"ada", "ben"}
    assert len({choice for _who, choice in given()}) == 2


def test_labels_beside_chosen_and_rejected_are_refused() -> None:
    with pytest.raises(BadRow, match=r"^labels: ambiguous beside chosen and rejected"):
        to_row({**CHOSEN, "labels": [{"annotator": "ada", "choice": "a"}]})
    assert to_row({**CHOSEN, "labels": []}).labels == to_row({**CHOSEN, "labels": [3]}).labels == to_row(CHOSEN).labels


TEXTS = {"chosen": "The sky is blue.", "rejected": "The sky is green."}


@pytest.mark.parametrize("scores", [{}, {"score_chosen": 2, "score_rejected": 1}])
def test_texts_whose_prompt_is_missing_are_not_split(scores: dict[str, int]) -> None:
    for layout in (None, "trl-implicit", "trl", "ultrafeedback"):
        with pytest.raises(BadRow, match=r"^prompt: missing$"):
            to_row({**TEXTS, **scores, "prompt": None}, layout)
    for name in ("question", "Instruction", "input"):
        asked = {**TEXTS, **scores, name: "What colour is it?"}
        assert layout_of(asked) is None
        with pytest.raises(BadRow, match=r"^prompt: missing; the row's fields are: "):
            to_row(asked)
    assert to_row({**TEXTS, **scores}).prompt == [{"role": "user", "content": "The sky is"}]
    assert to_row({**TEXTS, **scores, "prompt": "Q"}, "trl-implicit").prompt[0]["content"] == "Q"


def test_conversations_need_no_prompt_whatever_stands_beside_them() -> None:
    talks = [[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": text}] for text in ("x", "y")]
    for beside in ({}, {"prompt": None}, {"question": "Hi"}):
        found = to_row({**beside, "chosen": talks[0], "rejected": talks[1]})
        assert found.prompt == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize("name", ["tool_calls", "function_call"])
def test_a_message_that_calls_a_tool_costs_its_row(name: str) -> None:
    said, calls = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": None, name: {"name": "search"}}
    answers = [[said, {**calls, name: None, "content": text}] for text in ("x", "y")]
    for row in ({**PAIR, "prompt": [said, calls]}, {"chosen": [said, calls], "rejected": answers[1]}):
        with pytest.raises(BadRow, match=r"^(prompt|chosen): message 2 calls a tool, which a judge cannot read"):
            to_row(row)
    assert {**to_row({"chosen": answers[0], "rejected": answers[1]}).prompt[0]} == said


@pytest.mark.parametrize("row", [PAIR, CHOSEN, {**PAIR, "preference_strength": 1}, TEXTS])
def test_a_system_text_stands_before_the_prompt(row: dict[str, Any]) -> None:
    plain, told = to_row(row), to_row({**row, "system": "Be brief."})
    assert told.prompt == [{"role": "system", "content": "Be brief."}, *plain.prompt]
    assert (told.response_a, to_row({**row, "system": " "})) == (plain.response_a, plain)
    own = [{"role": "system", "content": "Be long."}, {"role": "user", "content": "Why?"}]
    assert to_row({**row, "prompt": own, "system": "Be brief."}).prompt == own


def test_whole_floats_are_ids_and_annotators_as_whole_numbers() -> None:
    said = [{"annotator": 7.0, "choice": "a"}]
    found = to_row({**PAIR, "id": 7.0, "labels": said})
    assert (found.external_id, found.labels[0].annotator) == ("7", "7")
    assert to_row({**CHOSEN, "id": 7.0}).external_id == "7"
    with pytest.raises(BadRow, match="id: neither text nor a whole number"):
        to_row({**PAIR, "id": 7.5})


def test_an_annotator_without_a_name_is_the_file(project: Project) -> None:
    load(project, {**PAIR, "choice": "b", "provenance": {"annotator": "  ", "blind": True, "seconds": 3}})
    assert given() == {("file", "b")}


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
