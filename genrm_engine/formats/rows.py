"""What a line of a data file says, whatever its layout; knows nothing of files or layouts."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from genrm_engine.types import LabelledPair, Pair

Label = Literal["a", "b", "tie"]


@dataclass(frozen=True, slots=True)
class HumanLabel:
    """What one annotator said of a pair, in its stored order.

    ``strength`` is 1 (better) or 2 (much better) where the file has a scale; ``both_bad`` says which kind of tie it is.
    """

    annotator: str
    choice: Label
    strength: int | None = None
    both_bad: bool = False


@dataclass(frozen=True, slots=True)
class DataRow:
    """A pair and what is known of it.

    ``choice`` is the consensus (None: there is none), ``labels`` are the annotators' own, one each. ``p_a`` is the
    share for A where the file gives it, ``gold`` the file's reference answer, ``split`` the part it names, ``line``
    where the pair first stands (in a JSON list: the entry's number), ``models`` who wrote A and B.
    """

    pair: Pair
    choice: Label | None = None
    labels: tuple[HumanLabel, ...] = ()
    p_a: float | None = None
    weight: float = 1.0
    rationale: str = ""
    gold: Label | None = None
    split: str = ""
    line: int = 0
    models: tuple[str, str] | None = None

    @property
    def share_a(self) -> float | None:
        """P(A) as people see it, 0 to 1: the file's own ``p_a``, else the share of two or more labels.

        None where their majority is not ``choice``: somebody has settled the pair against it.
        """
        if self.p_a is not None or len(self.labels) < 2:
            return self.p_a
        choices = [label.choice for label in self.labels]
        return share_for_a(choices) if self.choice in (None, consensus(choices)) else None

    def labelled(self) -> LabelledPair | None:
        """The pair as training and measuring want it; None for a tie and where there is no consensus."""
        if self.choice is None or self.choice == "tie":
            return None
        return LabelledPair(self.pair, self.choice, self.weight, self.share_a, self.rationale)


def labelled_pairs(rows: Iterable[DataRow]) -> list[LabelledPair]:
    """The pairs whose consensus is A or B; ties and pairs without a label are left out."""
    return [pair for row in rows if (pair := row.labelled()) is not None]


def share_for_a(choices: Sequence[Label]) -> float:
    """The share of choices for A, ties counted half; ``choices`` is not empty."""
    return sum({"a": 1.0, "tie": 0.5, "b": 0.0}[choice] for choice in choices) / len(choices)


def consensus(choices: Sequence[Label]) -> Label | None:
    """What more than half chose; a tie where the most frequent choices are equally many; else None."""
    ranked = Counter(choices).most_common()
    if not ranked:
        return None
    choice, votes = ranked[0]
    if 2 * votes > len(choices):
        return choice
    return "tie" if ranked[1][1] == votes else None
