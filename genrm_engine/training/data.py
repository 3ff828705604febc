"""From labelled pairs to token ids with weights, in both orders; knows prompts and an encoder, no model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from genrm_engine.backends.encoding import PromptEncoder
from genrm_engine.errors import EngineError
from genrm_engine.prompts import INDICATORS, VERDICT_END, JudgePrompt, build_prompt
from genrm_engine.training.config import TrainConfig
from genrm_engine.types import Chain, LabelledPair, Method

LEAST_PAIRS = 2
_MOST_BALANCE = 3.0


@dataclass(frozen=True, slots=True)
class Item:
    """One order of a labelled pair: ``first_wins`` says that the response shown first is the human's choice."""

    row: LabelledPair
    swapped: bool
    prompt: JudgePrompt
    prompt_ids: tuple[int, ...]
    weight: float

    @property
    def key(self) -> str:
        return f"{self.row.pair.id}:{'ba' if self.swapped else 'ab'}"

    @property
    def first_wins(self) -> bool:
        return (self.row.choice == "a") != self.swapped

    @property
    def p_first(self) -> float:
        """The share of annotators for the response shown first; 0 or 1 where only the choice is known."""
        p_a = float(self.row.choice == "a") if self.row.p_a is None else self.row.p_a
        return 1 - p_a if self.swapped else p_a


def items(
    rows: Sequence[LabelledPair], *, method: Method, config: TrainConfig, encoder: PromptEncoder
) -> tuple[list[Item], int]:
    """Both orders of each pair whose prompt fits ``max_tokens``, and how many pairs did not fit.

    A prompt is never cut for training: a pair is taken whole or left out. Weighed are those that are taken.
    """
    found: list[Item] = []
    left_out = 0
    for row in rows:
        orders = []
        for swapped in (False, True):
            prompt = build_prompt(row.pair, method=method, rubric=config.rubric, swapped=swapped)
            orders.append(Item(row, swapped, prompt, tuple(encoder.prompt_ids(prompt)), 1.0))
        if max(len(item.prompt_ids) for item in orders) > config.max_tokens:
            left_out += 1
        else:
            found += orders
    if len(found) < 2 * LEAST_PAIRS:
        raise EngineError(
            f"{len(found) // 2} labelled pairs can be trained on ({left_out} longer than {config.max_tokens} tokens): "
            f"at least {LEAST_PAIRS} are needed"
        )
    weights = pair_weights([item.row for item in found[::2]], balance_length=config.balance_length)
    return [replace(item, weight=weights[number // 2]) for number, item in enumerate(found)], left_out


def pair_weights(rows: Sequence[LabelledPair], *, balance_length: bool) -> list[float]:
    """The labels' weights, scaled to a mean of 1; balanced, longer and shorter winners weigh the same in sum.

    No pair is made more than three times as heavy or light by the balance.
    """
    kinds = [_length_kind(row) for row in rows]
    totals = {kind: sum(row.weight for row, of in zip(rows, kinds, strict=True) if of == kind) for kind in (-1, 1)}
    factors = {-1: 1.0, 0: 1.0, 1: 1.0}
    if balance_length and min(totals.values()) > 0:
        half = sum(totals.values()) / 2
        for kind, total in totals.items():
            factors[kind] = min(_MOST_BALANCE, max(1 / _MOST_BALANCE, half / total))
    weights = [row.weight * factors[kind] for row, kind in zip(rows, kinds, strict=True)]
    if not weights or sum(weights) <= 0:
        raise EngineError("there is no labelled pair with a weight above 0 to train on")
    mean = sum(weights) / len(weights)
    return [weight / mean for weight in weights]


def copies(weights: Sequence[float], *, seed: int) -> list[int]:
    """How often each row is taken so that rows count by their weights where a loss knows none; as many as there are.

    Systematic resampling (Kitagawa 1996): the expectation is the weight's share exactly, a row with the mean weight is
    taken once, and every row by its weight rounded up or down.
    """
    scaled = np.asarray(weights, dtype=float) * (len(weights) / sum(weights))
    edges = np.floor(np.cumsum(scaled).round(9) + np.random.default_rng(seed).random())
    return [int(count) for count in np.diff(edges, prepend=0.0)]


def verdict_rows(item: Item, encoder: PromptEncoder, *, soft: bool) -> list[dict[str, Any]]:
    """Prompt and the right indicator; only the indicator carries weight.

    A ``soft`` label on which the annotators were not of one mind gives two rows, one for each side, whose weights are
    their shares: together the cross-entropy with the shares.
    """
    p_first = item.p_first if soft else float(item.first_wins)
    return [
        _weighted(item, "score", [indicator(encoder, first=first)], [item.weight * share])
        for first, share in ((True, p_first), (False, 1 - p_first))
        if share > 0
    ]


def chain_row(
    item: Item, written: Sequence[int], encoder: PromptEncoder, *, rationale: float, verdict: float | None
) -> dict[str, Any]:
    """Prompt and a whole answer with the right verdict.

    ``rationale`` is the weight of all tokens but the verdict's together, ``verdict`` that of the indicator (None: that
    of any other token, which is plain maximum likelihood).
    """
    form, end = encoder.form_ids, answer_end(encoder)
    each = item.weight * rationale / (len(written) + len(form) + len(end))
    weights = (
        [each] * (len(written) + len(form)),
        [each if verdict is None else item.weight * verdict],
        [each] * len(end),
    )
    tail = [*written, *form, indicator(encoder, first=item.first_wins), *end]
    return _weighted(item, "cot", tail, [weight for part in weights for weight in part])


def written_ids(item: Item, encoder: PromptEncoder) -> list[int]:
    """The tokens of the pair's written rationale, with the responses named as this order shows them."""
    better, worse = INDICATORS if item.first_wins else INDICATORS[::-1]
    text = item.row.rationale.replace("{better}", better).replace("{worse}", worse)
    return encoder.text_ids(" " + " ".join(text.split()))


def chain_ids(chain: Chain, *, first: bool, encoder: PromptEncoder) -> list[int]:
    """A judge's whole answer: rationale, verdict form, indicator, end."""
    return [*chain.token_ids, *encoder.form_ids, indicator(encoder, first=first), *answer_end(encoder)]


def answer_end(encoder: PromptEncoder) -> list[int]:
    """What closes the verdict form and the turn."""
    return [*encoder.text_ids(VERDICT_END), encoder.eos_id]


def indicator(encoder: PromptEncoder, *, first: bool) -> int:
    return encoder.indicator_ids[0 if first else 1]


def _weighted(item: Item, method: Method, tail: list[int], weights: list[float]) -> dict[str, Any]:
    """``block`` keeps the rows of both orders together (``order.PairedOrder``)."""
    return {
        "input_ids": [*item.prompt_ids, *tail],
        "token_weights": [*[0.0] * len(item.prompt_ids), *weights],
        "block": f"{item.row.pair.id}:{method}",
    }


def _length_kind(row: LabelledPair) -> int:
    """1 where the longer response won, -1 where the shorter did, 0 at equal lengths."""
    a, b = len(row.pair.response_a), len(row.pair.response_b)
    if a == b:
        return 0
    return 1 if (a > b) == (row.choice == "a") else -1
