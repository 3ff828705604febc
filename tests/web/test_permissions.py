"""Every route for every role: strangers see nothing, members what their role allows, and nobody another's claims."""

from collections.abc import Callable
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import get_resolver, reverse

from labeling.models import DatasetVersion, Member, Project
from tests.web.conftest import World

Args = Callable[[World], list[object]]


def slug(world: World) -> list[object]:
    return [world.project.slug]


def claim(world: World) -> list[object]:
    return [world.claim.pk]


def label(world: World) -> list[object]:
    return [world.label.pk]


def version(world: World) -> list[object]:
    return [world.project.slug, world.run.start_id]


def dataset(world: World) -> list[object]:
    return [DatasetVersion.objects.create(project=world.project, name="one", filters={}, state="done").pk]


# (name, method, arguments, status for bob, dora, alice). The claim and the label are Bob's.
ROUTES: list[tuple[str, str, Args, int, int, int]] = [
    ("projects", "get", lambda _: [], 200, 200, 200),
    ("project", "get", slug, 200, 200, 200),
    ("label", "get", slug, 200, 200, 200),
    ("reserve", "get", slug, 200, 204, 204),
    ("release", "post", slug, 204, 204, 204),
    ("undo", "post", slug, 302, 409, 409),
    ("claim-commit", "post", claim, 422, 404, 404),
    ("claim-skip", "post", claim, 302, 404, 404),
    ("claim-renew", "post", claim, 200, 404, 404),
    ("claim-diff", "get", claim, 200, 404, 404),
    ("claim-report", "post", claim, 422, 404, 404),
    ("label-reveal", "get", label, 200, 404, 404),
    ("label-keep", "post", label, 409, 404, 404),
    ("label-revise", "post", label, 409, 404, 404),
    ("flags", "get", slug, 403, 200, 200),
    ("agreement", "get", slug, 403, 200, 200),
    ("flags-decide", "post", slug, 403, 422, 422),
    ("filter-save", "post", slug, 403, 422, 422),
    ("filter-delete", "post", lambda world: [world.project.slug, 1], 403, 404, 404),
    ("reopen", "post", lambda world: [world.project.slug, world.pair.pk], 403, 302, 302),
    ("pairs", "get", slug, 403, 200, 200),
    ("dossier-open", "post", lambda world: [world.project.slug, world.pair.pk], 403, 302, 302),
    ("dossier-ask-again", "post", lambda world: [world.project.slug, world.pair.pk], 403, 302, 302),
    ("dossier", "get", lambda world: [world.project.slug, world.pair.pk], 403, 200, 200),
    ("judge", "get", slug, 403, 200, 200),
    ("retrain", "post", slug, 403, 403, 422),
    ("settings", "get", slug, 403, 403, 200),
    ("settings", "post", slug, 403, 403, 422),
    ("connect", "get", slug, 403, 403, 200),
    ("connect", "post", slug, 403, 403, 422),
    ("trial", "get", lambda world: [world.trial.pk], 403, 403, 200),
    ("trial-connect", "post", lambda world: [world.trial.pk], 403, 403, 302),
    ("keys", "get", lambda _: [], 200, 200, 200),
    ("tokens", "get", lambda _: [], 200, 200, 200),
    ("token-revoke", "post", lambda _: [1], 404, 404, 404),
    ("reference", "get", lambda _: [], 200, 200, 200),
    ("import", "get", slug, 403, 403, 200),
    ("import-named", "post", slug, 403, 403, 422),
    ("import-look", "get", lambda world: [world.project.slug, UUID(int=1)], 403, 403, 302),
    ("batch", "get", lambda world: [world.batch.pk], 403, 403, 200),
    ("batch-cancel", "post", lambda world: [world.batch.pk], 403, 403, 302),
    ("batch-rejected", "get", lambda world: [world.batch.pk], 403, 403, 200),
    ("datasets", "get", slug, 403, 403, 200),
    ("datasets", "post", slug, 403, 403, 422),
    ("dataset-file", "get", dataset, 403, 403, 404),
    ("dataset-manifest", "get", dataset, 403, 403, 200),
    ("dataset-card", "get", dataset, 403, 403, 200),
    ("run", "get", lambda world: [world.run.pk], 403, 403, 200),
    ("run-cancel", "post", lambda world: [world.run.pk], 403, 403, 302),
    ("versions", "get", slug, 403, 200, 200),
    ("versions-roll-back", "post", slug, 403, 403, 422),
    ("versions-outside", "post", slug, 403, 403, 302),
    ("versions-thin-runs", "post", slug, 403, 403, 302),
    ("version-promote", "post", version, 403, 403, 422),
    ("version-shadow", "post", version, 403, 403, 422),
    ("version-renew", "post", version, 403, 403, 302),
    ("version-retire", "post", version, 403, 403, 422),
    ("version-prune", "post", version, 403, 403, 422),
    ("version-changes", "get", version, 403, 200, 200),
    ("version-card", "get", version, 403, 200, 200),
    ("run-snapshot", "get", lambda world: [world.run.pk], 403, 403, 404),
]
OPEN = ("projects", "keys", "tokens", "reference")
"""What every signed-in user may see."""
IDS = [f"{route[0]}-{route[1]}" for route in ROUTES]


def send(client: Client, route: tuple[str, str, Args, int, int, int], world: World) -> int:
    name, method, arguments, *_ = route
    url = reverse(f"labeling:{name}", args=arguments(world))
    return int(getattr(client, method)(url).status_code)


def test_the_table_names_every_route() -> None:
    names = {pattern.name for pattern in get_resolver("labeling.urls").url_patterns if hasattr(pattern, "name")}
    assert {route[0] for route in ROUTES} == names


@pytest.mark.parametrize("route", ROUTES, ids=IDS)
def test_anonymous_people_are_sent_to_the_login(
    client: Client, world: World, route: tuple[str, str, Args, int, int, int]
) -> None:
    name, method, arguments, *_ = route
    url = reverse(f"labeling:{name}", args=arguments(world))
    response = getattr(client, method)(url)
    assert response.status_code == 302
    assert response["Location"].startswith("/login/?next=")


@pytest.mark.parametrize("route", ROUTES, ids=IDS)
def test_strangers_find_nothing(as_charlie: Client, world: World, route: tuple[str, str, Args, int, int, int]) -> None:
    assert send(as_charlie, route, world) == (200 if route[0] in OPEN else 404)


@pytest.mark.parametrize("route", ROUTES, ids=IDS)
def test_annotators(as_bob: Client, world: World, route: tuple[str, str, Args, int, int, int]) -> None:
    assert send(as_bob, route, world) == route[3]


@pytest.mark.parametrize("route", ROUTES, ids=IDS)
def test_adjudicators(as_dora: Client, world: World, route: tuple[str, str, Args, int, int, int]) -> None:
    assert send(as_dora, route, world) == route[4]


@pytest.mark.parametrize("route", ROUTES, ids=IDS)
def test_managers(as_alice: Client, world: World, route: tuple[str, str, Args, int, int, int]) -> None:
    assert send(as_alice, route, world) == route[5]


def test_a_former_member_loses_even_their_own_claim(as_bob: Client, bob: User, world: World) -> None:
    Member.objects.filter(user=bob).delete()
    assert as_bob.post(reverse("labeling:claim-commit", args=[world.claim.pk]), {"verdict": "tie"}).status_code == 404


def test_the_list_names_only_ones_own_projects(as_bob: Client, as_charlie: Client, world: World) -> None:
    name = world.project.name.encode()
    assert name in as_bob.get("/").content
    assert name not in as_charlie.get("/").content


def test_an_expired_session_moves_the_whole_page_to_the_login(
    client: Client, world: World, htmx: dict[str, str]
) -> None:
    url = reverse("labeling:label", args=[world.project.slug])
    headers = {**htmx, "HX-Current-URL": f"http://testserver{url}"}
    response = client.get(url, headers=headers)
    assert response["HX-Redirect"] == f"/login/?next={url}"
    assert response.content == b""


def test_a_form_that_comes_after_the_session_leads_back_to_its_page(client: Client, project: Project) -> None:
    answer = client.post("/p/stories/flags/decide/", headers={"referer": "http://testserver/p/stories/flags/?page=2"})
    assert answer["Location"] == "/login/?next=/p/stories/flags/"
    assert "what you sent was not saved" in client.get(answer["Location"]).content.decode()
    elsewhere = client.post("/p/stories/flags/decide/", headers={"referer": "https://evil.example/p/"})
    assert elsewhere["Location"] == "/login/?next=/"


def test_numbers_that_no_row_can_have_are_not_found(as_alice: Client, project: Project) -> None:
    assert as_alice.get(f"/p/stories/versions/{10**25}/changes/").status_code == 404
