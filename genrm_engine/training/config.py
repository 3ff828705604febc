"""The frozen configuration of a training run; loads without PyTorch, so that a web form can check it."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, Self, get_args

from genrm_engine.errors import EngineError

TrainMethod = Literal[
    "genrm", "star-sft", "star-dpo", "star-ipo", "rationalizer", "bradley-terry", "pairrm", "grpo", "warm-up"
]
METHODS: tuple[str, ...] = get_args(TrainMethod)
STAR: tuple[str, ...] = ("star-sft", "star-dpo", "star-ipo")
HEADS: tuple[str, ...] = ("bradley-terry", "pairrm")
"""Methods whose judge is a reward model: it scores and writes no rationale."""

MOST_PARAMETERS = 1_000_000_000
"""A larger model is trained at a rate that somebody has chosen: those below are for the embedded 135M model.

The paper's 1e-6 is for 8B and moves nothing there.
"""
LEARNING_RATES = {
    "genrm": 5e-5,
    "star-sft": 3e-5,
    "star-dpo": 3e-5,
    "star-ipo": 3e-5,
    "rationalizer": 3e-5,
    "bradley-terry": 5e-5,
    "pairrm": 5e-5,
    "grpo": 1e-5,
    "warm-up": 1e-4,
}
LORA_FACTOR = 10.0
BATCH_SIZE = 8
EPOCHS = {
    "genrm": 1.5,
    "star-sft": 1.0,
    "star-dpo": 1.0,
    "star-ipo": 1.0,
    "rationalizer": 1.0,
    "bradley-terry": 2.0,
    "pairrm": 2.0,
    "grpo": 1.0,
    "warm-up": 3.0,
}
SEEDS = 2**32
"""NumPy takes no larger seed."""
BETAS = {"star-ipo": 1.0, "grpo": 0.0}
"""IPO's loss is averaged per token in TRL, so it wants a larger beta; GRPO runs without a reference by default."""


def _option(default: Any, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything that decides what a run computes; stored as ``run.json`` beside the weights."""

    method: TrainMethod = field(
        metadata={
            "help": "genrm: loss on the verdict token. star-sft: the judge's own right rationales. "
            "star-dpo, star-ipo: right rationales against wrong ones. rationalizer: rationales of a judge that was "
            "told the answer. bradley-terry, pairrm: reward models. grpo: reinforcement by the verdict. "
            "warm-up: written rationales."
        }
    )
    model: str = field(metadata={"help": "Folder or name of the model to start from."})
    learning_rate: float | None = _option(
        None,
        "Peak learning rate; empty: the method's default for a model of 135 million parameters (10 times it for LoRA). "
        "Above a billion it must be given; the paper trains 8 billion at 1e-6.",
    )
    epochs: float | None = _option(None, "Passes over the training rows (per iteration); empty: the method's default.")
    batch_size: int = _option(BATCH_SIZE, "Rows per optimiser step.")
    micro_batch_size: int = _option(4, "Rows computed at once; smaller needs less memory and gives the same result.")
    lora: bool = _option(False, "Train a low-rank adapter, merged at the end, instead of all weights.")
    lora_rank: int = _option(16, "Rank of the adapter.")
    keep_adapter: bool = _option(False, "Write the adapter alone, not merged weights; to judge needs `model` too.")
    warmup_ratio: float = _option(0.1, "Share of the steps that warm the learning rate up.")
    weight_decay: float = _option(0.0, "AdamW's weight decay.")
    max_grad_norm: float = _option(1.0, "Gradient norm above which a step is scaled down.")
    balance_length: bool = _option(
        True, "Weigh pairs so that the longer response does not win more often than the shorter."
    )
    rationale_share: float = _option(
        0.1, "genrm: rationale rows, written by the starting judge, per verdict row; they keep it able to explain."
    )
    rationale_weight: float = _option(
        0.3, "genrm, warm-up: weight of the loss on a whole rationale against the verdict's."
    )
    verdict_weight: float | None = _option(
        None,
        "star-sft, rationalizer: weight of the verdict against a whole rationale's; empty: that of any other token.",
    )
    samples_per_order: int = _option(4, "star, grpo: rationales sampled for each pair and order.")
    pairs_per_order: int = _option(
        1, "star: most right rationales, or right-against-wrong pairs, kept for each pair and order."
    )
    verdict_draws: int = _option(4, "star: verdicts drawn after each rationale (the rationale is what costs time).")
    iterations: int = _option(1, "star: rounds of sampling and training, each on its own slice of the labels.")
    beta: float | None = _option(
        None, "How closely the judge is held to the one that sampled; empty: 0.1 (star-ipo 1.0, grpo 0)."
    )
    sft_weight: float = _option(
        0.2, "star-dpo, star-ipo: weight of the likelihood of the right rationale beside the preference loss."
    )
    label_noise: float = _option(
        0.0, "star-dpo: share of labels taken to be wrong; above 0 the loss is the robust one (Chowdhury et al. 2024)."
    )
    soft_labels: bool = _option(
        True,
        "genrm, warm-up, bradley-terry, pairrm: train on the share of annotators for each side where several labelled.",
    )
    consistency_weight: float = _option(1.0, "grpo: weight of the reward for being right in both orders.")
    warm_up: str = _option(
        "",
        "File of pairs with written rationales to warm the format up on first, of the run's splits only where its rows "
        "name any; empty: none.",
    )
    replay_share: float = _option(0.5, "Older labelled pairs mixed in for each new one, where a file of them is given.")
    temperature: float = _option(1.0, "Sampling temperature of rationales.")
    top_p: float = _option(0.95, "Nucleus of the sampling.")
    max_rationale_tokens: int = _option(48, "Longest rationale, in tokens.")
    max_tokens: int = _option(1024, "Pairs whose prompt is longer than this many tokens are left out of training.")
    checkpoints: int = _option(3, "Checkpoints in the course of a run; a killed run goes on from the last one.")
    seed: int = _option(0, "Seed of orders, sampling and training.")
    device: str = _option("auto", "cpu, cuda, cuda:N or auto.")
    threads: int | None = _option(None, "CPU threads; empty: PyTorch's own choice.")
    rubric: str = _option("", "Guidelines shown to the judge with every pair.")

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise EngineError("training configuration: " + "; ".join(problems))

    def resolved(self) -> Self:
        """The same run with the method's defaults written in."""
        rate = LEARNING_RATES[self.method] * (LORA_FACTOR if self.lora else 1.0)
        return replace(
            self,
            learning_rate=rate if self.learning_rate is None else self.learning_rate,
            epochs=EPOCHS[self.method] if self.epochs is None else self.epochs,
            beta=BETAS.get(self.method, 0.1) if self.beta is None else self.beta,
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read a configuration; unknown fields, missing ones and wrong types are EngineErrors that name them."""
        known = {item.name: item for item in fields(cls)}
        unknown = sorted(set(row) - set(known))
        if unknown:
            raise EngineError(f"training configuration: unknown field {', '.join(unknown)}")
        for name in ("method", "model"):
            if name not in row:
                raise EngineError(f"training configuration: {name} is missing")
        for name, value in row.items():
            _check_type(name, value, known[name].type)
        return cls(**row)

    def dumps(self) -> str:
        return json.dumps(self.to_json(), sort_keys=True)

    def _bounds(self) -> Iterator[str]:
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                yield f"{name} must be at least 1"
        for name in _ABOVE_ZERO:
            value = getattr(self, name)
            if value is not None and value <= 0:
                yield f"{name} must be above 0"
        for name in _NOT_NEGATIVE:
            value = getattr(self, name)
            if value is not None and value < 0:
                yield f"{name} must not be negative"
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, float) and not math.isfinite(value):
                yield f"{item.name} must be a finite number"

    def _problems(self) -> list[str]:
        found = list(self._bounds())
        if self.method not in METHODS:
            found.append(f"method must be one of {', '.join(METHODS)}")
        if not self.model:
            found.append("model must be given")
        if not 0 <= self.label_noise < 0.5:
            found.append("label_noise must be at least 0 and below 0.5")
        if self.keep_adapter and not (self.lora and self.method in ("genrm", "warm-up", "rationalizer")):
            found.append("keep_adapter needs lora and a method of one stage (genrm, warm-up, rationalizer)")
        if self.warm_up and self.keep_adapter:
            found.append("keep_adapter: an adapter on a warmed-up judge would not fit the model it names")
        if self.warm_up and self.method in (*HEADS, "warm-up"):
            found.append(f"warm_up: {self.method} writes no rationale to warm up for")
        if self.warmup_ratio >= 1:
            found.append("warmup_ratio must be below 1")
        if self.top_p > 1:
            found.append("top_p must be at most 1")
        if self.seed >= SEEDS:
            found.append(f"seed must be below {SEEDS}")
        if self.threads is not None and self.threads < 1:
            found.append("threads must be at least 1")
        if self.micro_batch_size >= 1 and self.batch_size % self.micro_batch_size:
            found.append("batch_size must be a multiple of micro_batch_size")
        return found


_AT_LEAST_ONE = [
    "batch_size",
    "micro_batch_size",
    "lora_rank",
    "samples_per_order",
    "pairs_per_order",
    "verdict_draws",
    "iterations",
    "max_rationale_tokens",
    "max_tokens",
    "checkpoints",
]
_ABOVE_ZERO = ["learning_rate", "epochs", "max_grad_norm", "temperature", "top_p"]
_NOT_NEGATIVE = [
    "warmup_ratio",
    "weight_decay",
    "rationale_share",
    "rationale_weight",
    "verdict_weight",
    "sft_weight",
    "beta",
    "consistency_weight",
    "replay_share",
    "seed",
]


def _check_type(name: str, value: object, annotation: object) -> None:
    optional = "None" in str(annotation)
    if value is None and optional:
        return
    text = str(annotation)
    wanted: tuple[type, ...]
    if "bool" in text:
        wanted = (bool,)
    elif "float" in text:
        wanted = (int, float)
    elif "int" in text:
        wanted = (int,)
    else:
        wanted = (str,)
    if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
        raise EngineError(f"training configuration: {name} must be {wanted[-1].__name__}, not {value!r}")
