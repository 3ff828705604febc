"""What voting rules and cascades would have cost and decided, from samples that were drawn once; needs no model.

The full vote (k samples in each order) is recorded in judgements of method ``cot``. Every rule is replayed on those
samples, sample n of a pair being the n-th that the rule draws, and compared with the full vote on the same pairs. It
knows what a judge wrote and read, not how fast a machine does either.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from genrm_engine.errors import EngineError
from genrm_engine.evaluation.bootstrap import interval, mean
from genrm_engine.evaluation.metrics import correct
from genrm_engine.judge import is_unsure
from genrm_engine.types import Choice, Judgement, JudgeSettings
from genrm_engine.voting import more_rounds

THRESHOLDS = (0.8, 0.9, 0.95, 0.99)
MARGINS = (0.05, 0.1, 0.2, 0.3)
Winner = Choice | None
_Sample = tuple[Winner, int]


@dataclass(frozen=True, slots=True)
class Row:
    """One rule on ``pairs`` pairs.

    ``samples`` (rationales, both orders), ``requests`` and ``tokens`` are means per pair; ``tokens`` counts what was
    read and written, the prompts again for each request. ``tokens_saved`` and ``written_saved`` are the shares that the
    full vote's tokens, and those that it wrote, exceed the rule's: a backend that keeps the prompts' key-value cache
    saves close to the latter. ``agreement`` is the share of pairs with the full vote's verdict (a drawn vote is one of
    its own); ``accuracy`` is against the human choice (a drawn vote is half right), with a 95 % bootstrap interval by
    group.
    """

    rule: str
    pairs: int
    samples: float
    requests: float
    tokens: float
    tokens_saved: float
    written_saved: float
    agreement: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Outcome:
    winner: Winner
    samples: int
    requests: int
    read: int
    written: int


def replay(
    full: Sequence[Judgement],
    choices: Mapping[str, Choice],
    groups: Mapping[str, str],
    *,
    scores: Sequence[Judgement] = (),
    thresholds: Sequence[float] = THRESHOLDS,
    margins: Sequence[float] = MARGINS,
) -> list[Row]:
    """The full vote, its mean probability, then each rule; with ``scores`` also the score alone and the cascades.

    ``full`` are complete votes of method ``cot`` (neither sequential nor cascaded), ``scores`` judgements of method
    ``score`` by the same judge. Only pairs with a human choice, and with a score where there are any, are counted.
    Raises EngineError where a judgement is of another kind or no pair is left.
    """
    scored = {row.pair_id: row for row in scores}
    for row in scored.values():
        if row.method != "score":
            raise EngineError(f"the score of pair {row.pair_id} is a judgement of method {row.method!r}")
    judged = {row.pair_id: row for row in full if row.pair_id in choices and (not scored or row.pair_id in scored)}
    if not judged:
        raise EngineError("no pair has a full vote, a human choice and, where scores are given, a score")
    if len({row.samples for row in judged.values()}) > 1:
        raise EngineError("the pairs have different numbers of samples: a vote that stopped early cannot be replayed")
    pairs = {pair: _Recorded.of(judged[pair]) for pair in sorted(judged)}
    baseline = {pair: recorded.vote(_SETTINGS["off"]) for pair, recorded in pairs.items()}
    rules = _rules(pairs, baseline, judged, scored, thresholds, margins)
    return [_row(name, outcomes, baseline, choices, groups) for name, outcomes in rules]


def to_markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| rule | samples | requests | tokens | tokens saved | written saved | same verdict | accuracy (95 %) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.rule} | {row.samples:.2f} | {row.requests:.2f} | {row.tokens:.0f} | {row.tokens_saved:.1%} "
            f"| {row.written_saved:.1%} | {row.agreement:.1%} "
            f"| {row.accuracy:.3f} ({row.accuracy_low:.3f}–{row.accuracy_high:.3f}) |"
        )
    return "\n".join(lines) + f"\n\n{rows[0].pairs if rows else 0} pairs.\n"


_SETTINGS: dict[Literal["off", "certain"], JudgeSettings] = {
    "off": JudgeSettings(method="cot"),
    "certain": JudgeSettings(method="cot", sequential="certain"),
}


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A full vote as rounds of two samples, each with its vote and its tokens, and the tokens of its two prompts."""

    rounds: Sequence[tuple[_Sample, _Sample]]
    prompts: int

    @classmethod
    def of(cls, judgement: Judgement) -> "_Recorded":
        if judgement.decided_by != "cot" or judgement.samples % 2:
            raise EngineError(f"the judgement of pair {judgement.pair_id} is no full vote by rationales")
        found = {(row.swapped, row.sample): (row.verdict, row.tokens) for row in judgement.rationales}
        if len(found) + judgement.unparsed != judgement.samples:
            raise EngineError(f"the judgement of pair {judgement.pair_id} lacks rationales of its samples")
        # Only the sum of what unparsed chains took is recorded: each gets an equal part.
        rest = judgement.tokens - judgement.prompt_tokens - sum(tokens for _, tokens in found.values())
        mute: _Sample = (None, round(rest / max(1, judgement.unparsed)))
        rounds = [
            (found.get((False, number), mute), found.get((True, number), mute))
            for number in range(judgement.samples // 2)
        ]
        return cls(rounds, judgement.prompt_tokens)

    def vote(self, settings: JudgeSettings) -> _Outcome:
        """What the settings' rule would have drawn and decided."""
        done = requests = 0
        while more := more_rounds(*self._votes(done), len(self.rounds) - done, settings):
            done += more
            requests += 1
        votes_a, votes_b = self._votes(done)
        winner: Winner = None if votes_a == votes_b else "a" if votes_a > votes_b else "b"
        written = sum(tokens for pair in self.rounds[:done] for _, tokens in pair)
        return _Outcome(winner, 2 * done, requests, self.prompts * requests, written)

    def _votes(self, done: int) -> tuple[int, int]:
        named = [verdict for pair in self.rounds[:done] for verdict, _ in pair]
        return named.count("a"), named.count("b")


def _rules(
    pairs: Mapping[str, _Recorded],
    baseline: Mapping[str, _Outcome],
    judged: Mapping[str, Judgement],
    scored: Mapping[str, Judgement],
    thresholds: Sequence[float],
    margins: Sequence[float],
) -> Iterator[tuple[str, dict[str, _Outcome]]]:
    """Each rule's name with what it does on every pair."""
    yield "full vote", dict(baseline)
    yield "full, mean probability", {pair: _by_mean(judged[pair], full) for pair, full in baseline.items()}
    certain = {pair: recorded.vote(_SETTINGS["certain"]) for pair, recorded in pairs.items()}
    yield "majority cannot flip", certain
    for threshold in thresholds:
        settings = JudgeSettings(method="cot", sequential="posterior", posterior_threshold=threshold)
        yield f"posterior {threshold:g}", {pair: recorded.vote(settings) for pair, recorded in pairs.items()}
    if not scored:
        return
    yield "score", {pair: _by_score(scored[pair]) for pair in pairs}
    for margin in margins:
        for name, voted in (("full vote", baseline), ("majority cannot flip", certain)):
            yield f"cascade {margin:g}, {name}", {pair: _cascaded(scored[pair], voted[pair], margin) for pair in pairs}


def _by_mean(judgement: Judgement, full: _Outcome) -> _Outcome:
    return _Outcome(_winner(judgement.p_a), full.samples, full.requests, full.read, full.written)


def _by_score(score: Judgement) -> _Outcome:
    return _Outcome(_winner(score.p_a), 0, 1, score.tokens, 0)


def _cascaded(score: Judgement, voted: _Outcome, margin: float) -> _Outcome:
    first = _by_score(score)
    if not is_unsure(score, margin):
        return first
    return _Outcome(voted.winner, voted.samples, voted.requests + 1, voted.read + first.read, voted.written)


def _winner(p_a: float) -> Winner:
    return None if p_a == 0.5 else "a" if p_a > 0.5 else "b"


def _row(
    rule: str,
    outcomes: Mapping[str, _Outcome],
    baseline: Mapping[str, _Outcome],
    choices: Mapping[str, Choice],
    groups: Mapping[str, str],
) -> Row:
    found = list(outcomes.values())
    right = {
        pair: 0.5 if one.winner is None else correct(float(one.winner == "a"), choices[pair])
        for pair, one in outcomes.items()
    }
    low, high = interval(right, groups)
    written = sum(one.written for one in found)
    tokens = written + sum(one.read for one in found)
    full_written = sum(one.written for one in baseline.values())
    full_tokens = full_written + sum(one.read for one in baseline.values())
    return Row(
        rule=rule,
        pairs=len(found),
        samples=mean([float(one.samples) for one in found]),
        requests=mean([float(one.requests) for one in found]),
        tokens=tokens / len(found),
        tokens_saved=1 - tokens / max(1, full_tokens),
        written_saved=1 - written / max(1, full_written),
        agreement=mean([float(one.winner == baseline[pair].winner) for pair, one in outcomes.items()]),
        accuracy=mean(list(right.values())),
        accuracy_low=low,
        accuracy_high=high,
    )
