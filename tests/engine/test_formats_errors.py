"""What a data file that cannot be read as asked is told: the file, the line, the field and what was expected."""

import gzip
import json
from pathlib import Path

import pytest

from genrm_engine.errors import EngineError
from genrm_engine.formats import read_data
from tests.engine.test_formats import ASKED, BAD, GOOD, MORE, ROWS, Row, said, transcript, write


def without(name: str, field: str) -> Row:
    return {key: value for key, value in ROWS[name].items() if key != field}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"text": "Leaves."}, "in none of the layouts arena, .*; its fields are: text"),
        ({}, "its fields are: none"),
        (without("tandem", "response_b"), "response_b is missing"),
        (without("tandem", "prompt"), "prompt is missing"),
        ({**ROWS["tandem"], "prompt": []}, "prompt is neither text nor a list of messages but an empty list"),
        ({**ROWS["tandem"], "prompt": 3}, "prompt is neither text nor a list of messages but a number"),
        ({**ROWS["tandem"], "prompt": [{"content": "Hi"}]}, "prompt, message 1 has no role"),
        ({**ROWS["tandem"], "prompt": [{"role": "user"}]}, "prompt, message 1: content is not text but null"),
        ({**ROWS["tandem"], "response_a": ["x"]}, "response_a is not text but a list"),
        ({**ROWS["tandem"], "choice": "c"}, 'choice is not one of a, b, tie but "c"'),
        ({**ROWS["tandem"], "gold": "A"}, 'gold is not one of a, b, tie but "A"'),
        ({**ROWS["tandem"], "labels": "a"}, "labels is not a list but text"),
        ({**ROWS["tandem"], "labels": [{"choice": "a"}]}, "labels, entry 1 names no annotator"),
        (
            {**ROWS["tandem"], "labels": [{"annotator": float("nan"), "choice": "a"}]},
            "labels, entry 1 names no annotator",
        ),
        ({**ROWS["tandem"], "labels": [{"annotator": "ada"}]}, "labels, entry 1: choice is missing"),
        ({**ROWS["tandem"], "weight": "1"}, 'weight is not a number but "1"'),
        ({**ROWS["tandem"], "weight": -1}, "weight is below 0"),
        ({**ROWS["tandem"], "weight": 10**400}, "weight is not a number but 1000"),
        ({**ROWS["tandem"], "p_a": 1.5}, "p_a is not between 0 and 1 but 1.5"),
        ({**ROWS["tandem"], "p_a": float("nan")}, "p_a is not a number but NaN"),
        (without("trl", "rejected"), "rejected is missing"),
        ({"chosen": "Leaves.", "rejected": "Lamps."}, "plain texts without a prompt, .* they begin differently"),
        ({"chosen": "Leaves fall", "rejected": "Leaves fall down"}, "a response is then empty"),
        ({"chosen": "Leaves fall.", "rejected": "Leaves fall."}, "a response is then empty"),
        ({"chosen": "Leaves fall.", "rejected": said(ASKED, BAD)}, "rejected is not text but a list"),
        ({"chosen": said(ASKED, GOOD), "rejected": said(MORE, BAD)}, "chosen and rejected do not begin with the same"),
        (
            {"chosen": said(ASKED, GOOD), "rejected": [*said(ASKED), *said(MORE)]},
            "rejected has no answer of the assist",
        ),
        ({"chosen": transcript(ASKED, GOOD), "rejected": transcript(MORE, BAD)}, "do not begin with the same prompt"),
        (
            {**ROWS["arena"], "winner_tie": 1},
            "exactly one of winner_model_a, winner_model_b, winner_tie must be 1, not 2",
        ),
        ({**ROWS["arena"], "winner_model_b": 0.4}, "winner_model_b is not 0 or 1 but 0.4"),
        (without("arena", "winner_tie"), "winner_tie is missing"),
        ({**ROWS["arena"], "prompt": [ASKED, MORE]}, "response_a has 1 turns, but prompt has 2"),
        ({**ROWS["arena-conversations"], "winner": "model_c"}, 'winner is not one of model_a, .* but "model_c"'),
        ({**ROWS["mt-bench"], "turn": 3}, "conversation_a has 2 answers, but turn is 3"),
        ({**ROWS["mt-bench"], "turn": "1"}, "turn is not a number from 1"),
        (
            {**ROWS["arena-conversations"], "conversation_a": [{"role": "user", "content": [{"type": "image"}]}]},
            "conversation_a, message 1 holds something other than text",
        ),
        (
            {**ROWS["trl-implicit"], "chosen": [*said(ASKED), {"role": "assistant", "tool_calls": [{"id": "1"}]}]},
            "chosen, message 2 calls a tool, which a judge cannot read",
        ),
        ({"prompt": None, "chosen": "The sky is blue.", "rejected": "The sky is green."}, "prompt is missing"),
        ({"question": ASKED, "chosen": "So it is.", "rejected": "So it goes."}, "in none of the layouts"),
        ({**ROWS["trl"], "labels": [{"annotator": "ada", "choice": "a"}]}, "labels is ambiguous beside chosen and"),
        ({"prompt": ASKED, "response_a": GOOD, "response_b": BAD, "preference": 1}, "in none of the layouts"),
        ({"prompt": ASKED, "response_a": GOOD, "response_b": BAD, "winner": 1}, "winner is not a verdict in words"),
        ({**ROWS["pandalm"], "annotator2": 3}, r"annotator2 is not 0 \(tie\), 1 or 2 but 3"),
        ({"idx": 1, "instruction": ASKED, "response1": GOOD, "response2": BAD}, "annotator1 is missing"),
    ],
)
def test_an_error_names_the_file_the_line_and_the_field(tmp_path: Path, row: Row, says: str) -> None:
    path = write(tmp_path, {"header": {}}, row)
    with pytest.raises(EngineError, match=rf"rows\.jsonl, line 2: .*{says}"):
        read_data(path)


def test_a_later_line_that_misses_a_field_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="line 2: chosen is missing"):
        read_data(write(tmp_path, ROWS["trl"], {"prompt": ASKED}))


def test_a_file_has_one_layout(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="line 3: in the layout hh-rlhf, but line 1 is in trl; one file, one layout"):
        read_data(write(tmp_path, ROWS["trl"], ROWS["trl"], ROWS["hh-rlhf"]))


def test_a_named_format_is_not_guessed(tmp_path: Path) -> None:
    assert read_data(write(tmp_path, ROWS["ultrafeedback"], ROWS["trl"]), format="trl")
    with pytest.raises(EngineError, match="line 1: conversation_a is missing"):
        read_data(write(tmp_path, ROWS["trl"]), format="arena-conversations")
    with pytest.raises(EngineError, match="the format 'csv' is not one of arena, "):
        read_data(write(tmp_path, ROWS["trl"]), format="csv")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"response_a": BAD + "!"}, "another prompt or other responses"),
        ({"choice": "b"}, "another choice"),
        ({"gold": "b"}, "another gold"),
        ({"meta": {"group_key": "leaves", "split": "test"}}, "another split"),
    ],
)
def test_one_id_for_different_content_names_both_lines(tmp_path: Path, change: Row, says: str) -> None:
    with pytest.raises(EngineError, match=rf"line 3: the id leaves-1 stands at line 1 with {says}"):
        read_data(write(tmp_path, ROWS["tandem"], ROWS["tandem"], {**ROWS["tandem"], **change}))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"none\.jsonl cannot be read"):
        read_data(tmp_path / "none.jsonl")
    (tmp_path / "list.json").write_text(json.dumps([ROWS["trl"], "leaf"]))
    with pytest.raises(EngineError, match=r"list\.json, entry 2: not a JSON object"):
        read_data(tmp_path / "list.json")
    (tmp_path / "torn.json").write_text("[{}")
    with pytest.raises(EngineError, match=r"torn\.json: not a JSON list"):
        read_data(tmp_path / "torn.json")
    whole = gzip.compress(json.dumps(ROWS["trl"]).encode())
    for name, content in (("cut.gz", whole[:-9]), ("broken.gz", whole[:10] + b"leaf" + whole[14:])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(EngineError, match=rf"{name} cannot be read"):
            read_data(tmp_path / name)
