"""Data files in every layout: what is detected, what is read, and which choice the labels make."""

import gzip
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from genrm_engine.errors import EngineError
from genrm_engine.formats import FORMATS, DataRow, HumanLabel, detect, iter_data, read_data, read_labelled, read_pairs
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


@pytest.mark.parametrize(("given", "read"), [(0, "0"), (7.0, "7"), ("", None), (None, None), (math.nan, None)])
def test_a_group_may_be_a_number_and_what_is_missing_is_no_name(
    tmp_path: Path, given: object, read: str | None
) -> None:
    """NaN is how a data frame writes that a value is missing."""
    bare = read_data(write(tmp_path, ROWS["trl"]))[0]
    named = dict.fromkeys(("id", "group", "split", "rationale", "annotator"), given)
    [row] = read_data(write(tmp_path, {**ROWS["trl"], **named}))
    pair = replace(bare.pair, id=read or bare.pair.id, group=read or bare.pair.group)
    labels = (HumanLabel(read, bare.choice),) if read and bare.choice else ()
    assert row == replace(bare, pair=pair, split=read or "", rationale=read or "", labels=labels)
    [row] = read_data(write(tmp_path, {**ROWS["trl"], "meta": {"group_key": given, "split": given}, "group": "other"}))
    assert (row.pair.group, row.split) == (read or "other", read or "")
    stored = LabelledPair.from_json({**LabelledPair(pair, "a").to_json(), "group": given, "rationale": given})
    assert (stored.pair.group, stored.rationale) == (read or "", read or "")


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


def test_half_a_surrogate_pair_becomes_readable(tmp_path: Path) -> None:
    [row] = read_data(write(tmp_path, {**ROWS["trl"], "chosen": "leaf \ud83c", "rejected": "leaf \U0001f341"}))
    assert {row.pair.response_a, row.pair.response_b} == {"leaf \ufffd", "leaf \U0001f341"}
