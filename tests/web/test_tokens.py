"""The page of a user's tokens, and the reference of the API."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from labeling.api import api
from labeling.models import ApiToken, Project
from labeling.services.tokens import create_token, owner_of
from tests.factories import ProjectFactory

URL = "/tokens/"


def shown(page: str) -> str:
    """The secret on the page; empty if there is none."""
    found = re.search(r'id="secret" value="(tandem_[\w-]+)"', page)
    return found.group(1) if found else ""


def test_a_token_is_made_and_shown_once(as_bob: Client, bob: User, project: Project) -> None:
    data = {"name": "labelling robot", "scope": "label", "project": "stories", "days": "30"}
    answer = as_bob.post(URL, data)
    assert "no-store" in answer["Cache-Control"]
    secret = shown(answer.content.decode())
    token = owner_of(secret)
    assert token is not None
    assert (token.owner, token.name, token.scope, token.project) == (bob, "labelling robot", "label", project)
    assert token.expires_at is not None
    assert timedelta(days=29) < token.expires_at - timezone.now() <= timedelta(days=30)
    again = as_bob.get(URL).content.decode()
    assert shown(again) == ""
    assert secret not in again
    assert "labelling robot" in again


def test_the_list_says_when_each_was_used(as_bob: Client, bob: User) -> None:
    secret = create_token(bob, name="old one")
    assert '<td class="nowrap">never</td>' in as_bob.get(URL).content.decode()
    owner_of(secret)
    assert f"{timezone.now():%Y}" in as_bob.get(URL).content.decode()
    assert '<td class="nowrap">never</td>' not in as_bob.get(URL).content.decode()


@pytest.mark.parametrize(
    ("field", "value"), [("name", ""), ("scope", "everything"), ("project", "others"), ("days", "0"), ("days", "9999")]
)
def test_a_bad_value_is_named_at_its_field(as_bob: Client, project: Project, field: str, value: str) -> None:
    ProjectFactory.create(slug="others")
    data = {"name": "robot", "scope": "read", "project": "", "days": "", field: value}
    answer = as_bob.post(URL, data)
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field]
    assert "No token was made." in answer.content.decode()
    assert not ApiToken.objects.exists()


def test_a_revoked_token_opens_nothing_from_then_on(as_bob: Client, bob: User) -> None:
    secret = create_token(bob, name="robot")
    token = ApiToken.objects.get()
    page = as_bob.post(f"{URL}{token.pk}/revoke/", follow=True).content.decode()
    assert "Revoked: robot." in page
    assert owner_of(secret) is None
    assert f"{URL}{token.pk}/revoke/" not in page


def test_nobody_sees_or_revokes_anothers_token(as_alice: Client, bob: User) -> None:
    create_token(bob, name="of bob")
    token = ApiToken.objects.get()
    assert "of bob" not in as_alice.get(URL).content.decode()
    assert as_alice.post(f"{URL}{token.pk}/revoke/").status_code == 404
    token.refresh_from_db()
    assert token.revoked_at is None


@pytest.mark.parametrize("url", [URL, "/api/"])
def test_strangers_are_sent_to_the_login(client: Client, db: None, url: str) -> None:
    assert client.get(url)["Location"].startswith("/login/")


def test_the_reference_names_every_route_and_needs_no_network(as_bob: Client) -> None:
    page = as_bob.get("/api/").content.decode()
    for path, verbs in api.get_openapi_schema()["paths"].items():
        for verb, operation in verbs.items():
            assert f'id="{operation["operationId"]}"' in page
            assert f'<span class="verb">{verb.upper()}</span> {path}' in page
    assert "Idempotency-Key" in page
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
    assert "style=" not in page
