"""Reads of one trial: what the judge and people say of its pairs, and what judging the project would take.

Writes nothing, and knows no form.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from statistics import fmean

from django.db.models import Q, QuerySet

from labeling.models import JudgeTrial, Label, Pair, Project
from labeling.models.judges import Method
from labeling.services import trials

MILLION = 1_000_000
_EVERY = {Method.SCORE: "As champion: a score of every pair", Method.COT: "As champion: a rationale for every pair"}


@dataclass(frozen=True, slots=True)
class Heard:
    """A pair, what people said of it (verdict, how many), and what the judge said by each method."""

    pair: Pair
    people: list[tuple[str, int]]
    said: list[trials.Row]


@dataclass(frozen=True, slots=True)
class Prices:
    """What a million tokens costs, read and written."""

    read: float
    written: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """What judging so many pairs by a method would take, as the trial's pairs took."""

    name: str
    pairs: int
    read: float
    written: float
    seconds: float
    cost: float | None

    @property
    def tokens(self) -> float:
        """Tokens read and written."""
        return self.read + self.written


def trials_for(project: Project) -> QuerySet[JudgeTrial]:
    """The project's trials, the newest first."""
    return JudgeTrial.objects.select_related("judge", "requested_by").filter(project=project)


def heard_of(trial: JudgeTrial) -> list[Heard]:
    """The trial's pairs in their order; a pair that was deleted since is left out."""
    said: dict[int, list[trials.Row]] = defaultdict(list)
    for row in trial.said:
        said[row["pair"]].append(row)
    pairs = Pair.objects.in_bulk(said)
    people: dict[int, Counter[str]] = defaultdict(Counter)
    for pair_id, choice in Label.objects.filter(pair__in=pairs, withdrawn=False).values_list("pair_id", "choice"):
        people[pair_id][choice] += 1
    return [Heard(pairs[pk], people[pk].most_common(), rows) for pk, rows in said.items() if pk in pairs]


def per_pair(trial: JudgeTrial, prices: Prices | None = None) -> list[Estimate]:
    """What one pair took by each method, both orders and all samples together."""
    return [_estimate(Method(method).value, trial, method, 1, prices) for method in _methods(trial)]


def estimates_for(trial: JudgeTrial, prices: Prices | None = None) -> list[Estimate]:
    """What the judge would take as a shadow, and as champion for every pair of the project."""
    counts = Pair.objects.filter(project=trial.project_id)
    held_out, every = counts.filter(~Q(part=Pair.Part.TRAIN)).count(), counts.count()
    if not trial.said:
        return []
    shadow = _estimate("First, as a shadow: the hold-out", trial, trials.counted(trial), held_out, prices)
    every_pair = [_estimate(_EVERY[Method(method)], trial, method, every, prices) for method in _methods(trial)]
    return [shadow, *every_pair, *([_together(every_pair)] if len(every_pair) > 1 else [])]


def _methods(trial: JudgeTrial) -> list[str]:
    return list(dict.fromkeys(row["method"] for row in trial.said))


def _estimate(name: str, trial: JudgeTrial, method: str, pairs: int, prices: Prices | None) -> Estimate:
    rows = [row for row in trial.said if row["method"] == method]
    read = pairs * fmean(row["read"] for row in rows)
    written = pairs * fmean(row["tokens"] - row["read"] for row in rows)
    cost = None if prices is None else (read * prices.read + written * prices.written) / MILLION
    return Estimate(name, pairs, read, written, pairs * fmean(row["seconds"] for row in rows), cost)


def _together(parts: list[Estimate]) -> Estimate:
    """Several methods on the same pairs."""
    costs = [part.cost for part in parts if part.cost is not None]
    return Estimate(
        name="As champion, both",
        pairs=parts[0].pairs,
        read=sum(part.read for part in parts),
        written=sum(part.written for part in parts),
        seconds=sum(part.seconds for part in parts),
        cost=sum(costs) if costs else None,
    )
