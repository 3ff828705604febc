"""Fixtures of every test: no broker, and Alice, Bob, Dora and Charlie."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from labeling import jobs
from labeling.models import Deployment, JudgeVersion, Member, Pair, Project
from tests import factories

Sent = list[tuple[str, dict[str, Any]]]


DATABASE = {"db", "transactional_db"}
"""Fixtures without which no test reaches the database."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what reaches the database, and send all that runs the real model to one worker: no other waits for it."""
    for item in items:
        named = set(getattr(item, "fixturenames", ()))
        if item.get_closest_marker("django_db") or named & DATABASE:
            item.add_marker("database")
        if item.get_closest_marker("model") and "tiny_model" not in named:
            item.add_marker(pytest.mark.xdist_group("torch"))


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """The jobs sent to the broker, instead of a broker; each refresh at once."""
    found: Sent = []
    monkeypatch.setattr(jobs, "GATHERED_SECONDS", 0)
    monkeypatch.setattr(jobs, "send", lambda name, kwargs: found.append((name, kwargs)))
    return found


@pytest.fixture
def home(tmp_path: Path, settings: Any) -> Path:
    """A data folder for this test alone."""
    settings.HOME = tmp_path
    return tmp_path


@pytest.fixture
def project(db: None) -> Project:
    return factories.ProjectFactory.create(slug="stories")


@pytest.fixture
def alice(project: Project) -> User:
    """Manages the project."""
    return _member(project, "alice", Member.Role.MANAGER)


@pytest.fixture
def bob(project: Project) -> User:
    """Annotates."""
    return _member(project, "bob", Member.Role.ANNOTATOR)


@pytest.fixture
def dora(project: Project) -> User:
    """Adjudicates."""
    return _member(project, "dora", Member.Role.ADJUDICATOR)


@pytest.fixture
def charlie(db: None) -> User:
    """A stranger to the project."""
    return User.objects.create_user("charlie", password="charlie-password")


@pytest.fixture
def as_alice(alice: User) -> Client:
    return _logged_in(alice)


@pytest.fixture
def as_bob(bob: User) -> Client:
    return _logged_in(bob)


@pytest.fixture
def as_dora(dora: User) -> Client:
    return _logged_in(dora)


@pytest.fixture
def as_charlie(charlie: User) -> Client:
    return _logged_in(charlie)


@pytest.fixture
def judge(db: None) -> JudgeVersion:
    return factories.JudgeVersionFactory.create()


@pytest.fixture
def champion(project: Project, judge: JudgeVersion) -> Deployment:
    """A trusted champion whose scores count."""
    return factories.DeploymentFactory.create(project=project, judge=judge, trusted=True)


@pytest.fixture
def pair(project: Project) -> Pair:
    return factories.PairFactory.create(project=project)


def make_pair(project: Project, **fields: Any) -> Pair:
    return factories.PairFactory.create(project=project, **fields)


def _member(project: Project, name: str, role: Member.Role) -> User:
    user = User.objects.create_user(name, password=f"{name}-password")
    Member.objects.create(project=project, user=user, role=role)
    return user


def _logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client
