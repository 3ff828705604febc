"""Which older labels are trained on again beside the new ones; pure and seeded."""

from collections.abc import Sequence

import numpy as np

from genrm_engine.training.config import TrainConfig
from genrm_engine.types import LabelledPair


def replayed(older: Sequence[LabelledPair], config: TrainConfig, *, new: Sequence[LabelledPair]) -> list[LabelledPair]:
    """A seeded choice of older labels, ``config.replay_share`` for each new one; none of a pair labelled anew."""
    known = {row.pair.id for row in new}
    unseen = sorted((row for row in older if row.pair.id not in known), key=lambda row: row.pair.id)
    count = min(len(unseen), round(config.replay_share * len(new)))
    chosen = np.random.default_rng(config.seed).permutation(len(unseen))[:count]
    return [unseen[place] for place in sorted(chosen.tolist())]
