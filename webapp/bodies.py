"""How large the body of a page's request may be, files included: Django puts a form's files on the disk uncounted.

That happens where the form's token is checked, before anybody has asked who sends it. Knows no form.
"""

from collections.abc import Callable

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve

from labeling.api.envelope import PREFIX
from labeling.services import uploads

UPLOAD = "labeling:import"


class Bounded:
    """Answers 413 to what is too large, before any of it is read. After the sessions, before the check of forms.

    Addresses of the API go past: their tokens are checked before their bodies are read, and Django counts those.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        past = request.path.startswith(PREFIX)
        return self.get_response(request) if past else self._refused(request) or self.get_response(request)

    def _refused(self, request: HttpRequest) -> HttpResponse | None:
        said = request.META.get("CONTENT_LENGTH") or ""
        # Only a POST: clients that follow a redirect keep the form's type on a GET that has no body.
        if not said and request.method == "POST" and request.content_type == "multipart/form-data":
            return _answer(411, "A form with files must say how long it is.")
        size = int(said) if said.isdecimal() else 0
        if size <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            return None
        if not _is_upload(request):
            return _answer(413, "This is more than a page takes. Nothing was saved.")
        if not get_user(request).is_authenticated:
            return _answer(413, "Sign in before you upload a file of this size.")
        if size > uploads.most_bytes():
            return _answer(413, f"One upload may have {settings.ENV.upload_gib:g} GiB at most.")
        return None


def _is_upload(request: HttpRequest) -> bool:
    try:
        return resolve(request.path_info).view_name == UPLOAD
    except Resolver404:
        return False


def _answer(status: int, text: str) -> HttpResponse:
    return HttpResponse(text, status=status, content_type="text/plain; charset=utf-8")
