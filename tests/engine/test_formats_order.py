"""Which response is A: the order says nothing of the choice, and the same row read twice is one row."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm_engine.formats import read_data, read_labelled
from genrm_engine.formats.layouts import read_row
from genrm_engine.types import LabelledPair, Message, Pair
from tests.engine.test_formats import BAD, GOOD, ROWS, transcript, write


def test_where_nothing_was_preferred_there_is_a_tie(tmp_path: Path) -> None:
    even = {**ROWS["ultrafeedback"], "score_rejected": 8.5}
    same = {**ROWS["trl"], "rejected": GOOD}
    contradicted = {**ROWS["trl"], "chosen": BAD, "rejected": GOOD}
    for rows in ([even], [same], [ROWS["trl"], contradicted], [ROWS["trl"], contradicted, ROWS["trl"]]):
        assert [row.choice for row in read_data(write(tmp_path, *rows))] == ["tie"]


def test_the_same_row_twice_is_kept_once(tmp_path: Path) -> None:
    for row in ROWS.values():
        assert read_data(write(tmp_path, row, row)) == read_data(write(tmp_path, row))


def test_the_same_row_with_its_responses_exchanged_is_kept_once(tmp_path: Path) -> None:
    row = {**ROWS["tandem"], "choice": "a", "gold": "a", "p_a": 0.75, "labels": [{"annotator": "ada", "choice": "a"}]}
    turned = {**row, "choice": "b", "gold": "b", "p_a": 0.25, "labels": [{"annotator": "ada", "choice": "b"}]}
    turned |= {"response_a": BAD, "response_b": GOOD}
    assert read_data(write(tmp_path, row, turned)) == read_data(write(tmp_path, row))


TEXTS = st.text(alphabet=st.characters(codec="utf-8"), min_size=1).filter(lambda text: "\n\n" not in text)


@given(asked=TEXTS, chosen=TEXTS, rejected=TEXTS)
def test_the_order_says_nothing_of_the_choice(asked: str, chosen: str, rejected: str) -> None:
    """Exchanging chosen and rejected changes the choice and nothing else, so the order cannot depend on it."""
    plain = {"prompt": asked, "chosen": chosen, "rejected": rejected}
    told = {"chosen": transcript(asked, chosen), "rejected": transcript(asked, rejected)}
    for name, row in (("trl", plain), ("hh-rlhf", told)):
        turned = {**row, "chosen": row["rejected"], "rejected": row["chosen"]}
        first, second = read_row(row, name).row(1), read_row(turned, name).row(1)
        assert first.pair == second.pair
        choices = {first.choice, second.choice}
        assert choices == ({"tie"} if first.pair.response_a == first.pair.response_b else {"a", "b"})


def test_the_order_is_even_and_stays(tmp_path: Path) -> None:
    rows = [{"prompt": f"Question {number}", "chosen": "better", "rejected": "worse"} for number in range(400)]
    found = read_data(write(tmp_path, *rows))
    assert 160 < sum(row.choice == "a" for row in found) < 240  # 4 standard deviations
    assert found == read_data(write(tmp_path, *rows))
    assert "".join(row.choice or "-" for row in found[:8]) == "babbabab"


@given(rows=st.lists(st.tuples(TEXTS, TEXTS, TEXTS, st.sampled_from(["a", "b"])), min_size=1, max_size=5))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]]) -> None:
    pairs = [
        LabelledPair(Pair(f"p{number}", (Message("user", asked),), first, second, "g"), "a" if choice == "a" else "b")
        for number, (asked, first, second, choice) in enumerate(rows)
    ]
    path = write(tmp_path_factory.mktemp("written"), *(row.to_json() for row in pairs))
    assert read_labelled(path) == pairs
