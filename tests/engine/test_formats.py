"""Data files in every layout: what is read, what is merged, and what an error says."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm_engine.errors import EngineError
from genrm_engine.formats import FORMATS, DataRow, HumanLabel, detect, iter_data, read_data, read_labelled, read_pairs
from genrm_engine.formats.layouts import read_row
from genrm_engine.formats.rows import consensus, share_for_a
from genrm_engine.types import LabelledPair, Message, Pair

ASKED = "Why do leaves turn yellow in autumn?"
GOOD = "The green pigment breaks down first, and the yellow one beneath it shows."
BAD = "Because the sun is yellow."
MORE = "Do they grow back?"
AGAIN = "Yes, from buds that were made in summer."
NEVER = "No, never."

Row = dict[str, Any]


def said(*turns: str) -> list[Row]:
    return [{"role": ("user", "assistant")[place % 2], "content": turn} for place, turn in enumerate(turns)]


def transcript(*turns: str) -> str:
    return "".join(f"\n\n{('Human', 'Assistant')[place % 2]}: {turn}" for place, turn in enumerate(turns))


ROWS: dict[str, Row] = {
    "tandem": {
        "id": "leaves-1",
        "prompt": ASKED,
        "response_a": GOOD,
        "response_b": BAD,
        "labels": [{"annotator": "ada", "choice": "a"}, {"annotator": "ben", "choice": "a"}],
        "gold": None,
        "meta": {"group_key": "leaves", "split": "train"},
    },
    "trl": {"prompt": ASKED, "chosen": GOOD, "rejected": BAD},
    "trl-implicit": {"chosen": said(ASKED, GOOD), "rejected": said(ASKED, BAD)},
    "hh-rlhf": {"chosen": transcript(ASKED, GOOD), "rejected": transcript(ASKED, BAD)},
    "ultrafeedback": {
        "prompt": ASKED,
        "prompt_id": "5f0c",
        "chosen": said(ASKED, GOOD),
        "rejected": said(ASKED, BAD),
        "messages": said(ASKED, GOOD),
        "score_chosen": 8.5,
        "score_rejected": 3.0,
    },
    "arena": {
        "id": 30192,
        "model_a": "large",
        "model_b": "small",
        "prompt": json.dumps([ASKED]),
        "response_a": json.dumps([GOOD]),
        "response_b": json.dumps([BAD]),
        "winner_model_a": 1,
        "winner_model_b": 0,
        "winner_tie": 0,
    },
    "arena-conversations": {
        "question_id": "58210e39",
        "model_a": "large",
        "model_b": "small",
        "winner": "model_a",
        "judge": "arena_user_7",
        "conversation_a": said(ASKED, GOOD),
        "conversation_b": said(ASKED, BAD),
        "turn": 1,
        "anony": True,
        "language": "English",
        "tstamp": 1682351591.1,
    },
    "mt-bench": {
        "question_id": 81,
        "model_a": "large",
        "model_b": "small",
        "winner": "model_a",
        "judge": "expert_3",
        "conversation_a": said(ASKED, GOOD, MORE, AGAIN),
        "conversation_b": said(ASKED, BAD, MORE, NEVER),
        "turn": 1,
    },
    "pandalm": {
        "idx": 4,
        "cmp_key": "large_small",
        "instruction": ASKED,
        "input": float("nan"),
        "response1": GOOD,
        "response2": BAD,
        "annotator1": 1,
        "annotator2": 1,
        "annotator3": 0,
    },
    "scale": {"prompt": ASKED, "response_1": GOOD, "response_2": BAD, "preference_strength": -2},
    "label-studio": {
        "id": 7,
        "data": {"prompt": ASKED, "text1": BAD, "text2": GOOD},
        "annotations": [
            {
                "completed_by": {"id": 2, "email": "ada@example.org"},
                "result": [
                    {"from_name": "pw", "to_name": "text1,text2", "type": "pairwise", "value": {"selected": "right"}}
                ],
            }
        ],
        "predictions": [],
    },
    "argilla": {
        "id": "9d0c",
        "fields": {"prompt": ASKED, "response-1": GOOD, "response-2": BAD},
        "metadata": {},
        "suggestions": {},
        "responses": {"preference": [{"value": "response-1", "user_id": "ada", "status": "submitted"}]},
    },
}


def write(folder: Path, *rows: object, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def winner(row: DataRow) -> str | None:
    """The text of the response that won."""
    return {"a": row.pair.response_a, "b": row.pair.response_b}.get(row.choice or "")


def test_every_layout_has_a_sample() -> None:
    assert set(ROWS) == set(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_a_layout_is_detected_and_read(tmp_path: Path, name: str) -> None:
    assert detect(ROWS[name]) == name
    path = write(tmp_path, ROWS[name])
    [row] = read_data(path)
    assert [row] == read_data(path, format=name) == list(iter_data(path))
    assert row.pair.prompt == (Message("user", ASKED),)
    assert {row.pair.response_a, row.pair.response_b} == {GOOD, BAD}
    assert winner(row) == GOOD
    assert row.line == 1
    assert row.pair.id
    assert read_pairs(path) == [row.pair]
    assert read_labelled(path) == [row.labelled()]
    if "model_a" in ROWS[name] or name == "pandalm":
        assert row.models == ("large", "small")


def test_the_same_prompt_is_one_group_in_every_layout(tmp_path: Path) -> None:
    groups = {name: read_data(write(tmp_path, row))[0].pair.group for name, row in ROWS.items()}
    assert groups.pop("tandem") == "leaves"
    assert len(set(groups.values())) == 1
    other = {**ROWS["trl"], "prompt": ASKED.replace(" ", " \n ")}
    assert read_data(write(tmp_path, other))[0].pair.group == groups["trl"]
    named = [{**ROWS["trl"], "group": "g"}, {**ROWS["hh-rlhf"], "group": "g", "meta": {"group_key": "key"}}]
    assert [read_data(write(tmp_path, row))[0].pair.group for row in named] == ["g", "key"]


@pytest.mark.parametrize("name", FORMATS)
def test_lists_and_zipped_files_read_like_lines(tmp_path: Path, name: str) -> None:
    expected = read_data(write(tmp_path, ROWS[name]))
    text = json.dumps([ROWS[name]], indent=2)
    (tmp_path / "list.json").write_text("\n" + text)
    (tmp_path / "unnamed").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + json.dumps(ROWS[name]).encode() + b"\n\n"))
    for file in ("list.json", "unnamed", "rows.jsonl.gz"):
        assert read_data(tmp_path / file) == expected


def test_a_header_is_passed_over(tmp_path: Path) -> None:
    header = {"header": {"note": "made by hand"}}
    assert [row.line for row in read_data(write(tmp_path, header, ROWS["tandem"]))] == [2]
    with pytest.raises(EngineError, match=r"line 2: in none of the layouts"):
        read_data(write(tmp_path, header, header))


def test_what_tandem_rows_carry_beside_the_pair(tmp_path: Path) -> None:
    given = {"weight": 0.5, "p_a": 0.25, "rationale": "{better} names the cause.", "choice": "b", "gold": "a"}
    meta = {"group_key": "g", "split": "test", "model_a": "x", "model_b": "y"}
    [row] = read_data(write(tmp_path, {**ROWS["tandem"], **given, "meta": meta}))
    assert (row.choice, row.gold, row.split, row.models) == ("b", "a", "test", ("x", "y"))
    assert row.labels == (HumanLabel("ada", "a"), HumanLabel("ben", "a"))
    assert row.labelled() == LabelledPair(row.pair, "b", 0.5, 0.25, "{better} names the cause.")


def test_an_export_of_single_labels_is_one_row_for_each_pair(tmp_path: Path) -> None:
    """As the product exports them: a line for each label, named in its provenance."""
    votes = {"ada": "a", "ben": "b", "cleo": "a", "dan": "both_bad"}
    pair = {name: ROWS["tandem"][name] for name in ("id", "prompt", "response_a", "response_b")}
    rows = [{**pair, "part": "train", "choice": vote, "provenance": {"annotator": who}} for who, vote in votes.items()]
    [row] = read_data(write(tmp_path, *rows))
    assert {label.annotator: label.choice for label in row.labels} == {**votes, "dan": "tie"}
    assert (row.choice, row.share_a, row.split) == (None, 0.625, "train")


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        ({"choice": "b", "gold": "a"}, "b"),
        ({"choice": "tie", "gold": "a"}, "tie"),
        ({"choice": None, "gold": "b"}, "b"),
        ({"choice": "", "gold": "tie"}, "tie"),
        ({"gold": None}, "a"),
        ({"labels": []}, None),
        ({"labels": None}, None),
    ],
)
def test_a_stated_choice_counts_before_gold_and_gold_before_labels(tmp_path: Path, given: Row, choice: str) -> None:
    path = write(tmp_path, {**ROWS["tandem"], **given})
    assert read_data(path)[0].choice == choice
    assert [row.choice for row in read_labelled(path)] == [choice] * (choice in ("a", "b"))


def test_the_consensus_is_a_strict_majority() -> None:
    assert consensus([]) is None
    assert consensus(["b"]) == "b"
    assert consensus(["a", "b"]) == "tie"
    assert consensus(["a", "tie"]) == "tie"
    assert consensus(["a", "b", "tie"]) == "tie"
    assert consensus(["a", "b", "a"]) == "a"
    assert consensus(["a", "a", "b", "tie"]) is None
    assert share_for_a(["a", "tie", "b", "a"]) == 0.625


def test_p_a_is_the_share_of_two_or_more_labels() -> None:
    pair = Pair("1", (Message("user", "?"),), "x", "y")
    one = DataRow(pair, "a", (HumanLabel("ada", "a"),))
    assert one.labelled() == LabelledPair(pair, "a")
    three = replace(one, labels=(*one.labels, HumanLabel("ben", "a"), HumanLabel("cho", "tie")))
    assert three.labelled() == LabelledPair(pair, "a", p_a=2.5 / 3)
    assert replace(three, p_a=0.9).labelled() == LabelledPair(pair, "a", p_a=0.9)
    assert replace(three, choice="tie").labelled() is None
    assert replace(three, choice=None).labelled() is None
    assert replace(three, choice=None).share_a == 2.5 / 3


@pytest.mark.parametrize("labels", ["bba", "ba", "btb", "t"])
def test_a_choice_that_settles_a_pair_against_its_labels_is_no_soft_one(tmp_path: Path, labels: str) -> None:
    given = [{"annotator": str(n), "choice": {"t": "tie"}.get(one, one)} for n, one in enumerate(labels)]
    [row] = read_labelled(write(tmp_path, {**ROWS["tandem"], "choice": "a", "labels": given}))
    assert (row.choice, row.p_a) == ("a", None)


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


def test_where_nothing_was_preferred_there_is_a_tie(tmp_path: Path) -> None:
    even = {**ROWS["ultrafeedback"], "score_rejected": 8.5}
    same = {**ROWS["trl"], "rejected": GOOD}
    contradicted = {**ROWS["trl"], "chosen": BAD, "rejected": GOOD}
    for rows in ([even], [same], [ROWS["trl"], contradicted], [ROWS["trl"], contradicted, ROWS["trl"]]):
        assert [row.choice for row in read_data(write(tmp_path, *rows))] == ["tie"]


def test_the_same_row_twice_is_kept_once(tmp_path: Path) -> None:
    for row in ROWS.values():
        assert read_data(write(tmp_path, row, row)) == read_data(write(tmp_path, row))


def test_the_same_row_with_its_responses_exchanged_is_kept_once(tmp_path: Path) -> None:
    row = {**ROWS["tandem"], "choice": "a", "gold": "a", "p_a": 0.75, "labels": [{"annotator": "ada", "choice": "a"}]}
    turned = {**row, "choice": "b", "gold": "b", "p_a": 0.25, "labels": [{"annotator": "ada", "choice": "b"}]}
    turned |= {"response_a": BAD, "response_b": GOOD}
    assert read_data(write(tmp_path, row, turned)) == read_data(write(tmp_path, row))


def test_half_a_surrogate_pair_becomes_readable(tmp_path: Path) -> None:
    [row] = read_data(write(tmp_path, {**ROWS["trl"], "chosen": "leaf \ud83c", "rejected": "leaf \U0001f341"}))
    assert {row.pair.response_a, row.pair.response_b} == {"leaf \ufffd", "leaf \U0001f341"}


TEXTS = st.text(alphabet=st.characters(codec="utf-8"), min_size=1).filter(lambda text: "\n\n" not in text)


@given(asked=TEXTS, chosen=TEXTS, rejected=TEXTS)
def test_the_order_says_nothing_of_the_choice(asked: str, chosen: str, rejected: str) -> None:
    """Exchanging chosen and rejected changes the choice and nothing else, so the order cannot depend on it."""
    plain = {"prompt": asked, "chosen": chosen, "rejected": rejected}
    told = {"chosen": transcript(asked, chosen), "rejected": transcript(asked, rejected)}
    for name, row in (("trl", plain), ("hh-rlhf", told)):
        turned = {**row, "chosen": row["rejected"], "rejected": row["chosen"]}
        first, second = read_row(row, name).row(1), read_row(turned, name).row(1)
        assert first.pair == second.pair
        choices = {first.choice, second.choice}
        assert choices == ({"tie"} if first.pair.response_a == first.pair.response_b else {"a", "b"})


def test_the_order_is_even_and_stays(tmp_path: Path) -> None:
    rows = [{"prompt": f"Question {number}", "chosen": "better", "rejected": "worse"} for number in range(400)]
    found = read_data(write(tmp_path, *rows))
    assert 160 < sum(row.choice == "a" for row in found) < 240  # 4 standard deviations
    assert found == read_data(write(tmp_path, *rows))
    assert "".join(row.choice or "-" for row in found[:8]) == "babbabab"


@given(rows=st.lists(st.tuples(TEXTS, TEXTS, TEXTS, st.sampled_from(["a", "b"])), min_size=1, max_size=5))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]]) -> None:
    pairs = [
        LabelledPair(Pair(f"p{number}", (Message("user", asked),), first, second, "g"), "a" if choice == "a" else "b")
        for number, (asked, first, second, choice) in enumerate(rows)
    ]
    path = write(tmp_path_factory.mktemp("written"), *(row.to_json() for row in pairs))
    assert read_labelled(path) == pairs
