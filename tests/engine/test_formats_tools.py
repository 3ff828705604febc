"""Scales of strength, Label Studio's tasks and Argilla's records, in the forms in which they come."""

from typing import Any

import pytest

from genrm_engine.errors import EngineError
from genrm_engine.formats import HumanLabel, detect, guess_columns
from genrm_engine.formats.draft import Draft
from genrm_engine.formats.layouts import read_row
from genrm_engine.formats.scales import Verdict, verdict_of

Row = dict[str, Any]
PAIR = {"prompt": "Why?", "response_a": "Because.", "response_b": "Why not?"}


def read(row: Row) -> Draft:
    return read_row(row, detect(row))


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("A", Verdict("a")),
        ("b", Verdict("b")),
        ("left", Verdict("a")),
        ("Right", Verdict("b")),
        ("model_b", Verdict("b")),
        ("response-1", Verdict("a")),
        ("Response 2 is better", Verdict("b")),
        ("A is much better", Verdict("a", 2)),
        ("B is slightly better", Verdict("b", 1)),
        ("the first response wins", Verdict("a")),
        ("A>>B", Verdict("a", 2)),
        ("A > B", Verdict("a", 1)),
        ("B<<A", Verdict("a", 2)),
        ("A<B", Verdict("b", 1)),
        ("A=B", Verdict("tie")),
        ("tie", Verdict("tie")),
        ("Same", Verdict("tie")),
        ("both bad", Verdict("tie", both_bad=True)),
        ("tie (bothbad)", Verdict("tie", both_bad=True)),
        (-1, Verdict("a", 1)),
        (2, Verdict("b", 2)),
        (0, Verdict("tie")),
    ],
)
def test_a_verdict_in_words_or_numbers(said: object, verdict: Verdict) -> None:
    assert verdict_of(said, "winner") == verdict


@pytest.mark.parametrize(
    "said",
    [
        "",
        "maybe",
        "None",
        "C",
        "A>A",
        3,
        float("nan"),
        10**400,
        None,
        True,
        ["a"],
        "a and b",
        "-1",
        " (-2)",
        "- 1",
        "+1",
    ],
    ids=lambda said: f"{said!r:.9}",
)
def test_what_is_no_verdict_is_named(said: object) -> None:
    with pytest.raises(EngineError, match=r"^winner "):
        verdict_of(said, "winner")


@pytest.mark.parametrize(
    ("name", "value", "stated", "strength"),
    [
        ("preference_strength", -3, "a", 2),
        ("preference_strength", 2, "b", 1),
        ("overall_preference", 0, "tie", None),
        ("preference", -2, "a", 2),
        ("preference", "B is much better", "b", 2),
    ],
)
def test_a_scale_gives_the_winner_and_how_clearly(name: str, value: object, stated: str, strength: int | None) -> None:
    draft = read({**PAIR, name: value})
    assert (draft.stated, draft.strength) == (stated, strength)
    assert (draft.response_a, draft.response_b) == ("Because.", "Why not?")


@pytest.mark.parametrize("value", range(-3, 4))
@pytest.mark.parametrize("name", ["preference_strength", "overall_preference"])
def test_a_scale_in_text_is_the_same_scale(name: str, value: int) -> None:
    said = read({**PAIR, name: value})
    assert all(read({**PAIR, name: text}) == said for text in (f"{value}", f"{value}.0", f" {value:+d} "))


def test_a_scale_has_its_ends() -> None:
    with pytest.raises(EngineError, match="overall_preference is not between -3 and 3 but 4"):
        read({**PAIR, "overall_preference": 4})
    talk = [{"role": "user", "content": "Hi"}]
    draft = read({"context": talk, "response1": "x", "response2": "y", "overall_preference": -1})
    assert (draft.prompt[0].content, draft.response_a, draft.stated) == ("Hi", "x", "a")


def task(*annotations: Row, **data: str) -> Row:
    texts = {"prompt": "Why?", "answer1": "Because.", "answer2": "Why not?", **data}
    return {"id": 3, "data": texts, "annotations": list(annotations)}


def answer(selected: str, **more: object) -> Row:
    result = {"from_name": "pw", "to_name": "answer1,answer2", "type": "pairwise", "value": {"selected": selected}}
    return {"completed_by": 4, "result": [result], **more}


def test_a_task_brings_the_label_of_everyone_who_answered() -> None:
    choices = {"from_name": "c", "to_name": "prompt", "type": "choices", "value": {"choices": ["Answer 2"]}}
    draft = read(
        task(
            answer("left"),
            answer("right", completed_by={"id": 1, "email": "ben@example.org"}),
            {"completed_by": 9, "result": [choices]},
            answer("left", completed_by=5, was_cancelled=True),
            {"completed_by": 6, "result": []},
        )
    )
    assert draft.labels == (
        HumanLabel("annotator 4", "a"),
        HumanLabel("ben@example.org", "b"),
        HumanLabel("annotator 9", "b"),
    )
    assert (draft.id, draft.stated) == ("3", None)


def test_a_pairwise_answer_counts_before_choices_about_something_else() -> None:
    both = answer("right")
    for choice in ("A", "None"):
        asked = {"from_name": "issues", "to_name": "answer1", "type": "choices", "value": {"choices": [choice]}}
        both["result"] = [asked, both["result"][-1]]
        assert read(task(both)).labels == (HumanLabel("annotator 4", "b"),)


def test_the_compared_fields_are_those_that_the_comparison_names() -> None:
    swapped = answer("left")
    swapped["result"][0]["to_name"] = ["other", "answer1"]
    draft = read(task(swapped, other="Who knows?"))
    assert (draft.response_a, draft.response_b) == ("Who knows?", "Because.")


def test_a_task_without_two_texts_or_with_a_strange_answer_is_told_so() -> None:
    with pytest.raises(EngineError, match="data has no two texts to compare; its fields are: image, prompt"):
        read({"data": {"prompt": "x", "image": "y"}, "annotations": []})
    with pytest.raises(EngineError, match="data has no prompt"):
        read({"data": {"text1": "x", "text2": "y"}, "annotations": []})
    with pytest.raises(EngineError, match="annotations, entry 1: selected says neither A, B"):
        read(task(answer("upwards")))


FIELDS = {"instruction": "Why?", "response-1": "Because.", "response-2": "Why not?"}


@pytest.mark.parametrize(
    "answers",
    [
        {"fields": FIELDS, "responses": {"best": [{"value": "response-2", "user_id": "ada", "status": "submitted"}]}},
        {"fields": FIELDS, "responses": {"best": [{"value": ["response-2", "response-1"], "user_id": "ada"}]}},
        {
            "fields": FIELDS,
            "responses": [{"user_id": "ada", "status": "submitted", "values": {"best": {"value": "response 2"}}}],
        },
        {
            **FIELDS,
            "best": [{"value": "B is better", "user_id": "ada", "status": "submitted"}],
            "best-suggestion": None,
        },
        {
            **FIELDS,
            "best": [
                {
                    "user_id": "ada",
                    "status": "submitted",
                    "value": [{"value": "response-1", "rank": 2}, {"value": "response-2", "rank": 1}],
                }
            ],
        },
        {
            **FIELDS,
            "best.responses": ["response-2", "response-1"],
            "best.responses.users": ["ada", "ben"],
            "best.responses.status": ["submitted", "discarded"],
        },
        {
            "fields": FIELDS,
            "responses": {
                "quality": [{"value": 4, "user_id": "ada"}],
                "best": [
                    {"value": "response-2", "user_id": "ada"},
                    {"value": "tie", "user_id": "x", "status": "draft"},
                ],
            },
        },
    ],
)
def test_a_record_brings_its_submitted_answers(answers: Row) -> None:
    assert detect(answers) == "argilla"
    draft = read(answers)
    assert draft.labels == (HumanLabel("ada", "b"),)
    assert (draft.prompt[0].content, draft.response_a, draft.response_b) == ("Why?", "Because.", "Why not?")


def test_equal_ranks_are_a_tie_and_ratings_alone_are_no_comparison() -> None:
    ranked = [{"value": "response-1", "rank": 1}, {"value": "response-2", "rank": 1}]
    draft = read({"fields": FIELDS, "responses": {"best": [{"value": ranked, "user_id": "ada"}]}})
    assert [label.choice for label in draft.labels] == ["tie"]
    with pytest.raises(EngineError, match="no answer to quality says which text is better"):
        read({"fields": FIELDS, "responses": {"quality": [{"value": 4, "user_id": "ada"}]}})
    assert read({"fields": FIELDS, "responses": {}}).labels == ()


def test_a_question_that_ranks_or_names_the_texts_comes_before_words() -> None:
    safe = [{"value": "A", "user_id": "ada"}]
    for best in ("response-2", ["response-2", "response-1"]):
        answers = {"safe": safe, "best": [{"value": best, "user_id": "ada"}]}
        assert read({"fields": FIELDS, "responses": answers}).labels == (HumanLabel("ada", "b"),)
    with pytest.raises(EngineError, match="no answer to issues says which text is better"):
        read({"fields": FIELDS, "responses": {"issues": [{"value": "None", "user_id": "ada"}]}})


@pytest.mark.parametrize(
    ("columns", "guessed"),
    [
        (
            ["Question", "Answer A", "Answer B", "Label", "Worker ID"],
            {
                "prompt": "Question",
                "response_a": "Answer A",
                "response_b": "Answer B",
                "winner": "Label",
                "annotator": "Worker ID",
            },
        ),
        (
            ["query", "chosen", "rejected", "uid"],
            {"prompt": "query", "chosen": "chosen", "rejected": "rejected", "id": "uid"},
        ),
        (
            ["input", "model_1", "model_2", "text1", "text2", "output_1", "output_2"],
            {
                "prompt": "input",
                "response_a": "output_1",
                "response_b": "output_2",
                "model_a": "model_1",
                "model_b": "model_2",
            },
        ),
        (["System Prompt", "input"], {"system": "System Prompt", "prompt": "input"}),
        (["colour", "size"], {}),
    ],
)
def test_columns_are_guessed_by_their_names(columns: list[str], guessed: dict[str, str]) -> None:
    assert guess_columns(columns) == guessed
