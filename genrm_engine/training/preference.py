"""STaR-DPO and STaR-IPO: the judge's own right rationales against its own wrong ones, by TRL's DPO trainer.

Options: an SFT anchor on the right rationale, and the loss that is robust to wrong labels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from genrm_engine.backends.encoding import PromptEncoder
from genrm_engine.progress import Progress
from genrm_engine.training.config import TrainConfig
from genrm_engine.training.data import chain_ids
from genrm_engine.training.head import add_completion_head
from genrm_engine.training.loop import Reporter, arguments, lora_config, merged, run
from genrm_engine.training.selection import Preference

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ChainTrainer(DPOTrainer):
    """DPO on token ids: a chain is trained on exactly as the judge wrote it, not tokenised again."""

    def _prepare_dataset(self, dataset: Any, *tokenizing: Any) -> Any:  # noqa: ARG002
        return dataset


def preference_row(preference: Preference, encoder: PromptEncoder) -> dict[str, Any]:
    first = preference.item.first_wins
    row = {
        "prompt_ids": list(preference.item.prompt_ids),
        "chosen_ids": chain_ids(preference.right, first=first, encoder=encoder),
        "rejected_ids": chain_ids(preference.wrong, first=not first, encoder=encoder),
    }
    return {**row, "length": sum(len(ids) for ids in row.values())}


def train_preferences(
    model: "PreTrainedModel",
    reference: "PreTrainedModel | None",
    preferences: Sequence[Preference],
    *,
    config: TrainConfig,
    encoder: PromptEncoder,
    folder: Path,
    progress: Progress,
    span: tuple[float, float],
) -> "tuple[PreTrainedModel, dict[str, Any]]":
    """Train ``model`` against ``reference``, the judge that sampled (None with LoRA: the model without its adapter)."""
    options = arguments(config, folder, rows=len(preferences), device=model.device.type)
    losses, weights = loss_types(config)
    trainer = ChainTrainer(
        model=model,
        ref_model=reference,
        args=DPOConfig(
            **options,
            beta=config.beta or 0.0,
            loss_type=losses,
            loss_weights=weights,
            label_smoothing=config.label_noise,
        ),
        train_dataset=Dataset.from_list([preference_row(preference, encoder) for preference in preferences]),
        processing_class=encoder.tokenizer,
        peft_config=lora_config(config),
        callbacks=[Reporter(progress, span, lambda step, steps: f"Training on rationales, step {step} of {steps}")],
    )
    if model.device.type == "cpu":
        add_completion_head(model)
        if reference is not None:
            add_completion_head(reference)
    metrics = run(trainer, folder, progress)
    margins = [float(row["rewards/margins"]) for row in trainer.state.log_history if "rewards/margins" in row]
    return merged(trainer, config), {
        **metrics,
        "pairs": len(preferences),
        "reward_margin": margins[-1] if margins else None,
    }


def loss_types(config: TrainConfig) -> tuple[list[str], list[float]]:
    """TRL's names of the losses and their weights."""
    main = "ipo" if config.method == "star-ipo" else "robust" if config.label_noise > 0 else "sigmoid"
    if config.sft_weight == 0:
        return [main], [1.0]
    return [main, "sft"], [1.0, config.sft_weight]
