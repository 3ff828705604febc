"""What two responses share is found word by word, loses no character, and stays quick for the longest texts."""

import time
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from labeling.diffs import Diff, Part, diff


def told(found: Diff) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    return [(part.kind, part.text) for part in found.left], [(part.kind, part.text) for part in found.right]


def joined(parts: tuple[Part, ...]) -> str:
    return "".join(part.text for part in parts)


def test_only_the_changed_words_stand_out() -> None:
    left, right = told(diff("The red fox sleeps.", "The grey fox sleeps soundly."))
    assert left == [("same", "The "), ("only", "red "), ("same", "fox sleeps.")]
    assert right == [("same", "The "), ("only", "grey "), ("same", "fox sleeps "), ("only", "soundly"), ("same", ".")]


def test_a_comma_between_two_changes_belongs_to_the_change() -> None:
    left, right = told(diff("We saw cats, dogs today", "We saw owls, bats today"))
    assert left == [("same", "We saw "), ("only", "cats, dogs "), ("same", "today")]
    assert right == [("same", "We saw "), ("only", "owls, bats "), ("same", "today")]


def test_white_space_alone_makes_no_difference_and_is_kept() -> None:
    found = diff("one two\n\nthree", "one  two three")
    assert told(found) == ([("same", "one two\n\nthree")], [("same", "one  two three")])


def test_scripts_without_spaces_are_compared_by_character() -> None:
    left, right = told(diff("我喜欢红茶", "我喜欢绿茶"))
    assert left == [("same", "我喜欢"), ("only", "红"), ("same", "茶")]
    assert right == [("same", "我喜欢"), ("only", "绿"), ("same", "茶")]


def test_share_goes_from_nothing_to_all() -> None:
    assert diff("", "").share == 1
    assert diff("a b", "a b").share == 1
    assert diff("cats", "dogs").share == 0
    assert diff("", "dogs").share == 0
    assert diff("aa bb", "aa cc").share == 6 / 10


words = st.lists(st.sampled_from(["a", "b ", "c, ", ". ", "\n", " ", "é", "中", "_"]), max_size=30).map("".join)


@given(words | st.text(max_size=40), words | st.text(max_size=40))
def test_the_parts_are_the_texts_again(left: str, right: str) -> None:
    found = diff(left, right)
    assert (joined(found.left), joined(found.right)) == (left, right)
    assert 0 <= found.share <= 1
    for parts in (found.left, found.right):
        assert all(part.text for part in parts)
        assert all(one.kind != next_one.kind for one, next_one in pairwise(parts))


@given(words)
def test_a_text_is_all_the_same_as_itself(text: str) -> None:
    assert all(part.kind == "same" for part in diff(text, text).left)


def test_very_long_texts_are_compared_by_lines_and_quickly() -> None:
    left = "".join(f"line {i} of the first text says {i * i % 97} things\n" for i in range(4_500))
    right = "".join(f"line {i} of the first text says {i * i % (96 + i % 2)} things\n" for i in range(4_500))
    assert len(left) > 180_000
    start = time.process_time()
    found = diff(left, right)
    assert time.process_time() - start < 2
    assert joined(found.left) == left
    assert joined(found.right) == right
    assert all(part.text.endswith("\n") for part in found.left)
    assert 0.3 < found.share < 0.9


def test_even_too_many_lines_are_no_trouble() -> None:
    found = diff("a\nb\n" * 20_000, "c\nd\n" * 20_000)
    assert [part.kind for part in (*found.left, *found.right)] == ["only", "only"]
