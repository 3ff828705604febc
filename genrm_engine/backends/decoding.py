"""Two economies for writing one token at a time on a CPU, where copying the key-value cache is most of the work.

Grouped-query attention without repeating the keys: the queries of a group are taken as several positions of one
head. A cache with room to grow: a new token is written in place instead of copying the whole cache.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "tandem_grouped"
_SPECIAL = ("position_bias", "s_aux", "softcap", "cache")  # what plain attention would not honour


def use_grouped_attention(model: "PreTrainedModel") -> None:
    """Switch a model that uses PyTorch's attention to the grouped form; others are left as they are."""
    if model.config._attn_implementation != "sdpa" or model.device.type != "cpu":
        return
    AttentionInterface.register(NAME, _grouped)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def _grouped(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **known: Any,
) -> tuple[torch.Tensor, None]:
    batch, heads, length, width = query.shape
    groups = key.shape[1]
    if length != 1 or heads == groups or module.training or any(known.get(name) is not None for name in _SPECIAL):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **known
        )
    shared = query.reshape(batch, groups, heads // groups, width)
    out = scaled_dot_product_attention(shared, key, value, attn_mask=attention_mask, scale=scaling)
    return out.reshape(batch, 1, heads, value.shape[-1]), None


class RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """A cache layer with room for the tokens that are still to come."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lazy_initialization(keys, values)
        self._length = keys.shape[-2]
        self._keys, self._values = _with_room(keys, room), _with_room(values, room)
        self._show()

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *args: Any,  # noqa: ARG002
        **known: Any,  # noqa: ARG002
    ) -> tuple[torch.Tensor, torch.Tensor]:
        end = self._length + key_states.shape[-2]
        self._keys[:, :, self._length : end] = key_states
        self._values[:, :, self._length : end] = value_states
        self._length = end
        return self._show()

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        self._keys, self._values = self._keys[beam_idx], self._values[beam_idx]
        self._show()

    def _show(self) -> tuple[torch.Tensor, torch.Tensor]:
        keys, values = self._keys[:, :, : self._length], self._values[:, :, : self._length]
        self.keys, self.values = keys, values
        return keys, values


def make_room(cache: Any, room: int) -> None:
    """Give every plain layer of the cache room for ``room`` more tokens; layers of other kinds stay."""
    for number, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer and layer.keys is not None and layer.values is not None:
            cache.layers[number] = RoomyLayer(layer.keys, layer.values, room)


def _with_room(states: torch.Tensor, room: int) -> torch.Tensor:
    wide = states.new_empty((*states.shape[:2], states.shape[2] + room, states.shape[3]))
    wide[:, :, : states.shape[2]] = states
    return wide
