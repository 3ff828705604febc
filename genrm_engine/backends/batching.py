"""Rows of tokens in batches that fit a device's memory; knows neither what is computed nor how a model is called.

How many rows fit is estimated; where the estimate is too high, the batch is computed in halves.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from genrm_engine.backends.loading import out_of_memory

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SCORE_TOKENS = {"cpu": 4096, "cuda": 65_536}
CHAIN_ROWS = {"cpu": 48, "cuda": 512}
CHAIN_TOKENS = {"cpu": 40_000, "cuda": 1_000_000}
CACHE_SHARE = 0.5  # of a GPU's free memory: the rest is for activations, and for the cache while it is copied

T = TypeVar("T")


def batches(ids: Sequence[Sequence[int]], *, tokens: int, rows: int = 256) -> list[list[int]]:
    """Row numbers in batches of similar length, each of at most ``rows`` rows and ``tokens`` tokens with padding."""
    order = sorted(range(len(ids)), key=lambda row: (len(ids[row]), row))
    found: list[list[int]] = []
    for row in order:
        size = len(found[-1]) + 1 if found else 0
        if found and size <= rows and size * len(ids[row]) <= tokens:
            found[-1].append(row)
        else:
            found.append([row])
    return found


def computed(
    ids: Sequence[Sequence[int]],
    groups: Sequence[Sequence[int]],
    compute: Callable[[Sequence[Sequence[int]]], Sequence[T]],
) -> list[T]:
    """What ``compute`` gives for each row, group by group and in the order of the rows.

    A group that the GPU has no memory for is computed in halves, and so are those that follow, which are longer; only
    where a single row does not fit that is an EngineError.
    """
    import torch

    found: dict[int, T] = {}
    waiting = [list(group) for group in reversed(groups)]
    most = max(map(len, groups), default=0)
    while waiting:
        rows = waiting.pop()
        if len(rows) <= most:
            try:
                found.update(zip(rows, compute([ids[row] for row in rows]), strict=True))
                continue
            except RuntimeError as error:
                if len(rows) == 1 or not isinstance(error, torch.OutOfMemoryError):
                    raise out_of_memory(error) from error
            most = len(rows) // 2
            torch.cuda.empty_cache()  # after the error, whose frames hold what was computed, is gone
        waiting += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
    return [found[row] for row in range(len(ids))]


def chain_tokens(model: "PreTrainedModel") -> int:
    """How many tokens of all chains together a batch may hold in the model's key-value cache."""
    kind = model.device.type
    most = CHAIN_TOKENS.get(kind, CHAIN_TOKENS["cpu"])
    needed = cache_bytes(model.config, model.dtype.itemsize) if kind == "cuda" else None
    if not needed:
        return most
    fitting = int(CACHE_SHARE * _free_bytes(model.device)) // needed
    return min(most, 1 << max(0, fitting.bit_length() - 1))  # in steps: a little more or less free changes nothing


def cache_bytes(config: Any, width: int) -> int | None:
    """Bytes of one token's keys and values in all layers, ``width`` a number; None where a configuration is unusual."""
    text = config.get_text_config()
    try:
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        return int(2 * text.num_hidden_layers * heads * size * width)
    except (AttributeError, TypeError):
        return None


def _free_bytes(device: Any) -> int:
    """What a CUDA device could still give, with what PyTorch keeps for later."""
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
