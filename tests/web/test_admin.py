"""A project's settings in Django's admin: the same follows as from the project's own page of settings."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from labeling import jobs
from labeling.models import AuditEvent, Deployment, Project
from tests.conftest import Sent
from tests.factories import LabelFactory, PairFactory, ProjectFactory


@pytest.fixture
def root(db: None) -> User:
    """Administers the installation."""
    return User.objects.create_superuser("root")


@pytest.fixture
def as_root(root: User) -> Client:
    client = Client()
    client.force_login(root)
    return client


def shown(client: Client, path: str) -> dict[str, Any]:
    """The form at this address as a browser would send it back, without members."""
    form = client.get(path).context["adminform"].form
    fields = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    sent = {name: "" if value is None else value for name, value in fields.items() if value is not False}
    return sent | {"members-TOTAL_FORMS": 0, "members-INITIAL_FORMS": 0}


def changed(client: Client, project: Project, *, without: str = "", **wanted: Any) -> Any:
    """What the admin answers to the project's form with other values, and one box unticked."""
    path = f"/admin/labeling/project/{project.pk}/change/"
    data = shown(client, path) | wanted
    data.pop(without, None)
    return client.post(path, data)


def test_what_follows_a_change_follows_it_here_too(
    as_root: Client, root: User, champion: Deployment, sent: Sent, django_capture_on_commit_callbacks: Any
) -> None:
    project = champion.project
    Project.objects.update(judge_labels=True)
    pair = LabelFactory.create(pair=PairFactory.create(project=project, closed=True)).pair
    with django_capture_on_commit_callbacks(execute=True):
        answer = changed(as_root, project, without="judge_labels", routing="coverage", overlap=2, name="Long stories")
    assert answer.status_code == 302
    event = AuditEvent.objects.get(action="project.settings")
    assert (event.actor, event.detail["changes"]["judge_labels"]) == (root, {"from": True, "to": False})
    assert set(event.detail["changes"]) == {"judge_labels", "routing", "overlap", "name"}
    ours = {"project_id": project.pk}
    assert {name for name, kwargs in sent if kwargs == ours} == {jobs.JUDGE_LABELS, jobs.ROUTE}
    champion.refresh_from_db()
    assert champion.follow_up is not None, "the sweep makes up for jobs that are lost"
    project.refresh_from_db()
    pair.refresh_from_db()
    assert (project.name, project.routing, project.judge_labels, pair.closed) == (
        "Long stories", "coverage", False, False,
    )  # fmt: skip


def test_what_is_saved_as_it_was_leaves_no_trace(as_root: Client, champion: Deployment) -> None:
    other = ProjectFactory.create()
    assert changed(as_root, champion.project).status_code == 302
    assert not AuditEvent.objects.exists()
    assert changed(as_root, champion.project, outside=[other.pk]).status_code == 302
    assert list(champion.project.outside.all()) == [other]


def test_criteria_are_not_written_here(as_root: Client, as_bob: Client, project: Project) -> None:
    assert changed(as_root, project, criteria='["tone"]').status_code == 302
    project.refresh_from_db()
    assert project.criteria == []
    PairFactory.create(project=project)
    assert as_bob.get("/p/stories/label/").status_code == 200
    assert 'name="criteria"' not in as_root.get("/admin/labeling/project/add/").content.decode()


def test_a_new_project_is_stored(as_root: Client) -> None:
    data = shown(as_root, "/admin/labeling/project/add/") | {"name": "New", "slug": "new", "outside": []}
    assert as_root.post("/admin/labeling/project/add/", data).status_code == 302
    assert Project.objects.get().slug == "new"
