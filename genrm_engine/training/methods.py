"""The training methods, each a short composition of stages; knows their order, not how a stage works.

Sources: GenRM, STaR-SFT, STaR-DPO, STaR-IPO and STaR-Rationalizer are those of Mahan et al. 2024 (arXiv 2410.12832),
Bradley-Terry and PairRM its baselines. The warm-up is not in the paper: it teaches a small model the form of an answer.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from genrm_engine.errors import EngineError
from genrm_engine.training.data import Item, chain_row, items, verdict_rows, written_ids
from genrm_engine.training.selection import Yields, select
from genrm_engine.training.stages import Fitted, Run, Span, free_memory, part_of, told, with_rationale
from genrm_engine.types import Chain, LabelledPair, Method

SAMPLING = 0.3
"""The share of a run's progress that sampling takes; a guess that is right within a factor of two."""
TRAINED = 0.96
"""The progress at which training is done and saving begins."""
WHOLE: Span = (0.0, TRAINED)


def genrm(run: Run, rows: Sequence[LabelledPair]) -> Fitted:
    """Loss on the verdict token, and a share of rationales of the starting judge so that it keeps explaining."""
    asked, left_out = _items(run, rows, "score")
    explained = _some(_items(run, rows, "cot")[0], run)
    share = SAMPLING / 2 if explained else 0.0
    training = [row for item in asked for row in verdict_rows(item, run.encoder, soft=run.config.soft_labels)]
    if explained:
        chains = run.sampled(run.config.model, explained, part_of(run.span, 0, share), samples=1)
        training += [
            chain_row(item, chain.token_ids, run.encoder, rationale=run.config.rationale_weight, verdict=1.0)
            for item in explained
            for chain in chains[item.key][:1]
        ]
    model = run.load(run.config.model)
    model, seen = run.fit(model, training, part_of(run.span, share, 1), name="genrm", on="verdicts")
    return model, {**seen, "pairs_left_out": left_out, "rationale_rows": len(explained)}


def warm_up(run: Run, rows: Sequence[LabelledPair]) -> Fitted:
    """Written rationales with their verdicts, beside the verdicts alone, in both orders."""
    asked, left_out = _items(run, rows, "score")
    explained = with_rationale(_items(run, rows, "cot")[0])
    if not explained:
        raise EngineError("warm-up needs pairs with a written rationale (the field 'rationale')")
    training = [row for item in asked for row in verdict_rows(item, run.encoder, soft=run.config.soft_labels)]
    training += [
        chain_row(item, written_ids(item, run.encoder), run.encoder, rationale=run.config.rationale_weight, verdict=1.0)
        for item in explained
    ]
    model, seen = run.fit(run.load(run.config.model), training, run.span, name="warm-up", on="written rationales")
    return model, {**seen, "pairs_left_out": left_out, "rationale_rows": len(explained)}


def rationalizer(run: Run, rows: Sequence[LabelledPair]) -> Fitted:
    """Rationales written by a judge that was told the answer, learnt as if it had not been."""
    asked, left_out = _items(run, rows, "cot")
    count = run.config.pairs_per_order
    chains = run.sampled(
        run.config.model, [told(item) for item in asked], part_of(run.span, 0, SAMPLING), samples=count
    )
    training = [_answer(run, item, chain) for item in asked for chain in chains[item.key]]
    model = run.load(run.config.model)
    model, seen = run.fit(model, training, part_of(run.span, SAMPLING, 1), name="rationalizer", on="rationales")
    return model, {**seen, "pairs_left_out": left_out}


def star(run: Run, rows: Sequence[LabelledPair]) -> Fitted:
    """Iterations, each on its own slice of the labels: sample from the newest judge, keep what is right, train."""
    asked, left_out = _items(run, rows, "cot")
    slices = _slices(asked, run)
    current, history, model = run.config.model, [], None
    for number, part in enumerate(slices):
        after = run.out / "iterations" / str(number)
        known = run.saved(after)
        if known is None:
            span = part_of(run.span, number / len(slices), (number + 1) / len(slices))
            model, known = _iteration(run, current, part, number, span)
            if number + 1 < len(slices):
                run.save(model, after, known)
                model = None
                free_memory()  # the next one is read from the folder
        history.append(known)
        current = str(after)
    return model, {**history[-1], "iterations": history, "pairs_left_out": left_out}


def reward_head(run: Run, rows: Sequence[LabelledPair]) -> Fitted:
    """The baselines with a scalar head: Bradley-Terry and PairRM."""
    from genrm_engine.training import heads

    kind = run.config.method
    fit = heads.train_bradley_terry if kind == "bradley-terry" else heads.train_pairrm
    model = heads.load_head_model(run.config.model, kind=kind, config=run.config)
    folder = run.out / "checkpoints" / kind
    return fit(model, rows, config=run.config, encoder=run.encoder, folder=folder, progress=run.progress, span=run.span)


def grpo(run: Run, rows: Sequence[LabelledPair]) -> Fitted:
    """Reinforcement of the judge's own answers by the verdict, and by being right in both orders."""
    from genrm_engine.training.grpo import train_grpo

    asked, left_out = _items(run, rows, "cot")
    model, seen = train_grpo(
        run.load(run.config.model),
        asked,
        config=run.config,
        encoder=run.encoder,
        folder=run.out / "checkpoints" / "grpo",
        progress=run.progress,
        span=run.span,
    )
    return model, {**seen, "pairs_left_out": left_out}


METHODS: dict[str, Callable[[Run, Sequence[LabelledPair]], Fitted]] = {
    "genrm": genrm,
    "star-sft": star,
    "star-dpo": star,
    "star-ipo": star,
    "rationalizer": rationalizer,
    "bradley-terry": reward_head,
    "pairrm": reward_head,
    "grpo": grpo,
    "warm-up": warm_up,
}


def _iteration(run: Run, start: str, part: Sequence[Item], number: int, span: Span) -> Fitted:
    chains = run.sampled(
        start, part, part_of(span, 0, SAMPLING), samples=run.config.samples_per_order, iteration=number
    )
    right, preferences, yields = select(part, chains, run.config, iteration=number)
    fitting = part_of(span, SAMPLING, 1)
    _tell(run, yields, number, fitting[0])
    if run.config.method == "star-sft":
        if not right:
            raise EngineError("the judge gave no right rationale: more labels or samples are needed")
        training = [_answer(run, item, chain) for item, chain in right]
        model, seen = run.fit(run.load(start), training, fitting, name=f"star-{number}", on="right rationales")
    else:
        if not preferences:
            raise EngineError("the judge gave no right rationale beside a wrong one: more labels or samples are needed")
        model, seen = run.prefer(start, preferences, fitting, name=f"star-{number}")
    return model, {**seen, "yields": yields.to_json()}


def _tell(run: Run, yields: Yields, iteration: int, fraction: float) -> None:
    run.progress.say(
        "training",
        fraction,
        f"{yields.paired} of {yields.questions} questions gave a right and a wrong rationale",
        yields={"iteration": iteration, **yields.to_json()},
    )


def _answer(run: Run, item: Item, chain: Chain) -> dict[str, Any]:
    return chain_row(item, chain.token_ids, run.encoder, rationale=1.0, verdict=run.config.verdict_weight)


def _items(run: Run, rows: Sequence[LabelledPair], method: Method) -> tuple[list[Item], int]:
    return items(rows, method=method, config=run.config, encoder=run.encoder)


def _some(asked: Sequence[Item], run: Run) -> list[Item]:
    """A seeded share of the questions, for rationale rows."""
    count = round(run.config.rationale_share * len(asked))
    chosen = np.random.default_rng(run.config.seed).permutation(len(asked))[:count]
    return [asked[place] for place in sorted(chosen.tolist())]


def _slices(asked: Sequence[Item], run: Run) -> list[list[Item]]:
    """The questions in as many parts as iterations; both orders of a pair are in one part."""
    pairs = len(asked) // 2
    parts = min(run.config.iterations, pairs)
    order = np.random.default_rng(run.config.seed).permutation(pairs)
    return [
        [asked[2 * pair + swap] for pair in sorted(order[part::parts].tolist()) for swap in (0, 1)]
        for part in range(parts)
    ]
