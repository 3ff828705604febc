"""What a token opens: its scope, its project, its time; and that its use is noted without a write each time."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from labeling.models import ApiToken, AuditEvent, Deployment, ImportBatch, Project, TrainingRun
from labeling.services.tokens import create_token, owner_of, revoke
from tests.api.calling import Caller, caller, problem_of
from tests.factories import ClaimFactory, PairFactory, ProjectFactory

CALL = {"pairs": [{"prompt": "p", "response_a": "a", "response_b": "b"}]}
SCOPES = ["read", "label", "manage"]
ROUTES: list[tuple[str, str, object, str]] = [
    ("GET", "/projects", None, "read"),
    ("GET", "/projects/stories", None, "read"),
    ("GET", "/projects/stories/pairs", None, "read"),
    ("GET", "/projects/stories/stats", None, "read"),
    ("GET", "/projects/stories/judgements", None, "read"),
    ("GET", "/projects/stories/flags", None, "read"),
    ("POST", "/projects/stories/claims", {}, "label"),
    ("POST", "/projects/stories/flags", {"pair": 1, "choice": "a"}, "label"),
    ("POST", "/projects/stories/flags/open", {"pair": 1, "reason": "odd"}, "label"),
    ("POST", "/projects/stories/flags/ask-again", {"pair": 1}, "label"),
    ("POST", "/projects/stories/judge?wait=false", CALL, "label"),
    ("PATCH", "/projects/stories", {"overlap": 2}, "manage"),
    ("DELETE", "/projects/stories", None, "manage"),
    ("POST", "/projects", {"slug": "new", "name": "New"}, "manage"),
    ("POST", "/projects/stories/pairs", b"", "manage"),
    ("POST", "/projects/stories/training-runs", {}, "manage"),
]


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(("method", "path", "body", "needs"), ROUTES)
def test_every_route_asks_for_its_scope(
    alice: User, champion: Deployment, method: str, path: str, body: object, needs: str, scope: str
) -> None:
    answer = caller(alice, scope=scope).send(method, path, body)
    if SCOPES.index(scope) < SCOPES.index(needs):
        assert f"scope {needs}" in problem_of(answer, 403)["detail"]
    elif answer.status_code == 403:
        assert "scope" not in answer.json()["detail"]


@pytest.fixture
def other(alice: User) -> Project:
    """Another project that Alice manages."""
    project = ProjectFactory.create(slug="other")
    project.members.create(user=alice, role="manager")
    return project


def test_a_token_of_one_project_finds_no_other(alice: User, project: Project, other: Project) -> None:
    api = caller(alice, project=project)
    assert [row["slug"] for row in api.get("/projects").json()] == ["stories"]
    assert api.get("/projects/stories").status_code == 200
    for path in ("/projects/other", "/projects/other/pairs", "/projects/other/judges", "/projects/nowhere"):
        problem_of(api.get(path), 404)
    assert "administrator" in problem_of(api.post("/projects", {"slug": "new", "name": "New"}), 403)["detail"]


def test_a_token_of_one_project_opens_none_of_anothers_rows(alice: User, champion: Deployment, other: Project) -> None:
    judge = champion.judge

    def rows_of(project: Project) -> list[tuple[str, str]]:
        run = TrainingRun.objects.create(project=project, trigger="api", method="genrm", start=judge, origin=judge)
        batch = ImportBatch.objects.create(project=project, filename="f", sha256=project.slug)
        claim = ClaimFactory.create(pair=PairFactory.create(project=project), annotator=alice)
        return [
            ("GET", f"/training-runs/{run.pk}"),
            ("GET", f"/imports/{batch.pk}"),
            ("GET", f"/imports/{batch.pk}/rejected"),
            ("POST", f"/claims/{claim.pk}/renew"),
        ]

    api = caller(alice, project=champion.project)
    for method, path in rows_of(champion.project):
        assert api.send(method, path).status_code == 200, path
    for method, path in rows_of(other):
        problem_of(api.send(method, path), 404)
        assert caller(alice).send(method, path).status_code == 200, path


def test_a_token_opens_no_more_than_its_owner_may(bob: User, charlie: User, project: Project) -> None:
    problem_of(caller(bob).get("/projects/stories/pairs"), 403)
    problem_of(caller(charlie).get("/projects/stories"), 404)
    problem_of(caller(charlie, project=project).get("/projects/stories"), 404)


def test_it_ends_when_it_is_revoked_or_expires(alice: User, project: Project) -> None:
    secret = create_token(alice, days=1)
    token = ApiToken.objects.get()
    assert Caller(secret).get("/projects").status_code == 200
    assert revoke(token, by=alice)
    assert not revoke(token, by=alice)
    answer = Caller(secret).get("/projects")
    problem_of(answer, 401)
    assert answer["WWW-Authenticate"].startswith("Bearer")
    ApiToken.objects.update(revoked_at=None, expires_at=timezone.now() - timedelta(seconds=1))
    problem_of(Caller(secret).get("/projects"), 401)
    assert list(AuditEvent.objects.order_by("pk").values_list("action", flat=True)) == ["token.create", "token.revoke"]


def test_the_last_use_is_written_once_a_minute(alice: User, project: Project) -> None:
    secret = create_token(alice)
    owner_of(secret)
    first = ApiToken.objects.get().last_used_at
    owner_of(secret)
    assert ApiToken.objects.get().last_used_at == first
    ApiToken.objects.update(last_used_at=timezone.now() - timedelta(seconds=61))
    owner_of(secret)
    noted = ApiToken.objects.get().last_used_at
    assert noted is not None
    assert timezone.now() - noted < timedelta(seconds=30)


def test_a_request_needs_one_query_for_its_token(alice: User, project: Project) -> None:
    secret = create_token(alice)
    owner_of(secret)
    with CaptureQueriesContext(connection) as queries:
        assert owner_of(secret) is not None
    assert len(queries) == 1


@pytest.mark.parametrize("secret", ["", "tandem_wrong", "\ud800", "x" * 5000, "tandem_ünïcode"])
def test_what_is_no_token_is_refused(db: None, secret: str) -> None:
    assert owner_of(secret) is None


def test_the_command_takes_everything(alice: User, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("create_token", "alice", "--scope=label", "--project=stories", "--days=7", "--name=laptop")
    secret = capsys.readouterr().out.split()[-1]
    token = owner_of(secret)
    assert token is not None
    assert (token.name, token.scope, token.project) == ("laptop", "label", project)
    assert token.expires_at is not None
    assert timedelta(days=6) < token.expires_at - timezone.now() <= timedelta(days=7)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody"], "no user 'nobody'"),
        (["charlie", "--project=stories"], "--project: charlie has no project 'stories'"),
        (["charlie", "--days=0"], "--days: 0 is not between"),
    ],
)
def test_the_command_says_what_is_wrong(charlie: User, project: Project, arguments: list[Any], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        call_command("create_token", *arguments)
    assert not ApiToken.objects.exists()
