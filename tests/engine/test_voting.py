"""Sequential votes stop where their rule says, are a beginning of the full vote, and cost less."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc

from genrm_engine.backends import BackendSpec, load_backend
from genrm_engine.backends.scripted import ScriptedBackend
from genrm_engine.judge import judge
from genrm_engine.types import Chain, Choice, JudgeSettings, Pair, Sampling
from genrm_engine.voting import more_rounds, posterior, settled
from tests.engine.conftest import make_labelled

COUNT = st.integers(0, 40)
RULES = st.sampled_from(["certain", "posterior"])
VOTES = st.lists(st.tuples(*[st.sampled_from(["a", "b", None])] * 2), min_size=1, max_size=16)


def cot(**settings: Any) -> JudgeSettings:
    return JudgeSettings(method="cot", **settings)


@given(COUNT, COUNT)
def test_the_posterior_is_the_beta_mass_above_one_half(votes: int, against: int) -> None:
    assert posterior(votes, against) == pytest.approx(1 - betainc(votes + 1, against + 1, 0.5))
    assert posterior(votes, against) + posterior(against, votes) == pytest.approx(1)


@pytest.mark.parametrize(
    ("votes_a", "votes_b", "left", "certain"),
    [(5, 0, 4, True), (5, 0, 5, False), (0, 5, 4, True), (3, 3, 0, True), (3, 3, 1, False), (9, 8, 1, False)],
)
def test_a_majority_is_certain_when_the_lead_exceeds_what_is_left(
    votes_a: int, votes_b: int, left: int, certain: bool
) -> None:
    assert settled(votes_a, votes_b, left, cot(sequential="certain")) == certain


def test_the_posterior_rule_stops_at_its_threshold() -> None:
    rule = cot(sequential="posterior", posterior_threshold=0.95)
    assert posterior(3, 0) == pytest.approx(0.9375)
    assert not settled(3, 0, 100, rule)
    assert settled(4, 0, 100, rule)
    assert settled(0, 4, 100, rule)


def winner(votes: list[Any]) -> Choice | None:
    lead = votes.count("a") - votes.count("b")
    return None if lead == 0 else "a" if lead > 0 else "b"


def drawn(votes: list[Any], settings: JudgeSettings) -> int:
    """Rounds that the rule draws of these votes."""
    done = 0
    while more := more_rounds(*_counts(votes[:done]), len(votes) - done, settings):
        done += more
    return done


def _counts(rounds: list[Any]) -> tuple[int, int]:
    named = [vote for pair in rounds for vote in pair]
    return named.count("a"), named.count("b")


@given(VOTES)
def test_a_certain_vote_is_the_full_vote(votes: list[Any]) -> None:
    done = drawn(votes, cot(sequential="certain"))
    assert winner([vote for pair in votes[:done] for vote in pair]) == winner([vote for pair in votes for vote in pair])


@given(VOTES, RULES, st.floats(0.51, 0.999))
def test_asking_for_several_rounds_stops_where_one_at_a_time_would(
    votes: list[Any], rule: Any, threshold: float
) -> None:
    settings = cot(sequential=rule, posterior_threshold=threshold)
    one_by_one = next(
        done
        for done in range(len(votes) + 1)
        if settled(*_counts(votes[:done]), 2 * (len(votes) - done), settings) or done == len(votes)
    )
    assert drawn(votes, settings) == one_by_one


def test_off_asks_for_everything_at_once() -> None:
    assert more_rounds(0, 0, 7, cot()) == 7
    assert more_rounds(6, 0, 7, cot()) == 7


class Counting(ScriptedBackend):
    """A scripted judge that notes what it is asked for."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.asked: list[tuple[int, int, int]] = []

    def generate(self, prompts: Any, sampling: Sampling) -> list[list[Chain]]:
        self.asked.append((len(prompts), sampling.first_sample, sampling.samples))
        return super().generate(prompts, sampling)


def judged(model: str, pairs: list[Pair], **settings: Any) -> list[Any]:
    backend = load_backend(BackendSpec("scripted", f"scripted:{model}"))
    return judge(pairs, backend=backend, settings=cot(**settings))


@pytest.mark.parametrize("sequential", ["certain", "posterior"])
@pytest.mark.parametrize("seed", [0, 3])
def test_a_sequential_vote_is_a_beginning_of_the_full_one(sequential: Any, seed: int) -> None:
    pairs = [row.pair for row in make_labelled(60)]
    full = judged("noisy:1:0.75", pairs, samples_per_order=8, seed=seed)
    part = judged("noisy:1:0.75", pairs, samples_per_order=8, seed=seed, sequential=sequential, posterior_threshold=0.9)
    assert 0.2 < sum(row.samples for row in part) / sum(row.samples for row in full) < 0.9
    for whole, row in zip(full, part, strict=True):
        kept = tuple(chain for chain in whole.rationales if chain.sample < row.samples / 2)
        assert row.rationales == kept
        if sequential == "certain":
            assert row.vote == whole.vote


def test_another_seed_draws_other_samples() -> None:
    pairs = [row.pair for row in make_labelled(10)]
    there, back = (judged("noisy:1", pairs, samples_per_order=4, seed=seed) for seed in (0, 1))
    assert [row.p_a for row in there] != [row.p_a for row in back]


def test_rounds_are_asked_for_together_and_settled_pairs_leave() -> None:
    backend = Counting("scripted:noisy:1:0.7")
    pairs = [row.pair for row in make_labelled(20)]
    found = judge(pairs, backend=backend, settings=cot(samples_per_order=8, sequential="certain"))
    assert backend.asked[0] == (40, 0, 5)  # ten votes of sixteen cannot be settled sooner
    assert sum(prompts * samples for prompts, _, samples in backend.asked) == sum(row.samples for row in found)
    assert all(first > 0 and prompts < 40 for prompts, first, _ in backend.asked[1:])
    sure = Counting("scripted:oracle")
    judge(pairs, backend=sure, settings=cot(samples_per_order=8, sequential="posterior"))
    assert sure.asked == [(40, 0, 2)]


def test_tokens_count_the_prompts_for_every_request() -> None:
    [row] = make_labelled(1)
    full = judged("first", [row.pair], samples_per_order=3)[0]
    torn = judged("first", [row.pair], samples_per_order=3, sequential="certain")[0]
    assert (full.vote, torn.vote, torn.samples) == (None, None, 6)
    assert torn.prompt_tokens == 2 * full.prompt_tokens  # two rounds at once, then the third
    assert torn.tokens - torn.prompt_tokens == full.tokens - full.prompt_tokens


def test_a_judge_that_gives_no_verdict_is_asked_for_all_its_samples_and_no_more() -> None:
    [row] = make_labelled(1)
    found = judged("unparsed", [row.pair], samples_per_order=4, sequential="posterior")[0]
    assert (found.samples, found.unparsed, found.vote) == (8, 8, None)


def test_more_samples_make_the_noisy_judge_better() -> None:
    rows = make_labelled(400)
    shares = []
    for samples in (1, 8):
        found = judged("noisy:5:0.65", [row.pair for row in rows], samples_per_order=samples)
        votes = [
            0.5 if one.vote is None else float(one.vote == row.choice) for one, row in zip(found, rows, strict=True)
        ]
        shares.append(sum(votes) / len(votes))
    assert shares[0] == pytest.approx(0.65, abs=0.06)
    assert shares[1] > shares[0] + 0.1


def test_scripted_samples_go_on_where_an_earlier_request_ended() -> None:
    from genrm_engine.prompts import build_prompt

    backend = ScriptedBackend("scripted:noisy:2")
    prompts = [build_prompt(row.pair, method="cot") for row in make_labelled(3)]
    sampling = Sampling(samples=5, max_tokens=10, seed=4)
    whole = backend.generate(prompts, sampling)
    later = backend.generate(prompts, replace(sampling, samples=2, first_sample=3))
    assert [chains[3:] for chains in whole] == later
