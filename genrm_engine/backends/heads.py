"""Judging with a reward model: a scalar head in place of the words that a generative judge writes.

``bradley-terry`` gives each response a reward, ``pairrm`` reads both responses and gives one logit. How such a model
is trained is not known here, only how it is written to disk: ``config.json`` names the kind as ``tandem_head``.
"""

import gc
import json
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrm_engine.backends.batching import SCORE_TOKENS, batches, computed
from genrm_engine.backends.encoding import PromptEncoder
from genrm_engine.backends.loading import (
    first_line,
    load_tokenizer,
    out_of_memory,
    set_threads,
    torch_device,
    torch_dtype,
)
from genrm_engine.backends.reading import share
from genrm_engine.errors import EngineError
from genrm_engine.prompts import JudgePrompt
from genrm_engine.types import BackendSpec, Chain, Sampling
from genrm_engine.weights import check_model, refuse_adapter

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

HEAD = "tandem_head"
BRADLEY_TERRY = "bradley-terry"
PAIRRM = "pairrm"


def head_of(model: str) -> str | None:
    """``bradley-terry`` or ``pairrm`` where the folder holds a reward model; None for any other model or name.

    Raises EngineError for a kind that is not known.
    """
    try:
        config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    kind = config.get(HEAD) if isinstance(config, dict) else None
    if kind not in (None, BRADLEY_TERRY, PAIRRM):
        raise EngineError(f"{model}/config.json: {HEAD} is {kind!r}, not {BRADLEY_TERRY!r} or {PAIRRM!r}")
    return kind


class ResponseEncoder(PromptEncoder):
    """Token ids of one response as the answer to what was asked, for a head that reads responses one by one."""

    def response_ids(self, asked: str, response: str) -> list[int]:
        """``asked`` as one user turn (a longer conversation as the judge prompt shows it) and the assistant's turn."""
        question, answer = self._defused(asked), self._defused(response)
        if not self.tokenizer.chat_template:
            return [*self.plain_ids(f"{question}\n\n{answer}"), self.eos_id]
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        text: Any = self.tokenizer.apply_chat_template(turns, tokenize=False)
        return self.text_ids(str(text))


def padded(ids: "Sequence[Sequence[int]]", pad_id: int) -> "dict[str, torch.Tensor]":
    """``input_ids`` and ``attention_mask`` (rows by longest row), padded on the right."""
    import torch

    width = max(len(row) for row in ids)
    tokens = torch.full((len(ids), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(ids), width), dtype=torch.long)
    for number, row in enumerate(ids):
        tokens[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
    return {"input_ids": tokens, "attention_mask": mask}


class HeadBackend:
    """A trained reward model as a judge; it scores and writes no rationale."""

    def __init__(self, spec: BackendSpec) -> None:
        """Load the reward model in the spec's folder; EngineError where it holds none."""
        kind = head_of(spec.model)
        if kind is None:
            raise EngineError(f"{spec.model} holds no reward model: its config.json names no {HEAD}")
        set_threads(spec.threads)
        self.kind = kind
        self.encoder = ResponseEncoder(load_tokenizer(spec.model))
        self.model: PreTrainedModel | None = load_classifier(spec.model, dtype=spec.dtype, device=spec.device)
        self.model.eval()  # type: ignore[no-untyped-call]
        _read_exactly(self.model)
        self._tokens = SCORE_TOKENS.get(torch_device(spec.device).type, 4096)

    def score(self, prompts: Sequence[JudgePrompt]) -> list[float | None]:
        """P(the response shown first wins): σ(r(first) - r(second)), or σ(logit) of the prompt (pairrm).

        None where the head gives no number.
        """
        if self.kind == PAIRRM:
            logits = self._logits([self.encoder.prompt_ids(prompt) for prompt in prompts])
            return [_sigmoid(logit) for logit in logits]
        rewards = self._rewards({key for prompt in prompts for key in _responses(prompt)})
        return [_sigmoid(rewards[first] - rewards[second]) for first, second in map(_responses, prompts)]

    def generate(self, prompts: Sequence[JudgePrompt], sampling: Sampling) -> list[list[Chain]]:  # noqa: ARG002
        """Always an EngineError."""
        raise EngineError("a reward model writes no rationale: judge with the method 'score'")

    def count_tokens(self, prompts: Sequence[JudgePrompt]) -> list[int]:
        """Tokens of the longest text that is read for each prompt."""
        if self.kind == PAIRRM:
            return [len(self.encoder.prompt_ids(prompt)) for prompt in prompts]
        return [max(len(self.encoder.response_ids(*key)) for key in _responses(prompt)) for prompt in prompts]

    def close(self) -> None:
        import torch

        self.model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _rewards(self, keys: set[tuple[str, str]]) -> dict[tuple[str, str], float]:
        """r(x, y) of each distinct response: a pair's two orders cost one computation."""
        ordered = sorted(keys)
        logits = self._logits([self.encoder.response_ids(*key) for key in ordered])
        return dict(zip(ordered, logits, strict=True))

    def _logits(self, ids: Sequence[Sequence[int]]) -> list[float]:
        import torch

        assert self.model is not None
        model = self.model

        def read(batch: Sequence[Sequence[int]]) -> list[float]:
            given = padded(batch, self.encoder.pad_id)
            with torch.inference_mode():
                out = model(**{name: value.to(model.device) for name, value in given.items()}, use_cache=False)
            found: list[float] = out.logits[:, 0].float().tolist()
            return found

        return computed(ids, batches(ids, tokens=self._tokens), read)


def load_classifier(model: str, *, dtype: str, device: str, **options: Any) -> "PreTrainedModel":
    """A one-label sequence classification model on its device; ``options`` go to its configuration.

    From safetensors only, without any code from the model's folder. Raises EngineError, also where the folder has
    a manifest that its files differ from.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification
    from transformers.utils.logging import disable_progress_bar

    check_model(model)
    refuse_adapter(model, by="a reward model")
    disable_progress_bar()  # type: ignore[no-untyped-call]  # while it loads files
    try:
        loaded: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            model,
            num_labels=1,
            dtype=torch_dtype(dtype, device),
            use_safetensors=True,
            trust_remote_code=False,
            **options,
        )
        loaded.to(torch_device(device))  # type: ignore[arg-type]
    except (ImportError, OSError, ValueError, SafetensorError) as error:
        raise EngineError(f"the model {model} cannot be loaded: {first_line(error)}") from error
    except RuntimeError as error:
        raise out_of_memory(error) from error
    if not hasattr(loaded, "score"):
        raise EngineError(f"{model}: a {type(loaded).__name__} has no layer 'score' to put a reward on")
    return loaded


def _read_exactly(model: "PreTrainedModel") -> None:
    """Compute the head in fp32: bf16 rewards would round close pairs to ties."""
    head: Any = model.score
    head.float()
    head.register_forward_pre_hook(lambda _, given: tuple(value.float() for value in given))


def _sigmoid(logit: float) -> float | None:
    return share(logit, 0.0) if isfinite(logit) else None


def _responses(prompt: JudgePrompt) -> tuple[tuple[str, str], tuple[str, str]]:
    return (prompt.asked, prompt.first), (prompt.asked, prompt.second)
