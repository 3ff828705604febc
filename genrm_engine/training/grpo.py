"""GRPO: the judge's own free-form answers, reinforced by the verdict they end with, by TRL's GRPO trainer.

Two rewards, neither negative and none for the form alone (J1, Whitehouse et al. 2025, found both to hurt): 1 for the
right verdict, and for a right one the share of the same pair's answers in the other order that are right too, so that
favouring a position pays nothing. Knows questions and their labels, not where they come from.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from datasets import Dataset
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from genrm_engine.backends.encoding import PromptEncoder
from genrm_engine.errors import EngineError
from genrm_engine.progress import Progress
from genrm_engine.prompts import INDICATORS
from genrm_engine.training.config import TrainConfig
from genrm_engine.training.data import Item, copies
from genrm_engine.training.head import add_completion_head
from genrm_engine.training.loop import Reporter, arguments, ends, lora_config, merged, run, world_size
from genrm_engine.verdicts import parse_verdict

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NOT_ASKED = ("max_length", "include_num_input_tokens_seen")
"""What GRPO's trainer has no option for, or does of itself: it counts the tokens of prompts and answers."""
_SPARE = 4
"""Tokens beside the verdict form that an answer may end with: a space, the indicator, the bracket, the turn's end."""


def verdict_reward(
    completions: Sequence[str],
    first_wins: Sequence[bool],
    log_metric: Callable[[str, float], None] | None = None,
    **known: Any,  # noqa: ARG001
) -> list[float]:
    """1 for an answer whose last verdict is the human's choice, else 0; no verdict is 0 as well, and counted."""
    verdicts = [parse_verdict(text) for text in completions]
    if log_metric is not None:
        log_metric("unparsed", sum(verdict is None for verdict in verdicts) / len(verdicts))
    return [
        float(verdict == INDICATORS[0 if first else 1]) for verdict, first in zip(verdicts, first_wins, strict=True)
    ]


def consistency_reward(
    completions: Sequence[str],
    first_wins: Sequence[bool],
    pair: Sequence[str],
    swapped: Sequence[bool],
    **known: Any,  # noqa: ARG001
) -> list[float]:
    """For a right answer the share of right ones among those of its pair's other order in the batch, else 0.

    The expectation of "1 only if right in both orders" over the answer of the other order. Without an answer in the
    other order it is 0.
    """
    right = verdict_reward(completions, first_wins)
    orders: dict[tuple[str, bool], list[float]] = {}
    for name, turned, value in zip(pair, swapped, right, strict=True):
        orders.setdefault((name, turned), []).append(value)
    found = []
    for name, turned, value in zip(pair, swapped, right, strict=True):
        other = orders.get((name, not turned), [])
        found.append(value * sum(other) / len(other) if other else 0.0)
    return found


REWARDS: list[Any] = [verdict_reward, consistency_reward]


class VerdictTrainer(GRPOTrainer):
    """GRPO on token ids of the judge's prompts, in the order of the data set: both orders of a pair are neighbours."""

    encoder: PromptEncoder

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [self.encoder.text_ids(prompt) for prompt in prompts], None, {}


def train_grpo(
    model: "PreTrainedModel",
    items: Sequence[Item],
    *,
    config: TrainConfig,
    encoder: PromptEncoder,
    folder: Path,
    progress: Progress,
    span: tuple[float, float],
) -> "tuple[PreTrainedModel, dict[str, Any]]":
    """Train on ``cot`` questions, both orders of each pair beside each other; the trained model and what was seen.

    A step takes ``config.batch_size`` questions with ``config.samples_per_order`` answers each, ``micro_batch_size``
    answers at once. Raises EngineError where a step cannot hold whole pairs.
    """
    questions = questions_of_a_step(items, config)
    counted, answers = _counting_answers(config, questions), len(items) * config.samples_per_order
    options = arguments(counted, folder, rows=answers, device=model.device.type)
    rows = question_rows(items, config, encoder, count=questions * options["max_steps"])
    trainer = VerdictTrainer(
        model=model,
        reward_funcs=REWARDS,
        args=_settings(config, options, encoder),
        train_dataset=Dataset.from_list(rows),
        processing_class=encoder.tokenizer,
        peft_config=lora_config(config),
        callbacks=[Reporter(progress, span, lambda step, steps: f"Rewarding verdicts, step {step} of {steps}")],
    )
    trainer.encoder = encoder
    if model.device.type == "cpu" and config.temperature == 1.0:  # TRL's own head divides by the temperature
        _quicken(model, trainer.ref_model)
    metrics = run(trainer, folder, progress)
    right = ends(trainer, "right", of="rewards/verdict_reward/mean")
    return merged(trainer, config), {**metrics, **ends(trainer, "reward"), **right, **ends(trainer, "unparsed")}


def questions_of_a_step(items: Sequence[Item], config: TrainConfig) -> int:
    """How many questions are answered for a step: ``batch_size``, or all where there are fewer.

    Both orders of a pair are answered in the same process. Raises EngineError where ``batch_size`` does not allow it.
    """
    if config.samples_per_order < 2:
        raise EngineError("grpo compares a question's answers: samples_per_order must be at least 2")
    whole = 2 * world_size()
    if config.batch_size % whole:
        raise EngineError(
            f"grpo answers both orders of a pair in one step: batch_size must be a multiple of {whole}, "
            f"not {config.batch_size}"
        )
    return max(whole, min(config.batch_size, len(items) // whole * whole))


def question_rows(
    items: Sequence[Item], config: TrainConfig, encoder: PromptEncoder, *, count: int
) -> list[dict[str, Any]]:
    """``count`` rows for all steps of a run: pass after pass over the pairs, each shuffled by the seed.

    ``items`` and rows alike hold both orders of a pair beside each other. In a pass a pair comes as often as it weighs.
    """
    counts = copies([item.weight for item in items[::2]], seed=config.seed)
    asked_for = np.repeat(np.arange(len(counts)), counts)
    order: list[int] = []
    while 2 * len(order) < count:
        draw = np.random.default_rng([config.seed, 2 * len(order) // len(items)])
        order += draw.permutation(asked_for).tolist()
    asked = [items[2 * pair + turn] for pair in order for turn in (0, 1)]
    return [
        {
            "prompt": encoder.prompt_text(item.prompt),
            "first_wins": item.first_wins,
            "pair": item.row.pair.id,
            "swapped": item.swapped,
        }
        for item in asked[:count]
    ]


def _quicken(*models: Any) -> None:
    for model in models:
        if model is not None:
            add_completion_head(model)
            model.forward.__func__.__wrapped__ = type(model).forward  # generation reads there what it may ask for


def _counting_answers(config: TrainConfig, questions: int) -> TrainConfig:
    """The configuration with answers for rows: so many questions a step, each with ``samples_per_order`` answers."""
    count = questions * config.samples_per_order
    return replace(config, batch_size=count, micro_batch_size=math.gcd(count, config.micro_batch_size))


def _settings(config: TrainConfig, options: dict[str, Any], encoder: PromptEncoder) -> GRPOConfig:
    return GRPOConfig(
        **{name: value for name, value in options.items() if name not in _NOT_ASKED},
        num_generations=config.samples_per_order,
        max_completion_length=config.max_rationale_tokens + len(encoder.form_ids) + _SPARE,
        temperature=config.temperature,
        top_p=1.0,  # a nucleus is not the distribution whose likelihood is trained
        beta=config.beta or 0.0,
        reward_weights=[1.0, config.consistency_weight],
        shuffle_dataset=False,
    )
