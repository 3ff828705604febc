"""Prompts keep their parts whatever the texts are."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm_engine.prompts import (
    OPENINGS,
    QUESTIONS,
    VERDICT_FORM,
    JudgePrompt,
    build_prompt,
    fit_prompt,
    prompt_hash,
    shorten,
)
from genrm_engine.types import JudgeSettings, Message, Pair

TEXT = st.text(max_size=400)
METHODS = st.sampled_from(["score", "cot"])


def pair_of(question: str, a: str, b: str) -> Pair:
    return Pair("p", (Message("user", question),), a, b)


@given(TEXT, TEXT, TEXT, METHODS, st.booleans())
def test_prompt_ends_with_the_question_and_the_opening(
    question: Any, a: Any, b: Any, method: Any, swapped: bool
) -> None:
    prompt = build_prompt(pair_of(question, a, b), method=method, swapped=swapped)
    assert prompt.user.endswith(QUESTIONS[method])
    assert prompt.opening == OPENINGS[method]
    assert prompt.verdict_form == VERDICT_FORM
    assert not prompt.shortened


def test_swapped_shows_the_stored_b_first() -> None:
    pair = pair_of("Which?", "alpha", "beta")
    straight = build_prompt(pair, method="score").user
    swapped = build_prompt(pair, method="score", swapped=True).user
    assert straight.index("alpha") < straight.index("beta")
    assert swapped.index("beta") < swapped.index("alpha")


def test_both_orders_share_instructions_rubric_and_question() -> None:
    pair = pair_of("What is a lake?", "alpha", "beta")
    orders = [build_prompt(pair, method="cot", rubric="Be kind.", swapped=swapped).user for swapped in (False, True)]
    shared = orders[0][: orders[0].index("alpha")]
    assert "Be kind." in shared
    assert "What is a lake?" in shared
    assert orders[1].startswith(shared)


def test_several_turns_keep_their_speakers() -> None:
    pair = Pair("p", (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Bye")), "x", "y")
    assert "User: Hi\nAssistant: Hello\nUser: Bye" in build_prompt(pair, method="score").user


def words(prompt: JudgePrompt) -> int:
    return len(prompt.user) // 4


@given(st.integers(10, 6000), st.integers(0, 6000), st.integers(0, 6000), METHODS, st.booleans())
def test_a_long_prompt_is_cut_to_fit_and_keeps_the_ends(
    question: Any, a: Any, b: Any, method: Any, swapped: bool
) -> None:
    pair = pair_of("x" * question + " WHY?", "a" * a, "b" * b)
    settings = JudgeSettings(method=method, max_prompt_tokens=300)
    prompt = fit_prompt(pair, settings, swapped=swapped, count=words)
    assert words(prompt) <= 300
    assert prompt.user.endswith(QUESTIONS[method])
    assert " WHY?" in prompt.user
    assert prompt.shortened == (words(build_prompt(pair, method=method, swapped=swapped)) > 300)


def test_the_long_part_is_cut_and_the_short_one_stays() -> None:
    settings = JudgeSettings(max_prompt_tokens=200)
    prompt = fit_prompt(pair_of("Short?", "a" * 5000, "the short answer"), settings, swapped=False, count=words)
    assert "Short?" in prompt.user
    assert "the short answer" in prompt.user
    assert prompt.shortened


@given(TEXT, st.integers(20, 300), st.floats(0.1, 0.9))
def test_shorten_never_exceeds_its_limit_and_keeps_both_ends(text: str, limit: int, head: float) -> None:
    short = shorten(text, limit, head=head)
    assert len(short) <= max(limit, 0)
    if len(text) <= limit:
        assert short == text
    else:
        assert text.startswith(short[:1])
        assert text.endswith(short[-1:])


def test_the_hash_changes_with_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    before = prompt_hash()
    monkeypatch.setattr("genrm_engine.prompts.TASK", "Another task.")
    assert prompt_hash() != before
