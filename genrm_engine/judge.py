"""Judging pairs in both orders; knows prompts and a backend, not how the backend works or who stores the result."""

import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from genrm_engine.backends import Backend
from genrm_engine.prompts import JudgePrompt, fit_prompt
from genrm_engine.types import Chain, Judgement, JudgeSettings, Pair, Rationale
from genrm_engine.voting import Drawn, p_a_of, sample, verdict_of

__all__ = ["JudgeSettings", "judge"]


def judge(pairs: Sequence[Pair], *, backend: Backend, settings: JudgeSettings) -> list[Judgement]:
    """Judge every pair with either response shown first, and map the verdicts back to the stored order.

    Models favour a position, so one order alone says little: ``p_a`` is the mean of the two, ``vote`` the majority of
    all samples of both. ``settings`` say whether samples are drawn until the vote is settled, and whether a score
    comes first that may make them unnecessary.
    """
    if not pairs:
        return []
    started = time.monotonic()
    if settings.method == "score":
        found = _score(pairs, backend, settings)
    elif settings.cascade:
        found = _cascade(pairs, backend, settings)
    else:
        found = _reason(pairs, backend, settings)
    seconds = (time.monotonic() - started) / len(pairs)
    return [replace(judgement, seconds=seconds) for judgement in found]


def _score(pairs: Sequence[Pair], backend: Backend, settings: JudgeSettings) -> list[Judgement]:
    orders = _orders(pairs, backend, settings)
    tokens = _tokens(orders, backend)
    scores = iter(backend.score([prompt for order in orders for prompt in order]))
    return [
        _judgement(pair, settings, Drawn([Chain("", straight, 0)], [Chain("", swapped, 0)], 1), prompts, read)
        for pair, straight, swapped, prompts, read in zip(pairs, scores, scores, orders, tokens, strict=True)
    ]


def _reason(pairs: Sequence[Pair], backend: Backend, settings: JudgeSettings) -> list[Judgement]:
    orders = _orders(pairs, backend, settings)
    tokens = _tokens(orders, backend)
    drawn = sample(orders, backend=backend, settings=settings)
    return [_judgement(*row) for row in zip(pairs, [settings] * len(pairs), drawn, orders, tokens, strict=True)]


def _cascade(pairs: Sequence[Pair], backend: Backend, settings: JudgeSettings) -> list[Judgement]:
    """Reason about the pairs of which the score is unsure; what both steps read and wrote is added up."""
    scored = _score(pairs, backend, replace(settings, method="score"))
    found = [replace(row, method=settings.method, decided_by="score") for row in scored]
    unsure = [place for place, row in enumerate(scored) if is_unsure(row, settings.cascade_margin)]
    for place, row in zip(unsure, _reason([pairs[place] for place in unsure], backend, settings), strict=True):
        first = scored[place]
        found[place] = replace(
            row,
            tokens=row.tokens + first.tokens,
            prompt_tokens=row.prompt_tokens + first.prompt_tokens,
            shortened=row.shortened or first.shortened,
        )
    return found


def is_unsure(scored: Judgement, margin: float) -> bool:
    """Whether a cascade goes on after this score: it is close to one half, or the two orders disagree."""
    return abs(scored.p_a - 0.5) < margin or not scored.consistent


def _orders(pairs: Sequence[Pair], backend: Backend, settings: JudgeSettings) -> list[tuple[JudgePrompt, JudgePrompt]]:
    """Each pair's prompt with A shown first, and with B shown first."""

    def fit(pair: Pair, *, swapped: bool) -> JudgePrompt:
        return fit_prompt(pair, settings, swapped=swapped, count=lambda prompt: backend.count_tokens([prompt])[0])

    return [(fit(pair, swapped=False), fit(pair, swapped=True)) for pair in pairs]


def _tokens(orders: Sequence[tuple[JudgePrompt, JudgePrompt]], backend: Backend) -> list[int]:
    """Tokens of each pair's two prompts."""
    counts = iter(backend.count_tokens([prompt for order in orders for prompt in order]))
    return [straight + swapped for straight, swapped in zip(counts, counts, strict=True)]


def _judgement(
    pair: Pair, settings: JudgeSettings, drawn: Drawn, prompts: tuple[JudgePrompt, JudgePrompt], read: int
) -> Judgement:
    chains = (*drawn.straight, *drawn.swapped)
    rationales = _rationales(drawn.straight, swapped=False) + _rationales(drawn.swapped, swapped=True)
    orders = [[row.p_a for row in rationales if row.swapped == swapped] for swapped in (False, True)]
    p_straight, p_swapped = (fmean(values) if values else 0.5 for values in orders)
    votes_a, votes_b = drawn.votes
    reasoned = settings.method == "cot"
    return Judgement(
        pair_id=pair.id,
        method=settings.method,
        p_a=fmean([fmean(values) for values in orders if values] or [0.5]),
        p_a_straight=p_straight,
        p_a_swapped=p_swapped,
        consistent=(p_straight - 0.5) * (p_swapped - 0.5) > 0,
        votes_a=votes_a,
        votes_b=votes_b,
        samples=len(chains),
        unparsed=len(chains) - len(rationales),
        tokens=read * drawn.requests + sum(chain.tokens for chain in chains),
        seconds=0.0,
        rationales=tuple(rationales) if reasoned else (),
        shortened=any(prompt.shortened for prompt in prompts),
        unparsed_texts=tuple(chain.text for chain in chains if chain.p_first is None),
        prompt_tokens=read * drawn.requests,
    )


def _rationales(chains: Sequence[Chain], *, swapped: bool) -> list[Rationale]:
    """The chains that gave a verdict, in the stored order; the others are counted and kept, never a vote."""
    found = []
    for number, chain in enumerate(chains):
        if chain.p_first is None:
            continue
        p_a = p_a_of(chain.p_first, swapped=swapped)
        verdict = verdict_of(chain, swapped=swapped)
        found.append(Rationale(swapped, number, chain.text, p_a, verdict, chain.tokens))
    return found
