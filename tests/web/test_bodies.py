"""A page's request may be so large and no larger, and only who is signed in may upload more."""

import io
from typing import Any

import pytest
from django.core.files.uploadhandler import FileUploadHandler
from django.test import Client

from labeling.models import ImportBatch, Project

pytestmark = pytest.mark.usefixtures("home")
PAIR = b'{"prompt": "Add 3 and 4.", "response_a": "7", "response_b": "8"}\n'
IMPORT = "/p/stories/import/"


@pytest.fixture(autouse=True)
def small(settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1_000


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that Django began to write down."""
    found: list[str] = []

    def new_file(handler: FileUploadHandler, field_name: str, file_name: str, *_more: Any, **_named: Any) -> None:
        found.append(file_name)

    monkeypatch.setattr("django.core.files.uploadhandler.MemoryFileUploadHandler.new_file", new_file)
    monkeypatch.setattr("django.core.files.uploadhandler.TemporaryFileUploadHandler.new_file", new_file)
    return found


def sent(client: Client, url: str, size: int) -> Any:
    file = io.BytesIO(b"x" * size)
    file.name = "rows.jsonl"
    return client.post(url, {"file": file, "csrfmiddlewaretoken": "a" * 32})


@pytest.mark.parametrize("url", ["/login/", "/", "/no/such/page/", "/p/stories/label/", IMPORT, f"{IMPORT}named/"])
def test_a_stranger_s_large_body_is_refused_unread(project: Project, written: list[str], url: str) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies["csrftoken"] = "a" * 32
    assert sent(strict, url, 2_000).status_code == 413
    assert written == []


def test_who_is_signed_in_uploads_as_much_as_the_installation_takes(
    as_alice: Client, project: Project, settings: Any
) -> None:
    file = io.BytesIO(PAIR + b"\n" * 5_000)
    file.name = "rows.jsonl"
    assert as_alice.post(IMPORT, {"file": file}).status_code == 302
    assert ImportBatch.objects.get().imported == 1
    settings.ENV = settings.ENV.model_copy(update={"upload_gib": 4_000 / 2**30})
    answer = sent(as_alice, IMPORT, 5_000)
    assert (answer.status_code, "GiB at most" in answer.content.decode()) == (413, True)


def test_other_pages_take_no_large_files_of_anybody(as_alice: Client, project: Project, written: list[str]) -> None:
    assert sent(as_alice, "/p/stories/settings/", 2_000).status_code == 413
    assert written == []


def test_files_of_unknown_length_are_refused(as_alice: Client, project: Project) -> None:
    answer = as_alice.generic("POST", IMPORT, CONTENT_TYPE="multipart/form-data; boundary=x")
    assert answer.status_code == 411


def test_a_redirect_is_followed_by_clients_that_keep_the_forms_type(as_alice: Client, project: Project) -> None:
    """httpx does: a GET of a form's type, without a body and so without its length."""
    answer = as_alice.generic("GET", IMPORT, CONTENT_TYPE="multipart/form-data; boundary=x")
    assert answer.status_code == 200


def test_what_pages_send_passes(as_alice: Client, project: Project, settings: Any) -> None:
    """The longest text of the settings, with all that a form escapes of it."""
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 2**20
    answer = as_alice.post("/p/stories/settings/", {"guidelines": "ü\n" * 50_000})
    assert answer.status_code in (302, 422)
