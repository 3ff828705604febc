"""The judge's model in this process, by Transformers and PyTorch: on the CPU or on one CUDA device.

Prompts are sorted by length and computed in batches of a bounded number of tokens, so that little is spent on padding;
a batch that the GPU has no memory for is computed in halves. The indicator's probability is computed in fp32 from the
last hidden state: bf16 logits would round close verdicts to a tie.
"""

import gc
from collections.abc import Sequence
from typing import TYPE_CHECKING

from genrm_engine.backends.batching import CHAIN_ROWS, SCORE_TOKENS, batches, chain_tokens, computed
from genrm_engine.backends.encoding import PromptEncoder
from genrm_engine.backends.loading import load_model, load_tokenizer, set_threads, torch_device
from genrm_engine.backends.sampling import Sampler
from genrm_engine.prompts import JudgePrompt
from genrm_engine.types import BackendSpec, Chain, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TransformersBackend:
    def __init__(self, spec: BackendSpec, *, model: "PreTrainedModel | None" = None) -> None:
        """Load the spec's model, or use ``model`` where one is already loaded (a judge in training)."""
        from genrm_engine.backends.decoding import use_grouped_attention

        set_threads(spec.threads)
        self.encoder = PromptEncoder(load_tokenizer(spec.model))
        self.model: PreTrainedModel | None = (
            load_model(spec.model, dtype=spec.dtype, device=spec.device) if model is None else model
        )
        self.model.eval()  # type: ignore[no-untyped-call]
        if model is None:
            use_grouped_attention(self.model)
        self._kind = torch_device(spec.device).type
        self._sampler = Sampler(self.model, self.encoder)
        self._ids: dict[JudgePrompt, list[int]] = {}

    def score(self, prompts: Sequence[JudgePrompt]) -> list[float | None]:
        ids = [self._encode(prompt) for prompt in prompts]
        try:
            return computed(ids, batches(ids, tokens=SCORE_TOKENS.get(self._kind, 4096)), self._sampler.score)
        finally:
            self._ids.clear()

    def generate(self, prompts: Sequence[JudgePrompt], sampling: Sampling) -> list[list[Chain]]:
        ids = [self._encode(prompt) for prompt in prompts]
        limit = max(1, CHAIN_ROWS.get(self._kind, 48) // sampling.samples)
        budget = chain_tokens(self._sampler.model) // sampling.samples
        try:
            groups = batches(ids, tokens=budget, rows=limit)
            return computed(ids, groups, lambda rows: self._sampler.generate(rows, sampling))
        finally:
            self._ids.clear()

    def count_tokens(self, prompts: Sequence[JudgePrompt]) -> list[int]:
        return [len(self._encode(prompt)) for prompt in prompts]

    def close(self) -> None:
        import torch

        self.model = None
        del self._sampler
        gc.collect()
        if self._kind == "cuda":
            torch.cuda.empty_cache()

    def _encode(self, prompt: JudgePrompt) -> list[int]:
        """Token ids, kept from counting until the prompt has been computed."""
        if prompt not in self._ids:
            self._ids[prompt] = self.encoder.prompt_ids(prompt)
        return self._ids[prompt]
