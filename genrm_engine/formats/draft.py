"""A row as its layout gives it, before rows of the same pair are merged; knows nothing of files or layouts.

A pair's identity is its content, whichever response stands first: votes on the same pair in either order meet in one
row. Where a file says which response was chosen and no order, the order is drawn from that same content, so that it
tells nothing of the choice, and the file read with chosen and rejected exchanged shows the same pairs.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from genrm_engine.errors import EngineError
from genrm_engine.formats.rows import DataRow, HumanLabel, Label, consensus
from genrm_engine.types import Message, Pair

_SEED = "tandem-order-1"
_MIRRORED: dict[Label, Label] = {"a": "b", "b": "a", "tie": "tie"}
_SAME = ("stated", "gold", "p_a", "weight", "rationale", "group", "split", "models")


@dataclass(frozen=True, slots=True)
class Draft:
    """One line's pair and labels; ``stated`` is its own consensus, ``id`` and ``group`` are empty where it has none.

    ``strength`` and ``both_bad`` belong to ``stated``, as those of a label to its choice.
    """

    prompt: tuple[Message, ...]
    response_a: str
    response_b: str
    stated: Label | None = None
    labels: tuple[HumanLabel, ...] = ()
    gold: Label | None = None
    p_a: float | None = None
    weight: float = 1.0
    rationale: str = ""
    id: str = ""
    group: str = ""
    split: str = ""
    models: tuple[str, str] | None = None
    strength: int | None = None
    both_bad: bool = False

    @property
    def content(self) -> str:
        """SHA-256 of the prompt and the two responses (with their models), independent of their order."""
        first, second = self.models or ("", "")
        sides = sorted([(self.response_a, first), (self.response_b, second)])
        return _sha256([[(message.role, message.content) for message in self.prompt], sides])

    @property
    def key(self) -> str:
        """The pair's id: the line's own, else one of its content."""
        return self.id or self.content[:16]

    def mirrored(self) -> Self:
        """The same with the responses exchanged."""
        return replace(
            self,
            response_a=self.response_b,
            response_b=self.response_a,
            stated=self.stated and _MIRRORED[self.stated],
            labels=tuple(replace(label, choice=_MIRRORED[label.choice]) for label in self.labels),
            gold=self.gold and _MIRRORED[self.gold],
            p_a=None if self.p_a is None else 1 - self.p_a,
            models=None if self.models is None else (self.models[1], self.models[0]),
        )

    def drawn(self) -> Self:
        """The same in the order drawn from the content."""
        first, second = sorted([self.response_a, self.response_b])
        if int(_sha256([_SEED, self.content])[:8], 16) % 2:
            first = second
        return self if self.response_a == first else self.mirrored()

    def row(self, line: int) -> DataRow:
        """The row, with its consensus: the stated choice, else gold, else that of the labels."""
        pair = Pair(self.key, self.prompt, self.response_a, self.response_b, self.group or prompt_group(self.prompt))
        choice = self.stated or self.gold or consensus([label.choice for label in self.labels])
        return DataRow(
            pair=pair,
            choice=choice,
            labels=self.labels,
            p_a=self.p_a,
            weight=self.weight,
            rationale=self.rationale,
            gold=self.gold,
            split=self.split,
            line=line,
            models=self.models,
        )


def merged(first: Draft, second: Draft) -> Draft:
    """Two lines of one pair as one: all labels, an annotator's later one in place of the earlier.

    Lines that carry an id must agree in everything but the labels; EngineError names the field that differs. Without
    an id, two lines that state different winners make a tie, and the first line's other fields stand.
    """
    if first.content != second.content:
        raise EngineError("another prompt or other responses")
    if first.response_a != second.response_a:
        second = second.mirrored()
    labels = {label.annotator: label for label in (*first.labels, *second.labels)}
    both = replace(first, labels=tuple(labels.values()))
    differing = [name for name in _SAME if getattr(first, name) != getattr(second, name)]
    if first.id and differing:
        raise EngineError(f"another {'choice' if differing[0] == 'stated' else differing[0]}")
    return replace(both, stated="tie", p_a=None) if "stated" in differing else both


def prompt_group(prompt: Sequence[Message]) -> str:
    """The group of pairs with this prompt, whatever its white space."""
    return _sha256([(message.role, " ".join(message.content.split())) for message in prompt])[:16]


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
