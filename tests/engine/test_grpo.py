"""Reinforcement by the verdict: rewards of hand-made answers, the order of questions, and a run that goes on."""

from pathlib import Path
from typing import Any

import pytest

from genrm_engine.errors import Cancelled, EngineError
from genrm_engine.progress import Progress
from genrm_engine.training.config import TrainConfig
from genrm_engine.training.data import Item, items
from tests.engine.conftest import make_labelled

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]
A, B, NONE = " It fits.\nWinner: [A]", " It fits.\nWinner: [B]", " It fits."


def config_of(model: Path, **changes: Any) -> TrainConfig:
    quick = {"learning_rate": 1e-2, "batch_size": 4, "samples_per_order": 2, "max_rationale_tokens": 6}
    row = {"method": "grpo", "model": str(model), "device": "cpu", "threads": 1, **quick, **changes}
    return TrainConfig.from_json(row).resolved()


def parts(config: TrainConfig, pairs: int) -> tuple[list[Item], Any]:
    from genrm_engine.backends.encoding import PromptEncoder
    from genrm_engine.backends.loading import load_tokenizer

    encoder = PromptEncoder(load_tokenizer(config.model))
    asked, _ = items(make_labelled(pairs), method="cot", config=config, encoder=encoder)
    return asked, encoder


def fit(config: TrainConfig, out: Path, *, pairs: int = 4, progress: Progress | None = None) -> Any:
    from genrm_engine.backends.loading import load_model
    from genrm_engine.training.grpo import train_grpo

    asked, encoder = parts(config, pairs)
    return train_grpo(
        load_model(config.model, dtype="float32", device="cpu"),
        asked,
        config=config,
        encoder=encoder,
        folder=out / "checkpoints",
        progress=progress or Progress(out),
        span=(0.0, 1.0),
    )


def test_the_last_verdict_is_rewarded_and_nothing_is_punished() -> None:
    from genrm_engine.training.grpo import verdict_reward

    seen: dict[str, float] = {}
    answers = [A, B, NONE, " Winner: [A] or\nWinner: [B]", " Winner: [C]"]
    assert verdict_reward(answers, [True] * 5, log_metric=seen.__setitem__) == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert verdict_reward(answers, [False] * 5) == [0.0, 1.0, 0.0, 1.0, 0.0]
    assert seen == {"unparsed": 2 / 5}


def test_a_right_answer_earns_the_share_of_right_ones_in_the_other_order() -> None:
    from genrm_engine.training.grpo import consistency_reward

    answers = [A, A, B, NONE, A, B, A]
    rewards = consistency_reward(
        answers,
        first_wins=[True, True, False, False, True, False, True],
        pair=["p", "p", "p", "p", "q", "q", "r"],
        swapped=[False, False, True, True, False, True, False],
    )
    assert rewards == [0.5, 0.5, 1.0, 0.0, 1.0, 1.0, 0.0]


def test_a_judge_that_always_names_one_position_earns_nothing_for_consistency() -> None:
    from genrm_engine.training.grpo import consistency_reward

    rewards = consistency_reward([A, A], first_wins=[True, False], pair=["p", "p"], swapped=[False, True])
    assert rewards == [0.0, 0.0]


def test_both_orders_of_a_pair_stay_neighbours_and_every_pass_takes_every_pair(tiny_model: Path) -> None:
    from genrm_engine.training.grpo import question_rows

    config = config_of(tiny_model)
    asked, encoder = parts(config, 5)
    rows = question_rows(asked, config, encoder, count=24)
    assert len(rows) == 24
    for straight, swapped in zip(rows[::2], rows[1::2], strict=True):
        assert straight["pair"] == swapped["pair"]
        assert (straight["swapped"], swapped["swapped"]) == (False, True)
        assert straight["first_wins"] != swapped["first_wins"]
    first, second = [row["pair"] for row in rows[:10:2]], [row["pair"] for row in rows[10:20:2]]
    assert sorted(first) == sorted(second) == [f"p{number}" for number in range(5)]
    assert first != second
    assert all(row["prompt"].endswith("Reason:") for row in rows)


def test_steps_that_cannot_hold_whole_pairs_are_refused(tiny_model: Path) -> None:
    from genrm_engine.training.grpo import questions_of_a_step

    asked, _ = parts(config_of(tiny_model), 3)
    assert questions_of_a_step(asked, config_of(tiny_model)) == 4
    assert questions_of_a_step(asked, config_of(tiny_model, batch_size=8)) == 6
    with pytest.raises(EngineError, match="multiple of 2, not 3"):
        questions_of_a_step(asked, config_of(tiny_model, batch_size=3, micro_batch_size=1))
    with pytest.raises(EngineError, match="samples_per_order must be at least 2"):
        questions_of_a_step(asked, config_of(tiny_model, samples_per_order=1))


@pytest.mark.slow
def test_answers_that_earn_more_become_more_likely(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tiny model writes no verdict, so another reading stands in: answers with many an e are the right ones."""
    from genrm_engine.training import grpo

    def read(text: str) -> str:
        return "A" if text.count("e") > 9 else "B"

    monkeypatch.setattr(grpo, "parse_verdict", read)
    monkeypatch.setattr(Item, "first_wins", property(lambda self: True))
    steps = {"epochs": 24, "learning_rate": 0.03, "checkpoints": 1, "batch_size": 32, "micro_batch_size": 32}
    config = config_of(tiny_model, samples_per_order=8, **steps)
    _, metrics = fit(config, tmp_path, pairs=2)
    assert metrics["right_last"] > metrics["right_first"] + 0.2
    assert metrics["reward_last"] > metrics["reward_first"]


@pytest.mark.parametrize("lora", [False, True])
def test_a_cancelled_run_goes_on_from_its_checkpoint(tiny_model: Path, tmp_path: Path, lora: bool) -> None:
    class Cancelling(Progress):
        def say(self, phase: str, fraction: float, message: str, **known: Any) -> None:
            super().say(phase, fraction, message, **known)
            assert 0 <= known["reward"] <= 2
            if known["step"] == 1:
                self.cancel_file.touch()

    config = config_of(tiny_model, epochs=1.5, checkpoints=3, lora=lora, beta=0.1)
    with pytest.raises(Cancelled):
        fit(config, tmp_path, progress=Cancelling(tmp_path))
    (tmp_path / "cancel").unlink()
    model, metrics = fit(config, tmp_path)
    assert metrics["steps"] == 3
    assert metrics["resumed_from"] in ("checkpoint-1", "checkpoint-2")
    assert 0 <= metrics["unparsed_last"] <= 1
    assert type(model).__name__ == "LlamaForCausalLM"
