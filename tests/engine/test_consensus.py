"""Dawid–Skene: the same as crowd-kit on mirrored data, blind to which response is A, and fair to newcomers."""

import random

import pandas as pd
import pytest
from crowdkit.aggregation import DawidSkene as CrowdKit
from hypothesis import given
from hypothesis import strategies as st

from genrm_engine.evaluation import consensus

CHOICES = ("a", "b", "tie")
MIRROR = {"a": "b", "b": "a"}
Labels = dict[str, dict[str, str]]


def crowd(*, items: int = 200, skills: dict[str, float], seed: int = 0) -> tuple[Labels, dict[str, str]]:
    """Labels by annotators who are right as often as their skill says, and the truth."""
    draw = random.Random(seed)
    truth = {f"pair-{number}": draw.choice(["a", "b"]) for number in range(items)}
    labels = {
        item: {name: right if draw.random() < skill else MIRROR[right] for name, skill in skills.items()}
        for item, right in truth.items()
    }
    return labels, truth


@pytest.mark.filterwarnings("ignore:The (inplace|copy) keyword")
def test_the_posterior_is_crowd_kits_own() -> None:
    labels, _ = crowd(skills={"ann": 0.95, "ben": 0.8, "cem": 0.6})
    rows = [(item, who, label) for item, each in labels.items() for who, label in each.items()]
    mirrored = [(f"{item}'", who, MIRROR[label]) for item, who, label in rows]
    theirs = CrowdKit(n_iter=consensus.ITERATIONS).fit_predict_proba(
        pd.DataFrame(rows + mirrored, columns=["task", "worker", "label"])
    )
    model = consensus.fit(labels)
    assert model is not None
    for item, each in labels.items():
        assert consensus.posterior(model, each)["a"] == pytest.approx(theirs.loc[item, "a"], abs=0.01)


def test_a_reliable_annotator_outweighs_two_who_guess() -> None:
    labels, truth = crowd(items=400, skills={"ann": 0.97, "ben": 0.52, "cem": 0.5, "dov": 0.95})
    model = consensus.fit(labels)
    assert model is not None
    ann, ben = model.reliability("ann"), model.reliability("ben")
    assert ann is not None
    assert ben is not None
    assert ann > 0.9 > 0.65 > ben
    shares = consensus.posterior(model, {"ann": "a", "ben": "b", "cem": "b"})
    assert shares["a"] > 0.8
    weighed = [
        max(found, key=found.__getitem__) for each in labels.values() for found in [consensus.posterior(model, each)]
    ]
    right = sum(choice == truth[item] for choice, item in zip(weighed, labels, strict=True)) / len(labels)
    counted = [max(CHOICES, key=list(each.values()).count) for each in labels.values()]
    by_majority = sum(choice == truth[item] for choice, item in zip(counted, labels, strict=True)) / len(labels)
    assert right > by_majority


def test_which_response_is_stored_as_a_says_nothing() -> None:
    labels, _ = crowd(skills={"ann": 0.9, "ben": 0.7, "cem": 0.8}, seed=3)
    swapped = {item: {who: MIRROR[label] for who, label in each.items()} for item, each in labels.items()}
    one, other = consensus.fit(labels), consensus.fit(swapped)
    assert one is not None
    assert other is not None
    for said in ({"ann": "a", "ben": "b"}, {"cem": "a"}):
        mirrored = {who: MIRROR[label] for who, label in said.items()}
        assert consensus.posterior(one, said)["a"] == pytest.approx(consensus.posterior(other, mirrored)["b"], abs=1e-6)
    assert one.priors["a"] == pytest.approx(0.5, abs=1e-6)


def test_a_newcomer_counts_as_an_average_annotator() -> None:
    labels, _ = crowd(skills={"ann": 0.9, "ben": 0.7, "cem": 0.8})
    labels["pair-0"]["new"] = "a"
    model = consensus.fit(labels)
    assert model is not None
    assert model.reliability("new") is None
    assert consensus.posterior(model, {"new": "a"}) == consensus.posterior(model, {"somebody": "a"})
    assert 0.7 < consensus.posterior(model, {"new": "a"})["a"] < 0.95


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {f"pair-{n}": {"ann": "a", "ben": "a"} for n in range(50)},
        {f"pair-{n}": {f"annotator-{n}": "a"} for n in range(50)},
        {f"pair-{n}": {"ann": "a", "ben": "b", "cem": "a"} for n in range(consensus.LEAST_SHARED - 1)},
    ],
    ids=["nothing", "two annotators", "nothing shared", "too little shared"],
)
def test_with_too_few_labels_nothing_is_fitted(labels: Labels) -> None:
    assert consensus.fit(labels) is None


@given(st.dictionaries(st.sampled_from(["ann", "ben", "new"]), st.sampled_from([*CHOICES, "both_bad"])))
def test_a_posterior_is_a_distribution_and_survives_json(said: dict[str, str]) -> None:
    matrix = {true: {label: 0.8 if label == true else 0.1 for label in CHOICES} for true in CHOICES}
    model = consensus.DawidSkene({"a": 0.45, "b": 0.45, "tie": 0.1}, {"ann": matrix}, matrix, 100)
    shares = consensus.posterior(consensus.DawidSkene.from_json(model.to_json()), said)
    assert shares == consensus.posterior(model, said)
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) == set(CHOICES)
