"""The files of a frozen dataset as answers: its rows, its manifest, its card. Knows not who asks."""

import json

from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag

from labeling.models import DatasetVersion
from labeling.services import exports
from labeling.services.dataset_versions import path_of


def file_of(request: HttpRequest, dataset: DatasetVersion) -> HttpResponseBase:
    """The rows. Their ETag is their SHA-256: whoever has them already is told so with 304."""
    path = path_of(dataset)
    if path is None:
        raise Http404("the file of this dataset is not written, or no longer there")
    tag = quote_etag(dataset.sha256)
    unchanged = get_conditional_response(request, etag=tag)
    if unchanged is not None:
        return unchanged
    kind = exports.CONTENT_TYPES[path.suffix.removeprefix(".")]
    response = FileResponse(path.open("rb"), as_attachment=True, filename=path.name, content_type=kind)
    response["ETag"] = tag
    return response


def manifest_of(dataset: DatasetVersion) -> HttpResponse:
    """The manifest, with its keys in one order."""
    text = json.dumps(_written(dataset).manifest, ensure_ascii=False, indent=2, sort_keys=True)
    return _attached(f"{text}\n", "application/json", f"{dataset.name}-manifest.json")


def card_of(dataset: DatasetVersion) -> HttpResponse:
    return _attached(_written(dataset).card, "text/markdown; charset=utf-8", "README.md")


def _written(dataset: DatasetVersion) -> DatasetVersion:
    if dataset.state != DatasetVersion.State.DONE:
        raise Http404("this dataset is not written yet")
    return dataset


def _attached(text: str, kind: str, filename: str) -> HttpResponse:
    response = HttpResponse(text, content_type=kind)
    response["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response
