"""What STaR-DPO learns from: which chain is chosen, with which verdict, and the losses by TRL's names."""

from typing import Any

import pytest

from genrm_engine.prompts import build_prompt
from genrm_engine.training.config import TrainConfig
from genrm_engine.training.data import Item, chain_ids
from genrm_engine.training.selection import Preference
from genrm_engine.types import Chain, LabelledPair
from tests.engine.conftest import make_pair
from tests.engine.test_training_parts import LETTERS

pytestmark = pytest.mark.model
RIGHT, WRONG = Chain("It fits.", 0.9, 3, (7, 8)), Chain("It is rude.", 0.1, 4, (9, 10, 11))
END = [ord("]"), 0]


def test_a_chain_is_trained_on_as_it_was_written() -> None:
    assert chain_ids(RIGHT, first=True, encoder=LETTERS) == [7, 8, 1, 2, ord("A"), *END]
    assert chain_ids(RIGHT, first=False, encoder=LETTERS) == [7, 8, 1, 2, ord("B"), *END]


@pytest.mark.parametrize(
    ("choice", "swapped", "right"), [("a", False, "A"), ("a", True, "B"), ("b", False, "B"), ("b", True, "A")]
)
def test_the_chosen_chain_names_the_label_and_the_rejected_one_the_other(
    choice: Any, swapped: bool, right: str
) -> None:
    from genrm_engine.training.preference import preference_row

    pair = make_pair(1)
    prompt = build_prompt(pair, method="cot", swapped=swapped)
    item = Item(LabelledPair(pair, choice), swapped, prompt, (1, 2, 3), 1.0)
    assert preference_row(Preference(item, RIGHT, WRONG), LETTERS) == {
        "prompt_ids": [1, 2, 3],
        "chosen_ids": [7, 8, 1, 2, ord(right), *END],
        "rejected_ids": [9, 10, 11, 1, 2, ord("B" if right == "A" else "A"), *END],
        "length": 3 + 7 + 8,
    }


@pytest.mark.parametrize(
    ("changes", "losses"),
    [
        ({"sft_weight": 0.0}, (["sigmoid"], [1.0])),
        ({"sft_weight": 0.3}, (["sigmoid", "sft"], [1.0, 0.3])),
        ({"sft_weight": 0.0, "label_noise": 0.1}, (["robust"], [1.0])),
        ({"sft_weight": 0.3, "label_noise": 0.1}, (["robust", "sft"], [1.0, 0.3])),
        ({"sft_weight": 0.0, "method": "star-ipo"}, (["ipo"], [1.0])),
        ({"sft_weight": 0.3, "method": "star-ipo"}, (["ipo", "sft"], [1.0, 0.3])),
    ],
)
def test_the_losses_and_their_weights(changes: dict[str, Any], losses: tuple[list[str], list[float]]) -> None:
    from genrm_engine.training.preference import loss_types

    assert loss_types(TrainConfig.from_json({"method": "star-dpo", "model": "m", **changes})) == losses
