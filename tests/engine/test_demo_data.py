"""The demo data set is what its sources build, and has the shape and balance that the demo project relies on.

Whether the texts are good is for a reader to say, not for these tests.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from demo import build

Row = dict[str, Any]


@pytest.fixture(scope="module")
def lines() -> list[Row]:
    return [json.loads(line) for line in build.OUTPUT.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def pairs(lines: list[Row]) -> list[Row]:
    return lines[1:]


def good_and_worse(pair: Row) -> tuple[str, str]:
    a, b = pair["response_a"], pair["response_b"]
    return (a, b) if pair["meta"]["good"] == "a" else (b, a)


def test_committed_file_is_what_the_sources_build() -> None:
    assert build.OUTPUT.read_text(encoding="utf-8") == build.render(build.read_prompts())


def test_header_says_what_the_data_are(lines: list[Row], pairs: list[Row]) -> None:
    header = lines[0]["header"]
    assert header["pairs"] == len(pairs)
    assert header["licence"] == "Apache-2.0"
    assert "made up" in header["note"]
    assert "no research data" in header["note"]


def test_enough_pairs_of_every_kind_with_unique_ids(pairs: list[Row]) -> None:
    assert len(pairs) >= 240
    assert len({pair["meta"]["group_key"] for pair in pairs}) >= 80
    assert len({pair["id"] for pair in pairs}) == len(pairs)
    assert set(Counter(pair["meta"]["kind"] for pair in pairs)) == set(build.KINDS)


def test_responses_are_present_different_and_short(pairs: list[Row]) -> None:
    for pair in pairs:
        a, b = pair["response_a"], pair["response_b"]
        assert a.strip(), pair["id"]
        assert b.strip(), pair["id"]
        assert a != b, pair["id"]
        assert max(len(a), len(b)) <= 1200, pair["id"]


def test_neither_side_is_favoured(pairs: list[Row]) -> None:
    in_a = sum(pair["meta"]["good"] == "a" for pair in pairs)
    assert 0.45 <= in_a / len(pairs) <= 0.55
    labelled_in_a = [pair["meta"]["good"] == "a" for pair in pairs if pair["labels"]]
    assert 0.45 <= sum(labelled_in_a) / len(labelled_in_a) <= 0.55


def test_the_worse_answer_is_longer_in_most_pairs(pairs: list[Row]) -> None:
    longer = sum(len(worse) > len(good) for good, worse in map(good_and_worse, pairs))
    assert longer / len(pairs) > 0.5


def test_cut_off_answers_end_in_mid_sentence(pairs: list[Row]) -> None:
    ends = [good_and_worse(pair)[1][-1] for pair in pairs if pair["meta"]["how"] == "cut_off"]
    assert ends
    assert not set(ends) & set(".!?`")


def test_every_prompt_has_labelled_pairs_and_some_are_left_to_label(pairs: list[Row]) -> None:
    labelled = [pair for pair in pairs if pair["labels"]]
    assert 0.80 <= len(labelled) / len(pairs) <= 0.90
    assert {pair["meta"]["group_key"] for pair in labelled} == {pair["meta"]["group_key"] for pair in pairs}


def test_labels_are_mostly_right_and_honestly_noisy(pairs: list[Row]) -> None:
    for pair in pairs:
        names = [label["annotator"] for label in pair["labels"]]
        assert len(names) == len(set(names)) <= 3, pair["id"]
    choices = [(label["choice"], pair["meta"]["good"]) for pair in pairs for label in pair["labels"]]
    assert {choice for choice, _ in choices} == {"a", "b", "tie"}
    ties = sum(choice == "tie" for choice, _ in choices) / len(choices)
    errors = sum(choice not in ("tie", good) for choice, good in choices) / len(choices)
    assert 0.01 <= ties <= 0.08
    assert 0.03 <= errors <= 0.15


def test_gold_is_sparse_right_and_only_on_unmistakable_pairs(pairs: list[Row]) -> None:
    gold = [pair for pair in pairs if pair["gold"]]
    assert 0.03 <= len(gold) / len(pairs) <= 0.09
    assert all(pair["gold"] == pair["meta"]["good"] for pair in gold)
    assert {pair["meta"]["how"] for pair in gold} <= set(build.UNMISTAKABLE)


ENTRY = """
- id: a-prompt
  kind: {kind}
  prompt: Why?
  good: Because.
  spoilt: [{spoilt}]
"""
SPOILT = ", ".join(f"{{how: {how}, why: w, text: {how} text}}" for how in ("rude", "padded", "cut_off", "off_topic"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ENTRY.format(kind="poem", spoilt=SPOILT), "unknown kind 'poem'"),
        (ENTRY.format(kind="plan", spoilt=SPOILT.replace("padded", "rude")), "another of the known ways"),
        (ENTRY.format(kind="plan", spoilt=SPOILT.replace("why: w,", "why: '',")), "no text under why"),
        (ENTRY.format(kind="plan", spoilt=""), "exactly 4"),
        (ENTRY.format(kind="plan", spoilt=SPOILT) * 2, "used twice: a-prompt"),
    ],
)
def test_a_source_that_breaks_the_layout_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "broken.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(build.SourceError, match=message):
        build.read_prompts(tmp_path)


def test_a_sample_for_an_unknown_prompt_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(ENTRY.format(kind="plan", spoilt=SPOILT), encoding="utf-8")
    (tmp_path / "sampled.jsonl").write_text('{"prompt_id": "gone", "text": "x"}\n', encoding="utf-8")
    with pytest.raises(build.SourceError, match="unknown prompts: gone"):
        build.read_prompts(tmp_path)


def test_readme_counts_are_those_of_the_file(pairs: list[Row]) -> None:
    readme = (build.HERE / "README.md").read_text(encoding="utf-8")
    assert f"{len(pairs)} pairs of answers to {len({pair['meta']['group_key'] for pair in pairs})}" in readme
    for field in ("kind", "how"):
        for name, count in Counter(pair["meta"][field] for pair in pairs).items():
            assert f"| {name} | {count} |" in readme, name
    longer = sum(len(worse) > len(good) for good, worse in map(good_and_worse, pairs))
    assert f"longer one in {longer / len(pairs):.0%} of".replace("%", " %") in readme
