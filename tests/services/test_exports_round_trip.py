"""What leaves `full` comes back: into an empty project of the same name, and out again the same."""

import io
import json
from collections.abc import Iterable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from labeling.models import Claim, Deployment, Flag, Label, Pair, Project
from labeling.services import exports, flags, imports
from labeling.services.consensus import refresh
from labeling.services.labels import Given, commit_label
from tests.factories import JudgementFactory, ProjectFactory

NOT_SHOWN = ("order_shown", "choice_shown", "revealed_judge", "revealed_at")

APOSTROPHES = ("'-' ", "''=", "'")
"""CSV has one before every formula: these must neither gain nor lose one."""


def content(project: Project, **options: Any) -> bytes:
    return b"".join(exports.open_export(project, exports.ask(**options)).pieces())


def rows_of(project: Project, **options: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content(project, **options).splitlines()]


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
    """Pairs as a file brings them, with labels of the file's and of Bob's and Dora's.

    One of Bob's was revised after a reveal, one pair is settled by Dora, and another one is ambiguous.
    """
    project = ProjectFactory.create(slug="tales", overlap=5, audit_share=0.3)
    rows = [
        {
            "id": f"=tale-{number}",
            "prompt": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": f"Tale {number}? «é»\n🦊"},
            ],
            "response_a": f"A fox crossed the river {number}.\u2028",
            "response_b": f'{APOSTROPHES[number % 3]}{number}- is a fox, "once".',
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
    settled, doubtful, revised = project.pairs.order_by("pk")[:3]
    for pair in (settled, doubtful):
        Flag.objects.get_or_create(pair=pair, kind="reported")
    flags.settle(settled, by=dora, choice="tie", reason="-1 for both")
    flags.mark_ambiguous(doubtful, by=dora, reason="")
    judge = Deployment.objects.get(project=project).judge
    revised.labels.filter(annotator=bob).update(final_choice="tie", revealed_judge=judge, revealed_at=timezone.now())
    for pair in project.pairs.all():
        refresh(pair)
    return project


@pytest.mark.parametrize("form", ["ndjson", "parquet", "csv"])
def test_peoples_labels_come_back_with_all_that_was_said(labelled: Project, form: str) -> None:
    before = rows_of(labelled)
    fresh = again(labelled, content(labelled, format=form), f"tales.{form}")
    assert len(before) == 24
    assert rows_of(fresh) == [as_it_comes_back(row) for row in before]
    # From then on nothing is lost at all: the very same bytes.
    after, as_form = content(fresh), content(fresh, format=form)
    third = again(fresh, as_form, f"tales.{form}")
    assert (content(third), content(third, format=form)) == (after, as_form)


def test_with_the_final_verdict_the_first_one_is_lost(labelled: Project) -> None:
    revised = [row["id"] for row in rows_of(labelled) if row["choice"] != row["provenance"]["final_choice"]]
    fresh = again(labelled, content(labelled, verdict="final"), "tales.ndjson")
    first = {row["id"]: row["choice"] for row in rows_of(fresh) if row["provenance"]["annotator"] == "bob"}
    assert [first[number] for number in revised] == ["tie"]


@pytest.mark.parametrize("source", ["consensus", "hybrid"])
def test_the_consensus_comes_back_as_a_label_of_the_consensus(labelled: Project, source: str) -> None:
    before = rows_of(labelled, source=source)
    [doubtful] = [row["id"] for row in before if row["provenance"]["method"] == "ambiguous"]
    fresh = again(labelled, content(labelled, source=source), "consensus.ndjson")
    after = rows_of(fresh, source=source)
    for row in after:
        about = row["provenance"]
        assert (about["method"], about["confidence"], about["labels"], about["judge"]) == ("majority", 1, 1, None)
    assert columns(after) == columns(row for row in before if row["id"] != doubtful)
    assert {label.external_annotator for label in Label.objects.filter(pair__project=fresh)} == {"consensus"}
    assert Pair.objects.filter(project=fresh).count() == len(before)
    third = again(fresh, content(fresh, source=source), "consensus.ndjson")
    for row in (*after, *(last := rows_of(third, source=source))):
        del row["provenance"]["created_at"]  # when the consensus was formed there
    assert last == after


def test_what_a_judge_said_brings_pairs_and_no_labels(labelled: Project) -> None:
    champion = Deployment.objects.get(project=labelled)
    for pair in labelled.pairs.all()[:4]:
        JudgementFactory.create(pair=pair, judge=champion.judge)
    fresh = again(labelled, content(labelled, source="judge"), "judge.ndjson")
    assert fresh.pairs.count() == 4
    assert not Label.objects.filter(pair__project=fresh).exists()


def as_it_comes_back(row: dict[str, Any]) -> dict[str, Any]:
    """A person's label, which was not given here: there was no order in which it was shown, and no reveal."""
    about = {**row["provenance"], **dict.fromkeys(NOT_SHOWN), "origin": "import"}
    if row["provenance"]["origin"] == "adjudication":
        about["annotator"] += " (adjudication)"
    return {**row, "provenance": about}


def columns(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without their provenance."""
    return [{name: value for name, value in row.items() if name != "provenance"} for row in rows]
