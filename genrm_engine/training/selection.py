"""Which of the judge's own chains become right-against-wrong pairs (STaR-DPO); pure and seeded."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from genrm_engine.training.config import TrainConfig
from genrm_engine.training.data import Item
from genrm_engine.types import Chain


@dataclass(frozen=True, slots=True)
class Preference:
    """Two chains of the judge on the same prompt in the same order; the right one names the human's choice."""

    item: Item
    right: Chain
    wrong: Chain


@dataclass(frozen=True, slots=True)
class Yields:
    """How many drawn chains had the right verdict, the wrong one or none, and how many questions gave a pair.

    Questions whose verdicts were ``all_right`` (too easy) or ``all_wrong`` (too hard) give none.
    """

    right: int
    wrong: int
    unparsed: int
    questions: int
    paired: int
    all_right: int
    all_wrong: int

    def to_json(self) -> dict[str, int]:
        return asdict(self)


def select(
    items: Sequence[Item], chains: Mapping[str, Sequence[Chain]], config: TrainConfig, *, iteration: int
) -> tuple[list[tuple[Item, Chain]], list[Preference], Yields]:
    """Draw verdicts after each rationale by the judge's probability: right chains, right-against-wrong pairs, yields.

    (rationale, verdict) is then a sample of the judge itself. The rationale is what costs time, so several verdicts
    are drawn after each. For STaR-SFT the first draw of all chains is gone through, then the second and so on: a chain
    is taken as often as its verdict is right, where any right draw would take most. For the pairs (STaR-DPO) the right
    chain after which the right verdict was most probable meets the wrong one that misled most. At most
    ``pairs_per_order`` of either for each prompt and order.
    """
    kept: list[tuple[Item, Chain]] = []
    found: list[Preference] = []
    right_count = wrong_count = unparsed = paired = all_right = all_wrong = 0
    for item in items:
        first_right: list[tuple[int, int]] = []
        right: list[tuple[float, int]] = []
        wrong: list[tuple[float, int]] = []
        drawn = chains[item.key]
        for number, chain in enumerate(drawn):
            if chain.p_first is None:
                unparsed += config.verdict_draws
                continue
            p_right = chain.p_first if item.first_wins else 1 - chain.p_first
            verdicts = _uniforms(item, number, config, iteration) < p_right
            hits = int(verdicts.sum())
            right_count += hits
            wrong_count += config.verdict_draws - hits
            if hits:
                first_right.append((int(verdicts.argmax()), number))
                right.append((-p_right, number))
            if hits < config.verdict_draws:
                wrong.append((p_right, number))
        pairs = list(zip(sorted(right), sorted(wrong), strict=False))[: config.pairs_per_order]
        paired += bool(pairs)
        all_right += bool(right and not wrong)
        all_wrong += bool(wrong and not right)
        kept += [(item, drawn[number]) for _, number in sorted(first_right)[: config.pairs_per_order]]
        found += [Preference(item, drawn[good], drawn[bad]) for (_, good), (_, bad) in pairs]
    return kept, found, Yields(right_count, wrong_count, unparsed, len(items), paired, all_right, all_wrong)


def _uniforms(item: Item, number: int, config: TrainConfig, iteration: int) -> np.ndarray:
    key = hashlib.sha256(f"{config.seed}:{iteration}:{item.key}:{number}".encode()).digest()
    return np.random.default_rng(list(key)).random(config.verdict_draws)
