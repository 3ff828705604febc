"""The played team's plan: drawn without a look at labels, nothing told on import, and enough power."""

import random
from typing import Any

import pytest

from benchmarks.team_plan import FULL, as_imported, choose, group_of, power

Row = dict[str, Any]


@pytest.fixture
def rows() -> list[Row]:
    draw = random.Random(0)
    return [
        {
            "id": f"pair-{number}",
            "source": "made up",
            "prompt": f"Question {number // 5}?",
            "response_a": f"Yes, {number}.",
            "response_b": f"No, {number}.",
            "labels": [{"annotator": "annotator1", "choice": draw.choice("ab")}],
            "gold": draw.choice("ab"),
            "meta": {"group_key": f"prompt-{number // 5}", "model_a": "one", "model_b": "other", "human": "a"},
        }
        for number in range(820)
    ]


def test_what_is_drawn_does_not_depend_on_what_people_said(rows: list[Row]) -> None:
    other = [{**row, "labels": [], "gold": "tie"} for row in rows]
    drawn = [[row["id"] for row in part] for part in choose(rows, FULL)[:2]]
    assert drawn == [[row["id"] for row in part] for part in choose(other, FULL)[:2]]


def test_unseen_prompts_are_never_imported(rows: list[Row]) -> None:
    seen, unseen, tested = choose(rows, FULL)
    assert len(seen) == FULL.pairs
    assert {group_of(row) for row in seen}.isdisjoint({group_of(row) for row in unseen})
    assert unseen
    assert tested <= FULL.prompts


def test_nothing_that_is_imported_says_what_people_chose(rows: list[Row]) -> None:
    sent = as_imported(rows[0])
    assert sent.keys().isdisjoint({"labels", "gold"})
    assert sent["meta"] == {"group_key": "prompt-0"}


def test_the_plan_lets_a_judge_of_the_assumed_accuracy_expect_coverage() -> None:
    expected = power(39, wished=FULL.wished_agreement)
    assert expected["probability_of_coverage"] >= 0.8
    assert power(39, wished=0.9)["probability_of_coverage"] < 0.3
