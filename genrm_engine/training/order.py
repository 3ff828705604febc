"""In which order rows are trained on: both orders of a pair stand in one batch, beside pairs of about their length.

A judge begins by favouring a position. With both orders in one step that preference's gradient cancels, and what is
left is what distinguishes the responses; apart, it is most of a step's noise.
"""

from collections.abc import Iterator, Sequence

import numpy as np

MEGABATCH = 16


class PairedOrder:
    """A sampler: rows of a ``block`` stay together; blocks are shuffled anew each epoch, in batches of like length.

    The order depends on the seed and the epoch only, so that a resumed run sees the rows it would have seen.
    """

    def __init__(self, blocks: Sequence[str], lengths: Sequence[int], *, batch_size: int, seed: int) -> None:
        self.rows: dict[str, list[int]] = {}
        for row, block in enumerate(blocks):
            self.rows.setdefault(block, []).append(row)
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        draw = np.random.default_rng([self.seed, self.epoch])
        blocks = list(self.rows.values())
        shuffled = [blocks[place] for place in draw.permutation(len(blocks)).tolist()]
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


def _batches(rows: Sequence[int], size: int) -> list[list[int]]:
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]
