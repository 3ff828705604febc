"""Queries built once answer as the same query built anew, whatever values they are sent with."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, models, transaction
from django.db.models import Exists, F, OuterRef
from django.test.utils import CaptureQueriesContext

from labeling.compiled import Compiled, CompiledInsert, CompiledUpdate, Slot
from labeling.models import Claim, Label, Pair, Project
from tests.factories import ClaimFactory, PairFactory, ProjectFactory

pytestmark = pytest.mark.django_db


def of_project(project: Any, since: Any) -> "models.QuerySet[Pair]":
    claimed = Exists(Claim.objects.filter(pair=OuterRef("pk"), pair__project=project))
    found = Pair.objects.select_related("project").filter(project=project, created_at__gte=since, closed=False)
    return found.annotate(claimed=claimed, wide=F("extra_labels") + 1).order_by("-pk")[:3]


OF_PROJECT = Compiled(lambda: of_project(Slot("project"), Slot("since", models.DateTimeField())))
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def test_it_answers_as_the_query_does() -> None:
    for project in ProjectFactory.create_batch(2):
        PairFactory.create_batch(4, project=project)
        rows = OF_PROJECT.fetch(project=project.pk, since=LONG_AGO)
        assert rows == list(of_project(project.pk, LONG_AGO))
        assert len(rows) == 3
        with CaptureQueriesContext(connection) as sent:
            assert {row.project for row in rows} == {project}
        assert not sent.captured_queries, "the project came with the pair"
        assert {(row.claimed, row.wide) for row in rows} == {(False, 1)}  # type: ignore[attr-defined]
        assert rows[0].prompt == [{"role": "user", "content": rows[0].prompt[0]["content"]}], "fields are converted"
        assert not OF_PROJECT.fetch(project=project.pk, since=datetime(2999, 1, 1, tzinfo=UTC))


def test_one_row_or_none(project: Project) -> None:
    by_slug = Compiled(lambda: Project.objects.filter(slug=Slot("slug", models.CharField())))
    assert by_slug.first(slug="stories") == project
    assert by_slug.first(slug="stories' OR 1=1 --") is None


def test_a_number_that_no_row_can_have_finds_nothing(project: Project) -> None:
    assert OF_PROJECT.fetch(project=10**30, since=LONG_AGO) == []


def test_a_slot_without_a_value_is_an_error(project: Project) -> None:
    with pytest.raises(KeyError, match="since"):
        OF_PROJECT.fetch(project=project.pk)


def test_an_update_writes_the_rows_it_names() -> None:
    first, second = PairFactory.create_batch(2)
    widen = CompiledUpdate(
        lambda: (
            Pair.objects.filter(pk=Slot("pair")),
            {"extra_labels": F("extra_labels") + Slot("more", models.IntegerField())},
        )
    )
    assert [widen(pair=first.pk, more=more) for more in (1, 2)] == [1, 1]
    assert widen(pair=0, more=1) == 0
    assert list(Pair.objects.order_by("pk").values_list("extra_labels", flat=True)) == [3, 0]
    second.refresh_from_db()
    assert second.extra_labels == 0


def test_an_insert_is_what_a_save_makes(project: Project, bob: User) -> None:
    claims = ClaimFactory.create_batch(2, pair__project=project, annotator=bob)
    saved, inserted = (
        Label(
            pair=claim.pair, claim=claim, annotator=bob, source="claim", choice="a", final_choice="a", blind=True,
            criteria={"tone": "b"}, highlights=[{"start": 1}], seconds=2.5,
        )
        for claim in claims
    )  # fmt: skip
    saved.save()
    insert = CompiledInsert(Label)
    assert insert(inserted) is inserted
    assert inserted.pk
    assert not inserted._state.adding
    own = ("id", "pair_id", "claim_id", "created_at", "stored_at")
    rows = list(Label.objects.order_by("pk").values())
    assert rows[0].keys() == rows[1].keys()
    assert [{name: value for name, value in row.items() if name not in own} for row in rows[:1]] == [
        {name: value for name, value in row.items() if name not in own} for row in rows[1:]
    ]
    assert all(rows[1][name] >= rows[0][name] for name in ("created_at", "stored_at"))
    inserted.comment = "kept"
    inserted.save()
    assert Label.objects.count() == 2, "a later save changes the row"


def test_an_insert_keeps_to_the_constraints(project: Project, bob: User) -> None:
    claim = ClaimFactory.create(pair__project=project, annotator=bob)
    insert = CompiledInsert(Claim)
    with pytest.raises(IntegrityError), transaction.atomic():
        insert(Claim(pair=claim.pair, annotator=bob, slot=1, slots=2, swapped=False, expires_at=LONG_AGO))
    assert Claim.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_threads_send_it_over_their_own_connections() -> None:
    project = ProjectFactory.create()
    PairFactory.create_batch(3, project=project)

    def ask(_: int) -> int:
        try:
            return len(OF_PROJECT.fetch(project=project.pk, since=LONG_AGO))
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(40))) == [3] * 40
