"""Frozen exports over REST: ask for one, list them, fetch the file, the manifest and the card."""

from datetime import datetime
from typing import Annotated, Any, Literal

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from ninja import Field, Router, Schema, Status

from labeling import access, dataset_files
from labeling.api.auth import user_of
from labeling.api.fields import Sent
from labeling.models import ApiToken, DatasetVersion, Member
from labeling.services import dataset_versions

router = Router(tags=["datasets"])

Word = Annotated[str, Field(max_length=400, pattern=r"^[^\x00]*$")]


class FreezeIn(Sent):
    """What the version is called and what it holds; the options are those of the labels' export."""

    name: str = Field(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", examples=["spring-1"])
    source: Literal["human", "judge", "consensus", "hybrid"] = "consensus"
    profile: Literal["strict", "full"] | None = None
    format: Literal["ndjson", "parquet", "csv"] = "ndjson"
    shape: Literal["preference", "reward", "kto", "sft", "prompt"] | None = None
    verdict: Literal["first", "final"] | None = None
    blind: bool = False
    ties: Literal["drop", "keep", "soft"] | None = None
    min_confidence: float | None = Field(None, ge=0, le=1)
    selective: bool = False
    judge: Word = ""
    rationales: bool = False


class DatasetOut(Schema):
    """A frozen version. The hash and the manifest are there once it is done."""

    id: int
    name: str
    state: str
    filters: dict[str, Any]
    manifest: dict[str, Any]
    sha256: str
    bytes: int
    error: str
    created_at: datetime
    finished_at: datetime | None


@router.post("/projects/{slug:slug}/datasets", response={202: DatasetOut})
def freeze(request: HttpRequest, slug: str, body: FreezeIn) -> Status[DatasetVersion]:
    """Ask for a frozen version; a worker writes it. 422 where the options do not go together or the name is taken."""
    user = user_of(request, scope=ApiToken.Scope.MANAGE)
    project = access.project_for(user, slug, role=Member.Role.MANAGER)
    return Status(202, dataset_versions.freeze(project, by=user, **body.dict()))


@router.get("/projects/{slug:slug}/datasets", response=list[DatasetOut])
def list_datasets(request: HttpRequest, slug: str) -> list[DatasetVersion]:
    """The project's newest hundred versions."""
    project = access.project_for(user_of(request), slug, role=Member.Role.MANAGER)
    return list(DatasetVersion.objects.filter(project=project)[:100])


@router.get("/datasets/{int:dataset_id}", response=DatasetOut)
def get_dataset(request: HttpRequest, dataset_id: int) -> DatasetVersion:
    return access.dataset_for(user_of(request), dataset_id)


@router.get("/datasets/{int:dataset_id}/file")
def get_file(request: HttpRequest, dataset_id: int) -> HttpResponseBase:
    """The rows; the ETag is their SHA-256. 404 until they are written."""
    return dataset_files.file_of(request, access.dataset_for(user_of(request), dataset_id))


@router.get("/datasets/{int:dataset_id}/manifest")
def get_manifest(request: HttpRequest, dataset_id: int) -> HttpResponse:
    """Filters, counts, SHA-256 and judge versions."""
    return dataset_files.manifest_of(access.dataset_for(user_of(request), dataset_id))


@router.get("/datasets/{int:dataset_id}/card")
def get_card(request: HttpRequest, dataset_id: int) -> HttpResponse:
    """The dataset card, Markdown."""
    return dataset_files.card_of(access.dataset_for(user_of(request), dataset_id))
