"""Chains of models whose layers are not all plain attention."""

from typing import Any

import pytest

from genrm_engine.backends.encoding import PromptEncoder
from genrm_engine.backends.sampling import Sampler
from genrm_engine.types import Sampling
from tests.engine.test_backend_encoding import letters

pytestmark = pytest.mark.model


def lfm2() -> Any:
    from transformers import Lfm2Config, Lfm2ForCausalLM

    kinds = ["conv", "full_attention", "conv"]
    return Lfm2ForCausalLM(Lfm2Config(**SHAPE, num_hidden_layers=3, layer_types=kinds, block_auto_adjust_ff_dim=False))


def qwen3_next() -> Any:
    from transformers import Qwen3NextConfig, Qwen3NextForCausalLM

    config = Qwen3NextConfig(
        **SHAPE,
        num_hidden_layers=2,
        layer_types=["linear_attention", "full_attention"],
        head_dim=16,
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        num_experts=2,
        num_experts_per_tok=1,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
    )
    return Qwen3NextForCausalLM(config)


def gemma3() -> Any:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    kinds = ["sliding_attention", "full_attention"]
    return Gemma3ForCausalLM(
        Gemma3TextConfig(**SHAPE, num_hidden_layers=2, layer_types=kinds, head_dim=16, sliding_window=8)
    )


SHAPE: dict[str, Any] = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


@pytest.mark.parametrize("make", [lfm2, qwen3_next, gemma3])
def test_samples_of_a_prompt_do_not_depend_on_the_batch(make: Any) -> None:
    """Shorter prompts are padded, samples share a prompt's cache, and finished chains leave: nothing may mix."""
    import torch

    torch.manual_seed(0)
    model = make().eval()
    sampler = Sampler(model, PromptEncoder(letters(begins=False)))
    ids = [[5 + (n * k) % 80 for k in range(length)] for n, length in ((3, 4), (7, 11), (11, 20))]
    asked = Sampling(samples=3, max_tokens=12, top_p=0.9, seed=1)
    together = sampler.generate(ids, asked)
    assert len({len(chain.token_ids) for chains in together for chain in chains}) > 1
    for row, chains in zip(ids, together, strict=True):
        [alone] = sampler.generate([row], asked)
        assert [chain.token_ids for chain in chains] == [chain.token_ids for chain in alone]
        assert [chain.p_first for chain in chains] == pytest.approx([chain.p_first for chain in alone], abs=1e-4)
        for chain in chains:
            whole = [*row, *chain.token_ids, *sampler.encoder.form_ids]
            assert sampler.score([whole]) == pytest.approx([chain.p_first], abs=1e-4)
