"""What the played team decides before anything is measured: which pairs, which wish, and the power that this gives."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from genrm_engine.evaluation import selective

SLUG, ASSUMED = "team", 0.78

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is decided before anything is measured."""

    pairs: int
    prompts: int
    unseen_prompts: int
    holdout_share: float
    audit_share: float
    pairs_of_a_holdout_prompt: int
    asked_before_training: float
    asked_in_all: float
    wished_agreement: float
    seed: int = 0


FULL = Plan(500, 150, 13, 0.5, 0.05, 2, 0.85, 0.92, 0.6)
SHORT = Plan(120, 44, 6, 0.7, 0.05, 2, 0.85, 0.92, 0.6)


def power(labels: int, *, wished: float, accuracy: float = ASSUMED, trials: int = 300) -> dict[str, float]:
    """How likely a judge of this accuracy gets coverage with so many labels, and how much on average.

    It is taken to be right the more often the surer it is: in a straight line from where it is least sure to always
    where it is surest.
    """
    draw = np.random.default_rng(0)
    found = []
    for _ in range(trials):
        sure = draw.random(labels)
        right = draw.random(labels) < 2 * accuracy - 1 + 2 * (1 - accuracy) * sure
        confidence = {str(number): 0.5 + 0.5 * float(value) for number, value in enumerate(sure)}
        agrees = {str(number): bool(value) for number, value in enumerate(right)}
        found.append(selective.select(confidence, agrees, wished=wished))
    return {
        "accuracy": accuracy,
        "labels": labels,
        "probability_of_coverage": sum(one.threshold is not None for one in found) / trials,
        "mean_coverage": round(float(np.mean([one.coverage for one in found])), 3),
    }


def choose(rows: list[Row], plan: Plan) -> tuple[list[Row], list[Row], int]:
    """The rows to import, those of prompts that stay unseen, and how many labels will test the threshold.

    Drawn by prompt, without a look at any label; of a prompt in the hold-out few pairs, because only one counts.
    """
    from labeling.models import Project
    from labeling.services.imports import part_of
    from labeling.services.trust import TESTED_ON

    project = Project(slug=SLUG, holdout_share=plan.holdout_share)
    prompts = sorted({group_of(row) for row in rows})
    order = [prompts[place] for place in np.random.default_rng(plan.seed).permutation(len(prompts))]
    part = {prompt: part_of(project, prompt) for prompt in order}
    seen: list[Row] = []
    further: list[Row] = []
    for prompt in order[: plan.prompts]:
        own = [row for row in rows if group_of(row) == prompt]
        most = plan.pairs_of_a_holdout_prompt if part[prompt] else len(own)
        seen, further = seen + own[:most], further + own[most:]
    seen = (seen + further)[: plan.pairs]
    never = order[plan.prompts : plan.prompts + plan.unseen_prompts]
    unseen = [row for row in rows if group_of(row) in never]
    return seen, unseen, len({group_of(row) for row in seen if part[group_of(row)] in TESTED_ON})


def group_of(row: Row) -> str:
    return str(row["meta"]["group_key"])


def as_imported(row: Row) -> Row:
    """The row without anything that says what people chose."""
    kept = {name: row[name] for name in ("id", "prompt", "response_a", "response_b", "source")}
    models = {name: row["meta"][name] for name in ("model_a", "model_b")}
    return {**kept, **models, "meta": {"group_key": group_of(row)}}
