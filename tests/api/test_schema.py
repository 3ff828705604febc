"""The OpenAPI document, and whether the application does what it says: thousands of requests made up from it."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, given, settings

from labeling.api import api
from labeling.models import Deployment, Flag, ImportBatch, JudgeCall, RejectedLine, TrainingRun
from labeling.services import dataset_versions, judge_calls
from labeling.services.tokens import create_token
from tests.factories import ClaimFactory, JudgementFactory, LabelFactory, PairFactory
from webapp.wsgi import application
from workers.tasks.calls import judge_call

schemathesis = pytest.importorskip("schemathesis", reason="the development tools are not all installed")
jsonschema_rs = pytest.importorskip("jsonschema_rs", reason="comes with schemathesis")

ADDRESS = "/api/v1/openapi.json"
EXAMPLES = 8
SCHEMA: dict[str, Any] = api.get_openapi_schema()
ROUTES = [(verb, path) for path, verbs in SCHEMA["paths"].items() for verb in verbs]

ACCEPTED = ["2xx", "3xx", "401", "403", "404", "409", "429"]
DEPEND = {
    "make_project": "two criteria may have one name",
    "change_project": "two criteria may have one name",
    "label_claim": "a project says which criteria there are, and whether verdicts have a strength",
    "list_labels": "not all options go together",
    "list_judgements": "a project says which versions there are",
    "freeze": "not all options go together, and a name is taken once",
    "send_pairs": "a text may be no list of pairs",
}
"""Routes that may refuse by 422 what the document allows, since it depends on what is there."""
CONFIG = schemathesis.Config.from_dict(
    {
        "operations": [
            {
                "include-operation-id": list(DEPEND),
                "checks": {"positive_data_acceptance": {"expected-statuses": [*ACCEPTED, "422"]}},
            },
            {
                "include-operation-id": "send_pairs",
                "checks": {"negative_data_rejection": {"enabled": False}},  # every text is a stream of lines
            },
        ]
    }
)


@schemathesis.serializer("application/x-ndjson")
def as_lines(_context: object, value: object) -> bytes:
    return str(value).encode("utf-8", "replace")


@cache
def document() -> Any:
    """As the application itself gives it."""
    return schemathesis.openapi.from_wsgi(ADDRESS, application, config=CONFIG)


@pytest.fixture
def token(alice: User, champion: Deployment, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a manager with one of everything; a judge worker answers at once."""

    def at_once(call: JudgeCall, *, seconds: float) -> JudgeCall:
        judge_call(call.pk)
        call.refresh_from_db()
        return call

    monkeypatch.setattr(judge_calls, "wait", at_once)
    alice.user_permissions.add(*Permission.objects.filter(codename="add_project"))
    for pair in PairFactory.create_batch(3, project=champion.project):
        LabelFactory.create(pair=pair)
        JudgementFactory.create(pair=pair, judge=champion.judge)
        Flag.objects.create(pair=pair, kind="reported")
    return create_token(alice)


@pytest.fixture(autouse=True)
def open_connection() -> Iterator[None]:
    """The test's connection stays open between requests, as with Django's own client."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def known(alice: User, champion: Deployment, home: Path) -> dict[str, Any]:
    """What the parts of the addresses may name."""
    project, judge = champion.project, champion.judge
    run = TrainingRun.objects.create(project=project, trigger="api", method="genrm", start=judge, origin=judge)
    batch = ImportBatch.objects.create(project=project, filename="f", sha256="0")
    claim = ClaimFactory.create(pair=PairFactory.create(project=project), annotator=alice)
    RejectedLine.objects.create(batch=batch, number=1, reason="no pair")
    call = judge_calls.request_call(project, pairs=[], by=alice)
    dataset = dataset_versions.freeze(project, name="frozen", by=alice)
    assert dataset_versions.write(dataset.pk)
    ids = {"run_id": run.pk, "batch_id": batch.pk, "claim_id": claim.pk, "call_id": call.pk, "judge_id": judge.pk}
    return {"slug": project.slug, "dataset_id": dataset.pk, **ids}


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize(("verb", "path"), ROUTES, ids=[f"{verb} {path}" for verb, path in ROUTES])
def test_every_route_does_what_the_document_says(
    verb: str, path: str, mode: str, token: str, known: dict[str, Any]
) -> None:
    operation = document()[path][verb]
    strategy = operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode))

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def check(case: Any) -> None:
        if not wrong(case, "PATH"):
            case.path_parameters = {name: known.get(name, value) for name, value in case.path_parameters.items()}
        given = {} if wrong(case, "HEADER") else {"Authorization": f"Bearer {token}"}
        case.call_and_validate(headers={"Accept-Encoding": "identity", **given})

    check()


def wrong(case: Any, component: str) -> bool:
    """Whether this part of the request was made up to break the document."""
    return any(place.name == component and info.mode.is_negative for place, info in case.meta.components.items())


def test_the_document_is_openapi_3_1_and_says_how_routes_fail() -> None:
    assert SCHEMA["openapi"].startswith("3.1")
    for verbs in SCHEMA["paths"].values():
        for operation in verbs.values():
            assert operation["summary"]
            assert set(operation["responses"]) >= {"401", "422", "429", "default"}
            assert all(answer["description"] for answer in operation["responses"].values())


@pytest.mark.parametrize("name", ["ProjectIn", "Settings", "ClaimIn", "LabelIn", "SkipIn", "Decision", "CallIn"])
def test_bodies_have_an_example_that_fits(name: str) -> None:
    described = {**SCHEMA["components"]["schemas"][name], "components": SCHEMA["components"]}
    [example] = described["examples"]
    jsonschema_rs.validate(described, example)


def test_every_route_asks_for_a_token() -> None:
    assert all(operation["security"] for verbs in SCHEMA["paths"].values() for operation in verbs.values())
