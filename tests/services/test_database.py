"""The PostgreSQL backend of ours: a connection that the server has closed is noticed, one that lives is not asked."""

import select
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, connections
from django.db.backends.postgresql import base

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="the backend is PostgreSQL's"),
]


@pytest.fixture
def kept() -> Iterator[Any]:
    """A connection of its own, in use for a while."""
    own: Any = connections.create_connection("default")
    own.inc_thread_sharing()
    own.settings_dict = {**connection.settings_dict}
    own.ensure_connection()
    yield own
    own.close()


def next_request(kept: Any) -> None:
    """What Django does with a kept connection when a request begins and first asks the database."""
    kept.health_check_enabled, kept.health_check_done = True, False
    kept.close_if_unusable_or_obsolete()
    kept.close_if_health_check_failed()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Django's own check is asked for; it answers that the connection lives."""
    found: list[str] = []

    def is_usable(_: object) -> bool:
        found.append("SELECT 1")
        return True

    monkeypatch.setattr(base.DatabaseWrapper, "is_usable", is_usable)
    return found


def test_one_that_lives_is_not_asked(kept: Any, asked: list[str]) -> None:
    before = kept.connection
    next_request(kept)
    assert kept.connection is before
    assert kept.health_check_done
    assert not asked


def test_one_that_the_server_has_closed_is_opened_again(kept: Any) -> None:
    before = kept.connection
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [before.info.backend_pid])
    select.select([before.fileno()], [], [], 5)
    next_request(kept)
    assert kept.connection is None, "it was given up"
    with kept.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def test_after_an_error_the_server_is_asked(kept: Any, asked: list[str]) -> None:
    kept.errors_occurred = True
    next_request(kept)
    assert asked == ["SELECT 1"]
    assert not kept.errors_occurred
