"""The REST API, version 1."""

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI

from labeling.api import labels, projects, runs
from labeling.api.auth import BearerToken
from labeling.errors import LabelingError

api = NinjaAPI(title="Tandem", version="1", auth=BearerToken(), docs_url=None)
api.add_router("", projects.router)
api.add_router("", labels.router)
api.add_router("", runs.router)


@api.exception_handler(LabelingError)
def labeling_error(request: HttpRequest, error: Exception) -> HttpResponse:
    """An expected failure: 409 with its sentence."""
    return api.create_response(request, {"detail": str(error)}, status=409)
