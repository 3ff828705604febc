"""In which order rows are trained on: both orders of a pair stand in one batch, beside pairs of about their length.

A judge begins by favouring a position. With both orders in one step that preference's gradient cancels, and what is
left is what distinguishes the responses; apart, it is most of a step's noise.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from transformers import Trainer

MEGABATCH = 16


class PairedOrder:
    """A sampler: rows of a ``block`` stay together; blocks are shuffled anew each epoch, in batches of like length.

    ``epoch`` tells how many epochs are done. The order depends on the seed and the epoch only, so that a resumed run
    sees the rows it would have seen, in one process or several. An epoch is whole batches: those left over, fewer than
    a batch, are others in each; several processes would take some of them twice to be equal.
    """

    def __init__(
        self,
        blocks: Sequence[str],
        lengths: Sequence[int],
        *,
        batch_size: int,
        seed: int,
        epoch: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.rows: dict[str, list[int]] = {}
        for row, block in enumerate(blocks):
            self.rows.setdefault(block, []).append(row)
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths) // self.batch_size * self.batch_size or len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        draw = np.random.default_rng([self.seed, int(self.epoch())])
        blocks = list(self.rows.values())
        shuffled = _first([blocks[place] for place in draw.permutation(len(blocks)).tolist()], len(self))
        size = max(1, MEGABATCH * self.batch_size // max(map(len, blocks)))
        batches: list[list[int]] = []
        for start in range(0, len(shuffled), size):
            mega = sorted(shuffled[start : start + size], key=lambda rows: -max(self.lengths[row] for row in rows))
            batches += _batches([row for block in mega for row in block], self.batch_size)
        whole = [batch for batch in batches if len(batch) == self.batch_size]
        rest = [row for batch in batches if len(batch) < self.batch_size for row in batch]
        for place in draw.permutation(len(whole)).tolist():
            yield from whole[place]
        yield from rest


def paired_order(trainer: "Trainer", rows: Any = None) -> PairedOrder:
    """The order in which a trainer goes through its rows (``rows``: others), which have a ``block`` and a ``length``.

    A batch of the order is a whole step of all processes. The epoch is the trainer's own, which a checkpoint keeps:
    a sampler inside the shares of several processes is not told of it.
    """
    chosen: Any = trainer.train_dataset if rows is None else rows
    args: Any = trainer.args
    size = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    return PairedOrder(
        chosen["block"],
        chosen["length"],
        batch_size=size,
        seed=args.seed,
        epoch=lambda: trainer.state.epoch or 0.0,
    )


def _first(blocks: Sequence[Sequence[int]], rows: int) -> list[Sequence[int]]:
    """The first blocks with so many rows together, the last one cut."""
    found: list[Sequence[int]] = []
    for block in blocks:
        if rows <= 0:
            break
        found.append(block[:rows])
        rows -= len(block)
    return found


def _batches(rows: Sequence[int], size: int) -> list[list[int]]:
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]
