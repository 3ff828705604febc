"""Every way to fail is a problem by RFC 9457, whoever notices it: a route, the framework, or nobody."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from django.contrib.auth.models import User
from django.test import Client

from labeling.api import problems
from labeling.api.fields import TrainMethod
from labeling.errors import ClaimGone, NothingToUndo
from labeling.models import Project
from labeling.services.training import COUNTS
from tests.api.calling import Caller, caller, fields_of, problem_of
from tests.factories import PairFactory

LISTS = ("pairs", "labels", "flags", "judgements", "datasets", "training-runs", "judges", "stats")


@pytest.fixture
def api(alice: User) -> Caller:
    return caller(alice)


def test_no_token(project: Project) -> None:
    answer = Client().get("/api/v1/projects")
    assert "Bearer tandem_" in problem_of(answer, 401)["detail"]
    assert answer["WWW-Authenticate"] == 'Bearer realm="Tandem"'
    problem_of(Client().get("/api/v1/projects", headers={"Authorization": "Basic YTpi"}), 401)


def test_unknown_addresses_and_methods(api: Caller) -> None:
    for path in ("/nothing", "/", "/projects/a b/pairs", "/projects/stories/judge/x", "/projects/a\x00b/labels"):
        problem_of(api.get(path.replace("\x00", "%00").replace(" ", "%20")), 404)
    answer = api.delete("/projects")
    problem_of(answer, 405)
    assert set(answer["Allow"].split(", ")) == {"GET", "POST"}


@pytest.mark.parametrize("body", [b"{", b"[1,", b"\xff", b'{"slug": nope}', b"[" * 100_000])
def test_a_body_that_is_not_json(api: Caller, body: bytes) -> None:
    found = problem_of(api.post("/projects", body), 400)
    assert found["errors"] == [{"field": "body", "message": "is not JSON"}]


def test_a_body_that_is_too_large(api: Caller, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    problem_of(api.post("/projects", b'"' + b"x" * 200 + b'"'), 413)


def test_no_body_and_another_kind_of_json(api: Caller) -> None:
    assert fields_of(api.post("/projects")) == ["body"]
    assert fields_of(api.post("/projects", [])) == ["body"]
    assert fields_of(api.post("/projects", {"slug": "a"})) == ["name"]


def test_queries_are_checked_by_name(api: Caller, project: Project) -> None:
    assert fields_of(api.get("/projects/stories/pairs?limit=0&cursor=%2B")) == ["cursor", "limit"]
    assert fields_of(api.get("/projects/stories/flags?state=lost")) == ["state"]
    assert fields_of(api.post("/projects/stories/judge?timeout=31", {"pairs": []})) == ["pairs", "timeout"]


@pytest.mark.parametrize("path", ["", "/stories", *(f"/stories/{name}" for name in LISTS)])
def test_a_parameter_that_a_route_does_not_know_is_refused(api: Caller, project: Project, path: str) -> None:
    answer = api.get(f"/projects{path}?curser=c1&curser=c2&slug=stories")
    assert fields_of(answer) == ["curser", "slug"]
    assert answer.json()["errors"][0]["message"] == "this route has no such parameter"


def test_of_a_misspelled_parameter_nothing_is_done(api: Caller, project: Project) -> None:
    assert fields_of(api.post("/projects/stories/claims?limitt=1", {})) == ["limitt"]
    assert fields_of(api.patch("/projects/stories?overlap=2", {"overlap": 3})) == ["overlap"]
    project.refresh_from_db()
    assert project.overlap == 1


def test_the_methods_of_a_run_are_the_products() -> None:
    assert set(get_args(TrainMethod)) == set(COUNTS) == set(Project.RetrainMethod.values)


def test_an_expected_failure_has_a_type_that_programs_know() -> None:
    assert problems.kind_of(ClaimGone()) == "urn:tandem:problem:claim-gone"
    assert problems.kind_of(NothingToUndo()) == "urn:tandem:problem:nothing-to-undo"


def test_an_unexpected_error_tells_nothing(
    api: Caller, project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr("labeling.api.stats.rows_for", broken)
    answer = api.get("/projects/stories/stats")
    found = problem_of(answer, 500)
    assert "secret" not in json.dumps(found)
    assert answer["X-Request-ID"]
    assert "the secret of the house" in caplog.text


def test_the_test_client_still_sees_unexpected_errors(
    alice: User, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who listens to Django's signal, as error reporting does, hears of them."""
    monkeypatch.setattr("labeling.api.stats.rows_for", lambda _project: 1 / 0)
    headers = {"Authorization": f"Bearer {caller(alice).secret}"}
    with pytest.raises(ZeroDivisionError):
        Client().get("/api/v1/projects/stories/stats", headers=headers)


def test_pages_keep_their_own_errors(as_alice: Client, tmp_path: Path) -> None:
    answer = as_alice.get("/p/nowhere/")
    assert answer.status_code == 404
    assert answer["Content-Type"].startswith("text/html")
    assert answer["X-Request-ID"]


def test_nothing_is_half_done(api: Caller, project: Project) -> None:
    PairFactory.create(project=project)
    answer = api.patch("/projects/stories", {"overlap": 3, "name": " ", "reveal": "never"})
    assert fields_of(answer) == ["name"]
    project.refresh_from_db()
    assert (project.overlap, project.reveal) == (1, "after")
