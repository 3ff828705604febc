"""Exports over the API: options, files, increments, frozen versions, and a real server."""

import csv
import io
import json
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pyarrow.parquet as pq
import pytest
from django.contrib.auth.models import User
from django.test import Client

from labeling import jobs
from labeling.models import ApiToken, DatasetVersion, Deployment, Project
from labeling.services import dataset_versions
from labeling.services.consensus import refresh
from labeling.services.tokens import create_token
from tests.conftest import Sent
from tests.factories import JudgementFactory, LabelFactory, PairFactory

LABELS = "/projects/stories/labels"
DATASETS = "/projects/stories/datasets"


def ask(user: User | str, path: str, body: object = None, **headers: str) -> Any:
    secret = user if isinstance(user, str) else create_token(user)
    sent = {"Authorization": f"Bearer {secret}", **headers}
    if body is None:
        return Client().get(f"/api/v1{path}", headers=sent)
    return Client().post(f"/api/v1{path}", data=body, content_type="application/json", headers=sent)


def content(response: Any) -> bytes:
    assert response.status_code == 200, response.content
    return b"".join(response.streaming_content)


def lines(response: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content(response).splitlines()]


@pytest.fixture
def labelled(champion: Deployment) -> Project:
    for number, choice in enumerate(("a", "tie", "b")):
        pair = PairFactory.create(project=champion.project)
        LabelFactory.create(pair=pair, choice=choice)
        JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.2 + 0.3 * number)
        refresh(pair)
    return champion.project


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("", 3),
        ("source=human&ties=drop", 2),
        ("source=human&profile=strict", 2),
        ("source=human&profile=strict&ties=soft", 3),
        ("shape=kto", 4),
        ("shape=reward&ties=keep", 3),
        ("shape=sft", 2),
        ("shape=prompt", 3),
        ("source=judge&min_confidence=0.7", 2),
        ("source=judge&rationales=true", 3),
        ("source=consensus&min_confidence=1", 3),
        ("source=hybrid", 3),
        ("verdict=final&blind=true", 3),
    ],
)
def test_every_option_is_understood(alice: User, labelled: Project, query: str, rows: int) -> None:
    assert len(lines(ask(alice, f"{LABELS}?{query}"))) == rows


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("source=robots", "source"),
        ("min_confidence=2&source=judge", "min_confidence"),
        ("shape=kto&ties=soft", "ties"),
        ("source=judge&judge=nobody", "judge"),
        ("since=nonsense", "since"),
        ("judge=%00", "judge"),
        ("sorce=judge", "sorce"),
        ("source=judge&profil=strict", "profil"),
    ],
)
def test_what_cannot_be_is_refused_before_the_file_begins(
    alice: User, labelled: Project, query: str, field: str
) -> None:
    response = ask(alice, f"{LABELS}?{query}")
    assert response.status_code == 422
    assert response["Content-Type"] == "application/problem+json"
    assert [error["field"] for error in response.json()["errors"]] == [field]


def test_csv_and_parquet_are_files_of_their_kind(alice: User, labelled: Project) -> None:
    answer = ask(alice, f"{LABELS}?source=judge&format=csv")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="stories-judge-full.csv"'
    rows = list(csv.DictReader(io.StringIO(content(answer).decode(), newline="")))
    assert [float(row["provenance.p_a"]) for row in rows] == [0.2, 0.5, 0.8]
    answer = ask(alice, f"{LABELS}?format=parquet&shape=kto")
    assert answer["Content-Disposition"] == 'attachment; filename="stories-human-kto.parquet"'
    assert pq.read_table(io.BytesIO(content(answer))).column_names == ["prompt", "completion", "label"]


def test_the_cursor_brings_only_what_is_new(alice: User, labelled: Project) -> None:
    answer = ask(alice, LABELS)
    known = {row["id"] for row in lines(answer)}
    for label in labelled.pairs.all():
        label.labels.update(stored_at="2026-01-01T00:00:00Z")
    since = answer["X-Next-Cursor"]
    assert lines(ask(alice, f"{LABELS}?since={since}")) == []
    fresh = LabelFactory.create(pair=PairFactory.create(project=labelled))
    rows = lines(ask(alice, f"{LABELS}?since={since}"))
    assert [row["id"] for row in rows] == [fresh.pair.external_id]
    assert fresh.pair.external_id not in known


@pytest.mark.usefixtures("home")
def test_a_version_is_frozen_listed_and_fetched(
    alice: User, labelled: Project, sent: Sent, django_capture_on_commit_callbacks: Any
) -> None:
    body = {"name": "spring-1", "source": "consensus", "format": "parquet"}
    with django_capture_on_commit_callbacks(execute=True):
        asked = ask(alice, DATASETS, body)
    assert asked.status_code == 202, asked.content
    number = asked.json()["id"]
    assert sent == [(jobs.FREEZE_DATASET, {"dataset_id": number})]
    assert ask(alice, f"/datasets/{number}/file").status_code == 404
    assert ask(alice, f"/datasets/{number}/manifest").status_code == 404
    assert dataset_versions.write(number)
    [listed] = ask(alice, DATASETS).json()
    assert listed == ask(alice, f"/datasets/{number}").json()
    assert (listed["state"], listed["manifest"]["rows"]) == ("done", 3)
    answer = ask(alice, f"/datasets/{number}/file")
    assert answer["ETag"] == f'"{listed["sha256"]}"'
    assert pq.read_table(io.BytesIO(content(answer))).num_rows == 3
    unchanged = ask(alice, f"/datasets/{number}/file", **{"If-None-Match": answer["ETag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert ask(alice, f"/datasets/{number}/manifest").json() == listed["manifest"]
    assert ask(alice, f"/datasets/{number}/card").content.decode().startswith("---\npretty_name: ")
    assert ask(alice, DATASETS, body).status_code == 422
    assert [error["field"] for error in ask(alice, DATASETS, body).json()["errors"]] == ["name"]


def test_a_file_that_is_gone_is_not_found(alice: User, labelled: Project, home: Path) -> None:
    dataset = dataset_versions.freeze(labelled, name="one", by=alice)
    dataset_versions.write(dataset.pk)
    for path in (home / "datasets").rglob("*.ndjson"):
        path.unlink()
    assert ask(alice, f"/datasets/{dataset.pk}/file").status_code == 404


@pytest.mark.parametrize(("who", "status"), [("alice", 200), ("dora", 403), ("bob", 403), ("charlie", 404)])
def test_datasets_are_the_managers(request: pytest.FixtureRequest, labelled: Project, who: str, status: int) -> None:
    user = request.getfixturevalue(who)
    dataset = DatasetVersion.objects.create(project=labelled, name="one", filters={})
    assert ask(user, f"/datasets/{dataset.pk}").status_code == status
    assert ask(user, DATASETS).status_code == status
    assert ask(user, DATASETS, {"name": "two"}).status_code == (202 if status == 200 else status)
    assert ask(user, f"/datasets/{dataset.pk}/file").status_code == (404 if status == 200 else status)


def test_freezing_needs_the_right_to_manage(alice: User, labelled: Project) -> None:
    secret = create_token(alice, scope=ApiToken.Scope.READ)
    assert ask(secret, DATASETS, {"name": "one"}).status_code == 403
    assert ask(secret, DATASETS).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_real_server_sends_it_all(alice: User, labelled: Project, live_server: Any) -> None:
    for pair in PairFactory.create_batch(2_500, project=labelled):
        LabelFactory.create(pair=pair)
    secret = create_token(alice)
    request = Request(f"{live_server.url}/api/v1{LABELS}", headers={"Authorization": f"Bearer {secret}"})
    with urlopen(request, timeout=60) as answer:
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        rows = [json.loads(line) for line in answer]
    assert len({row["id"] for row in rows}) == 2_503
