"""What decides a run before any model is loaded: configuration, files, weights, which chains are paired."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrm_engine.errors import EngineError
from genrm_engine.files import append_row, data_hash, read_appended, write_json
from genrm_engine.formats import read_labelled, read_pairs
from genrm_engine.prompts import JudgePrompt, build_prompt
from genrm_engine.training.config import TrainConfig
from genrm_engine.training.data import Item, chain_row, items, pair_weights, verdict_rows, written_ids
from genrm_engine.training.replay import replayed
from genrm_engine.training.selection import select
from genrm_engine.types import Chain, LabelledPair, Message, Pair
from genrm_engine.weights import check_manifest, weights_sha256, write_manifest
from tests.engine.conftest import make_labelled


def test_config_survives_json_and_fills_in_its_methods_defaults() -> None:
    config = TrainConfig.from_json({"method": "star-dpo", "model": "m", "threads": 2})
    assert TrainConfig.from_json(json.loads(config.dumps())) == config
    assert config.learning_rate is None
    resolved = config.resolved()
    assert resolved.learning_rate is not None
    assert resolved.epochs is not None
    assert TrainConfig(method="genrm", model="m", learning_rate=1e-4).resolved().learning_rate == 1e-4


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"method": "genrm"}, "model is missing"),
        ({"method": "magic", "model": "m"}, "method must be one of genrm, star-sft, star-dpo"),
        ({"method": "genrm", "model": "m", "speed": 3}, "unknown field speed"),
        ({"method": "genrm", "model": "m", "epochs": "two"}, "epochs must be float"),
        ({"method": "genrm", "model": "m", "lora": 1}, "lora must be bool"),
        ({"method": "genrm", "model": "m", "batch_size": True}, "batch_size must be int"),
        ({"method": "genrm", "model": "m", "batch_size": 0}, "batch_size must be at least 1"),
        ({"method": "genrm", "model": "m", "batch_size": 8, "micro_batch_size": 3}, "multiple of micro_batch_size"),
        ({"method": "genrm", "model": "m", "learning_rate": -1}, "learning_rate must be above 0"),
        ({"method": "star-dpo", "model": "m", "label_noise": 0.5}, "label_noise must be at least 0 and below 0.5"),
        ({"method": "star-dpo", "model": "m", "beta": -0.1}, "beta must not be negative"),
        ({"method": "genrm", "model": "m", "keep_adapter": True}, "keep_adapter needs lora"),
        ({"method": "pairrm", "model": "m", "warm_up": "x"}, "writes no rationale"),
        ({"method": "genrm", "model": "m", "learning_rate": float("nan")}, "learning_rate must be a finite number"),
        ({"method": "genrm", "model": "m", "temperature": float("nan")}, "temperature must be a finite number"),
        ({"method": "genrm", "model": "m", "warmup_ratio": float("nan")}, "warmup_ratio must be a finite number"),
        ({"method": "genrm", "model": "m", "epochs": float("inf")}, "epochs must be a finite number"),
        ({"method": "genrm", "model": "m", "seed": 2**32}, "seed must be below 4294967296"),
    ],
)
def test_a_bad_config_is_refused_by_the_name_of_its_field(row: Any, says: str) -> None:
    with pytest.raises(EngineError, match=says):
        TrainConfig.from_json(row)


def test_every_field_has_a_help_text() -> None:
    from dataclasses import fields

    assert all(item.metadata.get("help", "").endswith(".") for item in fields(TrainConfig))


def length_pair(a: int, b: int, choice: str, weight: float = 1.0) -> LabelledPair:
    pair = Pair(f"{a}-{b}-{choice}", (Message("user", "?"),), "x" * a, "y" * b)
    return LabelledPair(pair, choice, weight)  # type: ignore[arg-type]


def test_balance_makes_longer_and_shorter_winners_weigh_the_same() -> None:
    rows = [length_pair(9, 2, "a"), length_pair(9, 3, "a"), length_pair(2, 9, "b"), length_pair(9, 4, "b")]
    weights = pair_weights(rows, balance_length=True)
    assert sum(weights[:3]) == pytest.approx(weights[3])
    assert np.mean(weights) == pytest.approx(1)
    assert pair_weights(rows, balance_length=False) == [1.0] * 4


def test_balance_is_bounded_and_labels_keep_their_relative_weight() -> None:
    rows = [*[length_pair(9, n, "a") for n in range(1, 9)] * 5, length_pair(2, 9, "a", 2.0)]
    weights = pair_weights(rows, balance_length=True)
    assert weights[-1] / weights[0] <= 2 * 9 + 1e-6
    with pytest.raises(EngineError, match="weight above 0"):
        pair_weights([length_pair(1, 2, "a", 0.0)], balance_length=True)


def item(number: int, *, first_wins: bool = True) -> Item:
    row = make_labelled(2)[0 if first_wins else 1]
    row = LabelledPair(Pair(f"q{number}", row.pair.prompt, row.pair.response_a, row.pair.response_b), row.choice)
    return Item(row, False, build_prompt(row.pair, method="cot"), (1, 2, 3), 1.0)


def test_right_chains_meet_wrong_ones_of_the_same_question() -> None:
    config = TrainConfig(method="star-dpo", model="m", verdict_draws=1)
    asked = item(1)
    chains = {asked.key: [Chain("bad", 0.0, 3), Chain("good", 1.0, 3), Chain("mute", None, 3)]}
    right, [found], yields = select([asked], chains, config, iteration=0)
    assert [chain.text for _, chain in right] == ["good"]
    assert (found.right.text, found.wrong.text) == ("good", "bad")
    assert (yields.right, yields.wrong, yields.unparsed, yields.paired) == (1, 1, 1, 1)
    assert (yields.all_right, yields.all_wrong) == (0, 0)


def test_a_question_with_one_kind_of_chain_gives_no_pair() -> None:
    config = TrainConfig(method="star-dpo", model="m")
    asked = item(1, first_wins=False)
    chains = {asked.key: [Chain("x", 1.0, 3), Chain("y", 1.0, 3)]}
    right, found, yields = select([asked], chains, config, iteration=0)
    assert (right, found) == ([], [])
    assert (yields.right, yields.wrong, yields.paired) == (0, 8, 0)
    assert (yields.all_right, yields.all_wrong) == (0, 1)
    assert select([item(1)], chains, config, iteration=0)[2].all_right == 1


def test_verdicts_are_drawn_by_the_judges_own_probability_and_repeatably() -> None:
    config = TrainConfig(method="star-dpo", model="m")
    asked = [item(number) for number in range(300)]
    chains = {one.key: [Chain("x", 0.3, 3)] for one in asked}
    _, found, yields = select(asked, chains, config, iteration=0)
    assert yields.right / (yields.right + yields.wrong) == pytest.approx(0.3, abs=0.05)
    assert select(asked[::-1], chains, config, iteration=0)[2] == yields
    assert len(found) <= len(asked)


def test_at_most_so_many_pairs_for_each_question_the_surest_first() -> None:
    asked = item(1)
    chains = {asked.key: [Chain(str(n), p, 3) for n, p in enumerate((0.55, 0.5, 0.95, 0.05))]}
    config = TrainConfig(method="star-dpo", model="m", verdict_draws=64)
    _, [first], _ = select([asked], chains, config, iteration=0)
    assert (first.right.text, first.wrong.text) == ("2", "3")
    more = TrainConfig(method="star-dpo", model="m", verdict_draws=64, pairs_per_order=2)
    assert len(select([asked], chains, more, iteration=0)[1]) == 2


def test_a_right_chain_is_kept_as_often_as_its_verdict_is_right() -> None:
    config = TrainConfig(method="star-sft", model="m", verdict_draws=4)
    asked = [item(number) for number in range(2000)]
    chains = {one.key: [Chain("unsure", 0.25, 3), Chain("better", 0.75, 3)] for one in asked}
    right, _, _ = select(asked, chains, config, iteration=0)
    better = sum(chain.text == "better" for _, chain in right) / len(right)
    neither = (1 - 0.25) * (1 - 0.75)  # of a draw, when the next is looked at
    assert better == pytest.approx((1 - 0.25) * 0.75 / (1 - neither), abs=0.04)


def test_right_chains_are_kept_in_the_order_they_were_sampled() -> None:
    asked = item(1)
    chains = {asked.key: [Chain(str(n), p, 3) for n, p in enumerate((1.0, 0.0, 1.0, 1.0))]}
    config = TrainConfig(method="star-sft", model="m", pairs_per_order=2)
    right, _, _ = select([asked], chains, config, iteration=0)
    assert [chain.text for _, chain in right] == ["0", "2"]


class Letters:
    """Stands for a prompt encoder: a token is a character's number."""

    form_ids = (1, 2)
    indicator_ids = (65, 66)
    eos_id = 0

    def text_ids(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def prompt_ids(self, prompt: JudgePrompt) -> list[int]:
        return self.text_ids(prompt.user + prompt.opening)


LETTERS: Any = Letters()


def test_a_pair_that_is_left_out_counts_in_no_balance() -> None:
    fitting = [length_pair(9, 2, "a"), length_pair(9, 3, "a"), length_pair(9, 4, "b")]
    long = [length_pair(number, 9000, "a") for number in range(4)]
    config = TrainConfig(method="genrm", model="m", max_tokens=5000)
    found, left_out = items([*long, *fitting], method="score", config=config, encoder=LETTERS)
    assert left_out == 4
    first, second, shorter = weights = [one.weight for one in found[::2]]
    assert first + second == pytest.approx(shorter)
    assert np.mean(weights) == pytest.approx(1)
    assert weights == [one.weight for one in found[1::2]], "both orders of a pair"


def test_a_verdict_row_weighs_the_indicator_alone() -> None:
    [row] = verdict_rows(item(1), LETTERS, soft=True)
    assert row["input_ids"] == [1, 2, 3, 65]
    assert row["token_weights"] == [0, 0, 0, 1.0]


def test_a_soft_label_gives_both_verdicts_their_shares_in_either_order() -> None:
    for swapped in (False, True):
        one = item(1)
        one = replace(one, swapped=swapped, row=replace(one.row, p_a=0.75))
        rows = verdict_rows(one, LETTERS, soft=True)
        shares = {row["input_ids"][-1]: row["token_weights"][-1] for row in rows}
        assert shares == ({65: 0.25, 66: 0.75} if swapped else {65: 0.75, 66: 0.25})
        assert len(verdict_rows(one, LETTERS, soft=False)) == 1


def test_an_answer_is_rationale_form_verdict_and_end() -> None:
    row = chain_row(item(1, first_wins=False), [7, 8], LETTERS, rationale=0.6, verdict=1.0)
    assert row["input_ids"] == [1, 2, 3, 7, 8, 1, 2, 66, ord("]"), 0]
    assert row["token_weights"] == pytest.approx([0, 0, 0, 0.1, 0.1, 0.1, 0.1, 1.0, 0.1, 0.1])
    plain = chain_row(item(1), [7, 8], LETTERS, rationale=0.6, verdict=None)
    assert plain["token_weights"][3:] == pytest.approx([0.1] * 7)


def test_a_written_rationale_names_the_responses_as_shown() -> None:
    one = item(1, first_wins=False)
    one = replace(one, row=replace(one.row, rationale="Response {worse} is rude,\n {better} is not."))
    assert "".join(map(chr, written_ids(one, LETTERS))) == " Response A is rude, B is not."


def test_older_labels_are_replayed_in_their_share_and_never_a_pair_labelled_anew() -> None:
    rows = make_labelled(20)
    config = TrainConfig(method="genrm", model="m", replay_share=0.5)
    chosen = replayed(rows, config, new=rows[:10])
    assert len(chosen) == 5
    assert not {row.pair.id for row in chosen} & {row.pair.id for row in rows[:10]}
    assert chosen == replayed(rows[::-1], config, new=rows[:10])
    assert len(replayed(rows, replace(config, replay_share=9.0), new=rows[:10])) == 10


def test_labelled_files_are_read_plain_and_gzipped(tmp_path: Path) -> None:
    rows = [
        {"id": "1", "prompt": "Hi", "response_a": "x", "response_b": "y", "choice": "a", "meta": {"group_key": "g"}},
        {"id": "2", "prompt": "Hi", "response_a": "x", "response_b": "y", "choice": "tie"},
        {"id": "3", "prompt": [{"role": "user", "content": "Hi"}], "response_a": "x", "response_b": "y", "gold": "b"},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text(text)
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt") as stream:
        stream.write(text)
    found = read_labelled(tmp_path / "rows.jsonl")
    assert [(row.pair.id, row.choice) for row in found] == [("1", "a"), ("3", "b")]
    assert found[0].pair.group == "g"
    assert found == read_labelled(tmp_path / "rows.jsonl.gz")
    assert len(read_pairs(tmp_path / "rows.jsonl")) == 3
    assert data_hash(found) == data_hash(found[::-1]) != data_hash(found[:1])


@pytest.mark.parametrize(("line", "says"), [("{", "line 2: not JSON"), ("[]", "line 2: not a JSON object")])
def test_a_bad_line_is_named(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "rows.jsonl").write_text('{"id": "1", "prompt": "", "response_a": "", "response_b": ""}\n' + line)
    with pytest.raises(EngineError, match=says):
        read_pairs(tmp_path / "rows.jsonl")


def test_a_torn_line_is_passed_over_and_the_next_stands_alone(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    append_row(file, {"n": 1})
    with file.open("a") as stream:
        stream.write('{"n": 2, "te')
    append_row(file, {"n": 3})
    assert [row["n"] for row in read_appended(file)] == [1, 3]


def test_checksums_notice_a_change(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    write_json(tmp_path / "run.json", {"a": 1})
    before = weights_sha256(tmp_path)
    assert set(write_manifest(tmp_path)) == {"model.safetensors", "run.json"}
    check_manifest(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"others")
    assert weights_sha256(tmp_path) != before
    with pytest.raises(EngineError, match=r"model\.safetensors was changed"):
        check_manifest(tmp_path)
