"""Judging pairs in both orders; knows prompts and a backend, not how the backend works or who stores the result."""

import time
from collections.abc import Sequence
from statistics import fmean

from genrm_engine.backends import Backend
from genrm_engine.prompts import JudgePrompt, fit_prompt
from genrm_engine.types import Chain, Choice, Judgement, JudgeSettings, Pair, Rationale

__all__ = ["JudgeSettings", "judge"]


def judge(pairs: Sequence[Pair], *, backend: Backend, settings: JudgeSettings) -> list[Judgement]:
    """Judge every pair with either response shown first, and map the verdicts back to the stored order.

    Models favour a position, so one order alone says little: ``p_a`` is the mean of the two.
    """
    if not pairs:
        return []
    started = time.monotonic()
    prompts = [_fit(pair, backend, settings, swapped=swapped) for pair in pairs for swapped in (False, True)]
    tokens = backend.count_tokens(prompts)
    if settings.method == "score":
        scores = backend.score(prompts)
        chains = [[Chain("", score, 0)] for score in scores]
    else:
        chains = backend.generate(prompts, settings.sampling)
    seconds = (time.monotonic() - started) / len(pairs)
    return [
        _judgement(
            pair,
            settings,
            straight=chains[2 * row],
            swapped=chains[2 * row + 1],
            tokens=sum(tokens[2 * row : 2 * row + 2]),
            seconds=seconds,
            shortened=any(prompt.shortened for prompt in prompts[2 * row : 2 * row + 2]),
        )
        for row, pair in enumerate(pairs)
    ]


def _fit(pair: Pair, backend: Backend, settings: JudgeSettings, *, swapped: bool) -> JudgePrompt:
    return fit_prompt(pair, settings, swapped=swapped, count=lambda prompt: backend.count_tokens([prompt])[0])


def _judgement(
    pair: Pair,
    settings: JudgeSettings,
    *,
    straight: Sequence[Chain],
    swapped: Sequence[Chain],
    tokens: int,
    seconds: float,
    shortened: bool,
) -> Judgement:
    rationales = _rationales(straight, swapped=False) + _rationales(swapped, swapped=True)
    p_straight = _mean([rationale.p_a for rationale in rationales if not rationale.swapped])
    p_swapped = _mean([rationale.p_a for rationale in rationales if rationale.swapped])
    samples = len(straight) + len(swapped)
    votes_a = sum(rationale.verdict == "a" for rationale in rationales)
    return Judgement(
        pair_id=pair.id,
        method=settings.method,
        p_a=(p_straight + p_swapped) / 2,
        p_a_straight=p_straight,
        p_a_swapped=p_swapped,
        consistent=(p_straight - 0.5) * (p_swapped - 0.5) > 0,
        votes_a=votes_a,
        votes_b=len(rationales) - votes_a,
        samples=samples,
        unparsed=samples - len(rationales),
        tokens=tokens + sum(chain.tokens for chain in (*straight, *swapped)),
        seconds=seconds,
        rationales=tuple(rationales) if settings.method == "cot" else (),
        shortened=shortened,
    )


def _rationales(chains: Sequence[Chain], *, swapped: bool) -> list[Rationale]:
    """The chains that gave a verdict, in the stored order; the others are counted, never a vote."""
    found = []
    for number, chain in enumerate(chains):
        if chain.p_first is None:
            continue
        p_a = 1 - chain.p_first if swapped else chain.p_first
        verdict: Choice = "a" if p_a > 0.5 else "b"
        found.append(Rationale(swapped=swapped, sample=number, text=chain.text, p_a=p_a, verdict=verdict))
    return found


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.5
