"""Rows for the engine: people's shares where a run learns them, and groups that joined the gate and train no more."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection

from genrm_engine.formats import read_labelled
from labeling.models import Claim, Deployment, ImportBatch, Label, Pair, Project, TrainingRun
from labeling.services import datasets, labels, parts, training
from labeling.services.imports import import_file
from tests.factories import ClaimFactory, DeploymentFactory, LabelFactory, PairFactory, labelled
from workers import run as runs

VOTES = {"split": ("a", "a", "b"), "with a tie": ("b", "b", "tie"), "bad": ("both_bad", "b", "b"), "alone": ("a",)}
SHARES = {"split": 0.6667, "with a tie": 0.1667, "bad": 0.1667, "alone": 1.0}
MAJORITIES = {"split": 0.6667, "with a tie": 0.6667, "bad": 0.6667, "alone": 1.0}


@pytest.fixture
def ready(champion: Deployment) -> Project:
    labelled(champion.project, training.LEAST_TRAINING)
    labelled(champion.project, training.LEAST_GATE, part="gate")
    return champion.project


@pytest.mark.parametrize(
    ("method", "policy", "shares"),
    [
        ("genrm", "soft", True),
        ("bradley-terry", "soft", True),
        ("genrm", "consensus", False),
        ("bradley-terry", "consensus", False),
        ("star-sft", "soft", False),
        ("star-dpo", "soft", False),
        ("grpo", "soft", False),
    ],
)
def test_a_method_that_learns_shares_gets_them_and_the_others_the_majority_with_its_weight(
    ready: Project, home: Path, method: str, policy: str, shares: bool
) -> None:
    """As the engine reads the frozen rows; what the project wants after the run was asked for is for the next one."""
    ids = {}
    for name, votes in VOTES.items():
        pair = PairFactory.create(project=ready)
        ids[str(pair.pk)] = name
        for choice in votes:
            LabelFactory.create(pair=pair, choice=choice)
    Project.objects.update(retrain_labels=policy)
    ready.refresh_from_db()
    run = training.take(training.request_run(ready, method=method, trigger="button").pk, lease="mine")
    assert run is not None
    Project.objects.update(retrain_labels="consensus" if policy == "soft" else "soft")
    runs._snapshot(run, home)
    read = {ids[row.pair.id]: row for row in read_labelled(home / "train.jsonl") if row.pair.id in ids}
    assert {name: row.choice for name, row in read.items()} == {
        "split": "a",
        "with a tie": "b",
        "bad": "b",
        "alone": "a",
    }
    assert {name: row.p_a for name, row in read.items()} == (SHARES if shares else dict.fromkeys(VOTES))
    assert {name: row.weight for name, row in read.items()} == (dict.fromkeys(VOTES, 1.0) if shares else MAJORITIES)
    assert all(row.p_a is None for row in read_labelled(home / "holdout.jsonl"))


def group_in(project: Project, part: Pair.Part) -> str:
    """A group that is drawn for this part."""
    return next(name for number in range(999) if parts.part_of(project, name := f"group {number}") == part)


def load(project: Project, group: str, name: str, count: int = 1) -> ImportBatch:
    """A file with new pairs of the group, each labelled."""
    labels = [{"annotator": "ada", "choice": "a"}]
    rows = [
        {
            "id": f"{name} {n}",
            "prompt": f"{name} {n}",
            "response_a": "x",
            "response_b": "y",
            "group": group,
            "labels": labels,
        }
        for n in range(count)
    ]
    lines = "\n".join(json.dumps(row) for row in rows).encode()
    return import_file(project, file=io.BytesIO(lines), filename=f"{name}.jsonl")


@pytest.fixture
def joined(ready: Project) -> str:
    """A group that was drawn for training and has joined the gate since, by its one audit pair."""
    group = group_in(ready, Pair.Part.TRAIN)
    labelled(ready, 1, audit=True, group_key=group)
    run = training.request_run(ready, method="genrm", trigger="button")
    TrainingRun.objects.filter(pk=run.pk).update(state="rejected", gate={"promote": False})
    assert datasets.refresh_gate(ready) == 1
    return group


def test_new_pairs_of_a_group_that_joined_the_gate_are_of_the_gate(ready: Project, joined: str) -> None:
    before = {row.pair.pk for row in datasets.training_rows(ready)}
    ready.audit_share = 0.2
    load(ready, joined, "later", 40)
    load(ready, group_in(ready, Pair.Part.TEST), "held out")
    later = Pair.objects.filter(external_id__startswith="later")
    assert set(later.values_list("part", flat=True)) == {"gate"}
    assert 0 < later.filter(audit=True).count() < 20, "the audit is the same random part of them as of others"
    assert set(Pair.objects.filter(external_id__startswith="held out").values_list("part", "audit")) == {
        ("test", False)
    }
    assert {row.pair.pk for row in datasets.training_rows(ready)} == before


def test_another_projects_group_of_that_name_trains(ready: Project, joined: str) -> None:
    other = DeploymentFactory.create().project
    Project.objects.filter(pk=other.pk).update(holdout_share=0)
    other.refresh_from_db()
    load(other, joined, "later")
    assert Pair.objects.get(project=other).part == Pair.Part.TRAIN


def test_an_import_that_was_under_way_when_its_group_joined_brings_nothing_to_train_on(
    ready: Project, joined: str
) -> None:
    before = datasets.training_rows(ready)
    [late] = labelled(ready, 1, group_key=joined)
    assert late.part == Pair.Part.TRAIN
    assert datasets.training_rows(ready) == before
    assert datasets.how_many(ready)[0] == len(before)
    Label.objects.filter(pair__part="gate").update(withdrawn=True)
    assert len(datasets.training_rows(ready)) == len(before) + 1, "nothing of the group measures any more"


def test_they_are_counted_as_they_are_read(ready: Project, joined: str) -> None:
    labelled(ready, 2, part="gate", group_key="both sides")
    labelled(ready, 1, group_key="both sides")
    labelled(ready, 1, ambiguous=True)
    labelled(ready, 1, audit=True)
    labelled(ready, 1, part="test")
    for choices in (("a", "b"), ("tie",), ("a", "b", "b")):
        pair = PairFactory.create(project=ready)
        for choice in choices:
            LabelFactory.create(pair=pair, choice=choice)
    gate = [row for row in datasets.holdout_rows(ready) if row.pair.part == Pair.Part.GATE]
    assert datasets.how_many(ready) == (len(datasets.training_rows(ready)), len(gate))
    assert datasets.how_many_lately(ready) == datasets.how_many(ready)


def test_what_is_kept_of_the_counts_follows_every_change_of_a_label_and_its_pair(ready: Project, bob: User) -> None:
    pair, gate = labelled(ready, 1)[0], Pair.objects.filter(part="gate")
    claim = ClaimFactory.create(pair__project=ready, annotator=bob)
    assert datasets.how_many_lately(ready) == (training.LEAST_TRAINING + 1, training.LEAST_GATE)
    steps: list[Callable[[], object]] = [
        lambda: labels.commit_label(claim, choice="left"),
        lambda: labels.undo(ready, annotator=bob),
        lambda: labels.commit_label(Claim.objects.select_related("pair__project").get(pk=claim.pk), choice="tie"),
        lambda: Pair.objects.filter(pk=pair.pk).update(ambiguous=True),
        lambda: Label.objects.filter(pair=gate[0]).update(withdrawn=True),
        lambda: Pair.objects.filter(pk=Pair.objects.filter(part="", ambiguous=False)[0].pk).update(part="gate"),
        lambda: LabelFactory.create(pair=gate[1], choice="b"),
    ]
    for step in steps:
        step()
        assert datasets.how_many_lately(ready) == datasets.how_many(ready)


def test_the_index_of_joined_groups_answers_for_an_import(ready: Project, joined: str) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
    assert "pair_joined_gate" in parts.joined_gate(ready).explain()
