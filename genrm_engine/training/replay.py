"""Which older labels are trained on again beside the new ones; pure and seeded."""

from collections.abc import Sequence

import numpy as np

from genrm_engine.training.config import TrainConfig
from genrm_engine.types import LabelledPair, Message, Pair


def replayed(older: Sequence[LabelledPair], config: TrainConfig, *, new: Sequence[LabelledPair]) -> list[LabelledPair]:
    """A seeded choice of older labels, ``config.replay_share`` for each new one; none of a pair labelled anew.

    A pair is known by its prompt and its responses, whichever stands first.
    """
    known = {_content(row.pair) for row in new}
    unseen = sorted((row for row in older if _content(row.pair) not in known), key=lambda row: row.pair.id)
    count = min(len(unseen), round(config.replay_share * len(new)))
    chosen = np.random.default_rng(config.seed).permutation(len(unseen))[:count]
    return [unseen[place] for place in sorted(chosen.tolist())]


def _content(pair: Pair) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    return pair.prompt, tuple(sorted((pair.response_a, pair.response_b)))
