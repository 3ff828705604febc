"""The guide: every route is in it with a line for curl and one of Python, and the Python lines do what they say."""

import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
from django.conf import settings
from django.contrib.auth.models import Permission, User

from labeling import jobs
from labeling.api import api
from labeling.models import Deployment, Flag, Member, TrainingRun
from labeling.services.tokens import create_token
from tests.factories import DeploymentFactory, LabelFactory, PairFactory, ProjectFactory
from workers import resident
from workers.app import app

GUIDE = Path(settings.BASE_DIR, "docs", "api.md").read_text()
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL))
PYTHON = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)[1:]
ROUTES = [(verb, path) for path, verbs in api.get_openapi_schema()["paths"].items() for verb in verbs]


def filled(path: str) -> str:
    """A pattern for the address with anything in its open places."""
    return re.sub(r"\\{\w+\\}", r"[^/ \"?]+", re.escape(path.removeprefix("/api/v1")))


@pytest.mark.parametrize(("verb", "path"), ROUTES, ids=[f"{verb} {path}" for verb, path in ROUTES])
def test_every_route_has_a_line_for_curl_and_one_of_python(verb: str, path: str) -> None:
    chosen = "" if verb == "get" else f" -X {verb.upper()}"
    address = rf'^api "?\$TANDEM{filled(path)}(\?[^ "]*)?"?'
    lines = re.findall(address + (re.escape(chosen) if chosen else r"(?! -X)"), SHELL, re.MULTILINE)
    assert lines, "no line for curl"
    assert re.search(rf'api\.{verb}\(f?"{filled(path)}"', "\n".join(PYTHON)), "no line of Python"


@pytest.mark.django_db(transaction=True)
def test_the_python_lines_work_through_a_server(live_server: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, as a person would paste them; 409 is a fair answer of a project with few labels."""

    def at_once(name: str, kwargs: dict[str, object]) -> None:
        if name in (jobs.JUDGE_CALL, jobs.FREEZE_DATASET):
            app.tasks[name](**kwargs)

    app.loader.import_default_modules()
    resident.unload()
    monkeypatch.setattr(jobs, "send", at_once)
    monkeypatch.setattr("labeling.services.training.request_run", lambda project, **_: _run(project))
    alice = User.objects.create_user("alice")
    alice.user_permissions.add(Permission.objects.get(codename="add_project"))
    project = ProjectFactory.create(slug="stories", overlap=2)
    Member.objects.create(project=project, user=alice, role=Member.Role.MANAGER)
    DeploymentFactory.create(project=project)
    DeploymentFactory.create(project=project, state="retired")
    for pair in PairFactory.create_batch(3, project=project):
        LabelFactory.create(pair=pair)
        Flag.objects.create(pair=pair, kind="annotators_split")

    answers: list[tuple[str, int]] = []

    def note(response: httpx2.Response) -> None:
        answers.append((f"{response.request.method} {response.request.url.path}", response.status_code))

    headers = {"Authorization": f"Bearer {create_token(alice)}"}
    root = f"{live_server.url}/api/v1"
    with httpx2.Client(base_url=root, headers=headers, timeout=60, event_hooks={"response": [note]}) as client:
        names: dict[str, Any] = {"api": client}
        for block in PYTHON:
            exec(block, names)
    assert len(answers) == len(ROUTES) + 1, "each route once, and a second claim"
    assert [one for one in answers if one[1] >= 400 and one[1] != 409] == []
    assert names["rewards"] == [pytest.approx(-2.197, abs=0.01)]  # the longer response is B


def _run(project: Any) -> TrainingRun:
    """A run as if there were enough labels for one."""
    judge = Deployment.objects.filter(project=project, state="champion").get().judge
    return TrainingRun.objects.create(project=project, trigger="api", method="genrm", start=judge, origin=judge)
