"""Labels that a judge needs when Tandem's score says which pair comes next, against a random order.

    OMP_NUM_THREADS=1 python benchmarks/routing.py --data ../shared/data

Real pairs with real people's labels; the judge that learns is simulated. It is NOT the generative judge, whose training
after every batch and for every seed would take weeks on two cores: it is a Bradley-Terry head, a logistic regression on
the difference of the two responses' frozen features (sentence vectors of the prompt with the response and of the
response, length and formatting counts). It has no intercept, so no position bias and no order flips, and a pair is
asked once: of the score's parts only the uncertainty, the judge before and, where told, the likeness speak.

A seed splits the pairs by group into a pool and a test part (one whole group where there are few), draws one
annotator's label for each pair of the pool, and starts every policy with the same random labels. Then each asks for
batch after batch until the pool is empty; the judge is trained anew on all labels after each. A tie is a label spent
and teaches nothing. Accuracy is measured on the test part's majority verdicts.

What counts was fixed before the first run: the labels after which the accuracy, meaned over three batches, has made
90 % of the way from chance to what the whole pool gives (80 % and 95 % are told too), for the policy that projects
start with. Labels asked at random are trained on here; a project keeps its audit pairs out of training, whatever its
policy. Intervals are over seeds: they tell the luck of the draw, not what other data would give.
"""

import argparse
import hashlib
import json
import re
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genrm_engine.errors import EngineError
from genrm_engine.files import write_json
from genrm_engine.formats import DataRow, read_data
from genrm_engine.formats.rows import consensus
from genrm_engine.neighbours import Vectors, encode, shares
from genrm_engine.reproduction.machine import machine
from genrm_engine.routing import Evidence, worth

SETS = ("mtbench_clean", "ukp_benign", "pandalm_clean", "oasst_clean")
RESULTS = Path(__file__).resolve().parent / "results"
SIDES = {"a": 1, "b": 0}
TIE = -1  # a label, or a majority, for neither
HEADLINE = 0.9
WAYS = (0.8, HEADLINE, 0.95)  # of the way from chance to the whole pool's accuracy
SMOOTHED = 3  # batches
FEW_GROUPS = 12  # below it a seed's test part is one group
CHARACTERS = 8000  # of a text that the judge reads
POINTS = 12  # of a curve in the report, about

Floats = NDArray[np.float64]
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Policy:
    """``chance`` is the share of a batch that is asked at random; the rest goes by the score or by coverage."""

    chance: float = 0.0
    likeness: bool = False
    coverage: bool = False


DEFAULT, RANDOM = "audit", "random"
POLICIES = {
    RANDOM: Policy(chance=1.0),
    "uncertainty": Policy(),
    DEFAULT: Policy(chance=0.2),
    "coverage": Policy(coverage=True),
    "audit_likeness": Policy(chance=0.2, likeness=True),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a result depends on beside the data.

    ``c`` is the head's inverse penalty, one for all sets, chosen with random labels inside the pools.
    """

    seeds: int = 24
    start: int = 20
    batch: int = 20
    most_pairs: int = 1000  # of a pool
    test_share: float = 0.3
    neighbours: int = 10
    c: float = 0.1


@dataclass(frozen=True, slots=True)
class Data:
    """The pairs of a set: what the head sees of A minus B, what they are about, their prompts, groups and labels."""

    features: Floats  # (pairs, features)
    topics: Vectors  # (pairs, 256)
    prompts: Places
    groups: Places
    majority: Places  # 1 for A, 0 for B, else TIE
    longer: NDArray[np.bool_]  # whether A is the longer one
    labels: Sequence[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Trial:
    """A seed's pool and test part as places in the data, and the label that each pair of the pool would get."""

    data: Data
    pool: Places
    test: Places
    drawn: Places
    settings: Settings
    seed: int


@dataclass(slots=True)
class Course:
    """One policy's way through a pool: who was asked, where the judge was wrong before it learnt, its last verdicts."""

    asked: list[int] = field(default_factory=list)
    wrong: dict[int, float] = field(default_factory=dict)
    p: Floats | None = None
    before: Floats | None = None
    labels: list[int] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> None:
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _options(given)
    settings = Settings(options.seeds, most_pairs=options.most_pairs)
    for name in options.sets:
        source, target = options.data / f"{name}.jsonl.gz", options.out / f"routing-{name}.json"
        if not source.exists():
            raise EngineError(f"{source} is not there")
        about = {**asdict(settings), "data_sha256": hashlib.sha256(source.read_bytes()).hexdigest()}
        if target.exists() and json.loads(target.read_text(encoding="utf-8"))["settings"] == about:
            print(f"{name}: {target.name} has it already")
            continue
        started = time.monotonic()
        report = simulate(load(source), settings)
        seconds = round(time.monotonic() - started)
        run = {"command": shlex.join(["python", "benchmarks/routing.py", *given]), "machine": machine("", "cpu", 1)}
        write_json(target, {"set": name, **report, "settings": about, **run, "seconds": seconds})
        print(f"{name}: {report['labels_needed']}, {report['outcome']} ({seconds} s)", flush=True)


def load(path: Path) -> Data:
    """The labelled pairs of a file."""
    rows = [row for row in read_data(path) if row.labels]
    prompts = ["\n".join(message.content for message in row.pair.prompt) for row in rows]
    votes = [tuple(label.choice for label in row.labels) for row in rows]
    return Data(
        features=_features(rows, prompts),
        topics=encode([f"{p}\n{r.pair.response_a}\n{r.pair.response_b}" for p, r in zip(prompts, rows, strict=True)]),
        prompts=_numbered(prompts),
        groups=_numbered([row.pair.group or row.pair.id for row in rows]),
        majority=np.array([SIDES.get(consensus(each) or "", TIE) for each in votes], dtype=np.intp),
        longer=np.array([len(row.pair.response_a) > len(row.pair.response_b) for row in rows]),
        labels=votes,
    )


def _numbered(names: Sequence[str]) -> Places:
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.intp)


def _features(rows: Sequence[DataRow], prompts: Sequence[str]) -> Floats:
    """A minus B, (pairs, features): two sentence vectors and the counts, each block of mean squared length 1."""
    a = _blocks([row.pair.response_a for row in rows], prompts)
    b = _blocks([row.pair.response_b for row in rows], prompts)
    *vectors, counts = [first - second for first, second in zip(a, b, strict=True)]
    counts /= np.maximum(np.sqrt((counts**2).mean(axis=0)), 1e-9)
    return np.hstack([block / max(np.sqrt((block**2).sum(axis=1).mean()), 1e-9) for block in (*vectors, counts)])


def _blocks(responses: Sequence[str], prompts: Sequence[str]) -> list[Floats]:
    together = encode([f"{p}\n{r}" for p, r in zip(prompts, responses, strict=True)], characters=CHARACTERS)
    alone = encode(responses, characters=CHARACTERS)
    relevance = (alone * encode(prompts, characters=CHARACTERS)).sum(axis=1)
    counts = np.column_stack([np.array([_counts(response) for response in responses]), relevance])
    return [block.astype(np.float64) for block in (together, alone, counts)]


def _counts(text: str) -> list[float]:
    """Length and formatting of a response, as logarithms of counts."""
    patterns = (r"\n", r"^\s*(?:[-*•]|\d+[.)])\s", r"```", r"^#+\s", r"\*\*", r"\d", r"[.!?](?:\s|$)")
    found = [len(re.findall(pattern, text, flags=re.MULTILINE)) for pattern in patterns]
    return [float(np.log1p(count)) for count in (len(text), *found)]


def simulate(data: Data, settings: Settings) -> dict[str, Any]:
    """Every policy on every seed, and what it took them."""
    trials = [split(data, settings, seed) for seed in range(settings.seeds)]
    courses = {name: [follow(trial, policy) for trial in trials] for name, policy in POLICIES.items()}
    policies = {name: _summary(each, courses[RANDOM], trials) for name, each in courses.items()}
    routed, random = policies[DEFAULT]["labels_needed"], policies[RANDOM]["labels_needed"]
    wins = [float((data.longer[trial.test] == data.majority[trial.test]).mean()) for trial in trials]
    return {
        "labels_needed": {"routed": routed[str(HEADLINE)]["mean"], "random": random[str(HEADLINE)]["mean"]},
        "outcome": _outcome(routed[str(HEADLINE)]["ratio_to_random"]),
        "judge": "simulated: a linear Bradley-Terry head on frozen features, not the generative judge",
        "default_policy": DEFAULT,
        "way": HEADLINE,
        "pairs": len(data.labels),
        "groups": len(set(data.groups)),
        "pool_pairs": _spread([len(trial.pool) for trial in trials]),
        "test_pairs": _spread([len(trial.test) for trial in trials]),
        "ties_in_pool": _spread([float((trial.drawn == TIE).mean()) for trial in trials]),
        "accuracy_longer_wins": _spread(wins),
        "accuracy_start": _spread([course.accuracy[0] for course in courses[RANDOM]]),
        "accuracy_whole_pool": _spread([course.accuracy[-1] for course in courses[RANDOM]]),
        "policies": policies,
    }


def split(data: Data, settings: Settings, seed: int) -> Trial:
    """Whole groups to the test part, until it has its share of the pairs; few groups take turns."""
    draw = np.random.default_rng((seed, 0))
    groups, sizes = np.unique(data.groups, return_counts=True)
    if len(groups) < FEW_GROUPS:
        held = groups[[seed % len(groups)]]
    else:
        order = draw.permutation(len(groups))
        before = np.cumsum(sizes[order]) - sizes[order]
        held = groups[order][before < settings.test_share * len(data.groups)]
    inside = np.isin(data.groups, held)
    pool = draw.permutation(np.flatnonzero(~inside))[: settings.most_pairs]
    drawn = [SIDES.get(str(draw.choice(data.labels[place])), TIE) for place in pool]
    test = np.flatnonzero(inside & (data.majority != TIE))
    return Trial(data, pool, test, np.array(drawn, dtype=np.intp), settings, seed)


def follow(trial: Trial, policy: Policy) -> Course:
    """Ask for the whole pool, batch after batch; the first is the same under every policy."""
    draw = np.random.default_rng((trial.seed, 1))
    course = Course()
    batch: Sequence[int] = draw.permutation(len(trial.pool))[: trial.settings.start].tolist()
    while batch:
        _learn(trial, course, batch)
        left = np.setdiff1d(np.arange(len(trial.pool)), course.asked)
        batch = choose(trial, policy, course, draw.permutation(left))
    return course


def _learn(trial: Trial, course: Course, batch: Sequence[int]) -> None:
    if course.p is not None:
        for place in batch:
            if trial.drawn[place] != TIE:
                course.wrong[place] = float((course.p[place] > 0.5) != trial.drawn[place])
    course.asked += batch
    weights = fit(trial, sorted(course.asked))
    course.before, course.p = course.p, _probability(trial.data.features[trial.pool] @ weights)
    right = (trial.data.features[trial.test] @ weights > 0) == trial.data.majority[trial.test]
    course.labels.append(len(course.asked))
    course.accuracy.append(float(right.mean()))


def fit(trial: Trial, asked: Sequence[int]) -> Floats:
    """The head's weights; every pair is seen in both orders. Ties teach nothing."""
    from sklearn.linear_model import LogisticRegression

    taught = [place for place in asked if trial.drawn[place] != TIE]
    features, choices = trial.data.features[trial.pool[taught]], trial.drawn[taught]
    if not taught:
        return np.zeros(trial.data.features.shape[1])
    model = LogisticRegression(C=trial.settings.c / 2, fit_intercept=False, max_iter=1000)
    model.fit(np.vstack([features, -features]), np.concatenate([choices, 1 - choices]))
    weights: Floats = model.coef_[0]
    return weights


def _probability(logits: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
    return found


def choose(trial: Trial, policy: Policy, course: Course, left: Places) -> list[int]:
    """The next batch of those ``left``, which come in random order: where two are worth the same, the first."""
    size = min(trial.settings.batch, len(left))
    by_chance = round(policy.chance * size)
    rest = left[by_chance:]
    rank = _turns(trial, course, rest) if policy.coverage else -_worths(trial, policy, course, rest)
    best = rest[np.argsort(rank, kind="stable")[: size - by_chance]]
    return [*left[:by_chance].tolist(), *best.tolist()]


def _turns(trial: Trial, course: Course, left: Places) -> Places:
    """How many labels a pair's prompt has before it is the pair's turn."""
    prompts = trial.data.prompts[trial.pool]
    had = Counter(prompts[course.asked].tolist())
    turns = []
    for prompt in prompts[left].tolist():
        turns.append(had[prompt])
        had[prompt] += 1
    return np.array(turns, dtype=np.intp)


def _worths(trial: Trial, policy: Policy, course: Course, left: Places) -> Floats:
    p, before, alike = course.p, course.before, np.zeros(len(trial.pool))
    assert p is not None
    if policy.likeness:
        labelled = np.array(sorted(course.wrong), dtype=np.intp)
        errors = np.array([course.wrong[place] for place in labelled])
        alike = shares(trial.data.topics[trial.pool], labelled, errors, k=trial.settings.neighbours)
    found = [
        Evidence(
            float(p[place]),
            p_a_before=None if before is None else float(before[place]),
            likeness=float(alike[place]),
        )
        for place in left
    ]
    return np.array([worth(evidence).score for evidence in found])


def needed(course: Course, way: float) -> int:
    """The labels after which the smoothed accuracy has made that part of the way from chance to its end."""
    target = 0.5 + way * (course.accuracy[-1] - 0.5)
    for place, labels in enumerate(course.labels):
        if np.mean(course.accuracy[place : place + SMOOTHED]) >= target:
            return labels
    return course.labels[-1]


def _summary(courses: Sequence[Course], random: Sequence[Course], trials: Sequence[Trial]) -> dict[str, Any]:
    """Labels needed, with the paired ratio to the random order, and the mean curve."""
    lead = [np.mean(one.accuracy) - np.mean(other.accuracy) for one, other in zip(courses, random, strict=True)]
    half = [trial.drawn[course.asked[: len(trial.pool) // 2]] for course, trial in zip(courses, trials, strict=True)]
    every = range(min(len(course.labels) for course in courses))
    return {
        "labels_needed": {str(way): _needed(courses, random, way) for way in WAYS},
        "accuracy_lead": _spread([float(value) for value in lead]),
        "ties_in_first_half": _spread([float((labels == TIE).mean()) for labels in half]),
        "curve": [
            {"labels": courses[0].labels[at], **_spread([course.accuracy[at] for course in courses])}
            for at in every[:: max(1, len(every) // POINTS)]
        ],
    }


def _needed(courses: Sequence[Course], random: Sequence[Course], way: float) -> dict[str, Any]:
    """Labels needed, meaned over seeds, and the geometric mean of the seeds' own ratios to the random order."""
    mine, theirs = [needed(course, way) for course in courses], [needed(course, way) for course in random]
    ratio = _spread([float(np.log(one / other)) for one, other in zip(mine, theirs, strict=True)], digits=9)
    return {
        "mean": round(float(np.mean(mine)), 1),
        **({"seeds": mine} if way == HEADLINE else {}),
        "ratio_to_random": {name: round(float(np.exp(value)), 3) for name, value in ratio.items()},
    }


def _spread(values: Sequence[float], *, digits: int = 4) -> dict[str, float]:
    """Mean and 95 % interval of the mean over seeds (Student's t)."""
    from scipy.stats import t

    mean = float(np.mean(values))
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
    half = float(t.ppf(0.975, max(len(values) - 1, 1))) * error
    return {"mean": round(mean, digits), "low": round(mean - half, digits), "high": round(mean + half, digits)}


def _outcome(ratio: Mapping[str, float]) -> str:
    if ratio["high"] < 1:
        return "fewer labels than in random order"
    return "more labels than in random order" if ratio["low"] > 1 else "no difference from random order shown"


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets, SET.jsonl.gz")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--seeds", type=int, default=Settings().seeds)
    parser.add_argument("--most-pairs", type=int, default=Settings().most_pairs, help="of a pool")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
