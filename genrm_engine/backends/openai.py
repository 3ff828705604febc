"""Judges behind any server that speaks OpenAI's interface; knows what to ask for, not how HTTP is done.

Two ways, by whether the spec names the model's tokenizer:

- completions (with a tokenizer; vLLM's server and others that take its options): the same token ids as everywhere,
  forced and free verdicts, exact token counts. For probabilities as exact as those of the other backends start the
  server with ``--hf-overrides '{"head_dtype": "float32"}'``.
- chat (without): one user turn. The judge's turn cannot be begun for it, so ``score`` asks for one letter (a
  reply in other words gives no verdict) and ``cot`` reads the verdict that the judge writes itself, whichever form is
  asked for. Probabilities come from the candidates
  (``top_logprobs``) that the server lists at the verdict's letter; where it lists none, a verdict is 1.0 or 0.0.

A server's sampling is not repeatable: no seed is sent, because some servers refuse one.
"""

import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from genrm_engine.backends import Backend
from genrm_engine.backends.client import BadRequest, Client
from genrm_engine.backends.encoding import PromptEncoder
from genrm_engine.backends.loading import load_tokenizer
from genrm_engine.backends.reading import bare, letter_share
from genrm_engine.backends.tokens import TokenBackend, Written
from genrm_engine.errors import EngineError
from genrm_engine.prompts import INDICATORS, JudgePrompt
from genrm_engine.types import BackendSpec, Chain, Sampling
from genrm_engine.verdicts import split_verdict

ONE_LETTER = " Answer with one letter, A or B, and nothing else."
LETTER_TOKENS = 5  # some write marks or spaces before the letter
VERDICT_TOKENS = 24  # room for the verdict's line after a rationale
CANDIDATES = 20  # the most that OpenAI's interface lists
_MARKS = r"[\s\"'`*_()\[\]{}<>.:,]*"  # what ``bare`` takes off a token
_LETTER = r"(?P<letter>[AB])(?![^\W_])"
_LEAD = r"(?i:(?:the|my|final|overall|best|better|answer|response|option|choice|verdict|winner|is)(?![^\W_]))"
_ANSWER = re.compile(rf"{_MARKS}(?:{_LEAD}{_MARKS})*{_LETTER}")
# After the letter: nothing more, or reasons, in another sentence or line or after "because". "A better" is an article,
# "A: 7, B: 9" a list.
_REST = re.compile(
    r"[\s\"'`*_()\[\]{}<>.:,!]*\Z|[\"'`*_)}>]*(?:[.,;!][\"'`*_)}>]*\s|[ \t\r]*\n|\s+(?:because|since)\b)"
)
_PARTS = re.compile(r"[.,;!?\n]")
_FIRST = re.compile(rf"{_MARKS}{_LETTER}")
# Where a server refuses an option by its name: what is sent instead (None: nothing).
_INSTEAD: dict[str, str | None] = {
    "max_tokens": "max_completion_tokens",
    "top_logprobs": None,
    "logprobs": None,
    "top_p": None,
    "temperature": None,
}
_SAMPLING = ("top_p", "temperature")  # without them chains are drawn otherwise than asked for

log = logging.getLogger(__name__)


def connect(spec: BackendSpec, **options: Any) -> Backend:
    """The backend for the server of a spec; ``options`` are the Client's. Nothing is sent yet."""
    if not spec.url:
        raise EngineError("the backend 'openai' needs the URL of a server, such as http://127.0.0.1:8000/v1")
    client = Client(spec.url, spec.api_key, **options)
    if spec.tokenizer:
        return CompletionsBackend(spec.model, PromptEncoder(load_tokenizer(spec.tokenizer)), client)
    return ChatBackend(spec.model, client)


class CompletionsBackend(TokenBackend):
    """Token ids in and out, by ``/completions``."""

    def __init__(self, model: str, encoder: PromptEncoder, client: Client) -> None:
        super().__init__(encoder)
        self.model = model
        self.client = client

    def close(self) -> None:
        self.client.close()

    def _complete(self, prompts: Sequence[Sequence[int]], options: dict[str, Any]) -> list[list[Written]]:
        asked: dict[str, Any] = {"model": self.model, "return_token_ids": True, **options}
        if "logprob_token_ids" in options:
            asked |= {"logprobs": len(options["logprob_token_ids"]), "return_tokens_as_token_ids": True}
        answers = self.client.post("completions", [{**asked, "prompt": list(ids)} for ids in prompts])
        return [
            [self._written(choice) for choice in choices_of(answer, options["n"], self.client)] for answer in answers
        ]

    def _written(self, choice: Mapping[str, Any]) -> Written:
        ids = choice.get("token_ids")
        if not isinstance(ids, list):
            raise EngineError(
                f"the server at {self.client.url} does not return token ids: leave the tokenizer out to use its chat"
            )
        first, second = (f"token_id:{token}" for token in self.encoder.indicator_ids)
        steps = (choice.get("logprobs") or {}).get("top_logprobs") or []
        try:
            read = tuple((float(step[first]), float(step[second])) for step in steps)
        except (KeyError, TypeError, ValueError) as error:
            raise EngineError(
                f"the server at {self.client.url} does not return the log-probabilities of chosen tokens "
                "(logprob_token_ids): leave the tokenizer out to use its chat"
            ) from error
        return Written(tuple(int(token) for token in ids), read)


class ChatBackend:
    """Messages in and text out, by ``/chat/completions``."""

    def __init__(self, model: str, client: Client) -> None:
        self.model = model
        self.client = client
        self._instead: dict[str, str | None] = {}
        self._accepted: set[tuple[str, Any]] = set()

    def score(self, prompts: Sequence[JudgePrompt]) -> list[float | None]:
        """P(A) at the letter that the judge answers with; None where it answers with none."""
        options = {"max_tokens": LETTER_TOKENS, "temperature": 0.0}
        answers = self._ask([self._body(prompt.user + ONE_LETTER, options) for prompt in prompts])
        return [letter_of(*_reply(choices_of(answer, 1, self.client)[0])) for answer in answers]

    def generate(self, prompts: Sequence[JudgePrompt], sampling: Sampling) -> list[list[Chain]]:
        """``sampling.samples`` chains each; a server that answers with fewer choices than asked for is asked again.

        One that refuses more than one choice gets a request for each chain.
        """
        options = {
            "max_tokens": sampling.max_tokens + VERDICT_TOKENS,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        wanted = sampling.samples
        chains: list[list[Chain]] = [[] for _ in prompts]
        while short := [(row, wanted - len(found)) for row, found in enumerate(chains) if len(found) < wanted]:
            if "n" in self._instead:
                short = [(row, 1) for row, count in short for _ in range(count)]
            bodies = [self._body(prompts[row].user, {**options, "n": count}) for row, count in short]
            for (row, _), answer in zip(short, self._ask(bodies), strict=True):
                chains[row] += self._chains(answer)[: wanted - len(chains[row])]
        return chains

    def count_tokens(self, prompts: Sequence[JudgePrompt]) -> list[int]:
        """An estimate on the high side, three bytes a token; ``client.usage`` holds what the server counted."""
        return [math.ceil(len(prompt.user.encode()) / 3) for prompt in prompts]

    def close(self) -> None:
        self.client.close()

    def _chains(self, answer: Mapping[str, Any]) -> list[Chain]:
        choices = choices_of(answer, None, self.client)
        usage = answer.get("usage")
        written = int(usage.get("completion_tokens") or 0) if isinstance(usage, dict) else 0
        share, rest = divmod(written, len(choices))
        return [chain_of(*_reply(choice), tokens=share + (row < rest)) for row, choice in enumerate(choices)]

    def _body(self, user: str, options: Mapping[str, Any]) -> dict[str, Any]:
        messages = [{"role": "user", "content": user}]
        return {"model": self.model, "messages": messages, "logprobs": True, "top_logprobs": CANDIDATES, **options}

    def _ask(self, bodies: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The first body alone until the server has accepted one with such options, then the others at once."""
        if not bodies:
            return []
        answers = [] if _options(bodies[0]) <= self._accepted else [self._tried(bodies[0])]
        rest = [self._adapted(body) for body in bodies[len(answers) :]]
        return [*answers, *self.client.post("chat/completions", rest)]

    def _tried(self, body: dict[str, Any]) -> dict[str, Any]:
        """Ask, and leave out or rename what this server refuses by name; then ask for one choice only."""
        while True:
            try:
                [answer] = self.client.post("chat/completions", [self._adapted(body)])
            except BadRequest as error:
                refused = self._refused(body, str(error))
                if refused is None:
                    if ("n", True) not in self._accepted:
                        self._instead.pop("n", None)  # several choices were not the reason
                    raise
                self._instead[refused] = _INSTEAD.get(refused)
                if refused in _SAMPLING:
                    log.warning("the server at %s refuses %s: it samples in its own way", self.client.url, refused)
            else:
                self._accepted |= _options(body)
                return answer

    def _refused(self, body: Mapping[str, Any], said: str) -> str | None:
        """The option to change after a refusal; None: none is left that could be the reason."""
        left = [name for name in _INSTEAD if name in body and name not in self._instead]
        named = [name for name in left if name in said]
        several = ["n"] if body.get("n", 1) > 1 and "n" not in self._instead else []
        return next(iter([*named, *several]), None)

    def _adapted(self, body: Mapping[str, Any]) -> dict[str, Any]:
        names = {name: self._instead.get(name, name) for name in body}
        return {new: body[name] for name, new in names.items() if new is not None}


def _options(body: Mapping[str, Any]) -> set[tuple[str, Any]]:
    """What of a request a server may refuse: its options with their values, and whether it asks for several choices."""
    return {
        (name, value > 1 if name == "n" else value) for name, value in body.items() if name not in ("model", "messages")
    }


def choices_of(answer: Mapping[str, Any], wanted: int | None, client: Client) -> list[dict[str, Any]]:
    """The choices of an answer in their order; EngineError where there are none or not as many as wanted."""
    found = answer.get("choices")
    if not isinstance(found, list) or not found or not all(isinstance(choice, dict) for choice in found):
        raise EngineError(f"the server at {client.url} answers without choices", permanent=False)
    if wanted is not None and len(found) != wanted:
        raise EngineError(f"the server at {client.url} gives {len(found)} choices where {wanted} were asked for")
    return sorted(found, key=lambda choice: int(choice.get("index") or 0))


Step = tuple[str, dict[str, float]]  # a token's text, and the candidates at its place with their log-probabilities


def _reply(choice: Mapping[str, Any]) -> tuple[str, list[Step]]:
    """The text of a chat answer and its tokens; no tokens where the server tells no log-probabilities."""
    message, logprobs = choice.get("message"), choice.get("logprobs")
    text = str((message.get("content") if isinstance(message, dict) else None) or "")
    rows = (logprobs.get("content") if isinstance(logprobs, dict) else None) or []
    try:
        steps = [
            (str(row["token"]), {str(one["token"]): float(one["logprob"]) for one in row.get("top_logprobs") or []})
            for row in rows
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EngineError(f"a server's log-probabilities cannot be read: {error!r}", permanent=False) from error
    return text, steps


def letter_of(text: str, steps: Sequence[Step]) -> float | None:
    """P(A) of a reply that should be one letter; None where it says anything else.

    A lead such as "The better response is" may stand before the letter, and reasons after the end of its sentence or
    line (the reply is cut off soon). Of other words the letter may be one itself: "A closer look", "neither A nor B".
    """
    found = _answer(text)
    if found is None:
        return None
    written = "".join(token for token, _ in steps)
    listed = found if text in written else _answer(written)  # the tokens may be fewer than the text has
    candidates: dict[str, float] = {}
    if listed is not None and listed["letter"] == found["letter"]:
        candidates = _candidates_at(listed.string, steps, listed.start("letter"))
    return letter_share(candidates, first=found["letter"] == INDICATORS[0])


def _answer(text: str) -> re.Match[str] | None:
    """The letter that the text answers with; None where it says more, or where its reasons begin with the other one."""
    found = _ANSWER.match(text)
    if found is None or not _REST.match(text, found.end()):
        return None
    firsts = [_FIRST.match(part) for part in _PARTS.split(text[found.end() :])]
    return None if any(first and first["letter"] != found["letter"] for first in firsts) else found


def chain_of(text: str, steps: Sequence[Step], *, tokens: int) -> Chain:
    """The chain of a reply in free form."""
    rationale, verdict, letter = split_verdict(text)
    if verdict is None:
        return Chain(text.strip(), None, tokens)
    first = verdict == INDICATORS[0]
    share = letter_share(_candidates_at(text, steps, letter), first=first)
    return Chain(rationale.strip(), share, tokens, names_first=first)


def _candidates_at(text: str, steps: Sequence[Step], place: int) -> dict[str, float]:
    """The candidates of the token that wrote the character at ``place``, if that token is the letter alone.

    The tokens may hold more than the text does (a turn's end) or begin with spaces that the text has lost.
    """
    end = "".join(token for token, _ in steps).find(text) if steps else -1
    if end < 0:
        return {}
    place += end
    for token, candidates in steps:
        if place < len(token):
            return candidates if bare(token) in INDICATORS else {}
        place -= len(token)
    return {}
