"""What all trainers share: their arguments, progress and cancel by callback, checkpoints that are known complete.

A run may be one process or several of ``accelerate launch`` that see the same folder; a step computes the same either
way. What a trainer learns from is not known here.
"""

import math
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PrinterCallback, TrainerCallback

from genrm_engine.backends.loading import out_of_memory
from genrm_engine.errors import Cancelled, EngineError
from genrm_engine.precision import fast_bfloat16
from genrm_engine.progress import Progress
from genrm_engine.training.config import TrainConfig

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel, Trainer

COMPLETE = "complete"
LONGEST_WAIT = timedelta(days=7)
"""How long a process waits for another one, which may be sampling rationales for hours."""
WATCHED = {"rewards/margins": "reward_margin", "reward": "reward", "accuracy": "accuracy"}
"""What progress tells beside the loss, by TRL's name of it."""
ALWAYS: dict[str, Any] = {
    "lr_scheduler_type": "cosine",
    "adam_beta2": 0.95,
    "max_length": None,
    "remove_unused_columns": False,
    "logging_steps": 1,
    "include_num_input_tokens_seen": "non_padding",
    "save_strategy": "steps",
    "save_total_limit": 2,
    "report_to": [],
    "disable_tqdm": True,
    "log_level": "error",
    "ddp_timeout": int(LONGEST_WAIT.total_seconds()),
}
"""TRL's options that no configuration changes."""


def world_size() -> int:
    """How many processes train together; 1 unless a launcher started this one."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def is_main() -> bool:
    """Whether this process is the one that samples, tells and saves."""
    return world_size() == 1 or int(os.environ.get("RANK", "0")) == 0


def wait_for_everyone() -> None:
    """Return when every process of the run has called this; at once where there is only one."""
    if world_size() > 1:
        _processes().wait_for_everyone()


def anywhere(flag: bool) -> bool:
    """Whether ``flag`` is true in any process of the run; every process must ask, and all get the same answer."""
    if world_size() == 1:
        return flag
    import torch
    from accelerate.utils import reduce

    return bool(reduce(torch.tensor(float(flag), device=_processes().device), reduction="sum").item() > 0)


def batches(config: TrainConfig) -> tuple[int, int]:
    """Rows that a process computes at once, and how often it does so for a step of ``config.batch_size`` rows.

    Raises EngineError where the rows of a step cannot be shared equally by the processes.
    """
    processes = world_size()
    share, rest = divmod(config.batch_size, processes)
    if rest or not share:
        raise EngineError(f"batch_size {config.batch_size} cannot be shared equally by {processes} processes")
    micro = math.gcd(share, config.micro_batch_size)
    return micro, share // micro


def arguments(config: TrainConfig, folder: Path, *, rows: int, device: str) -> dict[str, Any]:
    """The options of a TRL configuration for this run; ``config`` must be resolved."""
    steps = total_steps(config, rows)
    on_cpu = device == "cpu"
    micro, accumulated = batches(config)
    return {
        **ALWAYS,
        "output_dir": str(folder),
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": accumulated,
        "max_steps": steps,
        "learning_rate": config.learning_rate,
        "warmup_steps": round(steps * config.warmup_ratio),
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "seed": config.seed,
        "data_seed": config.seed,
        "save_steps": max(1, -(-steps // (config.checkpoints + 1))),
        "use_cpu": on_cpu,
        "bf16": fast_bfloat16(device),
        "gradient_checkpointing": not on_cpu,
        "dataloader_pin_memory": not on_cpu,
    }


def total_steps(config: TrainConfig, rows: int) -> int:
    return max(1, round((config.epochs or 1.0) * rows / config.batch_size))


def lora_config(config: TrainConfig, *, task: str = "CAUSAL_LM", whole: list[str] | None = None) -> "LoraConfig | None":
    """The adapter that is trained (None: all weights are); layers named in ``whole`` are trained beside it."""
    if not config.lora:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=config.lora_rank,
        lora_alpha=2 * config.lora_rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type=task,
        modules_to_save=whole,
    )


class Reporter(TrainerCallback):
    """Writes each step to the progress file, marks complete checkpoints, stops the run when it is cancelled.

    Of several processes only the main one writes; all stop at the same step. ``tokens`` of a line are those trained
    on since the line before, ``stage`` is what the step is counted in: after a resumption a step may come again.
    """

    def __init__(self, progress: Progress, span: tuple[float, float], say: Callable[[int, int], str]) -> None:
        self.progress = progress
        self.span = span
        self.message = say
        self.losses: list[float] = []
        self.counted = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:  # noqa: ARG002
        self.counted = int(state.num_input_tokens_seen)  # those of the checkpoint were told when they were computed

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **known: Any) -> None:  # noqa: ARG002
        if not logs or "loss" not in logs or not is_main():
            return
        self.losses.append(float(logs["loss"]))
        share = state.global_step / max(1, state.max_steps)
        extra = {ours: float(logs[theirs]) for theirs, ours in WATCHED.items() if theirs in logs}
        before, self.counted = self.counted, int(state.num_input_tokens_seen)
        self.progress.say(
            "training",
            self.span[0] + (self.span[1] - self.span[0]) * share,
            self.message(state.global_step, state.max_steps),
            step=state.global_step,
            steps=state.max_steps,
            loss=float(logs["loss"]),
            stage=Path(args.output_dir).name,
            tokens=self.counted - before,
            **extra,
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:  # noqa: ARG002
        if anywhere(self.progress.cancelled()):
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **known: Any) -> None:  # noqa: ARG002
        wait_for_everyone()
        if is_main():
            (Path(args.output_dir) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


def run(trainer: "Trainer", folder: Path, progress: Progress) -> dict[str, Any]:
    """Train from the last complete checkpoint, or from the start; raises Cancelled where the run was cancelled."""
    trainer.remove_callback(PrinterCallback)  # the progress file tells it, and output is left to the caller
    if progress.listening is not None:
        trainer.add_callback(progress.listening(folder.name))
    if is_main():
        last_checkpoint(folder)
    wait_for_everyone()
    checkpoint = last_checkpoint(folder)
    try:
        result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except RuntimeError as error:
        raise out_of_memory(error) from error
    if anywhere(progress.cancelled()):
        raise Cancelled
    return {
        "steps": trainer.state.global_step,
        **ends(trainer, "loss"),
        "tokens": int(trainer.state.num_input_tokens_seen),
        "train_seconds": float(result.metrics.get("train_runtime", 0.0)),
        "resumed_from": checkpoint.name if checkpoint else None,
    }


def ends(trainer: "Trainer", name: str, *, of: str | None = None) -> dict[str, float | None]:
    """The mean of a logged figure over the first and the last fifth of the steps; ``of`` is TRL's name for it."""
    history = [float(row[of or name]) for row in trainer.state.log_history if (of or name) in row]
    fifth = max(1, len(history) // 5)
    return {
        f"{name}_first": sum(history[:fifth]) / fifth if history else None,
        f"{name}_last": sum(history[-fifth:]) / fifth if history else None,
    }


def merged(trainer: "Trainer", config: TrainConfig) -> "PreTrainedModel":
    """The trained model; an adapter is folded into its weights unless the run keeps it (``config.keep_adapter``)."""
    trained: Any = trainer.model
    model: PreTrainedModel = trained.merge_and_unload() if config.lora and not config.keep_adapter else trained
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


def _processes() -> Any:
    """Accelerate's view of the processes, connected with a patience that outlasts sampling."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
    return PartialState(cpu=on_cpu, timeout=LONGEST_WAIT)
