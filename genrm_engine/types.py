"""What goes into a judge and what comes out of it; knows nothing of models, files or databases."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from genrm_engine.errors import EngineError

Choice = Literal["a", "b"]
Method = Literal["score", "cot"]
VerdictForm = Literal["forced", "free"]
Sequential = Literal["off", "certain", "posterior"]
BackendKind = Literal["transformers", "vllm", "openai", "scripted"]


def as_choice(value: object) -> Choice:
    if value not in ("a", "b"):
        raise EngineError(f"a choice is 'a' or 'b', not {value!r}")
    return value


def as_method(value: object) -> Method:
    if value not in ("score", "cot"):
        raise EngineError(f"a method is 'score' or 'cot', not {value!r}")
    return value


def whole(value: Any) -> Any:
    """A number that is whole as such: data frames hold 7 as 7.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def said(value: object) -> str:
    """A name or a note as text, empty where there is none: data frames write NaN for that."""
    if isinstance(value, float) and math.isnan(value):
        return ""
    return str(whole(value)) if value or value == 0 else ""


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    content: str

    def to_json(self) -> dict[str, str]:
        return {"role": self.role, "content": self.content}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        return cls(role=str(row["role"]), content=str(row["content"]))


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt with two responses in their stored order; ``group`` keeps related pairs on one side of a split."""

    id: str
    prompt: tuple[Message, ...]
    response_a: str
    response_b: str
    group: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "prompt": [message.to_json() for message in self.prompt],
            "response_a": self.response_a,
            "response_b": self.response_b,
            "group": self.group,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Read a row; a prompt that is plain text becomes one user message."""
        try:
            prompt = row["prompt"]
            if isinstance(prompt, str):
                messages: tuple[Message, ...] = (Message("user", prompt),)
            else:
                messages = tuple(Message.from_json(message) for message in prompt)
            return cls(
                id=str(row["id"]),
                prompt=messages,
                response_a=str(row["response_a"]),
                response_b=str(row["response_b"]),
                group=said(row.get("group")),
            )
        except (KeyError, TypeError) as error:
            raise EngineError(f"a pair lacks or misspells a field: {error!r}") from error


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """A pair with the human choice.

    ``p_a`` is the share of annotators who prefer A where several have labelled (a soft label; None: only the choice is
    known). ``rationale`` is a written reason for the choice, with ``{better}`` and ``{worse}`` where it names the
    responses, so that it can be shown in either order.
    """

    pair: Pair
    choice: Choice
    weight: float = 1.0
    p_a: float | None = None
    rationale: str = ""

    def to_json(self) -> dict[str, Any]:
        row = {**self.pair.to_json(), "choice": self.choice, "weight": self.weight}
        if self.p_a is not None:
            row["p_a"] = self.p_a
        return {**row, "rationale": self.rationale} if self.rationale else row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        weight, p_a = row.get("weight"), row.get("p_a")
        try:
            return cls(
                pair=Pair.from_json(row),
                choice=as_choice(row.get("choice")),
                weight=1.0 if weight is None else float(weight),
                p_a=None if p_a is None else float(p_a),
                rationale=said(row.get("rationale")),
            )
        except (TypeError, ValueError) as error:
            raise EngineError(f"a labelled pair has a weight or p_a that is no number: {error}") from error


@dataclass(frozen=True, slots=True)
class Rationale:
    """One chain: ``p_a`` and ``verdict`` are in the stored order, ``swapped`` says that B was shown first.

    ``verdict`` is the response that the judge named. Where it was not asked to write that down it is the more probable
    one; at exactly one half the one shown first, which favours neither response, because each is shown first in one of
    the two orders. ``tokens`` are those computed for this chain.
    """

    swapped: bool
    sample: int
    text: str
    p_a: float
    verdict: Choice
    tokens: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        return cls(
            swapped=bool(row["swapped"]),
            sample=int(row["sample"]),
            text=str(row["text"]),
            p_a=float(row["p_a"]),
            verdict=as_choice(row["verdict"]),
            tokens=int(row.get("tokens", 0)),
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """A judge's view of one pair; every probability is P(A is better) in the stored order.

    ``p_a`` is the mean of the two orders, ``consistent`` says that both orders name the same winner. An order in which
    no verdict could be read stands at 0.5 and does not enter the mean: ``p_a`` is then the other order's, and the
    judgement is not consistent. ``samples`` counts the verdicts read or tried (both orders), ``unparsed`` those that
    gave none and therefore no vote; their raw texts are ``unparsed_texts``. ``decided_by`` differs from ``method`` only
    where a cascade stopped at the score. ``prompt_tokens`` is the part of ``tokens`` that was read: the prompts, again
    for each request of a sequential vote (a backend that keeps its key-value cache computes fewer).
    """

    pair_id: str
    method: Method
    p_a: float
    p_a_straight: float
    p_a_swapped: float
    consistent: bool
    votes_a: int
    votes_b: int
    samples: int
    unparsed: int
    tokens: int
    seconds: float
    rationales: tuple[Rationale, ...] = ()
    shortened: bool = False
    unparsed_texts: tuple[str, ...] = ()
    prompt_tokens: int = 0
    decided_by: Method = None  # type: ignore[assignment]  # by ``method``, as long as nothing else is said

    def __post_init__(self) -> None:
        if self.decided_by is None:
            object.__setattr__(self, "decided_by", self.method)

    @property
    def vote(self) -> Choice | None:
        """The response with more votes; None where the vote is drawn or nobody voted."""
        if self.votes_a == self.votes_b:
            return None
        return "a" if self.votes_a > self.votes_b else "b"

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "rationales": [rationale.to_json() for rationale in self.rationales],
            "unparsed_texts": list(self.unparsed_texts),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        return cls(
            pair_id=str(row["pair_id"]),
            method=as_method(row["method"]),
            p_a=float(row["p_a"]),
            p_a_straight=float(row["p_a_straight"]),
            p_a_swapped=float(row["p_a_swapped"]),
            consistent=bool(row["consistent"]),
            votes_a=int(row["votes_a"]),
            votes_b=int(row["votes_b"]),
            samples=int(row["samples"]),
            unparsed=int(row["unparsed"]),
            tokens=int(row["tokens"]),
            seconds=float(row["seconds"]),
            rationales=tuple(Rationale.from_json(rationale) for rationale in row.get("rationales", ())),
            shortened=bool(row.get("shortened", False)),
            unparsed_texts=tuple(str(text) for text in row.get("unparsed_texts", ())),
            prompt_tokens=int(row.get("prompt_tokens", 0)),
            decided_by=as_method(row.get("decided_by") or row["method"]),
        )


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """How a pair is judged.

    ``score`` reads the verdict at once, ``cot`` after sampled rationales. ``verdict`` says how ``cot`` reads it:
    ``forced`` appends the verdict form to each rationale and reads the indicator's probability there, ``free`` lets
    the judge write its verdict and reads the last one in the asked form.

    Two ways to spend less on ``cot`` (``score`` ignores them). ``sequential``: draw samples in rounds until the vote is
    settled (see ``voting``), at most ``samples_per_order`` for each order. ``cascade``: score first, and reason only
    where the score is closer to one half than ``cascade_margin`` or the two orders disagree.
    """

    method: Method = "score"
    samples_per_order: int = 2
    rubric: str = ""
    temperature: float = 1.0
    top_p: float = 0.95
    max_rationale_tokens: int = 64
    seed: int = 0
    max_prompt_tokens: int = 1536
    verdict: VerdictForm = "forced"
    sequential: Sequential = "off"
    posterior_threshold: float = 0.95
    cascade: bool = False
    cascade_margin: float = 0.2

    @property
    def sampling(self) -> "Sampling":
        """How the rationales of one order are sampled."""
        return Sampling(
            samples=self.samples_per_order,
            max_tokens=self.max_rationale_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            verdict=self.verdict,
        )

    def __post_init__(self) -> None:
        as_method(self.method)
        if self.samples_per_order < 1:
            raise EngineError("samples_per_order must be at least 1")
        if self.max_rationale_tokens < 1:
            raise EngineError("max_rationale_tokens must be at least 1")
        if self.temperature <= 0:
            raise EngineError("temperature must be above 0")
        if not 0 < self.top_p <= 1:
            raise EngineError("top_p must be above 0 and at most 1")
        if self.verdict not in ("forced", "free"):
            raise EngineError(f"a verdict is 'forced' or 'free', not {self.verdict!r}")
        if self.sequential not in ("off", "certain", "posterior"):
            raise EngineError(f"sequential is 'off', 'certain' or 'posterior', not {self.sequential!r}")
        if not 0.5 < self.posterior_threshold < 1:
            raise EngineError("posterior_threshold must be above 0.5 and below 1")
        if not 0 <= self.cascade_margin <= 0.5:
            raise EngineError("cascade_margin must be between 0 and 0.5")


@dataclass(frozen=True, slots=True)
class Sampling:
    """How rationales are sampled: ``samples`` for each prompt, each of at most ``max_tokens`` tokens.

    They are numbered from ``first_sample``: a backend whose random numbers depend on a sample's number continues an
    earlier request with it; for one that does not (vLLM, servers) every request is a fresh draw.
    """

    samples: int
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 0.95
    seed: int = 0
    verdict: VerdictForm = "forced"
    first_sample: int = 0


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """Which model runs where. ``auto``: the first CUDA device if there is one, else the CPU; bf16 where it is fast
    (``precision.fast_bfloat16``), fp32 elsewhere.

    For ``openai`` the model is the name that the server at ``url`` serves, and ``tokenizer`` (a folder or a name) is
    that model's own: with it prompts are sent as token ids, without it as chat messages.
    """

    kind: BackendKind
    model: str
    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = None
    url: str = ""
    api_key: str = field(default="", repr=False)
    tokenizer: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """A sampled rationale and P(the response shown first wins) read after it; None: no verdict could be read.

    ``text`` is the rationale alone where a verdict was read, the raw text where none was; ``tokens`` counts what was
    computed for the chain, ``token_ids`` are those of the rationale (empty where a backend does not tell them).
    ``names_first`` is the verdict that the judge wrote itself: whether it names the response shown first (None: it
    wrote none, and ``p_first`` was read where the letter would stand).
    """

    text: str
    p_first: float | None
    tokens: int
    token_ids: tuple[int, ...] = ()
    names_first: bool | None = None
