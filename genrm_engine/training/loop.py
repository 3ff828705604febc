"""What both trainers share: their arguments, progress and cancel by callback, checkpoints that are known complete."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PrinterCallback, TrainerCallback

from genrm_engine.backends.loading import out_of_memory
from genrm_engine.errors import Cancelled
from genrm_engine.progress import Progress
from genrm_engine.training.config import TrainConfig

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel, Trainer

COMPLETE = "complete"


def arguments(config: TrainConfig, folder: Path, *, rows: int, device: str) -> dict[str, Any]:
    """The options of a TRL configuration for this run; ``config`` must be resolved."""
    steps = total_steps(config, rows)
    on_cpu = device == "cpu"
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": config.micro_batch_size,
        "gradient_accumulation_steps": config.batch_size // config.micro_batch_size,
        "max_steps": steps,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": round(steps * config.warmup_ratio),
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "adam_beta2": 0.95,
        "seed": config.seed,
        "data_seed": config.seed,
        "train_sampling_strategy": "group_by_length",
        "length_column_name": "length",
        "remove_unused_columns": False,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": max(1, -(-steps // (config.checkpoints + 1))),
        "save_total_limit": 2,
        "bf16": True,
        "use_cpu": on_cpu,
        "gradient_checkpointing": not on_cpu,
        "dataloader_pin_memory": not on_cpu,
        "max_length": None,
        "report_to": [],
        "disable_tqdm": True,
        "log_level": "error",
    }


def total_steps(config: TrainConfig, rows: int) -> int:
    return max(1, round((config.epochs or 1.0) * rows / config.batch_size))


def lora_config(config: TrainConfig) -> "LoraConfig | None":
    if not config.lora:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=2 * config.lora_rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )


class Reporter(TrainerCallback):
    """Writes each step to the progress file, marks complete checkpoints, stops the run when it is cancelled."""

    def __init__(self, progress: Progress, span: tuple[float, float], say: Callable[[int, int], str]) -> None:
        self.progress = progress
        self.span = span
        self.message = say
        self.losses: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **known: Any) -> None:  # noqa: ARG002
        if not logs or "loss" not in logs:
            return
        self.losses.append(float(logs["loss"]))
        share = state.global_step / max(1, state.max_steps)
        extra = {"reward_margin": float(logs["rewards/margins"])} if "rewards/margins" in logs else {}
        self.progress.say(
            "training",
            self.span[0] + (self.span[1] - self.span[0]) * share,
            self.message(state.global_step, state.max_steps),
            step=state.global_step,
            steps=state.max_steps,
            loss=float(logs["loss"]),
            **extra,
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:  # noqa: ARG002
        if self.progress.cancelled():
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **known: Any) -> None:  # noqa: ARG002
        (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


def run(trainer: "Trainer", folder: Path, progress: Progress) -> dict[str, Any]:
    """Train from the last complete checkpoint, or from the start; raises Cancelled where the run was cancelled."""
    trainer.remove_callback(PrinterCallback)  # the progress file tells it, and output is left to the caller
    checkpoint = last_checkpoint(folder)
    try:
        result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except RuntimeError as error:
        raise out_of_memory(error) from error
    if progress.cancelled():
        raise Cancelled
    history = [float(row["loss"]) for row in trainer.state.log_history if "loss" in row]
    fifth = max(1, len(history) // 5)
    return {
        "steps": trainer.state.global_step,
        "loss_first": sum(history[:fifth]) / fifth if history else None,
        "loss_last": sum(history[-fifth:]) / fifth if history else None,
        "train_seconds": float(result.metrics.get("train_runtime", 0.0)),
        "resumed_from": checkpoint.name if checkpoint else None,
    }


def merged(trainer: "Trainer", config: TrainConfig) -> "PreTrainedModel":
    """The trained model, with the adapter folded into its weights where there is one."""
    trained: Any = trainer.model
    model: PreTrainedModel = trained.merge_and_unload() if config.lora else trained
    return model


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; unfinished ones are removed."""
    best: tuple[int, Path] | None = None
    for path in folder.glob("checkpoint-*"):
        if not (path / COMPLETE).is_file():
            shutil.rmtree(path, ignore_errors=True)
            continue
        step = int(path.name.rpartition("-")[2])
        if best is None or step > best[0]:
            best = (step, path)
    return best[1] if best else None
