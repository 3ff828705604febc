"""From what a server answers to chains: where the verdict stands in a text and which tokens belong to what.

Knows no server and no model; ``verdicts.split_verdict`` alone decides what counts as a verdict.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

from genrm_engine.prompts import INDICATORS
from genrm_engine.types import Chain
from genrm_engine.verdicts import split_verdict


def share(first: float, second: float) -> float | None:
    """P(first) among the two, from their log-probabilities; None where these are no numbers that can be compared."""
    lead = second - first
    return None if math.isnan(lead) else 1 / (1 + math.exp(min(lead, 700.0)))


def free_chain(
    opening: str,
    ids: Sequence[int],
    indicators: Sequence[tuple[float, float]],
    *,
    decode: Callable[[Sequence[int]], str],
    indicator_ids: tuple[int, int],
) -> Chain:
    """The chain of freely written tokens; ``indicators`` are the log-probabilities of A and B at each of them.

    A verdict whose letter is another token than the two indicators (``[ A ]``) is taken as it is written: 1.0 or 0.0.
    """
    text = decode(ids)
    rationale, verdict, letter = split_verdict(opening + text)
    if verdict is None or letter < len(opening):
        return Chain(text.strip(), None, len(ids), tuple(ids))

    def tokens_to(length: int) -> int:
        """How many tokens it takes to write so many characters after the opening."""
        return bisect_left(range(len(ids)), length, key=lambda count: len(decode(ids[:count])))

    at = tokens_to(letter - len(opening) + 1) - 1
    p_first = share(*indicators[at]) if ids[at] in indicator_ids else float(verdict == INDICATORS[0])
    end = max(0, len(rationale) - len(opening))
    names_first = verdict == INDICATORS[0]
    return Chain(text[:end].strip(), p_first, len(ids), tuple(ids[: tokens_to(end)]), names_first)


def letter_share(candidates: Mapping[str, float], *, first: bool) -> float:
    """P(A) where a letter was written, from the tokens that a server lists there with their log-probabilities.

    Tokens that differ in spaces and marks count together. A letter that is not listed is at most as probable as the
    least of those that are. With one candidate or none, or with values that are no numbers, the written letter
    (``first``: A) stands: 1.0 or 0.0.
    """
    if len(candidates) < 2:
        return float(first)
    least = math.exp(min(candidates.values()))
    found = [
        sum(math.exp(value) for token, value in candidates.items() if bare(token) == indicator)
        for indicator in INDICATORS
    ]
    p_a, p_b = (value or least for value in found)
    return p_a / (p_a + p_b) if p_a + p_b > 0 else float(first)


def bare(token: str) -> str:
    """A token without the spaces and marks around its letters."""
    return token.strip(" \t\r\n\"'`*_()[]{}<>.:,")
