"""The check of rationales passes what was written for the pair and refuses loops, other topics and torn text."""

import pytest

from demo.starter import OUTPUT
from genrm_engine.evaluation.rationales import MOST_WORDS, check_rationale, check_rationales
from genrm_engine.formats import read_labelled
from genrm_engine.types import LabelledPair, Message, Pair

PAIR = Pair(
    "tides",
    (Message("user", "Why does the sea rise and fall twice a day?"),),
    "The Moon pulls the oceans into two bulges, and the turning Earth carries each coast through both.",
    "Wear good shoes on the beach and look for crabs in the rock pools.",
)
FINE = "Response B only talks about shoes on the beach, while A explains how the Moon pulls the oceans."


def shown(row: LabelledPair) -> str:
    better, worse = ("A", "B") if row.choice == "a" else ("B", "A")
    return row.rationale.replace("{better}", better).replace("{worse}", worse)


@pytest.fixture(scope="module")
def written() -> list[LabelledPair]:
    return read_labelled(OUTPUT)


def test_rationales_written_for_the_starter_pass(written: list[LabelledPair]) -> None:
    summary = check_rationales((shown(row), row.pair) for row in written)
    assert summary["n"] == len(written) > 200
    assert summary["good"] is not None
    assert summary["good"] >= 0.98


def test_a_rationale_of_another_prompt_rarely_passes_as_on_topic(written: list[LabelledPair]) -> None:
    strides = range(7, len(written), 19)
    foreign = [
        check_rationale(shown(row), other.pair).on_topic
        for number, row in enumerate(written)
        for other in (written[(number + stride) % len(written)] for stride in strides)
        if other.pair.group != row.pair.group
    ]
    assert len(foreign) > 2000
    assert sum(foreign) / len(foreign) < 0.08


def test_a_readable_rationale_is_good() -> None:
    assert check_rationale(FINE, PAIR).good
    assert check_rationale(f"  {FINE}\n", PAIR).good


@pytest.mark.parametrize(
    "text",
    [
        "A B. A B. A B.",
        "The Moon. The Moon. The Moon. The Moon. Response A.",
        f"{FINE} {FINE}",
        "Response A is about the Moon, response A is about the sea, and response A is about the bulges and tides.",
    ],
)
def test_loops_are_refused(text: str) -> None:
    assert not check_rationale(text, PAIR).no_loop


@pytest.mark.parametrize("text", [FINE.removesuffix(" oceans."), FINE.removesuffix("."), FINE[:-1] + ","])
def test_text_that_was_cut_off_is_refused(text: str) -> None:
    check = check_rationale(text, PAIR)
    assert (check.no_loop, check.on_topic, check.good) == (False, True, False)


@pytest.mark.parametrize("ending", [FINE[:-1] + '."', FINE[:-1] + "!", FINE[:-1] + " (and why)."])
def test_a_sentence_may_end_in_other_ways(ending: str) -> None:
    assert check_rationale(ending, PAIR).good


@pytest.mark.parametrize(
    "text",
    [
        "Response A divides the bill by five friends, while response B counts slices of pizza.",
        "Response A is better because it gives a clear and correct answer to the question.",
    ],
)
def test_text_about_something_else_is_refused(text: str) -> None:
    check = check_rationale(text, PAIR)
    assert (check.no_loop, check.on_topic, check.brief) == (True, False, True)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("The Moon pulls the oceans, and the beach has crabs.", False),
        ("A Moon over the beach pulls the oceans into bulges.", False),
        ("A explains how the Moon pulls the oceans.", True),
        ("The Moon and the oceans are what B leaves out.", True),
        ("The Moon and the oceans are explained by A alone.", True),
        ("Answer A names the Moon and the oceans.", True),
    ],
)
def test_a_rationale_names_a_response(text: str, named: bool) -> None:
    assert check_rationale(text, PAIR).on_topic is named


@pytest.mark.parametrize(
    "text",
    ["", "   ", "A is better.", FINE.replace(", ", ",\n"), " ".join(f"moon{n}" for n in range(MOST_WORDS + 1)) + "."],
)
def test_text_that_is_not_brief_is_refused(text: str) -> None:
    assert not check_rationale(text, PAIR).brief


def test_other_forms_of_a_word_are_the_same_word() -> None:
    assert check_rationale("Response A explains the Moon's pulling and each ocean in turn.", PAIR).on_topic


def test_summary_counts_each_check() -> None:
    rows = [(FINE, PAIR), ("A B. A B. A B.", PAIR), ("", PAIR), (FINE.replace(", ", ",\n"), PAIR)]
    assert check_rationales(rows) == {"n": 4, "good": 0.25, "no_loop": 0.5, "on_topic": 0.5, "brief": 0.5}


def test_summary_of_nothing_has_no_shares() -> None:
    assert check_rationales([]) == {"n": 0, "good": None, "no_loop": None, "on_topic": None, "brief": None}
