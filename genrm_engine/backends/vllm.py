"""The judge's model in this process, by vLLM: many chains at once on a CUDA device, or on the CPU with its CPU build.

Token ids go in and come out, so that every backend sees the same prompt. The output layer runs in fp32: bf16 logits
would round close verdicts to a tie. Scores are repeatable to bf16's precision, whatever else is in the batch.
Sampled rationales follow the engine's one random stream, seeded when it is loaded: the same calls in the same order
after loading give the same chains on the same machine, but ``Sampling.seed`` does not choose them (the CPU build
refuses a seed per request). vLLM keeps the model until ``close``; a process holds one at a time.
"""

import gc
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from genrm_engine.backends.encoding import PromptEncoder
from genrm_engine.backends.loading import load_tokenizer, set_threads
from genrm_engine.backends.tokens import TokenBackend, Written
from genrm_engine.device import lease_name
from genrm_engine.errors import EngineError
from genrm_engine.precision import fast_bfloat16
from genrm_engine.types import BackendSpec
from genrm_engine.weights import check_model, refuse_adapter

if TYPE_CHECKING:
    from vllm import LLM
    from vllm.outputs import CompletionOutput

WANTED = "vllm==0.32.0"
_DTYPES = ("auto", "bfloat16", "float16", "float32")
_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # a queue's worker may have no children
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",  # by itself it leaves one core idle
    "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}


class VLLMBackend(TokenBackend):
    def __init__(self, spec: BackendSpec) -> None:
        super().__init__(PromptEncoder(load_tokenizer(spec.tokenizer or spec.model)))
        self._llm: LLM | None = _load(spec)

    def close(self) -> None:
        """Free the model's memory; another one can be loaded afterwards."""
        if self._llm is None:
            return
        from vllm.distributed import cleanup_dist_env_and_memory

        self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        gc.collect()
        cleanup_dist_env_and_memory()

    def _complete(self, prompts: Sequence[Sequence[int]], options: dict[str, Any]) -> list[list[Written]]:
        from vllm import SamplingParams

        if self._llm is None:
            raise EngineError("this vLLM backend has been closed")
        asked: list[Any] = [{"prompt_token_ids": list(ids)} for ids in prompts]
        try:
            answers = self._llm.generate(asked, SamplingParams(**options), use_tqdm=False)
        except ValueError as error:  # a prompt longer than the model can read
            raise EngineError(f"vLLM refuses a prompt: {str(error).splitlines()[0]}") from error
        first, second = self.encoder.indicator_ids
        return [[_written(output, first, second) for output in answer.outputs] for answer in answers]


def _written(output: "CompletionOutput", first: int, second: int) -> Written:
    steps = output.logprobs or []
    return Written(
        tuple(output.token_ids),
        tuple((step[first].logprob, step[second].logprob) for step in steps if first in step and second in step),
    )


def _load(spec: BackendSpec) -> "LLM":
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if spec.dtype not in _DTYPES:
        raise EngineError(f"unknown dtype {spec.dtype!r}: use one of {', '.join(_DTYPES)}")
    check_model(spec.model)
    refuse_adapter(spec.model, by="vLLM")
    try:
        from vllm import LLM
        from vllm.platforms import current_platform
    except ImportError as error:
        raise EngineError(f"the backend 'vllm' needs vLLM in this environment: pip install {WANTED}") from error
    _check_device(spec.device, str(current_platform.device_type))
    set_threads(spec.threads)
    try:
        return LLM(
            model=spec.model,
            tokenizer=spec.tokenizer or spec.model,
            dtype=wanted_dtype(spec.dtype, str(current_platform.device_type)),
            hf_overrides={"head_dtype": "float32"},
            max_model_len=-1,
            enable_prefix_caching=True,
            trust_remote_code=False,
            seed=0,
            use_tqdm_on_load=False,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise EngineError(f"vLLM cannot load {spec.model}: {str(error).splitlines()[0]}") from error


def wanted_dtype(asked: str, device: str) -> Any:
    """vLLM's name of a number format; ``auto`` is what the device computes fast, not what the file was saved in."""
    if asked != "auto":
        return asked
    return "bfloat16" if fast_bfloat16(device) else "float32"


def _check_device(asked: str, built_for: str) -> None:
    """vLLM runs on the device that it was built for, and on the first one that the process sees."""
    if asked == "auto":
        return
    kind, _, number = lease_name(asked).partition(":")
    if kind != built_for:
        raise EngineError(f"device {asked} is asked for, but this vLLM is built for {built_for}")
    if number not in ("", "0"):
        raise EngineError(f"vLLM takes the first device that it sees: set CUDA_VISIBLE_DEVICES={number} instead")
