"""The reference of the REST API as a page: the OpenAPI document in words and tables. Asks no network and no table."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render

from labeling.api import api
from labeling.http import LabelerRequest, page

Json = Mapping[str, Any]
DEEPEST = 3
"""How far a body's fields are unfolded."""


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter or a field of a body, by its name within the others."""

    name: str
    type: str
    required: bool
    about: str


@dataclass(frozen=True, slots=True)
class Answer:
    status: str
    about: str
    fields: list[Field]


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one address."""

    id: str
    verb: str
    path: str
    about: list[str]
    parameters: list[Field]
    body: list[Field]
    example: str
    answers: list[Answer]


@page("GET")
def reference(request: LabelerRequest) -> HttpResponse:
    context = {"groups": _groups(), "root": request.build_absolute_uri("/api/v1")}
    return render(request, "labeling/reference.html", context)


@cache
def _groups() -> list[tuple[str, list[Route]]]:
    """The routes by their subject, in the document's order."""
    schema = api.get_openapi_schema()
    found: dict[str, list[Route]] = defaultdict(list)
    for path, methods in schema["paths"].items():
        for verb, operation in methods.items():
            found[operation.get("tags", ["other"])[0]].append(_route(schema, path, verb, operation))
    return list(found.items())


def _route(schema: Json, path: str, verb: str, operation: Json) -> Route:
    bodies = operation.get("requestBody", {}).get("content", {})
    nothing: tuple[str, Json] = ("", {})
    media, body = next(iter(bodies.items()), nothing)
    about = operation.get("description", "").split("\n\n")
    return Route(
        id=operation["operationId"],
        verb=verb.upper(),
        path=path,
        about=[" ".join(text.split()) for text in about if text],
        parameters=[
            Field(one["name"], _type(schema, one["schema"]), one.get("required", False), one.get("description", ""))
            for one in operation.get("parameters", [])
        ],
        body=list(_fields(schema, body.get("schema", {}))),
        example=_example(schema, path, verb, media, body),
        answers=[
            Answer(status, answer["description"], list(_fields(schema, _content(answer))))
            for status, answer in operation["responses"].items()
            if status.startswith("2")
        ],
    )


def _example(schema: Json, path: str, verb: str, media: str, body: Json) -> str:
    """The route as a line for curl."""
    parts = ["curl", '-H "Authorization: Bearer $TOKEN"']
    if verb != "get":
        parts.append(f"-X {verb.upper()}")
    if media.endswith("json") and (value := _value(schema, body)) is not None:
        parts.append(f"-H 'Content-Type: {media}' -d '{json.dumps(value, ensure_ascii=False)}'")
    elif media:
        parts.append(f"-H 'Content-Type: {media}' --data-binary @pairs.jsonl")
    return " ".join([*parts, f'"$TANDEM{path.removeprefix("/api/v1")}"'])


def _value(schema: Json, body: Json) -> object:
    found = _resolved(schema, body.get("schema", {}))
    examples = found.get("examples", [])
    return examples[0] if examples else None


def _content(answer: Json) -> Json:
    media: Json = next(iter(answer.get("content", {}).values()), {})
    found: Json = media.get("schema", {})
    return found


def _fields(schema: Json, described: Json, prefix: str = "", depth: int = 1) -> Iterator[Field]:
    """The fields of an object, those of the objects inside it after it."""
    found = _resolved(schema, described)
    if found.get("type") == "array":
        found = _resolved(schema, found.get("items", {}))
        prefix = prefix or "[]."
    required = found.get("required", [])
    for name, value in found.get("properties", {}).items():
        about = value.get("description") or ""
        yield Field(f"{prefix}{name}", _type(schema, value), name in required, about)
        if depth < DEEPEST:
            yield from _fields(schema, value, f"{prefix}{name}.", depth + 1)


def _resolved(schema: Json, described: Json) -> Json:
    """What a reference stands for; of several alternatives the first that is an object."""
    if "$ref" in described:
        found: Json = schema["components"]["schemas"][described["$ref"].rsplit("/", 1)[-1]]
        return found
    for one in described.get("anyOf", []):
        inner = _resolved(schema, one)
        if "properties" in inner:
            return inner
    return described


def _type(schema: Json, described: Json) -> str:
    if "anyOf" in described:
        return " or ".join(_type(schema, one) for one in described["anyOf"])
    if "enum" in described:
        return " | ".join(json.dumps(one) for one in described["enum"])
    if "const" in described:
        return json.dumps(described["const"])
    found = _resolved(schema, described)
    if found.get("type") == "array":
        return f"list of {_type(schema, found.get('items', {}))}"
    bounds = [
        f"{sign} {found[name]:g}"
        for name, sign in (("minimum", "from"), ("maximum", "to"))
        if isinstance(found.get(name), int | float)
    ]
    named = str(found.get("format") or found.get("type", "any value"))
    return " ".join([named, *bounds])
