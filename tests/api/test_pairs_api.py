"""Pairs over REST: in as a stream, all or nothing and nothing twice; out in pages that hold while rows come in."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from labeling.models import ImportBatch, Pair, Project
from labeling.services import import_jobs
from tests.api.calling import Caller, caller, fields_of, problem_of
from tests.factories import PairFactory, ProjectFactory

NDJSON = "application/x-ndjson"


@pytest.fixture
def api(alice: User) -> Caller:
    return caller(alice)


def lines(*numbers: int) -> bytes:
    rows = [
        {"id": str(n), "prompt": f"Question {n}?", "response_a": f"Answer {n}.", "response_b": f"No answer to {n}."}
        for n in numbers
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def send(api: Caller, body: bytes) -> Any:
    return api.post("/projects/stories/pairs", body, Content_Type=NDJSON)


def test_a_stream_is_imported_and_can_be_queried(api: Caller, alice: User, project: Project) -> None:
    answer = send(api, lines(1, 2, 3))
    assert answer.status_code == 201, answer.content
    found = answer.json()
    assert (found["state"], found["imported"], found["rejected"]) == ("done", 3, 0)
    assert found["finished_at"] >= found["created_at"]
    assert answer["Location"] == found["url"] == f"/api/v1/imports/{found['id']}"
    assert api.get(found["url"]).json() == found
    pairs = api.get("/projects/stories/pairs").json()["items"]
    assert [pair["external_id"] for pair in pairs] == ["1", "2", "3"]
    assert pairs[0]["prompt"] == [{"role": "user", "content": "Question 1?"}]


def test_the_same_stream_adds_nothing(api: Caller, project: Project) -> None:
    first, again = send(api, lines(1, 2)), send(api, lines(1, 2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert Pair.objects.count() == 2
    more = send(api, lines(2, 3)).json()
    assert (more["imported"], more["duplicates"]) == (1, 1)


def test_rejected_lines_are_named(api: Caller, project: Project) -> None:
    bad = b'{"prompt": "p", "response_a": "same", "response_b": "same"}\nnot json\n'
    found = send(api, lines(1) + bad).json()
    assert (found["imported"], found["rejected"]) == (1, 2)
    assert [line["number"] for line in found["rejected_lines"]] == [2, 3]
    assert "identical" in found["rejected_lines"][0]["reason"]


def test_all_rejected_rows_can_be_read_page_by_page(api: Caller, project: Project) -> None:
    bad = [f"no pair {number}" for number in range(150)]
    found = send(api, lines(1) + "\n".join(bad).encode()).json()
    assert (found["rejected"], len(found["rejected_lines"])) == (150, 100)
    page = api.get(f"{found['url']}/rejected?limit=120").json()
    assert page["items"][:100] == [
        {**line, "row": row} for line, row in zip(found["rejected_lines"], bad, strict=False)
    ]
    rest = api.get(page["next"].removeprefix("http://testserver")).json()
    assert [row["row"] for row in (*page["items"], *rest["items"])] == bad
    assert rest["next"] is None


def test_a_page_of_rejected_rows_needs_few_queries(
    api: Caller, project: Project, django_assert_max_num_queries: Any
) -> None:
    url = send(api, b"no pair\n" * 50).json()["url"]
    with django_assert_max_num_queries(6):
        assert len(api.get(f"{url}/rejected").json()["items"]) == 50


def test_all_imports_of_a_project_are_listed_page_by_page(
    api: Caller, project: Project, django_assert_max_num_queries: Any
) -> None:
    first = send(api, lines(1) + b"no pair\n").json()
    for number in range(60):
        ImportBatch.objects.create(project=project, filename=f"{number}.jsonl", sha256=str(number))
    ImportBatch.objects.create(project=ProjectFactory.create(), filename="elsewhere", sha256="0")
    with django_assert_max_num_queries(6):
        page = api.get("/projects/stories/imports?limit=55").json()
    rest = api.get(page["next"].removeprefix("http://testserver")).json()
    found = [*page["items"], *rest["items"]]
    assert [one["filename"] for one in found] == ["api.ndjson", *(f"{number}.jsonl" for number in range(60))]
    assert found[0] == {name: value for name, value in first.items() if name != "rejected_lines"}
    assert rest["next"] is None


def test_an_empty_stream_is_refused(api: Caller, project: Project) -> None:
    assert fields_of(send(api, b"")) == ["body"]
    assert not ImportBatch.objects.exists()


def test_a_large_stream_is_not_held_in_memory_and_has_no_limit_of_a_form(
    api: Caller, project: Project, settings: Any
) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    assert send(api, lines(*range(50))).json()["imported"] == 50


@pytest.mark.parametrize(("who", "status"), [("bob", 403), ("dora", 403), ("charlie", 404)])
def test_pairs_are_the_managers(request: pytest.FixtureRequest, project: Project, who: str, status: int) -> None:
    api = caller(request.getfixturevalue(who))
    problem_of(send(api, lines(1)), status)
    problem_of(api.get("/projects/stories/pairs"), status)
    batch = ImportBatch.objects.create(project=project, filename="f", sha256="0")
    problem_of(api.get("/projects/stories/imports"), status)
    problem_of(api.get(f"/imports/{batch.pk}"), status)
    problem_of(api.get(f"/imports/{batch.pk}/rejected"), status)


def test_pages_follow_each_other_while_rows_come_in(api: Caller, project: Project) -> None:
    PairFactory.create_batch(5, project=project)
    page = api.get("/projects/stories/pairs?limit=2&audit=false").json()
    seen = [pair["id"] for pair in page["items"]]
    PairFactory.create(project=project)
    Pair.objects.filter(pk=seen[0]).delete()
    while page["next"]:
        assert "limit=2" in page["next"]
        assert "audit=false" in page["next"]
        page = api.get(page["next"].removeprefix("http://testserver")).json()
        seen += [pair["id"] for pair in page["items"]]
    assert seen == sorted(set(seen))
    assert len(seen) == 6


def test_the_last_page_names_no_next_one(api: Caller, project: Project) -> None:
    PairFactory.create_batch(2, project=project)
    assert api.get("/projects/stories/pairs?limit=2").json()["next"] is None


def test_pages_are_filtered(api: Caller, project: Project) -> None:
    PairFactory.create(project=project, audit=True)
    held = PairFactory.create(project=project, part="gate")
    [found] = api.get("/projects/stories/pairs?part=gate").json()["items"]
    assert (found["id"], found["part"]) == (held.pk, "gate")
    assert len(api.get("/projects/stories/pairs?part=train").json()["items"]) == 1
    assert len(api.get("/projects/stories/pairs?audit=true").json()["items"]) == 1


def test_a_page_needs_few_queries(api: Caller, project: Project, django_assert_max_num_queries: Any) -> None:
    PairFactory.create_batch(50, project=project)
    with django_assert_max_num_queries(6):
        assert len(api.get("/projects/stories/pairs").json()["items"]) == 50


def test_a_long_stream_goes_to_a_worker_and_can_be_cancelled(
    api: Caller, project: Project, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labeling.services.imports.AT_ONCE", 10)
    answer = send(api, lines(1, 2))
    assert answer.status_code == 202
    path = answer["Location"]
    assert (api.get(path).json()["state"], Pair.objects.count()) == ("waiting", 0)
    assert api.post(f"{path}/cancel").json()["state"] == "cancelled"
    problem_of(api.post(f"{path}/cancel"), 409)


def test_a_body_that_never_ends_is_refused_and_leaves_nothing(
    api: Caller, project: Project, home: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"upload_gib": 100 / 2**30})
    problem_of(send(api, lines(*range(50))), 413)
    monkeypatch.setattr("labeling.api.pairs._stream_of", lambda request: request)  # as where no length is said
    problem_of(send(api, lines(*range(50))), 413)
    assert list((home / "imports").iterdir()) == []
    assert not ImportBatch.objects.exists()


@pytest.mark.parametrize("came", [lines(1, 2), lines(1), b""], ids=["between lines", "in half", "nothing"])
def test_a_body_that_is_cut_off_is_refused_and_leaves_nothing(
    api: Caller, project: Project, home: Path, monkeypatch: pytest.MonkeyPatch, came: bytes
) -> None:
    monkeypatch.setattr("labeling.api.pairs._stream_of", lambda _request: io.BytesIO(came))
    found = problem_of(send(api, lines(1, 2, 3)), 400)
    assert (found["type"], found["errors"][0]["field"]) == ("urn:tandem:problem:upload-cut-off", "body")
    assert f"Of {len(lines(1, 2, 3))} bytes {len(came)} came." in found["detail"]
    assert list((home / "imports").iterdir()) == []
    assert not ImportBatch.objects.exists()
    monkeypatch.undo()
    assert send(api, lines(1, 2, 3)).json()["imported"] == 3


def test_a_body_in_chunks_announces_no_length(api: Caller, project: Project, home: Path) -> None:
    answer = api.post("/projects/stories/pairs", lines(1), Content_Type=NDJSON, Transfer_Encoding="chunked")
    assert answer.status_code == 201, answer.content


@pytest.mark.django_db(transaction=True)  # the worker watches over a connection of its own
def test_a_stream_that_others_keep_waiting_goes_to_a_worker(
    api: Caller, project: Project, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labeling.services.imports.PATIENCE", 0.0)
    with monkeypatch.context() as busy:
        busy.setattr("labeling.services.bulk.try_lock", lambda _number: False)
        answer = send(api, lines(1, 2))
    assert answer.status_code == 202, answer.content
    assert api.get(answer["Location"]).json()["state"] == "waiting"
    import_jobs.run(answer.json()["id"])
    found = api.get(answer["Location"]).json()
    assert (found["state"], found["imported"]) == ("done", 2)
