"""What a judge needs of a model, and the one place that loads it; nothing here imports an ML library."""

from collections.abc import Sequence
from typing import Protocol

from genrm_engine.errors import EngineError
from genrm_engine.prompts import JudgePrompt
from genrm_engine.types import BackendSpec, Chain, Sampling

__all__ = ["Backend", "BackendSpec", "Chain", "Sampling", "load_backend"]


class Backend(Protocol):
    """A loaded model that can be asked for verdicts; results come in the order of the prompts."""

    def score(self, prompts: Sequence[JudgePrompt]) -> Sequence[float | None]:
        """P(indicator "A") against "B" right after each prompt's opening; None where an answer names neither."""

    def generate(self, prompts: Sequence[JudgePrompt], sampling: Sampling) -> list[list[Chain]]:
        """``sampling.samples`` rationales per prompt, each with the verdict forced after it or read from it."""

    def count_tokens(self, prompts: Sequence[JudgePrompt]) -> list[int]:
        """How many tokens each prompt has, chat template and opening included."""

    def close(self) -> None:
        """Free the model's memory."""


def load_backend(spec: BackendSpec) -> Backend:
    """Load the model of a spec; raises EngineError with a plain message where that cannot work."""
    from genrm_engine.backends.loading import needing_extra

    with needing_extra("judging"):
        return _loaded(spec)


def _loaded(spec: BackendSpec) -> Backend:
    if spec.kind == "scripted":
        from genrm_engine.backends.scripted import ScriptedBackend

        return ScriptedBackend(spec.model)
    if spec.kind == "transformers":
        from genrm_engine.backends.heads import HeadBackend, head_of
        from genrm_engine.backends.transformers import TransformersBackend

        return TransformersBackend(spec) if head_of(spec.model) is None else HeadBackend(spec)
    if spec.kind == "vllm":
        from genrm_engine.backends.vllm import VLLMBackend

        return VLLMBackend(spec)
    if spec.kind == "openai":
        from genrm_engine.backends.openai import connect

        return connect(spec)
    raise EngineError(f"unknown backend {spec.kind!r}: use 'transformers', 'vllm', 'openai' or 'scripted'")
