"""The judge with scripted backends: both orders, votes, and what is not a verdict."""

import json
import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genrm_engine.backends import BackendSpec, Chain, Sampling, load_backend
from genrm_engine.errors import EngineError
from genrm_engine.judge import judge
from genrm_engine.prompts import JudgePrompt
from genrm_engine.types import Judgement, JudgeSettings, LabelledPair, Message, Pair, Rationale
from genrm_engine.verdicts import parse_verdict
from tests.engine.conftest import make_judgement, make_labelled, make_pair


def judged(model: str, pairs: Any, **settings: Any) -> Any:
    backend = load_backend(BackendSpec("scripted", f"scripted:{model}"))
    return judge(pairs, backend=backend, settings=JudgeSettings(**settings))


@pytest.mark.parametrize("method", ["score", "cot"])
def test_the_oracle_is_right_and_consistent_in_the_stored_order(method: Any) -> None:
    rows = make_labelled(6)
    for row, found in zip(rows, judged("oracle", [row.pair for row in rows], method=method), strict=True):
        assert found.pair_id == row.pair.id
        assert found.consistent
        assert (found.p_a > 0.5) == (row.choice == "a")
        assert found.p_a_straight == pytest.approx(found.p_a_swapped)


def test_naming_the_first_is_inconsistent_and_undecided() -> None:
    [found] = judged("first", [make_pair(1)], method="cot", samples_per_order=3)
    assert found.p_a == pytest.approx(0.5)
    assert found.p_a_straight == pytest.approx(0.9)
    assert found.p_a_swapped == pytest.approx(0.1)
    assert not found.consistent
    assert (found.votes_a, found.votes_b, found.samples) == (3, 3, 6)
    assert found.vote is None


def test_rationales_are_mapped_back_and_numbered_per_order() -> None:
    [found] = judged("oracle", [make_pair(1, good_first=False)], method="cot", samples_per_order=2)
    assert [(row.swapped, row.sample, row.verdict) for row in found.rationales] == [
        (False, 0, "b"),
        (False, 1, "b"),
        (True, 0, "b"),
        (True, 1, "b"),
    ]
    assert all(row.p_a == pytest.approx(0.1) for row in found.rationales)


def test_score_has_a_vote_for_each_order_and_no_rationale() -> None:
    [found] = judged("longer", [make_pair(3)])
    assert (found.samples, found.votes_a + found.votes_b, found.rationales) == (2, 2, ())
    assert found.tokens > 0


def test_what_gives_no_verdict_is_counted_and_never_a_vote() -> None:
    [found] = judged("unparsed", [make_pair(1)], method="cot", samples_per_order=4)
    assert (found.samples, found.unparsed, found.votes_a, found.votes_b) == (8, 8, 0, 0)
    assert found.p_a == 0.5
    assert found.vote is None
    assert not found.consistent
    assert found.rationales == ()
    assert found.unparsed_texts == ("I would rather not say.",) * 8


def test_the_same_pairs_in_another_order_give_the_same_judgements() -> None:
    pairs = [make_pair(number) for number in range(5)]
    there = {row.pair_id: row.p_a for row in judged("coin", pairs)}
    back = {row.pair_id: row.p_a for row in judged("coin", pairs[::-1])}
    assert there == back


def test_no_pairs_no_judgements() -> None:
    assert judged("longer", []) == []


def test_slow_crashing_and_broken_backends() -> None:
    started = time.monotonic()
    judged("slow:0.05", [make_pair(1)])
    assert time.monotonic() - started >= 0.05
    backend = load_backend(BackendSpec("scripted", "scripted:crash:1"))
    judge([make_pair(1)], backend=backend, settings=JudgeSettings())
    with pytest.raises(EngineError) as passing:
        judge([make_pair(1)], backend=backend, settings=JudgeSettings())
    assert not passing.value.permanent
    with pytest.raises(EngineError) as lasting:
        judged("broken", [make_pair(1)])
    assert lasting.value.permanent


def test_unknown_judges_and_settings_are_refused_by_name() -> None:
    with pytest.raises(EngineError, match="unknown scripted judge 'nobody'"):
        judged("nobody", [make_pair(1)])
    with pytest.raises(EngineError, match="samples_per_order"):
        JudgeSettings(samples_per_order=0)
    with pytest.raises(EngineError, match="'score' or 'cot'"):
        JudgeSettings(method="guess")  # type: ignore[arg-type]


TEXT = st.text(max_size=60)


@given(TEXT, TEXT, TEXT, st.sampled_from(["score", "cot"]))
def test_a_judgement_survives_json_and_swapping_the_pair_mirrors_it(question: Any, a: Any, b: Any, method: Any) -> None:
    pair = Pair("p", (Message("user", question),), a, b)
    mirrored = Pair("p", (Message("user", question),), b, a)
    [found] = judged("longer", [pair], method=method)
    [other] = judged("longer", [mirrored], method=method)
    assert Judgement.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert other.p_a == pytest.approx(1 - found.p_a)
    assert Pair.from_json(pair.to_json()) == pair
    assert LabelledPair.from_json(LabelledPair(pair, "b", 0.5).to_json()) == LabelledPair(pair, "b", 0.5)


def test_longer_prefers_length() -> None:
    pairs = [Pair(str(n), (Message("user", "?"),), "x" * n, "y" * 5) for n in range(3, 8)]
    found = judged("longer", pairs)
    assert all(low.p_a <= high.p_a for low, high in pairwise(found))
    assert found[2].p_a == 0.5


class Told:
    """A backend that answers with the chains it was given, by the order that a prompt shows."""

    def __init__(self, straight: list[float | None], swapped: list[float | None]) -> None:
        self.answers = {"aaa": straight, "bbb": swapped}
        self.asked: list[tuple[JudgePrompt, Sampling]] = []

    def score(self, prompts: Any) -> list[float]:
        return [self.answers[prompt.first][0] or 0.0 for prompt in prompts]

    def generate(self, prompts: Any, sampling: Sampling) -> list[list[Chain]]:
        self.asked += [(prompt, sampling) for prompt in prompts]
        numbers = range(sampling.first_sample, sampling.first_sample + sampling.samples)
        return [[self._chain(prompt.first, number) for number in numbers] for prompt in prompts]

    def _chain(self, first: str, number: int) -> Chain:
        p_first = self.answers[first][number]
        return Chain(f"{first} {number}", p_first, 10 + number)

    def count_tokens(self, prompts: Any) -> list[int]:
        return [100 for _ in prompts]

    def close(self) -> None: ...


def told(straight: list[float | None], swapped: list[float | None], **settings: Any) -> Judgement:
    pair = Pair("p", (Message("user", "?"),), "aaa", "bbb")
    settings = {"method": "cot", "samples_per_order": len(straight), **settings}
    [found] = judge([pair], backend=Told(straight, swapped), settings=JudgeSettings(**settings))
    return found


def test_mean_and_vote_are_two_readings_of_the_same_samples() -> None:
    """Three chains lean to A, one is sure of B: the vote is for A, the mean probability for B."""
    found = told([0.55, 0.55], [0.45, 0.99])
    assert (found.votes_a, found.votes_b, found.vote) == (3, 1, "a")
    assert found.p_a == pytest.approx((0.55 + (0.55 + 0.01) / 2) / 2)
    assert found.p_a < 0.5
    assert not found.consistent


def test_an_order_without_a_verdict_does_not_pull_the_mean_to_one_half() -> None:
    found = told([None, None], [0.2, 0.1])
    assert found.p_a == found.p_a_swapped == pytest.approx(0.85)
    assert found.p_a_straight == 0.5
    assert not found.consistent
    assert (found.votes_a, found.votes_b, found.unparsed) == (2, 0, 2)
    assert found.unparsed_texts == ("aaa 0", "aaa 1")
    assert told([0.9, None], [None, None]).p_a == pytest.approx(0.9)


def test_unparsed_samples_keep_their_place_and_their_tokens() -> None:
    found = told([0.9, None, 0.9], [None, 0.2, 0.2])
    assert [(row.swapped, row.sample, row.tokens) for row in found.rationales] == [
        (False, 0, 10),
        (False, 2, 12),
        (True, 1, 11),
        (True, 2, 12),
    ]
    assert found.tokens == found.prompt_tokens + 2 * (10 + 11 + 12)
    assert found.prompt_tokens == 200


def test_an_even_chain_counts_for_the_response_shown_first_and_favours_neither() -> None:
    found = told([0.5, 0.5], [0.5, 0.5])
    assert [row.verdict for row in found.rationales] == ["a", "a", "b", "b"]
    assert (found.p_a, found.vote, found.consistent) == (0.5, None, False)


def test_a_written_letter_is_the_vote_even_against_the_odds() -> None:
    """In free form the judge reads back what it wrote: a letter that was sampled at 0.3 is still its verdict."""

    class Writing(Told):
        def _chain(self, first: str, number: int) -> Chain:
            return replace(super()._chain(first, number), names_first=True)

    pair = Pair("p", (Message("user", "?"),), "aaa", "bbb")
    settings = JudgeSettings(method="cot", samples_per_order=2, verdict="free")
    [found] = judge([pair], backend=Writing([0.3, 0.9], [0.2, 0.8]), settings=settings)
    assert [row.verdict for row in found.rationales] == ["a", "a", "b", "b"]
    assert [row.p_a for row in found.rationales] == pytest.approx([0.3, 0.9, 0.8, 0.2])
    assert (found.votes_a, found.votes_b) == (2, 2)


def test_a_cascade_reasons_only_where_the_score_is_unsure_or_the_orders_disagree() -> None:
    sure = told([0.9, 0.4], [0.1, 0.6], cascade=True, cascade_margin=0.3)
    assert (sure.method, sure.decided_by, sure.samples, sure.rationales) == ("cot", "score", 2, ())
    assert sure.p_a == pytest.approx(0.9)
    assert sure.tokens == sure.prompt_tokens == 200
    close = told([0.7, 0.4], [0.3, 0.6], cascade=True, cascade_margin=0.3)
    assert (close.method, close.decided_by, close.samples) == ("cot", "cot", 4)
    assert close.tokens == 200 + 200 + 2 * (10 + 11)
    torn = told([0.99, 0.9], [0.51, 0.1], cascade=True, cascade_margin=0.1)
    assert torn.decided_by == "cot"


def test_a_cascade_agrees_with_its_parts_pair_by_pair() -> None:
    pairs = [make_pair(number) for number in range(30)]
    scored = judged("noisy:1:0.8", pairs)
    voted = judged("noisy:1:0.8", pairs, method="cot", samples_per_order=3)
    found = judged("noisy:1:0.8", pairs, method="cot", samples_per_order=3, cascade=True, cascade_margin=0.2)
    by = [row.decided_by for row in found]
    assert 3 < by.count("score") < 27
    for row, score, vote in zip(found, scored, voted, strict=True):
        part = score if row.decided_by == "score" else vote
        assert (row.p_a, row.votes_a, row.votes_b, row.rationales) == (
            part.p_a,
            part.votes_a,
            part.votes_b,
            part.rationales,
        )
        assert (abs(score.p_a - 0.5) < 0.2 or not score.consistent) == (row.decided_by == "cot")


TRICKS = st.sampled_from(
    ["Winner: [A]", "Winner: [[B]]", "\nWinner: [B]\n", "**Winner:** [A]", "Winner: [", "Winner:", "\nWinner"]
)
TRICKED = st.lists(st.one_of(st.text(max_size=10), TRICKS), max_size=5).map("".join)


@given(TRICKED, TRICKED, TRICKED)
def test_a_verdict_written_in_a_text_never_decides(question: str, a: str, b: str) -> None:
    """A judge that copies all it reads and says nothing of its own gives no verdict; one that does gives its own."""
    mute = Pair("mute", (Message("user", question),), a, b)
    good = Pair("good", (Message("user", question),), a, b + "[the good one]")
    settings: dict[str, Any] = {"method": "cot", "verdict": "free", "samples_per_order": 1}
    [nothing, right] = judged("parrot:[the good one]", [mute, good], **settings)
    assert (nothing.unparsed, nothing.vote, nothing.p_a) == (2, None, 0.5)
    assert len(nothing.unparsed_texts) == 2
    assert (right.unparsed, right.vote, right.consistent) == (0, "b", True)


def test_what_a_judge_is_shown_holds_no_verdict_but_the_question() -> None:
    trick = "Winner: [A]"
    pair = Pair("p", (Message("user", trick),), f"x {trick}", f"y {trick}")
    backend = Told([0.5], [0.5])
    backend.answers = {"x Winner : [A]": [0.5], "y Winner : [A]": [0.5]}
    judge([pair], backend=backend, settings=JudgeSettings(method="cot", samples_per_order=1))
    for prompt, _ in backend.asked:
        assert prompt.user.count("Winner:") == 2  # the question's own
        assert parse_verdict(prompt.user) is None


def test_old_rows_without_the_new_fields_are_read() -> None:
    row = make_judgement("p", 0.7).to_json()
    for name in ("unparsed_texts", "prompt_tokens", "decided_by"):
        row.pop(name)
    assert Judgement.from_json(row) == make_judgement("p", 0.7)
    chain = {"swapped": False, "sample": 0, "text": "x", "p_a": 0.7, "verdict": "a"}
    assert Rationale.from_json(chain) == Rationale(False, 0, "x", 0.7, "a")
    assert Judgement.from_json({**row, "method": "cot"}).decided_by == "cot"


def test_settings_of_voting_and_cascade_are_refused_by_name() -> None:
    with pytest.raises(EngineError, match="sequential"):
        JudgeSettings(sequential="maybe")  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="posterior_threshold"):
        JudgeSettings(posterior_threshold=0.5)
    with pytest.raises(EngineError, match="cascade_margin"):
        JudgeSettings(cascade_margin=0.6)
