"""Scores and sampled chains, from a Transformers model and token ids.

Each prompt is computed once and its key-value cache repeated for its samples; finished chains leave the batch.

- forced verdict: a chain that ends (line break, end of turn or token limit) is fed the verdict form in the same batch
  steps in which its neighbours still write, then the indicator is read.
- free verdict: a chain ends with its turn, at the token limit, or when its verdict stands complete on a line of its
  own and a line break follows. Wherever an indicator is written, its probability against the other one is kept, and
  that at the verdict which counts becomes the chain's.

A chain's random numbers depend on the seed, its prompt and its number only, not on its neighbours; its probabilities
depend on them as far as the arithmetic of a batch does (bf16: up to a hundredth).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from genrm_engine.backends.reading import free_chain
from genrm_engine.types import Chain, Sampling
from genrm_engine.verdicts import is_complete

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from genrm_engine.backends.encoding import PromptEncoder

LEAST_TOKENS = 4  # a rationale has at least so many: an empty line explains nothing
TOP_K = 256  # the nucleus is looked for among so many tokens
TAIL = 16  # tokens of a prompt's end, where its opening may have begun the verdict form
_NOT_READ = (0.0, 0.0)
_FACTORS = ("logit_scale", "output_multiplier", "lm_head_multiplier")
_SCALING, _MULTIPLIES = "logits_scaling", "hyperclovax"  # all other families divide by it
_CAP = "final_logit_softcapping"


@dataclass(slots=True)
class _Row:
    """One chain on its way: the tokens it wrote, then how much of the verdict form it has been fed.

    ``letters`` holds the indicators' logits at each token of a free chain, ``_NOT_READ`` where it wrote neither.
    """

    prompt: int
    uniforms: np.ndarray
    written: list[int] = field(default_factory=list)
    letters: list[tuple[float, float]] = field(default_factory=list)
    form_at: int = -1
    p_first: float | None = None
    done: bool = False


class Sampler:
    def __init__(self, model: "PreTrainedModel", encoder: "PromptEncoder") -> None:
        self.model = model
        self.encoder = encoder

    def score(self, ids: Sequence[Sequence[int]]) -> list[float | None]:
        """P(first indicator) right after each prompt; None where the model gives no number."""
        import torch

        with torch.inference_mode():
            tokens, mask = self._padded(ids)
            hidden = self._decoder(
                input_ids=tokens, attention_mask=mask, position_ids=_positions(mask), use_cache=False
            ).last_hidden_state[:, -1]
            return self._indicator(hidden)

    def generate(self, ids: Sequence[Sequence[int]], sampling: Sampling) -> list[list[Chain]]:
        """``sampling.samples`` chains for each prompt, from number ``sampling.first_sample`` on."""
        import torch

        from genrm_engine.backends.decoding import make_room

        with torch.inference_mode():
            tokens, mask = self._padded(ids)
            out = self._decoder(input_ids=tokens, attention_mask=mask, position_ids=_positions(mask), use_cache=True)
            cache, hidden = out.past_key_values, out.last_hidden_state[:, -1]
            each = torch.arange(len(ids), device=mask.device).repeat_interleave(sampling.samples)
            cache.reorder_cache(each)  # which every kind of layer can, linear attention too
            make_room(cache, sampling.max_tokens + len(self.encoder.form_ids) + 1)
            hidden, mask = hidden[each], mask[each]
            rows = [
                _Row(number, _uniforms(row, sampling.first_sample + sample, sampling))
                for number, row in enumerate(ids)
                for sample in range(sampling.samples)
            ]
            self._run(rows, hidden, mask, cache, sampling)
        return self._free_chains(rows, ids) if sampling.verdict == "free" else self._forced_chains(rows, len(ids))

    def _run(
        self, rows: list[_Row], hidden: "torch.Tensor", mask: "torch.Tensor", cache: Any, sampling: Sampling
    ) -> None:
        import torch

        active = list(rows)
        while True:
            step = self._next_tokens(active, hidden, sampling)
            done = [number for number, token in enumerate(step) if token is None]
            if len(done) == len(active):
                return
            if 4 * len(done) >= len(active):
                keep = [number for number, token in enumerate(step) if token is not None]
                chosen = torch.tensor(keep, device=mask.device)
                cache.reorder_cache(chosen)
                mask = mask[chosen]
                active = [active[number] for number in keep]
                step = [step[number] for number in keep]
            fed = [self.encoder.pad_id if token is None else token for token in step]
            mask = torch.cat([mask, mask.new_ones((len(active), 1))], dim=1)
            out = self._decoder(
                input_ids=torch.tensor(fed, device=mask.device)[:, None],
                attention_mask=mask,
                position_ids=(mask.sum(dim=1, keepdim=True) - 1),
                past_key_values=cache,
                use_cache=True,
            )
            hidden = out.last_hidden_state[:, -1]

    def _next_tokens(self, active: list[_Row], hidden: "torch.Tensor", sampling: Sampling) -> list[int | None]:
        """The token each row is fed next: a sampled one, one of the verdict form, or None when it is done."""
        writing = [number for number, row in enumerate(active) if row.form_at < 0 and not row.done]
        reading = [
            number for number, row in enumerate(active) if row.form_at == len(self.encoder.form_ids) and not row.done
        ]
        if writing:
            self._write(active, writing, hidden, sampling)
        if reading:
            for number, p_first in zip(reading, self._indicator(hidden[reading]), strict=True):
                active[number].p_first = p_first
                active[number].done = True
        return [self._fed(row) for row in active]

    def _fed(self, row: _Row) -> int | None:
        if row.done:
            return None
        if row.form_at < 0:
            return row.written[-1]
        row.form_at += 1
        return self.encoder.form_ids[row.form_at - 1]

    def _write(self, active: list[_Row], writing: list[int], hidden: "torch.Tensor", sampling: Sampling) -> None:
        rows = [active[number] for number in writing]
        here = hidden[writing]
        logits = self._logits(here) / sampling.temperature
        if sampling.verdict == "free":
            tokens = _nucleus(logits, _next_uniforms(rows), sampling.top_p)
            self._write_free(rows, tokens, here, sampling)
            return
        early = [place for place, row in enumerate(rows) if len(row.written) < LEAST_TOKENS]
        for place in early:
            logits[place, self._stops] = float("-inf")
        for row, token in zip(rows, _nucleus(logits, _next_uniforms(rows), sampling.top_p), strict=True):
            if token in self._stop_set or len(row.written) == sampling.max_tokens:
                row.form_at = 0
            else:
                row.written.append(token)

    def _write_free(
        self, rows: Sequence[_Row], tokens: Sequence[int], hidden: "torch.Tensor", sampling: Sampling
    ) -> None:
        """Note what each row wrote; where that is an indicator, what the model thought of both."""
        named = [place for place, token in enumerate(tokens) if token in self.encoder.indicator_ids]
        logits = dict(zip(named, self._indicator_logits(hidden[named]).tolist(), strict=True)) if named else {}
        for place, (row, token) in enumerate(zip(rows, tokens, strict=True)):
            if token in self._turn_ends:
                row.done = True
                continue
            first, second = logits.get(place, _NOT_READ)
            row.written.append(token)
            row.letters.append((first, second))
            row.done = len(row.written) == sampling.max_tokens or (
                token in self._stop_set and is_complete(self._text(row.written))
            )

    def _forced_chains(self, rows: Sequence[_Row], prompts: int) -> list[list[Chain]]:
        texts = self.encoder.tokenizer.batch_decode([row.written for row in rows], skip_special_tokens=True)
        found: list[list[Chain]] = [[] for _ in range(prompts)]
        for row, text in zip(rows, texts, strict=True):
            count = len(row.written) + len(self.encoder.form_ids)
            found[row.prompt].append(Chain(text.strip(), row.p_first, count, tuple(row.written)))
        return found

    def _free_chains(self, rows: Sequence[_Row], ids: Sequence[Sequence[int]]) -> list[list[Chain]]:
        tails = [self._text(row[-TAIL:]) for row in ids]
        found: list[list[Chain]] = [[] for _ in ids]
        for row in rows:
            chain = free_chain(
                tails[row.prompt],
                row.written,
                row.letters,
                decode=self._text,
                indicator_ids=self.encoder.indicator_ids,
            )
            found[row.prompt].append(chain)
        return found

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.encoder.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _padded(self, ids: Sequence[Sequence[int]]) -> "tuple[torch.Tensor, torch.Tensor]":
        """Token ids padded on the left, and their mask."""
        import torch

        width = max(len(row) for row in ids)
        tokens = torch.full((len(ids), width), self.encoder.pad_id, dtype=torch.long)
        mask = torch.zeros((len(ids), width), dtype=torch.long)
        for number, row in enumerate(ids):
            tokens[number, width - len(row) :] = torch.tensor(row)
            mask[number, width - len(row) :] = 1
        return tokens.to(self.model.device), mask.to(self.model.device)

    def _indicator(self, hidden: "torch.Tensor") -> list[float | None]:
        import torch

        found = torch.softmax(self._indicator_logits(hidden), dim=-1)[:, 0].tolist()
        return [p_first if isfinite(p_first) else None for p_first in found]

    def _indicator_logits(self, hidden: "torch.Tensor") -> "torch.Tensor":
        """Logits of the two indicators in fp32, one row for each row of ``hidden``."""
        chosen = list(self.encoder.indicator_ids)
        if not self._plain_head:
            return self._logits(hidden)[:, chosen]
        head = self._head
        logits: torch.Tensor = hidden.float() @ head.weight[chosen].float().T
        if getattr(head, "bias", None) is not None:
            logits = logits + head.bias[chosen].float()
        return logits

    def _logits(self, hidden: "torch.Tensor") -> "torch.Tensor":
        return scaled(self._head(hidden).float(), self.model.config)

    @property
    def _plain_head(self) -> bool:
        text = self.model.config.get_text_config()
        return not any(getattr(text, name, None) for name in (*_FACTORS, _SCALING, _CAP))

    @cached_property
    def _decoder(self) -> Any:
        """The model without its output layer: only the positions that are read go through that."""
        return self.model.base_model

    @cached_property
    def _head(self) -> Any:
        return self.model.get_output_embeddings()  # type: ignore[no-untyped-call]

    @cached_property
    def _stops(self) -> list[int]:
        return self.encoder.newline_ids()

    @cached_property
    def _stop_set(self) -> frozenset[int]:
        return frozenset(self._stops)

    @cached_property
    def _turn_ends(self) -> frozenset[int]:
        return frozenset(self.encoder.end_ids())


def scaled(logits: "torch.Tensor", config: Any) -> "torch.Tensor":
    """The output layer's numbers as the model itself gives them: some families scale or cap them afterwards.

    The names are those that TRL's fused head knows (``trl.trainer.utils``).
    """
    text = config.get_text_config()
    for name in _FACTORS:
        if factor := getattr(text, name, None):
            logits = logits * factor
    if divisor := getattr(text, _SCALING, None):
        logits = logits * divisor if text.model_type == _MULTIPLIES else logits / divisor
    cap = getattr(text, _CAP, None)
    return (logits / cap).tanh() * cap if cap else logits


def _positions(mask: "torch.Tensor") -> "torch.Tensor":
    return (mask.cumsum(dim=1) - 1).clamp_min(0)


def _uniforms(ids: Sequence[int], sample: int, sampling: Sampling) -> np.ndarray:
    key = hashlib.sha256(f"{sampling.seed}:{sample}:{list(ids)}".encode()).digest()
    return np.random.default_rng(list(key)).random(sampling.max_tokens + 1)


def _next_uniforms(rows: Sequence[_Row]) -> np.ndarray:
    return np.array([row.uniforms[len(row.written)] for row in rows])


def _nucleus(logits: "torch.Tensor", uniforms: np.ndarray, top_p: float) -> list[int]:
    """One token per row by inverting the distribution function of its nucleus at the row's uniform number."""
    import torch

    kept = min(TOP_K, logits.shape[-1])
    values, tokens = torch.topk(logits, kept, dim=-1)
    log_total = torch.logsumexp(logits, dim=-1, keepdim=True)
    probabilities = torch.exp(values - log_total)
    below = probabilities.cumsum(dim=-1) - probabilities
    probabilities = probabilities.masked_fill(below >= top_p, 0.0)
    cumulative = probabilities.cumsum(dim=-1)
    targets = torch.tensor(uniforms, device=logits.device, dtype=cumulative.dtype)[:, None] * cumulative[:, -1:]
    places = (cumulative <= targets).sum(dim=-1, keepdim=True).clamp_max(kept - 1)
    found: list[int] = tokens.gather(1, places)[:, 0].tolist()
    return found
