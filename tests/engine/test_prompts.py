"""Prompts keep their parts whatever the texts are."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm_engine.errors import EngineError
from genrm_engine.prompts import (
    OPENINGS,
    PROMPT_VERSION,
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


def test_a_rubric_that_leaves_no_room_for_the_pair_is_refused_with_both_numbers() -> None:
    settings = JudgeSettings(rubric="r" * 1200, max_prompt_tokens=600)
    long, short = pair_of("Why?", "a" * 4000, "b" * 4000), pair_of("Why?", "a", "b")
    with pytest.raises(EngineError, match=r"take 3\d\d of the 600 tokens .* shorten the rubric or raise the limit"):
        fit_prompt(long, settings, swapped=False, count=words)
    assert not fit_prompt(short, settings, swapped=False, count=words).shortened
    assert fit_prompt(long, replace(settings, max_prompt_tokens=800), swapped=False, count=words).shortened


def test_a_prompt_that_cannot_be_made_short_enough_is_refused() -> None:
    def dense(prompt: JudgePrompt) -> int:
        return 10 + 3 * len(prompt.asked + prompt.first + prompt.second)

    settings = JudgeSettings(max_prompt_tokens=500)
    with pytest.raises(EngineError, match=r"pair p takes 7\d\d tokens, more than max_prompt_tokens \(500\)"):
        fit_prompt(pair_of("q" * 900, "a" * 900, "b" * 900), settings, swapped=False, count=dense)
    with pytest.raises(EngineError, match="pair p takes"):
        fit_prompt(pair_of("q" * 80, "a" * 80, "b" * 80), settings, swapped=False, count=dense)


def test_the_words_are_those_of_version_2() -> None:
    assert PROMPT_VERSION == "2"
    assert prompt_hash() == "27be972a56d6ce474c17d3aa6567008842e1a1799f539b9acba0553375a4b2a2"
