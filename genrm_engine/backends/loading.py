"""Loading a causal language model from a folder or by name; knows nothing of judging."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from genrm_engine.device import lease_name
from genrm_engine.errors import EngineError
from genrm_engine.precision import fast_bfloat16
from genrm_engine.weights import adapter_base, check_model

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NO_WORDS = ("ForSequenceClassification", "ForTokenClassification", "RewardModel")
"""Endings of architectures that write nothing: read as a language model they would judge by chance."""
EXTRA = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "safetensors")
"""What is imported of the extra 'engine'."""


@contextmanager
def needing_extra(what: str) -> Iterator[None]:
    """Raise EngineError where a library of the extra 'engine' is missing; any other ImportError is a fault of ours."""
    try:
        yield
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        raise EngineError(f"{what} needs the 'engine' extra: {error}") from error


def torch_device(device: str) -> "torch.device":
    """The device a spec means; EngineError where this installation cannot use it."""
    import torch

    name = lease_name(device)
    if name.startswith("cuda") and not torch.cuda.is_available():
        if device == "auto":
            return torch.device("cpu")
        raise EngineError(f"device {device} is asked for, but this PyTorch sees no CUDA device")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise EngineError(f"unknown device {device!r}") from error


def torch_dtype(dtype: str, device: str) -> "torch.dtype":
    """The number format that a spec means; `auto` is bf16 where the device is fast at it, fp32 elsewhere."""
    import torch

    auto = torch.bfloat16 if fast_bfloat16(device) else torch.float32
    known = {"auto": auto, "bfloat16": torch.bfloat16, "float32": torch.float32, "float16": torch.float16}
    if dtype not in known:
        raise EngineError(f"unknown dtype {dtype!r}: use one of {', '.join(known)}")
    return known[dtype]


def set_threads(threads: int | None) -> None:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


def load_tokenizer(model: str) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = _loaded(AutoTokenizer, model)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(model: str, *, dtype: str, device: str) -> "PreTrainedModel":
    """The model on its device, in safetensors only, without any code from the model's folder.

    A folder with an adapter alone is merged into the model that it was trained on, in fp32 like the starter judge.
    Raises EngineError, also where the folder has a manifest that its files differ from, and where the model is a reward
    model or lacks weights.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    check_model(model)
    disable_progress_bar()  # type: ignore[no-untyped-call]  # while it loads files
    wanted, base = torch_dtype(dtype, device), adapter_base(model)
    loaded: PreTrainedModel
    if base is None:
        _refuse_reward_model(model)
        loaded, about = _loaded(
            AutoModelForCausalLM, model, dtype=wanted, use_safetensors=True, output_loading_info=True
        )
        _refuse_missing(model, about["missing_keys"])
    else:
        loaded = merged(load_model(base, dtype="float32", device="cpu"), model).to(wanted)  # type: ignore[arg-type]
    try:
        loaded.to(torch_device(device))  # type: ignore[arg-type]
    except RuntimeError as error:
        raise out_of_memory(error) from error
    return loaded


def merged(base: "PreTrainedModel", adapter: str) -> "PreTrainedModel":
    """The model with the adapter in the folder ``adapter`` folded into its weights. Raises EngineError."""
    from peft import PeftModel
    from safetensors import SafetensorError

    try:
        whole: PreTrainedModel = PeftModel.from_pretrained(base, adapter).merge_and_unload()
    except (ImportError, OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise EngineError(f"the adapter in {adapter} does not fit: {first_line(error)}") from error
    return whole


def out_of_memory(error: RuntimeError) -> EngineError:
    """The EngineError for a failure of the device; other RuntimeErrors are raised again as they are."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return EngineError(
            "the GPU ran out of memory: use a smaller model or batch, or stop what else runs on it", permanent=False
        )
    if "CUDA error" in str(error):
        return EngineError(f"the GPU failed: {first_line(error)}", permanent=False)
    raise error


def first_line(error: Exception) -> str:
    """What an error says, on one line; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _refuse_reward_model(model: str) -> None:
    from transformers import PreTrainedConfig

    try:
        names = PreTrainedConfig.get_config_dict(model)[0].get("architectures") or []
    except OSError:
        return  # loading the model tells what is wrong
    for name in names:
        if name.endswith(NO_WORDS):
            raise EngineError(
                f"{model} is a reward model ({name}), which writes no verdict: judge with a language model, "
                "or with a reward model that Tandem trained (bradley-terry, pairrm)"
            )


def _refuse_missing(model: str, names: Collection[str]) -> None:
    """Weights that a checkpoint lacks are drawn at random, and so would be the verdicts."""
    if names:
        raise EngineError(
            f"{model} is no whole language model: its files lack {len(names)} of its weights, {min(names)} among them"
        )


def _loaded(kind: Any, model: str, **options: Any) -> Any:
    from safetensors import SafetensorError
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        return kind.from_pretrained(model, trust_remote_code=False, **options)
    except (ImportError, OSError, ValueError, SafetensorError) as error:  # ImportError: a quantised model's library
        raise EngineError(f"the model {model} cannot be loaded: {first_line(error)}") from error
