"""What a run refuses before it costs anything: a start that does not fit, several GPUs, a rate for small models.

Knows a configuration and the machine, not how anything is trained.
"""

import os
from typing import TYPE_CHECKING

import torch

from genrm_engine.backends.heads import head_of
from genrm_engine.device import lease_name
from genrm_engine.errors import EngineError
from genrm_engine.training.config import HEADS, MOST_PARAMETERS, TrainConfig
from genrm_engine.training.loop import world_size
from genrm_engine.weights import adapter_base

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def refuse_impossible(config: TrainConfig) -> None:
    """Raise EngineError where the run could only fail, or would train at a rate for much smaller models."""
    if head_of(config.model) is not None and config.method not in HEADS:
        raise EngineError(f"{config.model} is a reward model: {config.method} cannot start from it")
    _refuse_several_gpus(config.device)
    if config.learning_rate is None or config.warm_up:
        _refuse_usual_rate(config)


def _refuse_several_gpus(device: str) -> None:
    """One process with several GPUs in sight would spread each batch over all of them, whichever was asked for."""
    launched = world_size() > 1 or "LOCAL_RANK" in os.environ
    count = 0 if launched or lease_name(device) == "cpu" else torch.cuda.device_count()
    if count > 1:
        raise EngineError(
            f"this process sees {count} GPUs and trains on one: name it in CUDA_VISIBLE_DEVICES, or start a process "
            f"for each (accelerate launch --num_processes {count})"
        )


def _refuse_usual_rate(config: TrainConfig) -> None:
    count = parameters_of(config.model)
    if count is None or count <= MOST_PARAMETERS:
        return
    wanted = "learning_rate must be set"
    if config.learning_rate is not None:
        wanted = "warm_up has a rate of its own: train it as a run with its learning_rate, and start from that judge"
    raise EngineError(
        f"{wanted}. {config.model} has {count / 1e9:.1f} billion parameters, and the usual rates are for 135 million; "
        "the paper's 1e-6 for 8 billion is where to start"
    )


def parameters_of(model: str) -> int | None:
    """How many parameters a model has, by its configuration and without its weights; None where that does not tell."""
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        known = AutoConfig.from_pretrained(adapter_base(model) or model, trust_remote_code=False)
        with torch.device("meta"):
            empty: PreTrainedModel = AutoModelForCausalLM.from_config(known, trust_remote_code=False)  # type: ignore[no-untyped-call]
    except (ImportError, OSError, ValueError):  # loading the model tells what is wrong
        return None
    return sum(weights.numel() for weights in empty.parameters())
