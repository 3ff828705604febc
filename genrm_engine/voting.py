"""Sequential voting: samples are drawn in rounds until the vote is settled; knows prompts and a backend, not pairs.

A round is one sample in each of the two orders. Two rules say when a vote is settled:

- ``certain``: the majority cannot flip any more, because the lead exceeds the samples that are left. The verdict is
  that of the full vote.
- ``posterior``: the probability that the leading response is the one most samples would name reaches a threshold. With
  v1 votes against v2 and a uniform prior that is the mass of Beta(v1 + 1, v2 + 1) above one half: the Beta criterion of
  Adaptive-Consistency (Aggarwal, Madaan, Yang and Mausam 2023, "Let's Sample Step by Step", arXiv 2305.11860; there
  the threshold is 0.95). It takes samples as independent; those of the two orders pull against each other where a judge
  favours a position, which only makes it draw longer. A vote that cannot flip is settled by this rule too.

A chain without a verdict uses up its sample and is no vote.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import comb

from genrm_engine.backends import Backend
from genrm_engine.prompts import JudgePrompt
from genrm_engine.types import Chain, Choice, JudgeSettings

ORDERS = 2


@dataclass(slots=True)
class Drawn:
    """What has been sampled of one pair: the chains of both orders, and how many requests they took."""

    straight: list[Chain] = field(default_factory=list)
    swapped: list[Chain] = field(default_factory=list)
    requests: int = 0

    @property
    def votes(self) -> tuple[int, int]:
        """Votes for A and for B, in the stored order."""
        found = [
            verdict_of(chain, swapped=swapped)
            for chains, swapped in ((self.straight, False), (self.swapped, True))
            for chain in chains
            if chain.p_first is not None
        ]
        return found.count("a"), found.count("b")


def sample(
    orders: Sequence[tuple[JudgePrompt, JudgePrompt]], *, backend: Backend, settings: JudgeSettings
) -> list[Drawn]:
    """The chains of every pair, given as its prompts in the two orders; in rounds where the settings say so.

    Sample n of a sequential vote is sample n of the full one with every backend whose samples depend on the seed, the
    prompt and the sample's number (``Sampling.first_sample``).
    """
    found = [Drawn() for _ in orders]
    while True:
        requests: dict[tuple[int, int], list[int]] = {}
        for row, drawn in enumerate(found):
            done = len(drawn.straight)
            rounds = more_rounds(*drawn.votes, settings.samples_per_order - done, settings)
            if rounds:
                requests.setdefault((done, rounds), []).append(row)
        if not requests:
            return found
        for (done, rounds), rows in requests.items():
            sampling = replace(settings.sampling, samples=rounds, first_sample=done)
            chains = iter(backend.generate([prompt for row in rows for prompt in orders[row]], sampling))
            for row, straight, swapped in zip(rows, chains, chains, strict=True):
                found[row].straight += straight
                found[row].swapped += swapped
                found[row].requests += 1


def more_rounds(votes_a: int, votes_b: int, left: int, settings: JudgeSettings) -> int:
    """How many of the ``left`` rounds to draw before the vote could be settled; 0: it is, or no round is left.

    Rounds in which the rule could not stop even if all their votes went to the leader are asked for at once, because
    each request may cost reading the prompt again. The rule stops where it would with one round at a time.
    """
    if settings.sequential == "off":
        return left
    most, least = max(votes_a, votes_b), min(votes_a, votes_b)
    for rounds in range(left):
        if settled(most + ORDERS * rounds, least, ORDERS * (left - rounds), settings):
            return rounds
    return left


def settled(votes_a: int, votes_b: int, left: int, settings: JudgeSettings) -> bool:
    """Whether the settings' rule stops a vote with ``left`` samples still to be drawn."""
    if left == 0 or abs(votes_a - votes_b) > left:
        return True
    return (
        settings.sequential == "posterior"
        and posterior(max(votes_a, votes_b), min(votes_a, votes_b)) >= settings.posterior_threshold
    )


def posterior(votes: int, against: int) -> float:
    """P(more than half of all samples would vote like the ``votes``), from a uniform prior.

    The mass of Beta(votes + 1, against + 1) above one half, which for whole numbers is a binomial tail.
    """
    tosses = votes + against + 1
    return sum(comb(tosses, heads) for heads in range(against + 1, tosses + 1)) / (1 << tosses)


def p_a_of(p_first: float, *, swapped: bool) -> float:
    """P(A) in the stored order from P(the response shown first)."""
    return 1 - p_first if swapped else p_first


def verdict_of(chain: Chain, *, swapped: bool) -> Choice:
    """The response that a chain with a verdict names: as written, or the more probable (see ``types.Rationale``).

    A letter that was sampled against the odds is a vote for what it says, as a reader of the rationale takes it.
    """
    names_first = chain.names_first
    if names_first is None:
        names_first = chain.p_first is not None and chain.p_first >= 0.5
    return "a" if names_first != swapped else "b"
