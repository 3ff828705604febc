"""The OpenAPI 3.1 document: what the routes declare, and what all of them share: how they fail and what they carry."""

from collections.abc import Iterator
from typing import Any

from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation

from labeling.api.problems import MEDIA_TYPE, Problem

REF = "#/components/schemas/{model}"
FAILURES = {
    "401": "No valid token was sent",
    "422": "The request is refused; `errors` names the fields",
    "429": "The token has used up its requests of this minute",
    "default": "Any other error, as problem details (RFC 9457)",
}
HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-ID": {"description": "the request's id in the log; the client's own is kept", "type": "string"},
    "RateLimit": {"description": "requests left, and seconds until all are there again", "type": "string"},
    "RateLimit-Policy": {"description": "requests of a window, and its seconds", "type": "string"},
}
DESCRIPTION = """\
Everything that programs do with Tandem: bring pairs in, label them, take labels out, retrain, and ask the judge.

Send `Authorization: Bearer tandem_…`. A token may read, label or manage (each includes the one before), has its owner's
roles, and may be bound to one project. Errors are problem details. Long lists come in pages; `next` is the address of
the next one. Answers carry an `ETag`; send it as `If-None-Match` and what has not changed is not sent again.
"""


class Api(NinjaAPI):
    """The API with a document that also says how routes fail; it is made once."""

    _documents: dict[str | None, OpenAPISchema]

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self._documents = {}

    def get_openapi_operation_id(self, operation: Operation) -> str:
        """The function's name: no two routes share one."""
        return operation.view_func.__name__

    def get_openapi_schema(
        self, *, path_prefix: str | None = None, path_params: dict[str, Any] | None = None
    ) -> OpenAPISchema:
        if path_prefix in self._documents:
            return self._documents[path_prefix]
        schema = super().get_openapi_schema(path_prefix=path_prefix, path_params=path_params)
        described = Problem.model_json_schema(ref_template=REF)
        schema["components"].setdefault("schemas", {}).update(described.pop("$defs", {}), Problem=described)
        for operation in operations_of(schema):
            _complete(operation)
        self._documents[path_prefix] = schema
        return schema


def operations_of(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in schema["paths"].values():
        yield from methods.values()


def _complete(operation: dict[str, Any]) -> None:
    """Add the failures and headers that every route has."""
    responses = operation["responses"]
    for name in list(responses):
        responses[str(name)] = responses.pop(name)
    for answer in responses.values():
        given = answer.setdefault("headers", {})
        for name, header in HEADERS.items():
            given.setdefault(
                name, {"description": header["description"], "required": True, "schema": {"type": header["type"]}}
            )
    content = {MEDIA_TYPE: {"schema": {"$ref": REF.format(model="Problem")}}}
    for status, description in FAILURES.items():
        responses.setdefault(status, {"description": description, "content": content})
