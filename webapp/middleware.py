"""Middleware of ours. What only pages need, requests of the API, which have a token and no cookie, go past."""

from collections.abc import Callable

import structlog
from axes.middleware import AxesMiddleware
from csp.middleware import CSPMiddleware
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django_htmx.middleware import HtmxMiddleware
from django_structlog.middlewares import RequestMiddleware
from whitenoise.middleware import WhiteNoiseMiddleware

from labeling.api.envelope import PREFIX
from webapp.clock import Clock


class _PagesOnly:
    """Put before a middleware among a class's bases."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        here: Callable[[HttpRequest], HttpResponseBase] = super().__call__  # type: ignore[misc]
        past: Callable[[HttpRequest], HttpResponseBase] = self.get_response  # type: ignore[attr-defined]
        return past(request) if request.path.startswith(PREFIX) else here(request)


class StaticFiles(_PagesOnly, WhiteNoiseMiddleware):  # type: ignore[misc]
    """Serves static files."""


class Sessions(_PagesOnly, SessionMiddleware):
    """Reads and writes the session."""


class Csrf(_PagesOnly, CsrfViewMiddleware):
    """Refuses forms of other sites."""


class SignedIn(_PagesOnly, AuthenticationMiddleware):
    """Finds the session's user."""


class Logged(RequestMiddleware):
    """Gives the request its id in the log. Its address there is the one that is connected; no header is believed."""

    @classmethod
    def bind_ip(cls, request: HttpRequest) -> None:
        structlog.contextvars.bind_contextvars(ip=request.META.get("REMOTE_ADDR"))


class Messages(_PagesOnly, MessageMiddleware):
    """Carries messages to the next page."""


class NoFrames(_PagesOnly, XFrameOptionsMiddleware):
    """Keeps pages out of frames."""


class ContentPolicy(_PagesOnly, CSPMiddleware):
    """Says what a page may load."""


class Htmx(_PagesOnly, HtmxMiddleware):
    """Reads what htmx says of a request."""


class OwnClock(_PagesOnly, Clock):
    """Shows times by the reader's clock."""


class FailedLogins(_PagesOnly, AxesMiddleware):  # type: ignore[misc]
    """Locks out who guesses passwords."""
