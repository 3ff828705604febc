"""Times on pages follow the clock of the browser that reads them; what programs read stays UTC."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from labeling.models import ApiToken, Label, Project
from labeling.queries import labelled_today
from labeling.services.claims import next_claim
from labeling.services.labels import commit_label
from tests.factories import PairFactory
from webapp.clock import COOKIE

NOW = datetime(2026, 3, 1, 3, 30, tzinfo=UTC)


def shown(client: Client, user: User, zone: str) -> str:
    """When a token was last used, as its owner's page says it."""
    ApiToken.objects.update_or_create(owner=user, defaults={"name": "script", "sha256": "x", "last_used_at": NOW})
    client.cookies[COOKIE] = zone
    return client.get("/tokens/").content.decode()


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("", "1 Mar 2026, 03:30 UTC"),
        ("America/New_York", "28 Feb 2026, 22:30 EST"),
        ("Asia/Kolkata", "1 Mar 2026, 09:00 IST"),
        ("Mars/Olympus", "1 Mar 2026, 03:30 UTC"),
        ("America", "1 Mar 2026, 03:30 UTC"),
        ("../../etc/passwd", "1 Mar 2026, 03:30 UTC"),
        ("é\x00", "1 Mar 2026, 03:30 UTC"),
    ],
)
def test_times_are_those_of_the_reader(as_alice: Client, alice: User, zone: str, said: str) -> None:
    assert said in shown(as_alice, alice, zone)


def test_today_begins_at_the_annotators_midnight(
    project: Project, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    PairFactory.create(project=project)
    claim = next_claim(project, annotator=alice)
    assert claim is not None
    commit_label(claim, choice="left")
    Label.objects.update(created_at=datetime(2026, 2, 28, 20, tzinfo=UTC))
    monkeypatch.setattr(timezone, "now", lambda: NOW)
    assert labelled_today(project, alice) == 0
    with timezone.override("America/New_York"):  # there it is still the evening of the 28th
        assert labelled_today(project, alice) == 1


def test_one_readers_clock_is_not_the_next_ones(as_alice: Client, alice: User) -> None:
    assert "EST" in shown(as_alice, alice, "America/New_York")
    assert timezone.get_current_timezone_name() == "UTC"


def test_the_api_stays_in_utc(as_alice: Client, project: Project, rf: Any) -> None:
    from webapp.middleware import OwnClock

    zones: list[str] = []

    def seen(request: Any) -> Any:
        zones.append(timezone.get_current_timezone_name())

    for path in ("/api/v1/projects", "/p/stories/"):
        request = rf.get(path)
        request.COOKIES[COOKIE] = "Asia/Tokyo"
        OwnClock(seen)(request)
    assert zones == ["UTC", "Asia/Tokyo"]
