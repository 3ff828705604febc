"""Weighted maximum likelihood by TRL's SFT trainer; the weights of a row's tokens say what is learnt.

GenRM puts them on the verdict token, STaR-SFT and the warm-up on rationales; this module only sees token ids.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from genrm_engine.backends.encoding import PromptEncoder
from genrm_engine.progress import Progress
from genrm_engine.training.config import TrainConfig
from genrm_engine.training.head import IGNORED, add_completion_head
from genrm_engine.training.loop import Reporter, arguments, lora_config, merged, run
from genrm_engine.training.order import paired_order

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class WeightedCollator:
    """Pads rows on the right and turns their token weights into labels and loss weights."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in rows)
        tokens = torch.full((len(rows), width), self.pad_id, dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        weights = torch.zeros((len(rows), width), dtype=torch.float32)
        for number, row in enumerate(rows):
            length = len(row["input_ids"])
            tokens[number, :length] = torch.tensor(row["input_ids"])
            mask[number, :length] = 1
            weights[number, :length] = torch.tensor(row["token_weights"])
        labels = tokens.masked_fill(weights == 0, IGNORED)
        return {"input_ids": tokens, "attention_mask": mask, "labels": labels, "token_weights": weights}


class WeightedTrainer(SFTTrainer):
    """SFT whose loss weighs each token, divided by the rows of a step; both orders of a pair are in one batch."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return paired_order(self, train_dataset)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        weights = inputs.pop("token_weights")
        out = model(**inputs, use_cache=False, fused_lm_head=True)
        loss = -(out.log_probs * weights[:, 1:]).sum() / self.args.per_device_train_batch_size
        if num_items_in_batch is not None and self.model_accepts_loss_kwargs:
            loss = loss / self.args.gradient_accumulation_steps  # Trainer leaves the division to such models
        return (loss, out) if return_outputs else loss


def train_weighted(
    model: "PreTrainedModel",
    rows: Sequence[dict[str, Any]],
    *,
    config: TrainConfig,
    encoder: PromptEncoder,
    folder: Path,
    progress: Progress,
    span: tuple[float, float],
    on: str,
) -> "tuple[PreTrainedModel, dict[str, Any]]":
    """Train on weighted rows (``data.verdict_rows``, ``data.chain_row``); the trained model and what was seen.

    ``on`` names what is trained on, for people.
    """
    options = arguments(config, folder, rows=len(rows), device=model.device.type)
    trainer = WeightedTrainer(
        model=model,
        args=SFTConfig(**options, packing=False, dataset_kwargs={"skip_prepare_dataset": True}),
        train_dataset=Dataset.from_list([{**row, "length": len(row["input_ids"])} for row in rows]),
        processing_class=encoder.tokenizer,
        data_collator=WeightedCollator(encoder.pad_id),
        peft_config=lora_config(config),
        callbacks=[Reporter(progress, span, lambda step, steps: f"Training on {on}, step {step} of {steps}")],
    )
    if model.device.type == "cpu":
        add_completion_head(model)
    metrics = run(trainer, folder, progress)
    return merged(trainer, config), {**metrics, "rows": len(rows)}
