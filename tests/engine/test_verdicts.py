"""Verdicts are read from the judge's own last word in the asked form, and from nothing else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm_engine.prompts import QUESTIONS, VERDICT_END, VERDICT_FORM
from genrm_engine.verdicts import defused, is_complete, parse_verdict, split_verdict

VERDICTS = st.sampled_from(["A", "B"])
ASKED = st.sampled_from(
    [
        "Winner: [{}]",
        "Winner: [[{}]]",
        "Winner:[{}]",
        "Winner: [ {} ]",
        "**Winner: [{}]**",
        "**Winner:** [{}]",
        "Winner: **[{}]**",
        "Winner: [**{}**]",
        "__Winner__: [{}]".replace("__:", ":__"),
    ]
)
NOT_ASKED = st.sampled_from(
    [
        "Winner: A",
        "Winner: (A)",
        "Winner: [both]",
        "Winner: [C]",
        "Winner: [a]",
        "Winner: []",
        "Winner: [AB]",
        "Winner: ［A］",
        "Winner: 【A】",
        "Winner: [Ａ]",
        "Winner: [А]",  # the Cyrillic letter
        "Winner: \n[A]",
        "Winner: [A",
        "Winner: [",
        "Winner:",
    ]
)
OTHER_LANGUAGES = [
    "获胜者：[A]",
    "Победитель: [A]",
    "الفائز: [A]",
    "Gewinner: [A]",
    "winner: [A]",
    "Winner：[A]",
    "[[A]]",
]
PLAIN = st.text(alphabet=st.characters(exclude_characters="W", exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Winner: [A]", "A"),
        ("B is shorter.\nWinner: [[B]]", "B"),
        ("It says 'Winner: [A]', but it is wrong.\nWinner: [B]", "B"),
        ("Winner: [A]\r\n", "A"),
        ("Better.\r\nWinner: [B]\r\nThat is all.", "B"),
        ("Winner: [A]\nWinner: [both]", None),
        ("Winner: [A] or Winner: [B].", None),
        ("Winner: A", None),
        ("", None),
        *[(text, None) for text in OTHER_LANGUAGES],
    ],
)
def test_the_last_verdict_in_the_asked_form_counts(text: str, verdict: str | None) -> None:
    assert parse_verdict(text) == verdict


@given(st.text(), ASKED, VERDICTS)
def test_a_final_verdict_wins_over_whatever_stands_before(text: str, form: str, verdict: str) -> None:
    assert parse_verdict(f"{text}\n{form.format(verdict)}") == verdict


@given(PLAIN)
def test_no_form_no_verdict(text: str) -> None:
    assert parse_verdict(text) is None


@given(PLAIN, NOT_ASKED, ASKED, VERDICTS)
def test_an_answer_in_another_form_is_no_verdict_and_no_earlier_one_takes_its_place(
    text: str, wrong: str, form: str, verdict: str
) -> None:
    assert parse_verdict(f"{text}\n{wrong}") is None
    assert parse_verdict(f"He wrote {form.format(verdict)}.\n{text}\n{wrong}") is None


@given(VERDICTS, st.integers(1, len("Winner: [")))
def test_a_verdict_cut_off_in_the_middle_is_none(quoted: str, length: int) -> None:
    """The judge had begun its own verdict: the quoted one must not become it."""
    assert parse_verdict(f"It claims Winner: [{quoted}].\n" + "Winner: ["[:length]) is None


@given(st.text(), ASKED, VERDICTS, PLAIN)
def test_a_text_is_split_at_its_verdict(before: str, form: str, verdict: str, after: str) -> None:
    text = f"{before}\n{form.format(verdict)}\n{after}"
    rationale, found, letter = split_verdict(text)
    assert found == verdict
    assert text[letter] == verdict
    assert text.startswith(rationale)
    assert rationale == before.rstrip() or (rationale, before.strip(" \t*_\r\n")[-1:]) == (before.rstrip(), "")
    whole = split_verdict(before)
    assert whole.verdict is not None or whole == (before, None, -1)


@given(st.text())
def test_parsing_and_splitting_agree_on_any_text(text: str) -> None:
    assert split_verdict(text).verdict == parse_verdict(text)


def test_the_prompts_verdict_form_is_the_asked_one_and_its_question_is_no_answer() -> None:
    for name in ("A", "B"):
        assert parse_verdict(f"Reason: It is better.{VERDICT_FORM}{name}{VERDICT_END}") == name
    assert parse_verdict(QUESTIONS["cot"]) is None


@given(PLAIN, ASKED, VERDICTS, st.sampled_from(["\n", "\r\n", " \n\n"]))
def test_a_verdict_line_is_complete_with_its_line_break(text: str, form: str, verdict: str, end: str) -> None:
    line = form.format(verdict)
    assert is_complete(f"{text}\n{line}{end}")
    assert not is_complete(f"{text}\n{line}")
    assert not is_complete(f"{text}\nIt says {line}{end}")
    assert not is_complete(f"{text}\n{line}\nAnd more")


FORMS = st.one_of(st.builds(str.format, ASKED, VERDICTS), NOT_ASKED, st.sampled_from(OTHER_LANGUAGES))


@given(st.lists(st.one_of(st.text(max_size=20), FORMS), max_size=8))
def test_a_defused_text_holds_no_verdict_and_nothing_else_changes(parts: list[Any]) -> None:
    text = "".join(parts)
    shown = defused(text)
    assert parse_verdict(shown) is None
    assert shown.replace("Winner :", "Winner:") == text.replace("Winner :", "Winner:")
    assert defused(shown) == shown
