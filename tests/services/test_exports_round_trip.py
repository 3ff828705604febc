"""What leaves `full` comes back: into an empty project of the same name, and out again the same."""

import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import User

from labeling.models import Claim, Label, Pair, Project
from labeling.services import exports, imports
from labeling.services.consensus import refresh
from labeling.services.labels import Given, commit_label
from tests.factories import ProjectFactory

GONE = ("origin", "order_shown", "choice_shown", "revealed_judge", "revealed_at")
"""An imported label was not given here: there is no order in which it was shown, and no reveal."""


def content(project: Project, **options: Any) -> bytes:
    return b"".join(exports.open_export(project, exports.ask(**options)).pieces())


def again(project: Project, file: bytes, name: str) -> Project:
    """The file in a new project of the same name; the old one gets out of its way."""
    slug = project.slug
    Project.objects.filter(pk=project.pk).update(slug=f"{slug}-{project.pk}")
    fresh = ProjectFactory.create(slug=slug, overlap=5, audit_share=project.audit_share)
    batch = imports.import_file(fresh, file=io.BytesIO(file), filename=name)
    assert batch.rejected == 0, list(batch.rejected_lines.values_list("reason", flat=True))
    for pair in fresh.pairs.all():
        refresh(pair)
    return fresh


@pytest.fixture
def labelled(bob: User, dora: User) -> Project:
    """Pairs as a file brings them, with labels of the file's and of Bob's and Dora's."""
    project = ProjectFactory.create(slug="tales", overlap=5, audit_share=0.3)
    rows = [
        {
            "id": f"=tale-{number}",
            "prompt": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": f"Tale {number}? «é»\n🦊"},
            ],
            "response_a": f"A fox crossed the river {number}.\u2028",
            "response_b": f'There was a fox {number}, "once".',
            "model_a": "one",
            "model_b": "two" if number % 2 else "",
            "gold": "a" if number == 3 else None,
            "meta": {"source": "test", "nested": {"n": [1, 2.5, None, True]}},
            "group": f"group {number // 3}",
            "labels": [{"annotator": "ada", "choice": "tie"}] if number % 4 == 0 else [],
        }
        for number in range(20)
    ]
    file = "".join(json.dumps(row) + "\n" for row in rows).encode()
    assert imports.import_file(project, file=io.BytesIO(file), filename="tales.jsonl").imported == 20
    for place, pair in enumerate(project.pairs.order_by("pk")[:9]):
        for slot, (user, shown) in enumerate(((bob, "left"), (dora, "both_bad" if place % 2 else "right"))):
            claim = Claim.objects.create(
                pair=pair, annotator=user, slot=slot, slots=5, swapped=place % 3 == 0, expires_at="2030-01-01T00:00Z"
            )
            given = Given(comment="=cmd", seconds=1.5, criteria={"Clarity": "left"})
            label = commit_label(claim, choice=shown, given=given)
            Label.objects.filter(pk=label.pk).update(strength=2 if label.choice in ("a", "b") else None)
        refresh(pair)
    return project


@pytest.mark.parametrize("form", ["ndjson", "parquet", "csv"])
def test_peoples_labels_come_back_with_all_that_was_said(labelled: Project, form: str) -> None:
    before = content(labelled)
    fresh = again(labelled, content(labelled, format=form), f"tales.{form}")
    after = content(fresh)
    first, second = ([json.loads(line) for line in file.splitlines()] for file in (before, after))
    assert len(first) == 23
    for row in (*first, *second):
        for name in GONE:
            del row["provenance"][name]
    assert second == first
    # From then on nothing is lost at all: the very same bytes.
    third = again(fresh, after, "tales.ndjson")
    assert content(third) == after


def test_the_consensus_comes_back_as_a_label_of_the_consensus(labelled: Project) -> None:
    before = list(exports.export(labelled, source="consensus"))
    fresh = again(labelled, content(labelled, source="consensus"), "consensus.ndjson")
    after = list(exports.export(fresh, source="consensus"))
    assert [(row["id"], row["choice"], row["part"], row["audit"], row["meta"]) for row in after] == [
        (row["id"], row["choice"], row["part"], row["audit"], row["meta"]) for row in before
    ]
    assert {label.external_annotator for label in Label.objects.filter(pair__project=fresh)} == {"consensus"}
    assert Pair.objects.filter(project=fresh).count() == len(before)
