"""Times as the reader's clock shows them: the browser names its time zone in a cookie (`static/js/clock.js`).

Only what is shown and the day of "today" follow it; what is stored, exported or answered by the API stays UTC.
"""

from collections.abc import Callable
from zoneinfo import ZoneInfo

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

COOKIE = "timezone"


class Clock:
    """Renders a page in the zone of the browser that asks; in UTC where it names none that is known."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with timezone.override(_zone(request.COOKIES.get(COOKIE, ""))):
            return self.get_response(request)


def _zone(name: str) -> ZoneInfo | None:
    """The zone of an IANA name; None, the settings' own, for anything else: the cookie is anybody's to write."""
    try:
        return ZoneInfo(name) if name else None
    except (ValueError, OSError, KeyError):  # odd paths, folders of the zone data, unknown names
        return None
