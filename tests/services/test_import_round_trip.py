"""Tandem's own exports back in: nothing is lost, and what a judge said never becomes a label."""

import io
import json

import pytest
from django.contrib.auth.models import User

from labeling.models import Consensus, Label, Pair, Project
from labeling.services import consensus, exports, judging, labels
from labeling.services.imports import import_file
from tests import factories
from tests.services.test_import_labels import PAIR, load


@pytest.fixture
def labelled(project: Project, bob: User, dora: User) -> Project:
    """Two pairs: one labelled by claim with all that a label can have, one labelled by a file."""
    project.scale, project.criteria = "graded", [{"name": "true", "about": ""}]
    project.save()
    row = {**PAIR, "id": "x-1", "model_a": "m", "model_b": "n", "meta": {"topic": "t", "n": [1]}, "group": "g"}
    load(project, {**row, "gold": "a"}, {**PAIR, "id": "x-2", "prompt": "=1+1", "choice": "both_bad"})
    pair = Pair.objects.get(external_id="x-1")
    claim = factories.ClaimFactory.create(pair=pair, annotator=bob, swapped=True)
    passage = {"response": "b", "start": 0, "end": 3, "quote": "Why"}
    facts = labels.Given({"true": "left"}, [], 'said "so", twice\n-', 12.5)
    label = labels.commit_label(claim, choice="left", strength=2, given=facts)
    Label.objects.filter(pk=label.pk).update(highlights=[passage])
    for one in Pair.objects.all():
        consensus.refresh(one)
    return project


def exported(project: Project, kind: str, source: str) -> bytes:
    asked = exports.ask(source=source, profile="full", format=kind)
    return b"".join(exports.open_export(project, asked).pieces())


KEPT = ("id", "prompt", "response_a", "response_b", "model_a", "model_b", "choice", "group", "gold", "meta")
SAID = (
    "annotator",
    "blind",
    "final_choice",
    "strength",
    "criteria",
    "highlights",
    "comment",
    "seconds",
    "too_fast",
    "created_at",
)


@pytest.mark.parametrize("kind", ["ndjson", "csv", "parquet"])
def test_what_was_exported_imports_into_an_empty_project_and_exports_the_same(labelled: Project, kind: str) -> None:
    other = factories.ProjectFactory.create(slug="other")
    content = exported(labelled, kind, "human")
    batch = import_file(other, file=io.BytesIO(content), filename=f"labels.{kind}")
    assert (batch.imported, batch.labels, batch.rejected) == (2, 2, 0), list(batch.rejected_lines.values())
    first, second = (
        [json.loads(line) for line in exported(each, "ndjson", "human").splitlines()] for each in (labelled, other)
    )
    assert len(first) == 2
    for before, after in zip(first, second, strict=True):
        assert [before[name] for name in KEPT] == [after[name] for name in KEPT]
        assert [before["provenance"][name] for name in SAID] == [after["provenance"][name] for name in SAID]
    third = factories.ProjectFactory.create(slug="third")
    import_file(third, file=io.BytesIO(exported(other, kind, "human")), filename=f"again.{kind}")
    again = [json.loads(line) for line in exported(third, "ndjson", "human").splitlines()]
    stable = [({**row, "part": "", "audit": ""}) for row in second]
    assert [({**row, "part": "", "audit": ""}) for row in again] == stable


def test_an_exported_consensus_of_people_comes_as_the_label_of_one(labelled: Project) -> None:
    other = factories.ProjectFactory.create(slug="other")
    batch = import_file(other, file=io.BytesIO(exported(labelled, "ndjson", "consensus")), filename="c.ndjson")
    assert (batch.imported, batch.labels, batch.rejected) == (2, 2, 0)
    came = Label.objects.filter(pair__project=other)
    assert set(came.values_list("external_annotator", flat=True)) == {"consensus"}
    assert not came.filter(blind=True).exists(), "final verdicts made it, some given after the judge was shown"


def test_a_verdict_that_was_revised_after_the_reveal_is_not_blind_as_the_final_one(labelled: Project) -> None:
    label = Label.objects.filter(pair__project=labelled, blind=True, source="claim").first()
    assert label is not None
    changed = {"a": "b"}.get(label.choice, "a")
    Label.objects.filter(pk=label.pk).update(final_choice=changed)
    for verdict, blind in (("first", True), ("final", False)):
        asked = exports.ask(source="human", verdict=verdict, profile="full", format="ndjson")
        rows = map(json.loads, b"".join(exports.open_export(labelled, asked).pieces()).splitlines())
        [row] = [row for row in rows if row["provenance"]["origin"] == "claim"]
        assert row["provenance"]["blind"] is blind


def test_what_a_judge_said_never_becomes_a_label(project: Project, labelled: Project) -> None:
    deployment = judging.champion_of(labelled)
    assert deployment is not None
    for pair in Pair.objects.filter(project=labelled):
        factories.JudgementFactory.create(pair=pair, judge=deployment.judge)
        Consensus.objects.filter(pair=pair).update(method="judge", judge=deployment.judge, labels=0)
    for source in ("judge", "consensus"):
        other = factories.ProjectFactory.create(slug=f"other-{source}")
        batch = import_file(other, file=io.BytesIO(exported(labelled, "ndjson", source)), filename="j.ndjson")
        assert (batch.imported, batch.labels, batch.rejected) == (2, 0, 0)
