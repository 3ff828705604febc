"""Loading a causal language model from a folder or by name; knows nothing of judging."""

from typing import TYPE_CHECKING, Any

from genrm_engine.device import lease_name
from genrm_engine.errors import EngineError
from genrm_engine.precision import fast_bfloat16

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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
    """The model on its device, in safetensors only, without any code from the model's folder."""
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]  # while it loads files
    loaded: PreTrainedModel = _loaded(
        AutoModelForCausalLM, model, dtype=torch_dtype(dtype, device), use_safetensors=True
    )
    try:
        loaded.to(torch_device(device))  # type: ignore[arg-type]
    except RuntimeError as error:
        raise out_of_memory(error) from error
    return loaded


def out_of_memory(error: RuntimeError) -> EngineError:
    """The EngineError for a failure of the device; other RuntimeErrors are raised again as they are."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return EngineError(
            "the GPU ran out of memory: use a smaller model or batch, or stop what else runs on it", permanent=False
        )
    if "CUDA error" in str(error):
        return EngineError(f"the GPU failed: {str(error).splitlines()[0]}", permanent=False)
    raise error


def _loaded(kind: Any, model: str, **options: Any) -> Any:
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        return kind.from_pretrained(model, trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        raise EngineError(f"the model {model} cannot be loaded: {str(error).splitlines()[0]}") from error
