"""The output layer for training on a CPU: only the positions that carry a loss go through the vocabulary.

TRL's own fused head does this on GPUs; elsewhere it computes every position, which at 400 prompt tokens and one
verdict token is most of the layer's work for nothing. Same interface, same numbers.
"""

import types
from typing import TYPE_CHECKING, Any

from genrm_engine.backends.sampling import scaled

if TYPE_CHECKING:
    from transformers import PreTrainedModel

IGNORED = -100


def add_completion_head(model: "PreTrainedModel") -> None:
    """Answer ``model(..., labels=…, fused_lm_head=True)`` with per-token log-probabilities; all else as before."""
    original: Any = model.forward

    def forward(self: Any, *args: Any, fused_lm_head: bool = False, labels: Any = None, **options: Any) -> Any:
        if not fused_lm_head:
            return original(*args, **({"labels": labels} if labels is not None else {}), **options)
        return _log_probs(self, labels, *args, **{**options, "use_cache": False})

    model.forward = types.MethodType(forward, model)


def _log_probs(model: Any, labels: Any, *args: Any, **options: Any) -> Any:
    import torch
    from trl.trainer.utils import FusedCausalLMOutput

    hidden = model.base_model(*args, **options).last_hidden_state[:, :-1]
    targets = labels[:, 1:]
    mask = targets != IGNORED
    logits = scaled(model.get_output_embeddings()(hidden[mask]).float(), model.config)
    every = torch.log_softmax(logits, dim=-1)
    chosen = every.gather(-1, targets[mask][:, None])[:, 0]
    with torch.no_grad():
        entropy = -(every.exp() * every).sum(dim=-1)
        top = logits.argmax(dim=-1) == targets[mask]
        mean = logits.mean(dim=-1)
    log_probs = torch.zeros(mask.shape, dtype=torch.float32, device=hidden.device).masked_scatter(mask, chosen)
    return FusedCausalLMOutput(
        loss=-chosen.sum() / mask.sum().clamp(min=1),
        log_probs=log_probs,
        entropy=_spread(entropy, mask),
        mean_logits=_spread(mean, mask),
        is_top1=_spread(top, mask),
        label_mask=mask,
    )


def _spread(values: Any, mask: Any) -> Any:
    import torch

    return torch.zeros(mask.shape, dtype=values.dtype, device=values.device).masked_scatter(mask, values)
