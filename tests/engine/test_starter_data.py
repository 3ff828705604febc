"""The starter's training pairs are what the sources build, keep out of the demo's hold-out and give nothing away.

Whether a rationale is true of its pair is for a reader to say, not for these tests.
"""

from collections import Counter
from pathlib import Path

import pytest

from demo import starter
from demo.build import FACTUAL, SHARE_FACTUAL, SOURCE, Prompt, SourceError, read_prompts
from demo.build import OUTPUT as DEMO_PAIRS
from genrm_engine.files import read_rows
from genrm_engine.formats import read_labelled
from genrm_engine.types import LabelledPair
from labeling.models import Pair, Project
from labeling.services import imports
from labeling.services.demo import SLUG

HOWS = ("off_topic", "contradicts", "cut_off", "padded", "wrong_result", "rude", "sampled")
TEXT = "Response {worse} gives tips for the beach, while {better} explains the Moon and its pull."


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    return read_prompts()


@pytest.fixture(scope="module")
def rows() -> list[LabelledPair]:
    return read_labelled(starter.OUTPUT)


def better_first(row: LabelledPair) -> bool:
    return row.rationale.index("{better}") < row.rationale.index("{worse}")


def test_committed_file_is_what_the_sources_build(prompts: list[Prompt]) -> None:
    built = starter.render(starter.labelled_pairs(prompts, starter.read_rationales()))
    assert starter.OUTPUT.read_text(encoding="utf-8") == built


def test_hold_out_is_the_one_that_the_importer_draws(prompts: list[Prompt]) -> None:
    project = Project(slug=SLUG)
    by_importer = {prompt.key: imports.part_of(project, prompt.key) != Pair.Part.TRAIN for prompt in prompts}
    assert {prompt.key: starter.held_out(prompt.key) for prompt in prompts} == by_importer
    assert any(by_importer.values())


def test_no_pair_of_the_hold_out_is_trained_on(rows: list[LabelledPair], prompts: list[Prompt]) -> None:
    training = {prompt.key for prompt in prompts if not starter.held_out(prompt.key)}
    assert {row.pair.group for row in rows} == training
    hidden = {prompt.text for prompt in prompts if prompt.key not in training}
    assert not hidden & {message.content for row in rows for message in row.pair.prompt}


def test_every_pair_of_a_training_prompt_is_there_once(rows: list[LabelledPair], prompts: list[Prompt]) -> None:
    expected = sum(len(prompt.worse) for prompt in prompts if not starter.held_out(prompt.key))
    assert len(rows) == len({row.pair.id for row in rows}) == expected


def test_pairs_and_choices_are_those_of_the_demo(rows: list[LabelledPair]) -> None:
    demo = {str(row["id"]): row for row in read_rows(DEMO_PAIRS) if "id" in row}
    shared = [row for row in rows if row.pair.id in demo]
    assert len(shared) > 150
    for row in shared:
        pair = demo[row.pair.id]
        weight = SHARE_FACTUAL if pair["meta"]["how"] in FACTUAL else 1.0
        assert (row.choice, row.weight, row.pair.group) == (pair["meta"]["good"], weight, pair["meta"]["group_key"])
        assert (row.pair.response_a, row.pair.response_b) == (pair["response_a"], pair["response_b"])
        assert row.pair.prompt[0].content == pair["prompt"]


def test_neither_side_nor_the_response_named_first_gives_the_choice_away(rows: list[LabelledPair]) -> None:
    assert 0.45 <= sum(row.choice == "a" for row in rows) / len(rows) <= 0.55
    assert 0.45 <= sum(map(better_first, rows)) / len(rows) <= 0.55
    for how in HOWS:
        spoilt = [row for row in rows if row.pair.id.endswith(f"-{how.replace('_', '-')}")]
        assert 0.4 <= sum(map(better_first, spoilt)) / len(spoilt) <= 0.6, how


def test_the_way_a_rationale_begins_does_not_give_the_choice_away(rows: list[LabelledPair]) -> None:
    by_name = [better_first(row) for row in rows if row.rationale.startswith("Response {")]
    by_topic = [better_first(row) for row in rows if not row.rationale.startswith("Response {")]
    assert min(len(by_name), len(by_topic)) > len(rows) / 3
    assert 0.4 <= sum(by_name) / len(by_name) <= 0.6
    assert 0.4 <= sum(by_topic) / len(by_topic) <= 0.6


def test_rationales_are_no_template(rows: list[LabelledPair]) -> None:
    assert len({row.rationale for row in rows}) == len(rows)
    beginnings = Counter(tuple(row.rationale.split()[:4]) for row in rows)
    assert max(beginnings.values()) < len(rows) / 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tides: {off_topic: 5}", "tides, off_topic: a rationale is one line"),
        ("tides: none", "one rationale for each way"),
        ("- tides", "expected prompt ids"),
        (f"tides: {{off_topic: '{TEXT[:-1]}'}}", "ends in a full stop"),
        ("tides: {off_topic: 'Response {worse} is bad, {better} good.'}", "12 to 30 words, not 6"),
        (f"tides: {{off_topic: '{TEXT.replace('{better}', 'the other')}'}}", "once each"),
        (f"tides: {{off_topic: '{TEXT.replace('Response', 'B')}'}}", "neither a bare A or B"),
        (f"tides: {{off_topic: '{TEXT.replace('Response', 'No winner is what')}'}}", "the word of the verdict"),
    ],
)
def test_a_rationale_of_another_form_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "broken.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=rf"broken\.yaml.*{message}"):
        starter.read_rationales(tmp_path)


def test_a_prompt_given_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("one.yaml", "two.yaml"):
        (tmp_path / name).write_text(f"tides: {{off_topic: '{TEXT}'}}", encoding="utf-8")
    with pytest.raises(SourceError, match=r"two\.yaml: prompts given twice: tides"):
        starter.read_rationales(tmp_path)


def test_a_missing_rationale_is_refused(prompts: list[Prompt]) -> None:
    rationales = starter.read_rationales()
    del rationales["explain-tides"]["padded"]
    with pytest.raises(SourceError, match=r"no rationale for explain-tides \(padded\)"):
        starter.labelled_pairs(prompts, rationales)


def test_a_rationale_for_the_hold_out_is_refused(prompts: list[Prompt]) -> None:
    hidden = next(prompt.key for prompt in prompts if starter.held_out(prompt.key))
    rationales = starter.read_rationales() | {hidden: {"rude": TEXT}}
    with pytest.raises(SourceError, match=rf"one of the hold-out: {hidden} \(rude\)"):
        starter.labelled_pairs(prompts, rationales)


def test_readme_counts_are_those_of_the_file(rows: list[LabelledPair]) -> None:
    readme = " ".join((SOURCE / "README.md").read_text(encoding="utf-8").split())
    assert f"the {len({row.pair.group for row in rows})} prompts outside the demo project's hold-out" in readme
    assert f"{len(rows)} in all" in readme
