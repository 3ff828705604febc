"""Whether a written rationale can be read: it does not loop, is about its pair, and is brief.

Knows words, not meaning: a rationale that passes may still be wrong or name the wrong response. The check is made for
English; in another language only loops and length are judged fairly.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from genrm_engine.types import Pair

FEWEST_WORDS = 5
"""Shorter texts ("A is better.") give no reason."""
MOST_WORDS = 60
"""A judge is asked for one sentence; twice the longest rationale written for Tandem is still readable at a glance."""
NGRAM = 3
MOST_REPEATS = 2
"""A phrase of three words may come back once, as in "8 per cent of A, not 8 per cent of B"; a third time is a loop."""
LEAST_DISTINCT = 0.6
"""Share of different words: each rationale written for Tandem has 0.77 or more, a phrase said twice one half."""
SHARED_WORDS = 2
"""Content words that a rationale must share with its pair. Over the starter's 238 pairs each rationale shares three or
more with its own pair, and 5.1 % of the rationales of other prompts share two (9.3 % within one kind of prompt). Three
would let 0.7 % pass, but it refused 12 % of a first draft that was on topic, mostly on answers spoilt in tone."""

_WORD = re.compile(r"[^\W_]+(?:[.,:'’][^\W_]+)*")
_NAMED = re.compile(  # a sentence may begin with the article, so that an "A" there counts before a verb only
    r"\b(?:[Rr]esponse|[Aa]nswer) [AB]\b|\bB\b|(?<=[\w,;:(] )A\b"
    r"|\bA (?:answers|does|explains|gives|has|is|says|shows|uses|was)\b"
)
_ENDS = re.compile(r"""[.!?]["'”’)\]*]*$""")
_SUFFIXES = ("ing", "ed", "es", "s", "e")
_STEM = 3
_COMMON = """
a about after again against all also although always an and another any are as at away b back be because been before
being below between both but by can cannot could did do does don't down each else even every few first for from had
has have having he her here him his how i i'd i'll i'm if in instead into is it it's its itself just last less like
many may me might more most much my never no nor not nothing now of off on once one only or other our out over own per
rather same she should since so some something still such than that the their them then there these they this those
three through to too two under until up upon us very was way we well were what when where whereas whether which while
who whole whose why will with without word words would yet you your
"""
_JUDGING = """
answer answers ask asked asks better choice clear correct correctly explain explains fact facts gets give given gives
good help helps makes mentions names prompt question reader reason request response responses right said say says
sentence sentences tells text topic useful uses worse wrong wrongly
"""  # what every rationale may say, so that it ties none to its pair
_STOP_WORDS = frozenset((_COMMON + _JUDGING).split())


@dataclass(frozen=True, slots=True)
class RationaleCheck:
    """What a rationale passes; ``good``: all of it."""

    no_loop: bool
    on_topic: bool
    brief: bool

    @property
    def good(self) -> bool:
        return self.no_loop and self.on_topic and self.brief


def check_rationale(text: str, pair: Pair) -> RationaleCheck:
    """Check one rationale, in which the responses are called A and B, against the pair that it is about.

    ``no_loop``: no phrase of three words more than twice, enough different words, and an end that is not cut off.
    ``on_topic``: names a response and shares ``SHARED_WORDS`` content words (lower case, no stop words, endings cut)
    with the prompt or the responses; 5.1 % of the rationales of other prompts pass it too. ``brief``: one line of
    ``FEWEST_WORDS`` to ``MOST_WORDS`` words.
    """
    text = text.strip()
    words = [word.lower() for word in _WORD.findall(text)]
    return RationaleCheck(
        no_loop=_no_loop(words) and _ENDS.search(text) is not None,
        on_topic=_NAMED.search(text) is not None and len(shared_words(text, pair)) >= SHARED_WORDS,
        brief=FEWEST_WORDS <= len(words) <= MOST_WORDS and "\n" not in text,
    )


def check_rationales(rows: Iterable[tuple[str, Pair]]) -> dict[str, float | None]:
    """The number of rationales and the share that passes each check and all; None where there are no rationales."""
    checks = [check_rationale(text, pair) for text, pair in rows]

    def share(passed: Iterable[bool]) -> float | None:
        return sum(passed) / len(checks) if checks else None

    return {
        "n": len(checks),
        "good": share(check.good for check in checks),
        "no_loop": share(check.no_loop for check in checks),
        "on_topic": share(check.on_topic for check in checks),
        "brief": share(check.brief for check in checks),
    }


def shared_words(text: str, pair: Pair) -> frozenset[str]:
    """The stems of the content words that a text has in common with a pair's prompt and responses."""
    source = " ".join((*(message.content for message in pair.prompt), pair.response_a, pair.response_b))
    return _content(text) & _content(source)


def _no_loop(words: list[str]) -> bool:
    if not words or len(set(words)) / len(words) < LEAST_DISTINCT:
        return False
    phrases = Counter(zip(*(words[start:] for start in range(NGRAM)), strict=False))
    return max(phrases.values(), default=0) <= MOST_REPEATS


def _content(text: str) -> frozenset[str]:
    words = (word.lower().replace("’", "'").removesuffix("'s") for word in _WORD.findall(text))
    return frozenset(_stem(word) for word in words if word not in _STOP_WORDS)


def _stem(word: str) -> str:
    """The word without a common ending: tide, tides → tid; divide, dividing → divid; family, families → famili."""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _STEM:
            word = word.removesuffix(suffix)
            break
    if len(word) > _STEM and word[-1] == word[-2] and word.isalpha():
        word = word[:-1]
    return word[:-1] + "i" if len(word) > _STEM and word.endswith("y") else word
