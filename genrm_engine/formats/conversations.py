"""Turning two conversations into a prompt and two responses; knows nothing of labels or layouts.

What both conversations share at their beginning is the prompt. What follows is each side's response; where it has
more than one message (two models were asked the same further questions), it is written out with its speakers.
"""

import re
from collections.abc import Sequence
from itertools import takewhile

from genrm_engine.errors import EngineError
from genrm_engine.types import Message

Conversation = tuple[Message, ...]

_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def is_transcript(text: object) -> bool:
    """Whether the text is a conversation as HH-RLHF writes it."""
    return isinstance(text, str) and _SPEAKER.match(text) is not None


def read_transcript(text: str, name: str) -> Conversation:
    """The messages of ``\\n\\nHuman: …\\n\\nAssistant: …``; spaces around each are left out."""
    start, *parts = _SPEAKER.split(text)
    if start.strip() or not parts:
        raise EngineError(f"{name} does not begin with 'Human:' or 'Assistant:'")
    turns = zip(parts[::2], parts[1::2], strict=True)
    return tuple(Message(_ROLES[speaker], content.strip()) for speaker, content in turns)


def split(first: Conversation, second: Conversation, names: tuple[str, str]) -> tuple[Conversation, str, str]:
    """The shared beginning that ends before an answer, and what each side says after it."""
    shared = 0
    for one, other in zip(first[:-1], second[:-1], strict=False):
        if one != other:
            break
        shared += 1
    while shared and first[shared - 1].role == "assistant":
        shared -= 1
    if not shared:
        raise EngineError(f"{names[0]} and {names[1]} do not begin with the same prompt")
    for conversation, name in zip((first, second), names, strict=True):
        if conversation[shared].role != "assistant":
            raise EngineError(f"{name} has no answer of the assistant to what {names[0]} and {names[1]} share")
    return first[:shared], written(first[shared:]), written(second[shared:])


def split_texts(first: str, second: str, names: tuple[str, str]) -> tuple[Conversation, str, str]:
    """The shared beginning of two plain texts, whole words only, and what each goes on with."""
    end = sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(first, second, strict=False)))
    if (first[end : end + 1] + second[end : end + 1]).strip():  # within a word
        while end and not first[end - 1].isspace():
            end -= 1
    prompt, one, other = (text.strip() for text in (first[:end], first[end:], second[end:]))
    if not (prompt and one and other):
        raise EngineError(
            f"{names[0]} and {names[1]} are plain texts without a prompt, so what both begin with is taken for it, and "
            f"{'a response is then empty' if prompt else 'they begin differently'}; give prompt as a field or messages"
        )
    return (Message("user", prompt),), one, other


def written(messages: Sequence[Message]) -> str:
    """A response of several messages as one text: the answer, then the further turns with their speakers."""
    answer, *further = messages
    return "\n\n".join([answer.content, *(f"{turn.role.capitalize()}: {turn.content}" for turn in further)])


def until_turn(conversation: Conversation, turn: int, name: str) -> Conversation:
    """The conversation up to the assistant's answer number ``turn``, from 1."""
    answers = [place for place, message in enumerate(conversation) if message.role == "assistant"]
    if turn > len(answers):
        raise EngineError(f"{name} has {len(answers)} answers, but turn is {turn}")
    return conversation[: answers[turn - 1] + 1]
