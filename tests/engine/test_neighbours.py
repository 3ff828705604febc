"""Likeness follows what texts are about, needs no network, and says so where its encoder is missing."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrm_engine import neighbours
from genrm_engine.errors import EngineError
from genrm_engine.neighbours import available, likeness, shares

pytestmark = pytest.mark.skipif(not available(), reason="the sentence encoder is not installed")

COOKING = (
    "How do I bake bread with yeast and flour?",
    "A recipe for tomato soup with basil",
    "How long should I boil an egg?",
    "Roast chicken with garlic and butter",
)
PROGRAMMING = (
    "Write a Python function that sorts a list",
    "Explain pointers in the C language",
    "How do I join two tables in SQL?",
    "Fix this bug in my JavaScript code",
)
TEXTS = {text: text for text in (*COOKING, *PROGRAMMING)}
WRONG = {**dict.fromkeys(COOKING, True), **dict.fromkeys(PROGRAMMING, False)}


def test_a_text_about_what_the_judge_gets_wrong_is_likelier_wrong() -> None:
    cook, code = "What can I cook with rice and onions?", "Write a Java class that holds a hash map"
    found = likeness({**TEXTS, cook: cook, code: code, "nothing": ""}, WRONG, k=4)
    assert found[cook] > found["nothing"] > found[code]
    assert found["nothing"] == 0.5, "the overall error rate"
    assert all(0 <= share <= 1 for share in found.values())


def test_a_text_is_not_its_own_neighbour() -> None:
    alone = likeness({**TEXTS, "odd": "a recipe for onion soup"}, {**WRONG, "odd": False})
    assert alone["odd"] > 0.5, "its neighbours are wrong, though it is right"


def test_it_is_the_same_every_time_and_in_any_order() -> None:
    backwards = dict(reversed(TEXTS.items()))
    assert likeness(TEXTS, WRONG) == likeness(TEXTS, WRONG) == likeness(backwards, dict(reversed(WRONG.items())))


def test_without_labels_nothing_is_like_a_wrong_one() -> None:
    assert likeness({"one": "bread", "two": ""}, {}) == {"one": 0.0, "two": 0.0}
    assert likeness({}, {"gone": True}) == {}
    assert likeness({"one": "bread"}, {"gone": True}) == {"one": 0.0}, "a label without a text says nothing"


def test_blocks_give_what_one_at_a_time_gives() -> None:
    draw = np.random.default_rng(1)
    vectors = draw.normal(size=(neighbours.BLOCK + 30, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labelled = draw.choice(len(vectors), 200, replace=False)
    errors = (draw.random(200) < 0.3).astype(float)
    found = shares(vectors, labelled, errors, k=7)
    for row in (0, int(labelled[0]), neighbours.BLOCK, neighbours.BLOCK + 29):
        others = [
            (max(float(vectors[row] @ vectors[at]), 0), error) for at, error in zip(labelled, errors, strict=True)
        ]
        near = sorted((one for one, at in zip(others, labelled, strict=True) if at != row), reverse=True)[:7]
        share = (sum(alike * error for alike, error in near) + neighbours.PRIOR * errors.mean()) / (
            sum(alike for alike, _ in near) + neighbours.PRIOR
        )
        assert found[row] == pytest.approx(share, abs=1e-5)


def test_a_number_of_neighbours_below_one_is_refused() -> None:
    with pytest.raises(EngineError, match="k must be"):
        likeness(TEXTS, WRONG, k=0)


def test_a_missing_encoder_is_named(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "wordllama", None)
    assert not available()
    with pytest.raises(EngineError, match="wordllama"):
        likeness(TEXTS, WRONG)


def test_it_needs_no_network_no_cache_and_no_pytorch_and_leaves_logging_alone(tmp_path: Path) -> None:
    program = """
import logging, socket, sys
def refuse(*_): raise AssertionError("network")
socket.socket.connect = socket.getaddrinfo = refuse
from genrm_engine.neighbours import likeness
assert likeness({"a": "bread", "b": "soup"}, {"a": True})["b"] == 1.0
assert logging.getLogger().handlers == [] and logging.getLogger().level == logging.WARNING
assert "torch" not in sys.modules and "django" not in sys.modules
"""
    bare = {**os.environ, "HOME": str(tmp_path), "HF_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=bare, timeout=100)
    assert list(tmp_path.iterdir()) == []
