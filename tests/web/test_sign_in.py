"""Who is locked out of signing in, and by which address."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from sesame.utils import get_query_string

from webapp.sign_in import client_address


def test_bad_sign_in_links_keep_no_good_one_from_working(client: Client, bob: User, settings: Any) -> None:
    settings.AXES_ENABLED = True
    settings.AXES_FAILURE_LIMIT = 2
    for _ in range(4):
        client.get("/login/once/?sesame=made-up")
    assert client.get(f"/login/once/{get_query_string(bob)}").status_code == 302
    assert client.get("/").status_code == 200


def test_wrong_passwords_are_still_counted(client: Client, bob: User, settings: Any) -> None:
    settings.AXES_ENABLED = True
    settings.AXES_FAILURE_LIMIT = 2
    for _ in range(2):
        client.post("/login/?sesame=made-up", {"username": "bob", "password": "no", "sesame": "made-up"})
    assert client.post("/login/", {"username": "bob", "password": "bob-password"}).status_code == 429


def test_who_sits_behind_one_proxy_is_counted_apart(client: Client, bob: User, settings: Any) -> None:
    settings.AXES_ENABLED = True
    settings.AXES_FAILURE_LIMIT = 2
    settings.ENV = settings.ENV.model_copy(update={"proxies": 1})

    def status(seen: str, password: str) -> int:
        sent = {"username": "bob", "password": password}
        return client.post("/login/", sent, headers={"X-Forwarded-For": seen}).status_code

    for invented in range(3):
        status(f"198.51.100.{invented}, 203.0.113.66", "no")
    assert status("203.0.113.66", "bob-password") == 429, "what the client wrote itself makes it nobody else"
    assert status("192.0.2.7", "bob-password") == 302


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "203.0.113.9", "192.0.2.7"),
        (1, "", "192.0.2.7"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "6.6.6.6, 203.0.113.9", "203.0.113.9"),
        (2, "6.6.6.6, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        (2, "203.0.113.9", "192.0.2.7"),
        (1, "2001:db8::1", "2001:db8::1"),
        (1, "no address", "192.0.2.7"),
    ],
)
def test_the_address_is_the_one_that_our_own_proxy_saw(
    settings: Any, proxies: int, forwarded: str, address: str
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"proxies": proxies})
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    assert client_address(RequestFactory().get("/", headers=headers, REMOTE_ADDR="192.0.2.7")) == address
