"""A client of the API: a token, and one method for each of HTTP's."""

import json
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.test import Client

from labeling.services.tokens import create_token

ROOT = "/api/v1"


@dataclass(frozen=True)
class Caller:
    """Sends requests with a token to the application itself; an unexpected error is an answer, not an exception."""

    secret: str

    def get(self, path: str, **headers: str) -> Any:
        return self.send("GET", path, **headers)

    def post(self, path: str, body: object = None, **headers: str) -> Any:
        return self.send("POST", path, body, **headers)

    def patch(self, path: str, body: object, **headers: str) -> Any:
        return self.send("PATCH", path, body, **headers)

    def delete(self, path: str) -> Any:
        return self.send("DELETE", path)

    def send(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """A body that is not bytes is sent as JSON; a header's name has underscores for hyphens."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return Client(raise_request_exception=False).generic(
            method,
            path if path.startswith("/api") else ROOT + path,
            data,
            content_type=given.pop("Content-Type", "application/json"),
            headers={"Authorization": f"Bearer {self.secret}", **given},
        )


def caller(user: User, **fields: Any) -> Caller:
    """A client with a new token of the user."""
    return Caller(create_token(user, **fields))


def problem_of(answer: Any, status: int) -> dict[str, Any]:
    """What went wrong, of an answer that must be problem details with this status."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert set(found) == {"type", "title", "status", "detail", "errors"}
    assert found["status"] == status
    assert found["title"]
    return found


def fields_of(answer: Any) -> list[str]:
    """The fields that a 422 refuses."""
    return [error["field"] for error in problem_of(answer, 422)["errors"]]
