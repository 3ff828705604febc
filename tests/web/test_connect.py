"""Connecting a judge by its pages: what is typed, what the trial says, and what comes of it."""

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from labeling import connect_forms, sealing
from labeling.models import Deployment, JudgeTrial, JudgeVersion, Pair, Project
from labeling.services import trials
from tests.factories import LabelFactory, PairFactory

KEY = "sk-not-a-real-key-0123456789"
URL = "http://127.0.0.1:8000/v1"
SERVER = {"where": "server", "server-url": URL, "server-model": "org/judge", "server-key": KEY}
PAGE = "/p/stories/connect/"


@pytest.fixture
def pairs(project: Project) -> list[Pair]:
    made = PairFactory.create_batch(3, project=project)
    LabelFactory.create(pair=made[0], choice="b")
    return made


def words(page: bytes) -> str:
    """The page's text, with single spaces and without tags."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page.decode())).split())


def row(pair: Pair, method: str, **fields: Any) -> dict[str, Any]:
    told = {"pair": pair.pk, "method": method, "p_a": 0.7, "p_a_straight": 0.8, "p_a_swapped": 0.6, "samples": 2}
    told |= {"consistent": True, "unparsed": 0, "tokens": 1500, "read": 1000, "seconds": 2.0, "made": "base"}
    return {**told, "rationale": "A is *clearer*." if method == "cot" else "", **fields}


def finished(project: Project, by: User, pairs: list[Pair], **fields: Any) -> JudgeTrial:
    wanted = {"backend": "openai", "model": "org/judge", "url": URL, "key": KEY, **fields}
    trial = trials.take(trials.request_trial(project, by=by, **wanted))
    assert trial is not None
    said = [row(pair, method) for method in ("score", "cot") for pair in pairs]
    trials.finish(trial, said, trainable=False, note="A judge on a server cannot be trained here.")
    return trial


def test_a_server_is_tried_with_its_key_sealed(as_alice: Client, pairs: list[Pair]) -> None:
    response = as_alice.post(PAGE, SERVER)
    trial = JudgeTrial.objects.get()
    assert response["Location"] == f"/trials/{trial.pk}/"
    assert (trial.backend, trial.url, trial.model, trial.state) == ("openai", URL, "org/judge", "waiting")
    assert sealing.unseal(trial.sealed_key) == KEY


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("url", "", "This field is required"),
        ("url", "ftp://host/v1", "begins with http:// or https://"),
        ("url", "localhost:8000/v1", "begins with http:// or https://"),
        ("url", "http://", "names a host"),
        ("url", "http://host:port/v1", "is the port a number?"),
        ("url", "http://user:secret@host/v1", "no user name"),
        ("url", "http://host/v1?key=1", "no user name"),
        ("url", "http://host/v1/" + "x" * 300, "at most 300 characters"),
        ("model", " ", "This field is required"),
        ("key", "two words", "a character that no key has"),
        ("key", "schlüssel", "a character that no key has"),
    ],
)
def test_a_mistake_is_said_at_its_field_and_the_key_is_not_shown_again(
    as_alice: Client, pairs: list[Pair], field: str, value: str, said: str
) -> None:
    response = as_alice.post(PAGE, {**SERVER, f"server-{field}": value})
    assert response.status_code == 422
    assert said in str(response.context["server"].errors[field])
    assert f'href="#id_server-{field}"' in response.content.decode()
    assert KEY not in response.content.decode()
    assert not JudgeTrial.objects.exists()


@pytest.mark.parametrize("url", ["http://vllm:8000/v1", f"{URL}/", f"{URL}/chat/completions", "http://[::1]:8000/v1"])
def test_hosts_of_a_private_network_and_the_whole_path_are_understood(
    as_alice: Client, pairs: list[Pair], url: str
) -> None:
    assert as_alice.post(PAGE, {**SERVER, "server-url": url}).status_code == 302
    assert JudgeTrial.objects.get().url == url.removesuffix("/").removesuffix("/chat/completions")


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "2852039166", "[fe80::1]", "[::ffff:169.254.169.254]", "metadata.example.org"]
)
def test_link_local_addresses_are_refused_whatever_they_are_called(
    as_alice: Client, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    if host.startswith("metadata"):
        answers = [(0, 0, 0, "", (address, 0)) for address in ("192.0.2.1", "169.254.1.1")]
        monkeypatch.setattr("socket.getaddrinfo", lambda *_given, **_named: answers)
    response = as_alice.post(PAGE, {**SERVER, "server-url": f"http://{host}/v1"})
    assert response.status_code == 422
    assert "link-local" in str(response.context["server"].errors["url"])
    assert not JudgeTrial.objects.exists()


def test_an_installation_names_the_hosts_of_judges(as_alice: Client, pairs: list[Pair], settings: Any) -> None:
    settings.ENV = settings.ENV.model_copy(update={"judge_servers": "vllm, [::1],API.example.org"})
    for url, status in (
        ("http://vllm:8000/v1", 302),
        ("http://[::1]:8000/v1", 302),
        ("https://api.EXAMPLE.org/v1", 302),
        (URL, 422),
        ("http://vllm.example.org/v1", 422),
    ):
        assert as_alice.post(PAGE, {**SERVER, "server-url": url}).status_code == status, url


def test_a_folder_must_be_there_and_a_name_must_look_like_one(
    as_alice: Client, pairs: list[Pair], tmp_path: Path
) -> None:
    def sent(model: str) -> int:
        return as_alice.post(PAGE, {"where": "local", "local-model": model}).status_code

    assert [sent(model) for model in (str(tmp_path), "/no/such/folder", "./judge", "../judge", "a/b/c", "")] == [
        422
    ] * 6
    (tmp_path / "config.json").write_text("{}")
    assert [sent(model) for model in (f"{tmp_path}/", "Qwen/Qwen3-0.6B", "gpt2", "embedded-base")] == [302] * 4
    found = list(JudgeTrial.objects.order_by("pk").values_list("model", "backend", "url"))
    names = [str(tmp_path), "Qwen/Qwen3-0.6B", "gpt2", "embedded-base"]
    assert found == [(name, "transformers", "") for name in names]


def test_vllm_is_offered_only_where_it_is_installed(
    as_alice: Client, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"where": "local", "local-model": "gpt2", "local-backend": "vllm"}
    monkeypatch.setattr(connect_forms, "has_vllm", lambda: False)
    assert b"local-backend" not in as_alice.get(PAGE).content
    as_alice.post(PAGE, wanted)
    monkeypatch.setattr(connect_forms, "has_vllm", lambda: True)
    assert b"local-backend" in as_alice.get(PAGE).content
    as_alice.post(PAGE, wanted)
    assert set(JudgeTrial.objects.values_list("backend", flat=True)) == {"transformers", "vllm"}


def test_without_pairs_nothing_is_tried(as_alice: Client) -> None:
    response = as_alice.post(PAGE, SERVER)
    assert response.status_code == 422
    assert trials.NO_PAIRS in words(response.content)


def test_a_waiting_trial_refreshes_itself_and_says_what_it_waits_for(
    as_alice: Client, project: Project, pairs: list[Pair], alice: User, htmx: dict[str, str]
) -> None:
    trial = trials.request_trial(project, backend="openai", model="org/judge", url=URL, by=alice)
    url = reverse("labeling:trial", args=[trial.pk])
    page = as_alice.get(url, headers=htmx).content
    assert b"data-poll" in page
    assert b"<html" not in page
    assert "No judge worker is running." in words(page)
    assert trials.take(trial) is not None
    assert "The server is asked about three pairs." in words(as_alice.get(url).content)


def test_a_failed_trial_says_why_and_stops_refreshing(
    as_alice: Client, project: Project, pairs: list[Pair], alice: User
) -> None:
    trial = trials.take(trials.request_trial(project, backend="openai", model="m", url=URL, key=KEY, by=alice))
    assert trial is not None
    trials.fail(trial, f"the server at {URL} refuses the API key (401): wrong key {KEY}")
    page = as_alice.get(reverse("labeling:trial", args=[trial.pk])).content
    assert b"data-poll" not in page
    assert f"The server at {URL} refuses the API key (401): wrong key …" in words(page)
    assert KEY not in page.decode()


def test_a_passed_trial_shows_what_was_said_and_what_it_would_take(
    as_alice: Client, project: Project, pairs: list[Pair], alice: User
) -> None:
    PairFactory.create_batch(7, project=project, part="gate")
    trial = finished(project, alice, pairs)
    url = reverse("labeling:trial", args=[trial.pk])
    text = words(as_alice.get(url).content)
    assert "People: B is better" in text
    assert "People: nobody has labelled it yet" in text
    assert "A is better same winner in both orders P(A) 70 % A shown first 80 % B shown first 60 %" in text
    assert "A is clearer ." in text
    assert "with rationales: 2 orders × 2 samples 1 1,000 500 2.00 s" in text
    assert "First, as a shadow: the hold-out 7 7,000 3,500 14 s" in text
    assert "As champion, both 10 20,000 10,000 40 s" in text
    assert "Can be trained here no" in text
    assert "Cost" not in text
    assert "As champion, both 10 20,000 10,000 40 s 0.12" in words(
        as_alice.get(url, {"read": "2", "written": "8"}).content
    )
    assert "40 s 0.06" in words(as_alice.get(url, {"read": "2", "written": ""}).content)


@pytest.mark.parametrize("price", ["", "-1", "much", "nan"])
def test_a_price_that_is_none_is_said_and_the_trial_stays_readable(
    as_alice: Client, project: Project, pairs: list[Pair], alice: User, price: str
) -> None:
    trial = finished(project, alice, pairs)
    response = as_alice.get(reverse("labeling:trial", args=[trial.pk]), {"read": price})
    assert response.status_code == 422
    assert response.context["form"].errors["read"]
    assert "As champion, both" in words(response.content)


def test_connecting_makes_a_shadow_once_and_the_page_says_so(
    as_alice: Client, champion: Deployment, project: Project, pairs: list[Pair], alice: User
) -> None:
    trial = finished(project, alice, pairs)
    url = reverse("labeling:trial", args=[trial.pk])
    assert b'id="connect"' in as_alice.get(url).content
    for _ in range(2):
        assert as_alice.post(f"{url}connect/")["Location"] == url
    shadow = Deployment.objects.exclude(pk=champion.pk).get()
    assert (shadow.state, shadow.judge.name, shadow.counts) == ("shadow", "judge", "score")
    page = as_alice.get(url).content
    assert b'id="connect"' not in page
    assert "It is judge , a shadow in this project" in words(page)
    assert "connected" in words(as_alice.get(PAGE).content)


def test_a_trial_that_has_not_passed_connects_nothing(
    as_alice: Client, project: Project, pairs: list[Pair], alice: User
) -> None:
    trial = trials.request_trial(project, backend="openai", model="m", url=URL, by=alice)
    response = as_alice.post(reverse("labeling:trial-connect", args=[trial.pk]), follow=True)
    assert "Only a judge whose trial has passed can be connected." in words(response.content)
    assert not JudgeVersion.objects.exists()


def test_the_key_stands_in_no_page_not_even_the_admins(
    as_alice: Client, champion: Deployment, project: Project, pairs: list[Pair], alice: User
) -> None:
    trial = finished(project, alice, pairs)
    assert trial.sealed_key
    User.objects.filter(pk=alice.pk).update(is_staff=True, is_superuser=True)
    admin = f"/admin/labeling/judgetrial/{trial.pk}/change/"
    pages = [as_alice.get(path) for path in (PAGE, f"/trials/{trial.pk}/", "/p/stories/", admin)]
    assert [page.status_code for page in pages] == [200] * 4
    for page in pages:
        assert KEY not in page.content.decode()
        assert trial.sealed_key not in page.content.decode()
        assert "sealed" not in page.content.decode().lower()


def test_only_managers_see_the_way_to_connect(as_alice: Client, as_bob: Client, pairs: list[Pair]) -> None:
    assert PAGE.encode() in as_alice.get("/p/stories/").content
    assert PAGE.encode() not in as_bob.get("/p/stories/").content
