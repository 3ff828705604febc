"""What each layout has of its own: messages, transcripts, votes, judged turns, annotators in columns."""

import json
from pathlib import Path

import pytest

from genrm_engine.formats import HumanLabel, detect, iter_data, read_data
from genrm_engine.formats.layouts import read_row
from genrm_engine.types import Message
from tests.engine.test_formats import AGAIN, ASKED, BAD, GOOD, MORE, NEVER, ROWS, Row, said, transcript, winner, write


def test_prompts_and_completions_may_be_messages(tmp_path: Path) -> None:
    asked = [{"role": "system", "content": "Be brief."}, *said(ASKED, GOOD, MORE)]
    alone = {"prompt": asked, "chosen": [said("", AGAIN)[1]], "rejected": [said("", NEVER)[1]]}
    parts = [{"type": "text", "text": "Yes, from buds "}, {"type": "text", "text": "that were made in summer."}]
    whole = {
        "prompt": ASKED,
        "chosen": [*asked, {"role": "assistant", "content": parts}],
        "rejected": [*asked, {"role": "assistant", "content": NEVER}],
    }
    rows = [read_data(write(tmp_path, row))[0] for row in (alone, whole)]
    assert rows[0] == rows[1]
    assert [message.role for message in rows[0].pair.prompt] == ["system", "user", "assistant", "user"]
    assert winner(rows[0]) == AGAIN
    begun = {"prompt": said(ASKED, "Well,"), "chosen": said("", GOOD)[1:], "rejected": said("", BAD)[1:]}
    [row] = read_data(write(tmp_path, begun))
    assert [message.role for message in row.pair.prompt] == ["user"]
    assert winner(row) == f"Well,\n\nAssistant: {GOOD}"


def test_conversations_that_part_early_are_written_out() -> None:
    """What both sides share is the prompt, the rest is each side's response."""
    [hh, arena] = [
        read_row({"chosen": transcript(ASKED, GOOD, MORE, AGAIN), "rejected": transcript(ASKED, BAD)}, "hh-rlhf"),
        read_row(
            {
                **ROWS["arena"],
                "prompt": [ASKED, MORE],
                "response_a": json.dumps([GOOD, AGAIN]),
                "response_b": json.dumps([BAD, None]),
            },
            "arena",
        ),
    ]
    long = f"{GOOD}\n\nUser: {MORE}\n\nAssistant: {AGAIN}"
    assert {hh.response_a, hh.response_b} == {long, BAD}
    assert (arena.response_a, arena.response_b) == (long, f"{BAD}\n\nUser: {MORE}\n\nAssistant: ")
    assert hh.prompt == arena.prompt == (Message("user", ASKED),)


@pytest.mark.parametrize(
    ("chosen", "rejected", "read"),
    [
        ("The sky is blue.", "The sky is green.", ("The sky is", "blue.", "green.")),
        ("The sky is blue.", "The sky is black.", ("The sky is", "blue.", "black.")),
        ("2 + 3?\n\n5", "2 + 3?\n\n5, I think", ("2 + 3?", "5", "5, I think")),
        ("What falls?\nLeaves fall.", "What falls?\nLeaves\ndo.", ("What falls?\nLeaves", "fall.", "do.")),
    ],
)
def test_plain_texts_share_their_prompt_in_whole_words(chosen: str, rejected: str, read: tuple[str, str, str]) -> None:
    draft = read_row({"chosen": chosen, "rejected": rejected}, "trl-implicit")
    assert draft.prompt == (Message("user", read[0]),)
    assert {draft.response_a, draft.response_b} == set(read[1:])


@pytest.mark.parametrize(
    "sides", [ROWS["trl-implicit"], ROWS["hh-rlhf"], {"chosen": "Why? So.", "rejected": "Why? No."}]
)
def test_equal_scores_are_a_tie_without_a_prompt_field_too(tmp_path: Path, sides: Row) -> None:
    even = {**sides, "score_chosen": 5, "score_rejected": 5.0}
    ahead = {**sides, "score_chosen": 5, "score_rejected": 4}
    assert [read_data(write(tmp_path, row))[0].choice == "tie" for row in (even, ahead)] == [True, False]


def test_mt_bench_is_read_up_to_the_judged_turn() -> None:
    first, second = (read_row({**ROWS["mt-bench"], "turn": turn}, "mt-bench") for turn in (1, 2))
    assert (first.response_a, first.response_b) == (GOOD, BAD)
    assert second.response_b == f"{BAD}\n\nUser: {MORE}\n\nAssistant: {NEVER}"
    assert first.key != second.key


@pytest.mark.parametrize("name", ["mt-bench", "arena-conversations"])
def test_votes_on_one_pair_are_merged_whatever_their_order(tmp_path: Path, name: str) -> None:
    row = ROWS[name]
    turned = {
        **row,
        "judge": "other",
        "model_a": row["model_b"],
        "model_b": row["model_a"],
        "conversation_a": row["conversation_b"],
        "conversation_b": row["conversation_a"],
    }
    tied = {**row, "judge": "third", "winner": "tie (bothbad)"}
    [merged] = read_data(write(tmp_path, row, turned, tied, row))
    assert [label.choice for label in merged.labels] == ["a", "b", "tie"]
    assert (merged.choice, merged.line, merged.models) == ("tie", 1, ("large", "small"))
    changed = {**row, "winner": "model_b"}
    [merged] = read_data(write(tmp_path, row, tied, changed))
    assert merged.labels == (HumanLabel(str(row["judge"]), "b"), HumanLabel("third", "tie", both_bad=True))
    assert len(list(iter_data(tmp_path / "rows.jsonl"))) == 3


def test_arena_votes_without_a_name_stay_apart(tmp_path: Path) -> None:
    against = {**ROWS["arena"], "id": 2, "winner_model_a": 0, "winner_model_b": 1}
    plain = {**ROWS["arena"], "id": 3, "prompt": ASKED, "response_a": GOOD, "response_b": BAD, "winner": "model_a"}
    [row] = read_data(write(tmp_path, ROWS["arena"], against, plain))
    assert [label.annotator for label in row.labels] == ["arena-30192", "arena-2", "arena-3"]
    assert row.choice == "a"
    assert row.share_a == pytest.approx(2 / 3)


def test_an_arena_answer_that_is_json_is_one_turn() -> None:
    plain = {**ROWS["arena"], "prompt": ASKED, "response_a": '["yes"]', "response_b": "[1, 2]"}
    draft = read_row(plain, "arena")
    assert (draft.prompt, draft.response_a, draft.response_b) == (
        (Message("user", ASKED),),
        '["yes"]',
        "[1, 2]",
    )


def test_a_bare_winner_is_an_arena_vote_only_where_both_models_are_named(tmp_path: Path) -> None:
    bare = {"id": 5, "prompt": '["Why?"]', "response_a": GOOD, "response_b": BAD, "winner": "model_a"}
    assert (detect(bare), detect({**bare, "model_a": "large"})) == ("tandem", "tandem")
    assert detect({**bare, "model_a": "large", "model_b": "small"}) == "arena"
    [row] = read_data(write(tmp_path, bare))
    assert (row.pair.id, row.pair.prompt[0].content, row.choice, row.labels) == ("5", '["Why?"]', "a", ())
    assert read_data(write(tmp_path, {**bare, "winner": None}))[0].choice is None
    assert read_data(write(tmp_path, {**bare, "annotator": 7.0}))[0].labels == (HumanLabel("7", "a"),)


def test_what_a_model_judged_in_mt_bench_is_no_label() -> None:
    draft = read_row({**ROWS["mt-bench"], "judge": ["gpt-4", "pair-v2"]}, "mt-bench")
    assert (draft.stated, draft.labels, draft.models) == (None, (), ("large", "small"))
    assert {draft.response_a, draft.response_b} == {GOOD, BAD}


def test_a_system_message_stays_whichever_way_the_sides_repeat_the_prompt() -> None:
    system = {"role": "system", "content": "Be brief."}
    alone = read_row({"prompt": [system, *said(ASKED)], "chosen": said("", GOOD)[1:], "rejected": BAD}, "trl")
    sides = {"chosen": said(ASKED, GOOD), "rejected": said(ASKED, BAD)}
    for row in (
        {"prompt": [system, *said(ASKED)], **sides},
        {"prompt": ASKED, "system": "Be brief.", **sides},
        {"system": "Be brief.", **sides},
    ):
        assert read_row(row, detect(row)) == alone


def test_pandalm_joins_its_input_and_counts_its_annotators(tmp_path: Path) -> None:
    given = {**ROWS["pandalm"], "input": "Oak, birch.", "annotator1": 2, "annotator2": 1, "annotator3": 0}
    [row] = read_data(write(tmp_path, given))
    assert row.pair.prompt == (Message("user", f"{ASKED}\n\nOak, birch."),)
    assert row.pair.id == "pandalm-4"
    assert [(label.annotator, label.choice) for label in row.labels] == [
        ("annotator1", "b"),
        ("annotator2", "a"),
        ("annotator3", "tie"),
    ]
    assert row.choice == "tie"
