"""Pages keep what protects them; requests of the API, which carry no cookie, go past it."""

import logging
import sys

import structlog
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from pytest_django import Settings
from structlog.stdlib import ProcessorFormatter

from labeling.models import Project
from labeling.services.tokens import create_token
from webapp.middleware import Logged


def test_pages_are_kept_out_of_frames_and_say_what_they_load(as_alice: Client, project: Project) -> None:
    answer = as_alice.get("/p/stories/")
    assert answer["X-Frame-Options"] == "DENY"
    assert "default-src 'none'" in answer["Content-Security-Policy"]


def test_a_form_of_another_site_is_refused(alice: User, project: Project) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    assert client.post("/p/stories/settings/", {"name": "Theirs"}).status_code == 403
    project.refresh_from_db()
    assert project.name != "Theirs"


def test_the_api_knows_tokens_and_no_session(alice: User, as_alice: Client, project: Project) -> None:
    assert as_alice.get("/api/v1/projects").status_code == 401, "a session is not enough"
    strict = Client(enforce_csrf_checks=True)
    token = {"Authorization": f"Bearer {create_token(alice)}"}
    answer = strict.post("/api/v1/projects/stories/claims", {}, content_type="application/json", headers=token)
    assert answer.status_code == 204
    assert not answer.cookies
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_the_log_has_the_address_that_is_connected() -> None:
    seen = {}

    def answer(_: HttpRequest) -> HttpResponse:
        seen.update(structlog.contextvars.get_contextvars())
        return HttpResponse()

    request = RequestFactory().get("/", headers={"X-Forwarded-For": "203.0.113.9"}, REMOTE_ADDR="192.0.2.7")
    Logged(answer)(request)
    assert seen["ip"] == "192.0.2.7"
    assert seen["request_id"]


def test_a_logged_error_tells_where_and_not_what_was_in_hand(settings: Settings) -> None:
    formatter = ProcessorFormatter(
        **{key: value for key, value in settings.LOGGING["formatters"]["plain"].items() if key != "()"}
    )

    def fail(said: str) -> None:
        raise ValueError(len(said))

    try:
        fail("left " * 2)
    except ValueError:
        record = logging.LogRecord("tandem", logging.ERROR, __file__, 1, "It failed", None, sys.exc_info())
    written = formatter.format(record)
    assert "in fail\n" in written
    assert "ValueError: 10" in written
    assert "left left" not in written
