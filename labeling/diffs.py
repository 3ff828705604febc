"""What two responses have in common and what only one of them says, word by word.

It compares words, not meaning: a paragraph that moved is gone in one place and new in another.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import Literal

from rapidfuzz.distance import Indel

PAIRS_LIMIT = 400_000_000
"""Pairs of differing tokens that are compared at most: a bit of memory each, so 50 MB and about 0.1 s."""
_CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{_CJK}]\s*|[^\W{_CJK}]+\s*|[^\w\s]\s*|\s+")
"""A word, a character of a script without spaces, or a punctuation mark, each with the white space behind it."""
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_WORDLESS = re.compile(r"[\W_]*")

Kind = Literal["same", "only"]


@dataclass(frozen=True)
class Part:
    """A stretch of one text: in the other one too, or only here."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Diff:
    """Two texts in parts that, joined, are the texts again. `share` says how much of both is the same, 0 to 1."""

    left: tuple[Part, ...]
    right: tuple[Part, ...]
    share: float


def diff(left: str, right: str) -> Diff:
    """Compare word by word; very long texts line by line, or as a whole where even the lines are too many."""
    a, b, same = _aligned(left, right)
    parts = _parts(a, {i for i, _ in same}), _parts(b, {j for _, j in same})
    shared = sum(len(part.text) for side in parts for part in side if part.kind == "same")
    total = len(left) + len(right)
    return Diff(*parts, share=shared / total if total else 1.0)


def _aligned(left: str, right: str) -> tuple[list[str], list[str], list[tuple[int, int]]]:
    """The tokens of both texts, and which of the left are which of the right."""
    for pattern in (_TOKEN, _LINE):
        a, b = pattern.findall(left), pattern.findall(right)
        keys_a, keys_b = [token.rstrip() for token in a], [token.rstrip() for token in b]
        start = _common(keys_a, keys_b)
        end = min(_common(reversed(keys_a), reversed(keys_b)), min(len(a), len(b)) - start)
        middle_a, middle_b = keys_a[start : len(a) - end], keys_b[start : len(b) - end]
        if len(middle_a) * len(middle_b) > PAIRS_LIMIT:
            continue
        same = [(i, i) for i in range(start)] + [(len(a) - i, len(b) - i) for i in range(1, end + 1)]
        for block in Indel.opcodes(middle_a, middle_b):
            if block.tag == "equal":
                length = block.src_end - block.src_start
                same += [(start + block.src_start + i, start + block.dest_start + i) for i in range(length)]
        return a, b, same
    return [left], [right], []


def _common(a: Iterable[str], b: Iterable[str]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _parts(tokens: Sequence[str], same: set[int]) -> tuple[Part, ...]:
    runs: list[Part] = []
    for kind, run in groupby(range(len(tokens)), lambda i: _kind(i in same)):
        runs.append(Part(kind, "".join(tokens[i] for i in run)))
    for index, part in enumerate(runs[1:-1], start=1):  # an island without a word reads as part of the change
        if part.kind == "same" and _WORDLESS.fullmatch(part.text):
            runs[index] = Part("only", part.text)
    merged = groupby(runs, lambda part: part.kind)
    return tuple(Part(kind, "".join(part.text for part in run)) for kind, run in merged)


def _kind(is_same: bool) -> Kind:
    return "same" if is_same else "only"
