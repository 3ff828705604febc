"""The output layer for training on a CPU gives what the model itself does, whatever its family does with logits."""

from typing import Any

import pytest

pytestmark = pytest.mark.model
SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "initializer_range": 1.0,
}


@pytest.mark.parametrize(
    ("family", "scales"),
    [
        ("llama", {}),
        ("gemma2", {"final_logit_softcapping": 2.0, "head_dim": 8}),
        ("granite", {"logits_scaling": 8.0}),
        ("cohere", {"logit_scale": 0.25}),
        ("hyperclovax", {"logits_scaling": 0.25}),
        (
            "falcon_h1",
            {"lm_head_multiplier": 0.25, "mamba_d_ssm": 16, "mamba_n_heads": 2, "mamba_d_head": 8, "mamba_d_state": 8},
        ),
    ],
)
def test_log_probabilities_are_those_of_the_models_own_logits(family: str, scales: dict[str, Any]) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from genrm_engine.training.head import add_completion_head

    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SIZES, **scales, pad_token_id=0)
    model: Any = AutoModelForCausalLM.from_config(config).eval()
    ids = torch.randint(1, 40, (2, 6))
    labels = ids.clone()
    labels[:, :3] = -100
    with torch.no_grad():
        own = torch.log_softmax(model(ids).logits[:, :-1].float(), dim=-1)
        add_completion_head(model)
        found = model(input_ids=ids, labels=labels, fused_lm_head=True)
    wanted = own.gather(-1, ids[:, 1:, None])[..., 0]
    assert found.log_probs[:, 2:].allclose(wanted[:, 2:], atol=1e-4)
    assert not found.log_probs[:, :2].any()
