"""Scores and chains for whatever continues token ids; knows neither vLLM nor a network.

A forced verdict takes two rounds: sample the rationale up to a line break, then read the indicator after prompt,
rationale and verdict form. The second round is cheap where the server keeps the key-value cache of the first.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from genrm_engine.backends.encoding import PromptEncoder
from genrm_engine.backends.reading import free_chain, share
from genrm_engine.backends.sampling import LEAST_TOKENS
from genrm_engine.errors import EngineError
from genrm_engine.prompts import INDICATORS, VERDICT_END, JudgePrompt
from genrm_engine.types import Chain, Sampling

MOST_STOPS = 120  # vLLM's newer model runner takes 128 stop tokens, the model's own end tokens among them


@dataclass(frozen=True, slots=True)
class Written:
    """What was written after one prompt: token ids, and the log-probabilities of A and B at each (if asked for)."""

    token_ids: tuple[int, ...]
    indicators: tuple[tuple[float, float], ...] = ()


class TokenBackend(ABC):
    """A Backend on top of one method, ``_complete``; the options it is given are named as vLLM names them."""

    def __init__(self, encoder: PromptEncoder) -> None:
        self.encoder = encoder

    @abstractmethod
    def close(self) -> None:
        """Free what the backend holds."""

    @abstractmethod
    def _complete(self, prompts: Sequence[Sequence[int]], options: dict[str, Any]) -> list[list[Written]]:
        """``options["n"]`` continuations of each prompt, in order."""

    def score(self, prompts: Sequence[JudgePrompt]) -> list[float | None]:
        return self._indicator([self.encoder.prompt_ids(prompt) for prompt in prompts])

    def generate(self, prompts: Sequence[JudgePrompt], sampling: Sampling) -> list[list[Chain]]:
        return self._forced(prompts, sampling) if sampling.verdict == "forced" else self._free(prompts, sampling)

    def count_tokens(self, prompts: Sequence[JudgePrompt]) -> list[int]:
        return [len(self.encoder.prompt_ids(prompt)) for prompt in prompts]

    def _forced(self, prompts: Sequence[JudgePrompt], sampling: Sampling) -> list[list[Chain]]:
        ids = [self.encoder.prompt_ids(prompt) for prompt in prompts]
        options = {
            **_sampled(sampling),
            "min_tokens": min(LEAST_TOKENS, sampling.max_tokens),
            "stop": ["\n"],
            "stop_token_ids": self._stops,
        }
        rationales = [[self._line(one.token_ids) for one in found] for found in self._complete(ids, options)]
        forms = [self.encoder.text_ids(prompt.verdict_form) for prompt in prompts]
        ends = [[*ids[row], *line, *forms[row]] for row, lines in enumerate(rationales) for line in lines]
        verdicts = iter(self._indicator(ends))
        return [
            [Chain(self._text(line).strip(), next(verdicts), len(line) + len(forms[row]), line) for line in lines]
            for row, lines in enumerate(rationales)
        ]

    def _free(self, prompts: Sequence[JudgePrompt], sampling: Sampling) -> list[list[Chain]]:
        ids = [self.encoder.prompt_ids(prompt) for prompt in prompts]
        forms = {prompt.verdict_form for prompt in prompts}
        stops = [f"{form}{indicator}{VERDICT_END}\n" for form in sorted(forms) for indicator in INDICATORS]
        options = {
            **_sampled(sampling),
            "stop": stops,
            "stop_token_ids": [self.encoder.eos_id],
            "logprob_token_ids": list(self.encoder.indicator_ids),
        }
        return [
            [self._free_chain(prompt, one) for one in found]
            for prompt, found in zip(prompts, self._complete(ids, options), strict=True)
        ]

    def _free_chain(self, prompt: JudgePrompt, written: Written) -> Chain:
        ids = written.token_ids
        if ids and ids[-1] in self._turn_ends:
            ids = ids[:-1]
        return free_chain(
            prompt.opening,
            ids,
            written.indicators,
            decode=self._text,
            indicator_ids=self.encoder.indicator_ids,
        )

    def _indicator(self, ids: Sequence[Sequence[int]]) -> list[float | None]:
        """P(first indicator) right after each sequence of tokens; None where the model gives no number."""
        options = {"n": 1, "max_tokens": 1, "temperature": 0.0, "logprob_token_ids": list(self.encoder.indicator_ids)}
        found = []
        for [written] in self._complete(ids, options):
            if not written.indicators:
                raise EngineError("the model wrote nothing where a verdict was to be read", permanent=False)
            found.append(share(*written.indicators[0]))
        return found

    def _line(self, ids: Sequence[int]) -> tuple[int, ...]:
        """The tokens before the first that ends the line or the turn."""
        end = next((place for place, token in enumerate(ids) if token in self._ends), len(ids))
        return tuple(ids[:end])

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.encoder.tokenizer.decode(list(ids), skip_special_tokens=True))

    @cached_property
    def _turn_ends(self) -> frozenset[int]:
        return frozenset(self.encoder.end_ids())

    @cached_property
    def _ends(self) -> frozenset[int]:
        return frozenset(self.encoder.newline_ids())

    @cached_property
    def _stops(self) -> list[int]:
        """The likeliest of the tokens that end a line: those a server keeps out of the first ``LEAST_TOKENS``.

        Longer ones (many spaces, then a line break) stop a rationale as well, as text.
        """
        texts = {token: str(self.encoder.tokenizer.decode([token])) for token in self._ends}
        order = sorted(texts, key=lambda token: (token != self.encoder.eos_id, len(texts[token]), token))
        return order[:MOST_STOPS]


def _sampled(sampling: Sampling) -> dict[str, Any]:
    """How to sample; what a server might otherwise take from a model's own settings is switched off by name."""
    return {
        "n": sampling.samples,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
    }
