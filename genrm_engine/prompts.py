"""The words put to a judge, versioned and hashed; knows nothing of tokenizers or models.

Layout for prefix caching: instructions and rubric, then the conversation, then the two responses. Text that is too
long is shortened by one rule (``shorten``): the longest parts give first, a response keeps its beginning and a piece
of its end, a conversation keeps more of its end, because the question stands there. The instructions, the rubric's
place and the verdict form are never cut; where they leave less than half of a prompt to the pair, that is an error.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from genrm_engine.errors import EngineError
from genrm_engine.types import JudgeSettings, Message, Method, Pair
from genrm_engine.verdicts import defused

PROMPT_VERSION = "2"

TASK = "Compare two responses to a prompt. Decide which one is better: correct, complete, on topic and polite."
RUBRIC = "\n\nGuidelines:\n{rubric}"
BODY = "\n\n[Prompt]\n{prompt}\n\n[Response A]\n{first}\n\n[Response B]\n{second}\n\n"
QUESTIONS: dict[Method, str] = {
    "score": "Which response is better, A or B?",
    "cot": (
        "Which response is better, A or B? Give the reason in one sentence, then the verdict on a line of its own: "
        "Winner: [A] or Winner: [B]."
    ),
}
OPENINGS: dict[Method, str] = {"score": "Winner: [", "cot": "Reason:"}
VERDICT_FORM = "\nWinner: ["
VERDICT_END = "]"
ANSWER = " The better response is {indicator}."
INDICATORS = ("A", "B")
CUT = " […] "
_SHORTEST = 80
_TEMPLATE_TOKENS = 128  # more than any chat template adds


@dataclass(frozen=True, slots=True)
class JudgePrompt:
    """One question to a judge: the user's turn, how the judge's own turn begins, and whether text was cut.

    ``asked``, ``first`` and ``second`` are the conversation and the two responses as the turn shows them.
    """

    user: str
    opening: str
    asked: str
    first: str
    second: str
    shortened: bool = False
    verdict_form: str = VERDICT_FORM

    def told(self, *, first: bool) -> "JudgePrompt":
        """The same question with the answer given away, for rationales written in hindsight."""
        return replace(self, user=self.user + ANSWER.format(indicator=INDICATORS[0 if first else 1]))


def prompt_hash() -> str:
    """SHA-256 of every template, so that a stored judgement can say which words were used."""
    parts = [
        PROMPT_VERSION,
        TASK,
        RUBRIC,
        BODY,
        QUESTIONS,
        OPENINGS,
        VERDICT_FORM,
        VERDICT_END,
        INDICATORS,
        CUT,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def build_prompt(pair: Pair, *, method: Method, rubric: str = "", swapped: bool = False) -> JudgePrompt:
    """The prompt for one order; ``swapped`` shows the stored B as A."""
    first, second = _shown(pair, swapped=swapped)
    head = _head(rubric)
    return _assemble(head, conversation(pair.prompt), first, second, method=method, shortened=False)


def fit_prompt(
    pair: Pair, settings: JudgeSettings, *, swapped: bool, count: Callable[[JudgePrompt], int]
) -> JudgePrompt:
    """The prompt for one order, shortened until ``count`` finds at most ``settings.max_prompt_tokens`` tokens.

    Raises EngineError where text must be cut and too little of it would be left to judge.
    """
    prompt = build_prompt(pair, method=settings.method, rubric=settings.rubric, swapped=swapped)
    head = _head(settings.rubric)
    if len(prompt.user.encode()) + _TEMPLATE_TOKENS <= settings.max_prompt_tokens:  # a token is a byte or more
        return prompt
    tokens = count(prompt)
    if tokens <= settings.max_prompt_tokens:
        return prompt
    frame = count(_assemble(head, "", "", "", method=settings.method, shortened=False))
    if 2 * frame > settings.max_prompt_tokens:
        raise EngineError(
            f"the task and the rubric take {frame} of the {settings.max_prompt_tokens} tokens of a prompt "
            "(max_prompt_tokens), and the pair needs at least half: shorten the rubric or raise the limit"
        )
    asked = conversation(pair.prompt)
    first, second = _shown(pair, swapped=swapped)
    length = len(asked) + len(first) + len(second)
    while tokens > settings.max_prompt_tokens and length > 3 * _SHORTEST:
        length = max(3 * _SHORTEST, int(length * 0.95 * settings.max_prompt_tokens / tokens))
        asked_share, first_share, second_share = _shares((len(asked), len(first), len(second)), length)
        prompt = _assemble(
            head,
            shorten(asked, asked_share, head=0.3),
            shorten(first, first_share, head=0.7),
            shorten(second, second_share, head=0.7),
            method=settings.method,
            shortened=True,
        )
        tokens = count(prompt)
    if tokens > settings.max_prompt_tokens:
        raise EngineError(
            f"the shortest prompt of pair {pair.id} takes {tokens} tokens, more than max_prompt_tokens "
            f"({settings.max_prompt_tokens}): raise the limit"
        )
    return prompt


def conversation(messages: tuple[Message, ...]) -> str:
    """The prompt as text: a single user message as it is, several with their speakers; verdicts in it are defused."""
    if len(messages) == 1:
        return defused(messages[0].content.strip())
    return defused("\n".join(f"{message.role.capitalize()}: {message.content.strip()}" for message in messages))


def shorten(text: str, limit: int, *, head: float) -> str:
    """At most ``limit`` characters: ``head`` of them from the beginning, the rest from the end."""
    if len(text) <= limit:
        return text
    room = max(0, limit - len(CUT))
    start = int(room * head)
    return text[:start] + CUT + text[len(text) - (room - start) :]


def _head(rubric: str) -> str:
    """What stands before the conversation: the task and the rubric (a project's guidelines and criteria)."""
    return TASK + (RUBRIC.format(rubric=rubric.strip()) if rubric.strip() else "")


def _assemble(head: str, asked: str, first: str, second: str, *, method: Method, shortened: bool) -> JudgePrompt:
    user = head + BODY.format(prompt=asked, first=first, second=second) + QUESTIONS[method]
    return JudgePrompt(user, OPENINGS[method], asked, first, second, shortened=shortened)


def _shown(pair: Pair, *, swapped: bool) -> tuple[str, str]:
    first, second = defused(pair.response_a.strip()), defused(pair.response_b.strip())
    return (second, first) if swapped else (first, second)


def _shares(lengths: tuple[int, int, int], total: int) -> tuple[int, int, int]:
    """Split ``total`` characters: short parts stay whole, what they leave is shared by the long ones."""
    shares = [0, 0, 0]
    left = total
    order = sorted(range(3), key=lambda part: (lengths[part], part))
    for done, part in enumerate(order):
        shares[part] = min(lengths[part], left // (3 - done))
        left -= shares[part]
    return shares[0], shares[1], shares[2]
