"""By what agreement is sliced: the kind of the prompt, who wrote the responses, how far their lengths differ.

Simple rules on the text, made to be stated and checked, not to be right about every prompt: the words are English, and
a prompt in another language is a question only by its question mark. Knows pairs, no labels.
"""

import re
from collections.abc import Mapping, Sequence

from genrm_engine.evaluation.length import relative_difference
from genrm_engine.types import Message

MULTI_TURN, CODE, QUESTION, INSTRUCTION = "multi-turn", "code", "question", "instruction"

_CODE = re.compile(
    r"```|(?i:\b(?:python|javascript|typescript|java|c\+\+|c#|golang|php|bash|sql|html|css|regex|json)(?!\w))"
    r"|(?i:\b(?:source code|code snippet|write (?:the |some )?code|write an? (?:function|script|program|query))\b)"
    r"|^\s*(?:def \w+\(|class \w+[(:{]|import \w+|#include|SELECT .+ FROM )",
    re.MULTILINE,
)
_QUESTION = re.compile(
    r"^\W*(?:what|why|how|when|where|who|whom|whose|which|is|are|was|were|do|does|did|can|could|should|would|will|has"
    r"|have|am)(?:'s|'re)?\b",
    re.IGNORECASE,
)


def prompt_kind(prompt: Sequence[Message]) -> str:
    """The kind by the first rule that fits; but for the number of turns only the last user message counts.

    "multi-turn": two user messages or more. "code": a fence, a word of programming or a line that begins like code.
    "question": it ends with a question mark or begins with a question word. Else "instruction".
    """
    asked = [message.content for message in prompt if message.role == "user"]
    if len(asked) > 1:
        return MULTI_TURN
    text = (asked or [message.content for message in prompt] or [""])[-1].strip()
    if _CODE.search(text):
        return CODE
    return QUESTION if text.endswith(("?", "？")) or _QUESTION.match(text) else INSTRUCTION


def model_pair(first: str, second: str) -> str:
    """Both models' names whichever wrote A; empty where one of them is not known."""
    return " / ".join(sorted((first, second))) if first and second else ""


def length_bands(lengths: Mapping[str, tuple[int, int]]) -> dict[str, str]:
    """For each pair the third it is in, by the difference of its lengths as a share of the longer; nearest first."""
    gaps = {item: relative_difference(*both) for item, both in lengths.items()}
    ranked = sorted(gaps.values())
    low, high = (ranked[len(ranked) * third // 3] for third in (1, 2)) if ranked else (0.0, 0.0)
    near, far = f"{100 * low:.0f} %", f"{100 * high:.0f} %"
    names = (f"less than {near} apart", f"{near} to {far} apart", f"{far} apart or more")
    return {item: names[(gap >= low) + (gap >= high)] for item, gap in sorted(gaps.items(), key=lambda each: each[1])}
