"""A backend without a model: deterministic judges for tests and for trying an installation without PyTorch.

``scripted:NAME`` or ``scripted:NAME:ARGUMENT``:

- ``longer`` prefers the longer response, ``shorter`` the shorter one
- ``first`` always names the response shown first (position bias)
- ``oracle[:MARKER]`` prefers the response that contains the marker (default ``[good]``)
- ``coin`` is consistent and has no skill: it decides by a hash of the two responses
- ``noisy[:SEED[:ACCURACY]]`` knows the response with ``[good]`` and names it with that probability (default 0.7), each
  sample anew and as sure as chance has it: a judge that gets better by voting
- ``parrot[:MARKER]`` writes freely: it copies both responses, then gives the verdict of ``oracle`` if one response has
  the marker, and none if neither or both have
- ``unparsed`` never gives a verdict with ``cot``; its score is 0.5
- ``slow[:SECONDS]`` is ``longer`` that sleeps for each call (default 1)
- ``crash[:N]`` works N times (default 0), then fails temporarily; ``broken`` fails permanently
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence

from genrm_engine.errors import EngineError
from genrm_engine.prompts import JudgePrompt
from genrm_engine.types import Chain, Sampling
from genrm_engine.verdicts import split_verdict

SURE = 0.9
MARKER = "[good]"


class ScriptedBackend:
    def __init__(self, model: str) -> None:
        name, _, argument = model.removeprefix("scripted:").partition(":")
        if name not in _RULES:
            raise EngineError(f"unknown scripted judge {name!r}: use one of {', '.join(sorted(_RULES))}")
        self.name = name
        self.argument = argument
        self.calls = 0

    def score(self, prompts: Sequence[JudgePrompt]) -> list[float]:
        self._before()
        return [self._p_first(prompt) for prompt in prompts]

    def generate(self, prompts: Sequence[JudgePrompt], sampling: Sampling) -> list[list[Chain]]:
        self._before()
        numbers = range(sampling.first_sample, sampling.first_sample + sampling.samples)
        return [[self._chain(prompt, number, sampling.seed) for number in numbers] for prompt in prompts]

    def count_tokens(self, prompts: Sequence[JudgePrompt]) -> list[int]:
        return [len(prompt.user.split()) + len(prompt.opening.split()) for prompt in prompts]

    def close(self) -> None:
        """Nothing to free."""

    def _before(self) -> None:
        self.calls += 1
        if self.name == "slow":
            time.sleep(float(self.argument or 1))
        if self.name == "crash" and self.calls > int(self.argument or 0):
            raise EngineError("the scripted judge crashed, as it was told to", permanent=False)
        if self.name == "broken":
            raise EngineError("the scripted judge is broken, as it was told to be")

    def _chain(self, prompt: JudgePrompt, number: int, seed: int) -> Chain:
        if self.name == "unparsed":
            return Chain("I would rather not say.", None, 5)
        if self.name == "parrot":
            return _parroted(prompt, self._p_first(prompt))
        p_first = self._p_first(prompt, f"{seed}:{number}")
        text = f"Response {'A' if p_first > 0.5 else 'B'} is better by the rule '{self.name}' ({number + 1})."
        return Chain(text, p_first, len(text.split()))

    def _p_first(self, prompt: JudgePrompt, draw: str = "") -> float:
        if self.name == "noisy":
            return _noisy(prompt.first, prompt.second, self.argument, draw)
        return _RULES[self.name](prompt.first, prompt.second, self.argument)


def _prefer(first: float, second: float) -> float:
    return 0.5 if first == second else SURE if first > second else 1 - SURE


def _longer(first: str, second: str, argument: str) -> float:
    return _prefer(len(first), len(second))


def _shorter(first: str, second: str, argument: str) -> float:
    return _prefer(len(second), len(first))


def _first(first: str, second: str, argument: str) -> float:
    return SURE


def _oracle(first: str, second: str, argument: str) -> float:
    marker = argument or MARKER
    return _prefer(marker in first, marker in second)


def _coin(first: str, second: str, argument: str) -> float:
    return _prefer(*(_uniform(argument + text) for text in (first, second)))


def _unsure(first: str, second: str, argument: str) -> float:
    return 0.5


def _noisy(first: str, second: str, argument: str, draw: str = "") -> float:
    seed, _, accuracy = argument.partition(":")
    key = json.dumps([seed, first, second, draw])
    right = _uniform("right " + key) < float(accuracy or 0.7)
    sure = 0.5 + 0.5 * _uniform("sure " + key)
    return sure if right == (MARKER in first) else 1 - sure


def _uniform(text: str) -> float:
    """A number from 0 to 1 (exclusive) that a text always has."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def _parroted(prompt: JudgePrompt, p_first: float) -> Chain:
    text = f"{prompt.opening} A says: {prompt.first}\nB says: {prompt.second}"
    if p_first != 0.5:
        text += f"{prompt.verdict_form}{'A' if p_first > 0.5 else 'B'}]"
    rationale, verdict, _ = split_verdict(text)
    return Chain(rationale, None if verdict is None else SURE if verdict == "A" else 1 - SURE, len(text.split()))


_RULES: dict[str, Callable[[str, str, str], float]] = {
    "longer": _longer,
    "shorter": _shorter,
    "first": _first,
    "oracle": _oracle,
    "coin": _coin,
    "noisy": _noisy,
    "parrot": _oracle,
    "unparsed": _unsure,
    "slow": _longer,
    "crash": _longer,
    "broken": _longer,
}
