"""Batches that a GPU has no memory for are computed in smaller ones, with the same results."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from genrm_engine.backends import BackendSpec, batching, load_backend
from genrm_engine.errors import EngineError
from genrm_engine.prompts import build_prompt
from genrm_engine.types import Sampling
from tests.engine.conftest import make_pair

pytestmark = pytest.mark.model
IDS = [[1] * length for length in (5, 1, 4, 2, 3, 9, 8, 7, 6)]


class Device:
    """Adds up rows, but has memory for ``room`` of them only."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.tried: list[int] = []

    def sums(self, rows: Sequence[Sequence[int]]) -> list[int]:
        import torch

        self.tried.append(len(rows))
        if len(rows) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [sum(row) for row in rows]


@pytest.mark.parametrize("room", [1, 2, 3, 100])
def test_results_stand_in_the_order_of_the_rows_however_small_the_batches(room: int) -> None:
    device = Device(room)
    groups = batching.batches(IDS, tokens=1000, rows=7)
    assert batching.computed(IDS, groups, device.sums) == [5, 1, 4, 2, 3, 9, 8, 7, 6]


def test_a_size_that_did_not_fit_is_not_tried_again() -> None:
    device = Device(2)
    batching.computed(IDS[:8], [[0, 1, 2, 3], [4, 5, 6, 7]], device.sums)
    assert device.tried == [4, 2, 2, 2, 2]


def test_a_single_row_without_memory_is_one_plain_error_that_may_pass() -> None:
    with pytest.raises(EngineError, match="GPU ran out of memory") as raised:
        batching.computed(IDS, [[0, 1, 2, 3, 4, 5, 6, 7, 8]], Device(0).sums)
    assert not raised.value.permanent


def test_another_failure_is_not_tried_again() -> None:
    tried = []

    def broken(rows: Sequence[Sequence[int]]) -> list[int]:
        tried.append(len(rows))
        raise RuntimeError("CUDA error: device-side assert")

    with pytest.raises(EngineError, match="the GPU failed"):
        batching.computed(IDS, [[0, 1, 2]], broken)
    assert tried == [3]


@pytest.mark.parametrize("verdict", ["forced", "free"])
def test_a_judge_goes_on_with_smaller_batches(tiny_model: Path, monkeypatch: pytest.MonkeyPatch, verdict: Any) -> None:
    backend: Any = load_backend(BackendSpec("transformers", str(tiny_model), device="cpu", dtype="float32", threads=1))
    prompts = [build_prompt(make_pair(number), method="cot") for number in range(5)]
    asked = Sampling(samples=3, max_tokens=6, seed=2, verdict=verdict)
    scores, chains = backend.score(prompts), backend.generate(prompts, asked)
    decoder = backend._sampler._decoder

    def short_of_memory(*given: Any, **known: Any) -> Any:
        import torch

        if len(known["input_ids"]) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decoder(*given, **known)

    monkeypatch.setitem(backend._sampler.__dict__, "_decoder", short_of_memory)
    assert backend.score([*prompts, *prompts]) == pytest.approx(scores * 2, abs=1e-5)
    found = backend.generate(prompts, asked)
    assert [[one.text for one in row] for row in found] == [[one.text for one in row] for row in chains]
    backend.close()


def llama(**changes: Any) -> Any:
    from transformers import LlamaConfig

    shape = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaConfig(**{**shape, **changes})


def test_the_cache_of_a_token_is_its_keys_and_values_in_every_layer() -> None:
    from transformers import GPT2Config, MambaConfig

    assert batching.cache_bytes(llama(), 2) == 2 * 3 * 2 * 16 * 2
    assert batching.cache_bytes(llama(head_dim=32), 4) == 2 * 3 * 2 * 32 * 4
    assert batching.cache_bytes(GPT2Config(n_layer=2, n_head=2, n_embd=8), 2) == 2 * 2 * 8 * 2
    assert batching.cache_bytes(MambaConfig(), 2) is None


@pytest.mark.parametrize(
    ("free", "expected"), [(10**12, 1_000_000), (384 * 2 * 5000, 4096), (384 * 2 * 5200, 4096), (100, 1)]
)
def test_a_gpu_holds_as_many_tokens_as_half_its_free_memory(
    monkeypatch: pytest.MonkeyPatch, free: int, expected: int
) -> None:
    import torch

    monkeypatch.setattr(batching, "_free_bytes", lambda device: free)
    model: Any = SimpleNamespace(device=torch.device("cuda"), dtype=torch.bfloat16, config=llama())
    assert batching.chain_tokens(model) == expected


def test_the_cpu_keeps_its_fixed_number() -> None:
    import torch

    model: Any = SimpleNamespace(device=torch.device("cpu"), dtype=torch.bfloat16, config=llama())
    assert batching.chain_tokens(model) == batching.CHAIN_TOKENS["cpu"]
