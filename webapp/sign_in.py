"""Who is locked out of signing in: by name and address, never by a link. Knows no user."""

from ipaddress import ip_address
from typing import Any

from axes.backends import AxesStandaloneBackend
from django.conf import settings
from django.http import HttpRequest


class Lockout(AxesStandaloneBackend):  # type: ignore[misc]
    """Turns away who has guessed too many passwords.

    A sign-in link is signed and cannot be guessed. Counted without a name, ten old ones, opened behind one proxy, would
    keep everybody's good ones from working.
    """

    def authenticate(
        self, request: HttpRequest, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> None:
        if username is None and password is None and "sesame" in kwargs:
            return
        super().authenticate(request, username=username, password=password, **kwargs)


def client_address(request: HttpRequest) -> str | None:
    """The address that the outermost of our own proxies saw; without proxies, the one that is connected.

    Each proxy appends whom it saw to X-Forwarded-For, so what stands before their entries is the client's own
    invention. axes' own way, through ipware, finds no address at all where there is such an entry.
    """
    connected: str | None = request.META.get("REMOTE_ADDR") or None
    entries = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
    proxies = settings.ENV.proxies
    if not 0 < proxies <= len(entries):
        return connected
    try:
        return str(ip_address(entries[-proxies].strip()))
    except ValueError:
        return connected
