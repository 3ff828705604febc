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
from genrm_engine.training.data import chain_ids, copies
from genrm_engine.training.head import add_completion_head
from genrm_engine.training.loop import Reporter, arguments, lora_config, merged, run
from genrm_engine.training.order import paired_order
from genrm_engine.training.selection import Preference

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ChainTrainer(DPOTrainer):
    """DPO on token ids, as the judge wrote them, not tokenised again; both orders of a pair are in one batch."""

    def _prepare_dataset(self, dataset: Any, *tokenizing: Any) -> Any:  # noqa: ARG002
        return dataset

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return paired_order(self, train_dataset)


def preference_rows(
    preferences: Sequence[Preference], *, config: TrainConfig, encoder: PromptEncoder
) -> list[dict[str, Any]]:
    """A row for each preference, all those of a pair as often as the pair weighs: TRL's losses know no weights."""
    pairs: dict[str, list[Preference]] = {}
    for preference in preferences:
        pairs.setdefault(preference.item.row.pair.id, []).append(preference)
    counts = copies([found[0].item.weight for found in pairs.values()], seed=config.seed)
    return [
        {**preference_row(preference, encoder), "block": f"{pair}:{copy}"}
        for (pair, found), count in zip(pairs.items(), counts, strict=True)
        for copy in range(count)
        for preference in found
    ]


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
    rows = preference_rows(preferences, config=config, encoder=encoder)
    options = arguments(config, folder, rows=len(rows), device=model.device.type)
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
        train_dataset=Dataset.from_list(rows),
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
        "rows": len(rows),
        "reward_margin": margins[-1] if margins else None,
    }


def loss_types(config: TrainConfig) -> tuple[list[str], list[float]]:
    """TRL's names of the losses and their weights."""
    main = "ipo" if config.method == "star-ipo" else "robust" if config.label_noise > 0 else "sigmoid"
    if config.sft_weight == 0:
        return [main], [1.0]
    return [main, "sft"], [1.0, config.sft_weight]
