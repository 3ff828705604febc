"""The baselines with a scalar head: Bradley-Terry reads a response at a time, PairRM both, by TRL's reward trainer.

Both give a margin s for "the first is better" and take the same loss, the cross-entropy of σ(s) with the share of
annotators for the first: -log σ(r(x, y_w) - r(x, y_l)) and -log σ(s) where a label is all on one side.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from torch.nn.functional import binary_cross_entropy_with_logits
from trl.trainer.reward_config import RewardConfig
from trl.trainer.reward_trainer import RewardTrainer, suppress_seqcls_warning

from genrm_engine.backends.encoding import PromptEncoder
from genrm_engine.backends.heads import HEAD, ResponseEncoder, head_of, load_classifier, padded
from genrm_engine.backends.loading import load_tokenizer
from genrm_engine.errors import EngineError
from genrm_engine.progress import Progress
from genrm_engine.prompts import build_prompt
from genrm_engine.training.config import TrainConfig
from genrm_engine.training.data import LEAST_PAIRS, Item, items, pair_weights
from genrm_engine.training.loop import Reporter, arguments, ends, lora_config, merged, run
from genrm_engine.training.order import paired_order
from genrm_engine.training.stages import local_device
from genrm_engine.types import LabelledPair

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class HeadCollator:
    """Pads the texts of all rows together: every row's first text, then (Bradley-Terry) every row's second."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        texts = [ids for place in zip(*(row["texts"] for row in rows), strict=True) for ids in place]
        return {
            **padded(texts, self.pad_id),
            "target": torch.tensor([row["target"] for row in rows]),
            "weight": torch.tensor([row["weight"] for row in rows]),
        }


class HeadTrainer(RewardTrainer):
    """Weighted rows with soft targets, divided by the rows of a step; both orders of a pair are in one batch."""

    def _prepare_dataset(self, dataset: Any, *tokenizing: Any) -> Any:  # noqa: ARG002
        return dataset

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return paired_order(self, train_dataset)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ARG002
    ) -> Any:
        target, weight = inputs.pop("target"), inputs.pop("weight")
        out = model(**inputs, use_cache=False)
        margin = margins(out.logits[:, 0].float(), rows=len(target))
        loss = binary_cross_entropy_with_logits(margin, target, weight=weight, reduction="sum")
        right = ((margin > 0) == (target > 0.5)).float().mean().detach()
        self._metrics["train"]["accuracy"].append(self.accelerator.gather(right).mean().item())
        loss = loss / self.args.per_device_train_batch_size
        return (loss, out) if return_outputs else loss


def margins(logits: torch.Tensor, *, rows: int) -> torch.Tensor:
    """s for each row: its logit, or its first text's less its second's. ``logits`` is (rows,) or (2 rows,)."""
    return logits if len(logits) == rows else logits[:rows] - logits[rows:]


def load_head_model(model: str, *, kind: str, config: TrainConfig) -> "PreTrainedModel":
    """The classification model to train from a causal language model, or from a reward model of the same kind.

    A new head is drawn by ``config.seed``. fp32 master weights, or the device's own format under an adapter; the head
    is fp32 always.
    Raises EngineError.
    """
    if head_of(model) not in (None, kind):
        raise EngineError(f"{model} is a {head_of(model)} judge: {kind} cannot start from it")
    pad_id = PromptEncoder(load_tokenizer(model)).pad_id
    dtype = "auto" if config.lora else "float32"
    with suppress_seqcls_warning(), torch.random.fork_rng():
        torch.manual_seed(config.seed)
        loaded = load_classifier(model, dtype=dtype, device=local_device(config.device), pad_token_id=pad_id)
    loaded.score.float()
    setattr(loaded.config, HEAD, kind)
    return loaded


def train_bradley_terry(
    model: "PreTrainedModel",
    rows: Sequence[LabelledPair],
    *,
    config: TrainConfig,
    encoder: PromptEncoder,
    folder: Path,
    progress: Progress,
    span: tuple[float, float],
) -> "tuple[PreTrainedModel, dict[str, Any]]":
    """Train r(x, y) on labelled pairs (``load_head_model``); the trained model and what was seen.

    A pair with a text longer than ``config.max_tokens`` is left out, never cut.
    """
    found = response_rows(rows, config=config, encoder=ResponseEncoder(encoder.tokenizer))
    trained, seen = _train(model, found, config, encoder, folder, progress, span)
    return trained, {**seen, "pairs_left_out": len(rows) - len(found)}


def train_pairrm(
    model: "PreTrainedModel",
    rows: Sequence[LabelledPair],
    *,
    config: TrainConfig,
    encoder: PromptEncoder,
    folder: Path,
    progress: Progress,
    span: tuple[float, float],
) -> "tuple[PreTrainedModel, dict[str, Any]]":
    """Train the logit at the end of the judge's ``score`` prompt, both orders of each pair; as train_bradley_terry."""
    asked, left_out = items(rows, method="score", config=config, encoder=encoder)
    found = [_row(item, [list(item.prompt_ids)], soft=config.soft_labels) for item in asked]
    trained, seen = _train(model, found, config, encoder, folder, progress, span)
    return trained, {**seen, "pairs_left_out": left_out}


def response_rows(
    rows: Sequence[LabelledPair], *, config: TrainConfig, encoder: ResponseEncoder
) -> list[dict[str, Any]]:
    """A row for each pair that fits: the token ids of its two responses, the share that prefers A, its weight."""
    found: list[tuple[Item, list[list[int]]]] = []
    for row in rows:
        prompt = build_prompt(row.pair, method="score")
        texts = [encoder.response_ids(prompt.asked, response) for response in (prompt.first, prompt.second)]
        if max(map(len, texts)) <= config.max_tokens:
            found.append((Item(row, False, prompt, (), 1.0), texts))
    if len(found) < LEAST_PAIRS:
        raise EngineError(
            f"{len(found)} labelled pairs can be trained on ({len(rows) - len(found)} with a response longer than "
            f"{config.max_tokens} tokens): at least {LEAST_PAIRS} are needed"
        )
    weights = pair_weights([item.row for item, _ in found], balance_length=config.balance_length)
    return [
        _row(replace(item, weight=weight), texts, soft=config.soft_labels)
        for (item, texts), weight in zip(found, weights, strict=True)
    ]


def _row(item: Item, texts: list[list[int]], *, soft: bool) -> dict[str, Any]:
    return {
        "texts": texts,
        "target": item.p_first if soft else float(item.first_wins),
        "weight": item.weight,
        "block": item.row.pair.id,
        "length": max(map(len, texts)),
    }


def _train(
    model: "PreTrainedModel",
    rows: Sequence[dict[str, Any]],
    config: TrainConfig,
    encoder: PromptEncoder,
    folder: Path,
    progress: Progress,
    span: tuple[float, float],
) -> "tuple[PreTrainedModel, dict[str, Any]]":
    trainer = HeadTrainer(
        model=model,
        args=RewardConfig(**arguments(config, folder, rows=len(rows), device=model.device.type)),
        train_dataset=Dataset.from_list(list(rows)),
        processing_class=encoder.tokenizer,
        data_collator=HeadCollator(encoder.pad_id),
        peft_config=lora_config(config, task="SEQ_CLS", whole=["score"]),
        callbacks=[Reporter(progress, span, lambda step, steps: f"Training the reward model, step {step} of {steps}")],
    )
    metrics = run(trainer, folder, progress)
    return merged(trainer, config), {**metrics, **ends(trainer, "accuracy"), "rows": len(rows)}
