"""A project's settings in Django's admin: the same follows as from the project's own page of settings."""

import html
import re
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
    assert {name for name, kwargs in sent if kwargs == ours} == {jobs.JUDGE_LABELS, jobs.ROUTE, jobs.REFRESH_PROJECT}
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


def seen(client: Client, project: Project) -> dict[str, Any]:
    """What the form's hidden fields say that it shows, as a browser sends it along."""
    page = client.get(f"/admin/labeling/project/{project.pk}/change/").content.decode()
    hidden = re.findall(r'<input type="hidden" name="(initial-\w+)"(?: value="([^"]*)")?', page)
    return {name: html.unescape(value) for name, value in hidden}


def test_what_somebody_else_saved_meanwhile_stands(as_root: Client, champion: Deployment) -> None:
    project, other = champion.project, ProjectFactory.create()
    data = shown(as_root, f"/admin/labeling/project/{project.pk}/change/") | seen(as_root, project)
    assert data["initial-overlap"] == "1"
    Project.objects.filter(pk=project.pk).update(reveal="never", judge_labels=True, retrain_after=50)
    project.outside.add(other)
    path = f"/admin/labeling/project/{project.pk}/change/"
    assert as_root.post(path, data | {"name": "Long stories"}).status_code == 302
    assert set(AuditEvent.objects.get().detail["changes"]) == {"name"}
    project.refresh_from_db()
    assert (project.reveal, project.judge_labels, project.retrain_after) == ("never", True, 50)
    assert list(project.outside.all()) == [other]


def test_what_somebody_else_changed_meanwhile_is_not_overwritten_unseen(as_root: Client, champion: Deployment) -> None:
    project, (other, third) = champion.project, ProjectFactory.create_batch(2)
    path = f"/admin/labeling/project/{project.pk}/change/"
    data = shown(as_root, path) | seen(as_root, project) | {"overlap": 3, "outside": [third.pk]}
    Project.objects.filter(pk=project.pk).update(overlap=5)
    project.outside.add(other)
    answer = as_root.post(path, data)
    errors = answer.context["adminform"].form.errors
    assert "changed to “5” meanwhile; here it is “3”" in errors["overlap"][0]
    assert f"changed to “{other}” meanwhile; here it is “{third}”" in errors["outside"][0]
    assert not AuditEvent.objects.exists()
    again = re.findall(r'name="(initial-\w+)" value="([^"]*)"', answer.content.decode())
    assert as_root.post(path, data | dict(again)).status_code == 302
    assert list(project.outside.all()) == [third]


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
