"""From labelled pairs to token ids with weights, in both orders; knows prompts and an encoder, no model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from genrm_engine.backends.encoding import PromptEncoder
from genrm_engine.errors import EngineError
from genrm_engine.prompts import JudgePrompt, build_prompt
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


def items(
    rows: Sequence[LabelledPair], *, method: Method, config: TrainConfig, encoder: PromptEncoder
) -> tuple[list[Item], int]:
    """Both orders of each pair whose prompt fits ``max_tokens``, and how many pairs did not fit.

    A prompt is never cut for training: a pair is taken whole or left out.
    """
    weights = pair_weights(rows, balance_length=config.balance_length)
    found: list[Item] = []
    left_out = 0
    for row, weight in zip(rows, weights, strict=True):
        orders = []
        for swapped in (False, True):
            prompt = build_prompt(row.pair, method=method, rubric=config.rubric, swapped=swapped)
            orders.append(Item(row, swapped, prompt, tuple(encoder.prompt_ids(prompt)), weight))
        if max(len(item.prompt_ids) for item in orders) > config.max_tokens:
            left_out += 1
        else:
            found += orders
    if len(found) < 2 * LEAST_PAIRS:
        raise EngineError(
            f"{len(found) // 2} labelled pairs can be trained on ({left_out} longer than {config.max_tokens} tokens): "
            f"at least {LEAST_PAIRS} are needed"
        )
    return found, left_out


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


def verdict_row(item: Item, encoder: PromptEncoder) -> dict[str, Any]:
    """Prompt and the right indicator; only the indicator carries weight."""
    return _weighted(list(item.prompt_ids), [indicator(encoder, first=item.first_wins)], [item.weight])


def rationale_row(item: Item, chain: Chain, encoder: PromptEncoder, *, weight: float) -> dict[str, Any]:
    """Prompt, a rationale and the right verdict after it; the rationale's weight is spread over its tokens."""
    written = list(chain.token_ids)
    spread = [item.weight * weight / max(1, len(written))] * len(written)
    form = encoder.form_ids
    tail = [*written, *form, indicator(encoder, first=item.first_wins)]
    return _weighted(list(item.prompt_ids), tail, [*spread, *[0.0] * len(form), item.weight])


def chain_ids(chain: Chain, *, first: bool, encoder: PromptEncoder) -> list[int]:
    """A judge's whole answer: rationale, verdict form, indicator."""
    return [*chain.token_ids, *encoder.form_ids, indicator(encoder, first=first)]


def indicator(encoder: PromptEncoder, *, first: bool) -> int:
    return encoder.indicator_ids[0 if first else 1]


def _weighted(prompt: list[int], tail: list[int], weights: list[float]) -> dict[str, Any]:
    return {"input_ids": [*prompt, *tail], "token_weights": [*[0.0] * len(prompt), *weights]}


def _length_kind(row: LabelledPair) -> int:
    """1 where the longer response won, -1 where the shorter did, 0 at equal lengths."""
    a, b = len(row.pair.response_a), len(row.pair.response_b)
    if a == b:
        return 0
    return 1 if (a > b) == (row.choice == "a") else -1
