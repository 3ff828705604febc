"""In which order and how often rows are trained on, and that a run which was interrupted keeps to it."""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrm_engine.errors import Cancelled
from genrm_engine.progress import Progress
from genrm_engine.prompts import build_prompt
from genrm_engine.training.config import TrainConfig
from genrm_engine.training.data import Item, copies
from genrm_engine.training.order import PairedOrder
from genrm_engine.training.selection import Preference
from genrm_engine.types import Chain, LabelledPair
from tests.engine.conftest import make_labelled, make_pair
from tests.engine.test_training_parts import LETTERS


def test_both_orders_of_a_pair_are_in_one_batch_and_every_epoch_is_another() -> None:
    blocks = [f"p{row // 2}" for row in range(200)]
    lengths = [10 + row // 2 for row in range(200)]
    epochs = [
        list(PairedOrder(blocks, lengths, batch_size=8, seed=3, epoch=partial(float, n))) for n in (0.0, 1.0, 1.4)
    ]
    for seen in epochs:
        assert sorted(seen) == list(range(200))
        for start in range(0, 200, 8):
            batch = [blocks[row] for row in seen[start : start + 8]]
            assert all(batch.count(block) == 2 for block in batch)
    assert epochs[0] != epochs[1]
    assert epochs[1] == epochs[2], "an epoch that was interrupted goes on in its order"


def test_an_epoch_is_whole_batches_and_leaves_other_rows_over_each_time() -> None:
    blocks, lengths = [f"p{row // 2}" for row in range(54)], [90 - row // 2 for row in range(54)]
    left: list[frozenset[int]] = []
    for epoch in range(40):
        order = PairedOrder(blocks, lengths, batch_size=8, seed=3, epoch=partial(float, epoch))
        seen = list(order)
        assert len(seen) == len(order) == len(set(seen)) == 48
        left.append(frozenset(range(54)) - set(seen))
        assert all(row ^ 1 in left[-1] for row in left[-1]), "whole pairs are left over"
    assert set().union(*left) == set(range(54)), "long or short"
    few = PairedOrder(["a", "a", "b"], [3, 3, 4], batch_size=8, seed=0)
    assert sorted(few) == [0, 1, 2]
    assert len(few) == 3


def test_rows_count_by_their_weights_and_all_are_taken_once_at_equal_ones() -> None:
    assert copies([1.0] * 7, seed=5) == [1] * 7
    assert copies([0.3] * 7, seed=5) == [1] * 7
    weights = [0.25, 0.75, 3.0, 1.0, 0.0]
    drawn = np.array([copies(weights, seed=seed) for seed in range(2000)])
    assert set(drawn.sum(axis=1)) == {5}, "as many rows as there were"
    assert drawn.mean(axis=0) == pytest.approx(weights, abs=0.05)
    assert all(set(drawn[:, place]) == {0, 1} for place in (0, 1))
    assert copies(weights, seed=1) == copies(weights, seed=1)


@pytest.mark.model
def test_preferences_of_a_heavier_pair_are_learnt_from_more_often() -> None:
    from genrm_engine.training.preference import preference_rows

    found = []
    for number, weight in enumerate((3.0, 1.0, 1.0, 1.0, 0.0)):
        pair = make_pair(number)
        for swapped in (False, True):
            prompt = build_prompt(pair, method="cot", swapped=swapped)
            item = Item(LabelledPair(pair, "a"), swapped, prompt, (1, 2, 3), weight)
            found.append(Preference(item, Chain("Yes.", 0.9, 3, (7, 8)), Chain("No.", 0.1, 3, (9,))))
    config = TrainConfig(method="star-dpo", model="m")
    rows = preference_rows(found, config=config, encoder=LETTERS)
    blocks = Counter(row["block"] for row in rows)
    assert set(blocks.values()) == {2}, "a block is a pair in both orders"
    taken = Counter(block.partition(":")[0] for block in blocks)
    assert sum(taken.values()) == 5
    assert taken["p0"] in (2, 3)
    assert taken["p0"] > max(taken[f"p{number}"] for number in (1, 2, 3))
    assert "p4" not in taken


@pytest.mark.model
def test_questions_of_a_heavier_pair_are_asked_more_often(tiny_model: Path) -> None:
    from genrm_engine.training.grpo import question_rows
    from tests.engine.test_grpo import config_of, parts

    config = config_of(tiny_model)
    asked, encoder = parts(config, 4)
    heavy = [replace(item, weight=2.5 if item.row.pair.id == "p0" else 0.5) for item in asked]
    taken = Counter(row["pair"] for row in question_rows(heavy, config, encoder, count=80))
    assert taken["p0"] in (2 * 20, 3 * 20, 50)
    assert sum(taken.values()) == 80


class CancellingAt(Progress):
    """Cancels the run after so many steps."""

    def __init__(self, folder: Path, step: int) -> None:
        super().__init__(folder)
        self.step = step

    def say(self, phase: str, fraction: float, message: str, **known: Any) -> None:
        super().say(phase, fraction, message, **known)
        if known.get("step") == self.step:
            self.cancel_file.touch()


@pytest.mark.model
@pytest.mark.parametrize(
    "method",
    ["genrm", pytest.param("star-dpo", marks=pytest.mark.slow), pytest.param("pairrm", marks=pytest.mark.slow)],
)
def test_a_run_cancelled_in_its_second_epoch_ends_as_if_it_had_not_been(
    tiny_model: Path, tmp_path: Path, method: str
) -> None:
    from genrm_engine.training.run import train
    from tests.engine.test_training_methods import config_of
    from tests.engine.test_two_processes import moved, weights

    config = config_of(tiny_model, method, learning_rate=1e-3, epochs=3, checkpoints=20)
    rows = varied(30)
    about = train(config, rows, tmp_path / "whole", progress=Progress(tmp_path / "whole"))
    steps = about["metrics"]["steps"]
    parts = tmp_path / "parts"
    with pytest.raises(Cancelled):
        train(config, rows, parts, progress=CancellingAt(parts, steps // 3 + 2))
    (parts / "cancel").unlink()
    again = train(config, rows, parts, progress=Progress(parts))
    assert again["metrics"]["resumed_from"].startswith("checkpoint-")
    assert again["metrics"]["steps"] == steps
    judges = [weights(folder / "judge") for folder in (tmp_path / "whole", parts)]
    assert moved(weights(tiny_model), *judges) < 0.02


def varied(count: int) -> list[LabelledPair]:
    """Pairs of differing lengths, which are not trained on in the order in which they stand."""
    return [
        replace(row, pair=replace(row.pair, response_a=row.pair.response_a + " and more" * (7 * number % 23)))
        for number, row in enumerate(make_labelled(count))
    ]
