"""The judge's model in this process, by Transformers and PyTorch: on the CPU or on one CUDA device.

Prompts are sorted by length and computed in batches of a bounded number of tokens, so that little is spent on
padding. The indicator's probability is computed in fp32 from the last hidden state: bf16 logits would round close
verdicts to a tie.
"""

import gc
from collections.abc import Sequence
from typing import TYPE_CHECKING

from genrm_engine.backends.encoding import PromptEncoder
from genrm_engine.backends.loading import load_model, load_tokenizer, out_of_memory, set_threads, torch_device
from genrm_engine.backends.sampling import Sampler
from genrm_engine.prompts import JudgePrompt
from genrm_engine.types import BackendSpec, Chain, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SCORE_TOKENS = {"cpu": 4096, "cuda": 65_536}
CHAIN_ROWS = {"cpu": 48, "cuda": 512}
CHAIN_TOKENS = {"cpu": 40_000, "cuda": 1_000_000}


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

    def score(self, prompts: Sequence[JudgePrompt]) -> list[float]:
        ids = [self._encode(prompt) for prompt in prompts]
        scores = [0.0] * len(ids)
        try:
            for rows in batches(ids, tokens=SCORE_TOKENS.get(self._kind, 4096)):
                found = self._sampler.score([ids[row] for row in rows])
                for row, score in zip(rows, found, strict=True):
                    scores[row] = score
        except RuntimeError as error:
            raise out_of_memory(error) from error
        finally:
            self._ids.clear()
        return scores

    def generate(self, prompts: Sequence[JudgePrompt], sampling: Sampling) -> list[list[Chain]]:
        ids = [self._encode(prompt) for prompt in prompts]
        chains: list[list[Chain]] = [[] for _ in ids]
        limit = max(1, CHAIN_ROWS.get(self._kind, 48) // sampling.samples)
        budget = CHAIN_TOKENS.get(self._kind, 40_000) // sampling.samples
        try:
            for rows in batches(ids, tokens=budget, rows=limit):
                found = self._sampler.generate([ids[row] for row in rows], sampling)
                for row, texts in zip(rows, found, strict=True):
                    chains[row] = texts
        except RuntimeError as error:
            raise out_of_memory(error) from error
        finally:
            self._ids.clear()
        return chains

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
