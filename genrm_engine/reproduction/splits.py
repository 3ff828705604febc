"""Which pairs train, choose settings and test: by group and by hash, so that every machine draws the same splits."""

import hashlib
from collections.abc import Sequence

from genrm_engine.types import LabelledPair

INNER_SHARE = 0.2


def fold(rows: Sequence[LabelledPair], number: int, *, folds: int) -> tuple[list[LabelledPair], list[LabelledPair]]:
    """Training and test part of one fold; the groups, in the order of their hashes, take turns."""
    order = {group: place for place, group in enumerate(_groups(rows, "folds"))}
    test = [row for row in rows if order[group_of(row)] % folds == number]
    return [row for row in rows if order[group_of(row)] % folds != number], test


def inner(rows: Sequence[LabelledPair]) -> tuple[list[LabelledPair], list[LabelledPair]]:
    """A training part split again, for choosing settings: a fifth of its groups validates."""
    groups = _groups(rows, "inner")
    valid = set(groups[: round(INNER_SHARE * len(groups))])
    return (
        [row for row in rows if group_of(row) not in valid],
        [row for row in rows if group_of(row) in valid],
    )


def some(rows: Sequence[LabelledPair], most: int | None, *, purpose: str) -> list[LabelledPair]:
    """At most ``most`` pairs, drawn by hash and kept in their order; None: all."""
    if most is None or len(rows) <= most:
        return list(rows)
    chosen = set(sorted((row.pair.id for row in rows), key=lambda item: _key(purpose, item))[:most])
    return [row for row in rows if row.pair.id in chosen]


def group_of(row: LabelledPair) -> str:
    return row.pair.group or row.pair.id


def _groups(rows: Sequence[LabelledPair], purpose: str) -> list[str]:
    return sorted({group_of(row) for row in rows}, key=lambda group: _key(purpose, group))


def _key(purpose: str, name: str) -> str:
    return hashlib.sha256(f"{purpose}:{name}".encode()).hexdigest()
