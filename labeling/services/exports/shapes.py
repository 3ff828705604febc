"""What a row looks like: everything with its provenance, or just the columns that a trainer of TRL reads."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter

from labeling.services.exports.asked import Asked
from labeling.services.exports.fields import (
    CHOICE,
    PAIR,
    PROMPT,
    PROVENANCE,
    RESPONSE_A,
    RESPONSE_B,
    STRENGTH,
    SURE,
    Field,
    Row,
)

SUREST = 0.99
"""A margin is a log-odds, and nobody is infinitely sure."""
CHOSEN = (Field("prompt", "messages"), Field("chosen", "reply"), Field("rejected", "reply"))
SOFT = Field("p_chosen", "number")
REWARD = (Field("margin", "number"), Field("score_chosen", "number"), Field("score_rejected", "number"))
KTO = (Field("prompt", "messages"), Field("completion", "reply"), Field("label", "truth"))


@dataclass(frozen=True, slots=True)
class Table:
    """Columns, and how rows as they were read become rows of these columns."""

    fields: tuple[Field, ...]
    rows: Callable[[Iterable[Row]], Iterable[Row]]


def table_of(asked: Asked, provenance: tuple[Field, ...]) -> Table:
    """The form that was asked for."""
    if asked.profile == "full":
        return _full(asked.ties, provenance)
    return {"preference": _preference, "reward": _reward, "kto": _kto, "sft": _sft, "prompt": _prompt}[asked.shape](
        asked.ties
    )


def _full(ties: str, provenance: tuple[Field, ...]) -> Table:
    places = [*range(len(PAIR)), *range(PROVENANCE, PROVENANCE + len(provenance))]
    if ties != "soft":
        pick = itemgetter(*places)
        kept = (lambda rows: map(pick, rows)) if ties == "keep" else (lambda rows: map(pick, filter(_decided, rows)))
        return Table((*PAIR, *provenance), kept)

    def soft(rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            p = _p_chosen(row)
            yield (*row[: CHOICE + 1], 1 - p if row[CHOICE] == "b" else p, *row[CHOICE + 1 : SURE], *row[PROVENANCE:])

    return Table((*PAIR[: CHOICE + 1], Field("p_a", "number"), *PAIR[CHOICE + 1 :], *provenance), soft)


def _preference(ties: str) -> Table:
    if ties == "soft":
        return Table((*CHOSEN, SOFT), lambda rows: ((*_chosen(row), _p_chosen(row)) for row in rows))
    return Table(CHOSEN, lambda rows: map(_chosen, filter(_decided, rows)))


def _reward(ties: str) -> Table:
    def rows_of(rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            if ties == "drop" and not _decided(row):
                continue
            p = _p_chosen(row)
            yield (*_chosen(row), _margin(row, p), p, 1 - p)

    return Table((*CHOSEN, *REWARD), rows_of)


def _kto(ties: str) -> Table:
    """Two rows a pair. A tie that is kept wants both responses, both bad wants neither."""

    def rows_of(rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            if ties == "drop" and not _decided(row):
                continue
            prompt, chosen, rejected = _chosen(row)
            yield (prompt, chosen, row[CHOICE] != "both_bad")
            yield (prompt, rejected, row[CHOICE] == "tie")

    return Table(KTO, rows_of)


def _sft(_ties: str) -> Table:
    fields = (Field("prompt", "messages"), Field("completion", "reply"))
    return Table(fields, lambda rows: (_chosen(row)[:2] for row in rows if _decided(row)))


def _prompt(_ties: str) -> Table:
    return Table((Field("prompt", "messages"),), lambda rows: ((row[PROMPT],) for row in rows))


def _decided(row: Row) -> bool:
    return row[CHOICE] in ("a", "b")


def _chosen(row: Row) -> Row:
    """Prompt, chosen and rejected; of a tie A comes first, which says nothing."""
    if row[CHOICE] == "b":
        return (row[PROMPT], row[RESPONSE_B], row[RESPONSE_A])
    return (row[PROMPT], row[RESPONSE_A], row[RESPONSE_B])


def _p_chosen(row: Row) -> float:
    """The probability that the chosen response is better: one where a person just said so, half for a tie."""
    if not _decided(row):
        return 0.5
    return 1.0 if row[SURE] is None else max(0.5, float(row[SURE]))


def _margin(row: Row, p: float) -> float:
    """By how much a reward should differ: a person's strength (1 better, 2 much better), else the log-odds."""
    if row[SURE] is None and _decided(row):
        return float(row[STRENGTH] or 1)
    p = min(p, SUREST)
    return math.log(p / (1 - p))
