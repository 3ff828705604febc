"""Projects over REST: the list, one with its settings, make, change and delete."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import asdict
from typing import Annotated, Any, Literal, cast

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models
from django.http import HttpRequest, HttpResponse
from ninja import Field, Router, Schema, Status
from pydantic import ConfigDict, StringConstraints

from labeling import access, queries
from labeling.api.auth import token_of, user_of
from labeling.api.fields import SENTENCE, TITLE, WHOLE, Line, Sent, Slug, Text, TrainMethod
from labeling.api.problems import Invalid
from labeling.models import ApiToken, Member, Project
from labeling.services.projects import create_project, delete_project
from labeling.services.settings import change_settings
from labeling.settings_forms import LONGEST_ABOUT, LONGEST_NAME, SettingsForm, criteria_text

router = Router(tags=["projects"])

Manage = ApiToken.Scope.MANAGE
SHARES = ("holdout_share", "audit_share")
TYPED: dict[str, Callable[[Any], Any]] = {"criteria": criteria_text, "wished_agreement": lambda share: 100 * share}
"""How the settings page has a value that the API gives otherwise."""
PLAIN = ("retrain_after", "retrain_every_days", "retrain_method", "retrain_from", "retrain_labels", "replay_share")
"""Settings that the rows themselves check."""
UNTOLD = ("gold_every", "least_seconds", "routing", "holdout_share", "audit_share")
"""Settings by which annotators could guess which pairs measure them or the judge."""
NOT_TOLD = "null for annotators"


class Criterion(Sent):
    """Something that annotators compare besides the whole."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_NAME, pattern=TITLE)]
    about: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_ABOUT, pattern=SENTENCE)]


class Settings(Sent):
    """Settings that managers change while people label; what is not sent stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlap": 2, "reveal": "never"}]})

    name: Line = ""
    guidelines: Text = Field(default="", description="Markdown, for annotators and the judge")
    scale: Literal["plain", "graded"] = "plain"
    criteria: list[Criterion] = Field(default=[], max_length=8)
    criteria_required: bool = False
    comments: Literal["optional", "required"] = "optional"
    highlights: bool = False
    overlap: Annotated[int, Field(ge=1, le=50, description="people per pair"), WHOLE] = 1
    gold_every: Annotated[int, Field(ge=2, le=1000), WHOLE] | None = Field(
        default=None, description="one pair in n is gold"
    )
    least_seconds: Annotated[int, Field(ge=0, le=600), WHOLE] = 0
    reveal: Literal["never", "after", "before"] = "after"
    routing: Literal["random", "uncertainty", "audit", "coverage"] = "audit"
    consensus_method: Literal["majority", "dawid_skene"] = "majority"
    wished_agreement: float = Field(default=0.8, ge=0.5, le=0.99)
    judge_labels: bool = False
    samples_per_order: Annotated[
        int, Field(ge=0, le=16, description="rationales of the judge; 0: scores only"), WHOLE
    ] = 2
    retrain_after: Annotated[int, Field(ge=1, le=1_000_000), WHOLE] | None = Field(
        default=None, description="new labels"
    )
    retrain_every_days: Annotated[int, Field(ge=1, le=3650), WHOLE] | None = None
    retrain_method: TrainMethod = "star-dpo"
    retrain_from: Literal["champion", "base"] = "champion"
    retrain_labels: Literal["soft", "consensus"] = "soft"
    replay_share: float = Field(default=0.5, ge=0, le=10)


class ProjectIn(Settings):
    """A new project; the shares are drawn when pairs are imported, and cannot be changed later."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"slug": "stories", "name": "Short stories", "holdout_share": 0.3}]}
    )

    slug: Slug
    name: Line
    holdout_share: float = Field(default=0.3, ge=0, le=0.9)
    audit_share: float = Field(default=0.2, ge=0, le=0.9)


class ProjectOut(Schema):
    slug: str
    name: str
    role: str
    pairs: int
    labelled: int
    labels: int
    judge: str
    judge_trusted: bool
    judged: int
    waiting: int


class CriterionOut(Schema):
    name: str
    about: str = ""


class SettingsOut(Schema):
    """All settings of a project. Annotators are not told by which some of their pairs measure them or the judge."""

    name: str
    guidelines: str
    scale: str
    criteria: list[CriterionOut]
    criteria_required: bool
    comments: str
    highlights: bool
    overlap: int
    gold_every: int | None = Field(description="null where gold questions come as drawn, and for annotators")
    least_seconds: int | None = Field(description=NOT_TOLD)
    reveal: str
    routing: str | None = Field(description=NOT_TOLD)
    consensus_method: str
    wished_agreement: float
    judge_labels: bool
    samples_per_order: int
    retrain_after: int | None
    retrain_every_days: int | None
    retrain_method: str
    retrain_from: str
    retrain_labels: str
    replay_share: float
    holdout_share: float | None = Field(description=NOT_TOLD)
    audit_share: float | None = Field(description=NOT_TOLD)


class ProjectDetail(ProjectOut):
    settings: SettingsOut


@router.get("/projects", response=list[ProjectOut])
def list_projects(request: HttpRequest) -> list[ProjectOut]:
    """The projects that the token's owner may see, with their progress."""
    user = user_of(request)
    projects = access.projects_for(user)
    only = token_of(request).project_id
    if only is not None:
        projects = projects.filter(pk=only)
    return [ProjectOut(**found) for found in _summaries(user, list(projects))]


@router.post("/projects", response={201: ProjectDetail})
def make_project(request: HttpRequest, body: ProjectIn, response: HttpResponse) -> Status[ProjectDetail]:
    """A new project, which the token's owner manages. Only who may add projects in the admin may do so here."""
    user = user_of(request, scope=Manage)
    if token_of(request).project_id is not None or not user.has_perm("labeling.add_project"):
        raise PermissionDenied("this needs an administrator's right to add projects")
    sent = body.model_dump(exclude_unset=True, exclude={"slug"})
    shares = {name: sent.pop(name) for name in SHARES if name in sent}
    fields = _checked(Project(slug=body.slug, name=body.name), sent)
    project = create_project(by=user, slug=body.slug, **fields, **shares)
    response["Location"] = f"{request.path}/{project.slug}"
    return Status(201, _detail(user, project))


@router.get("/projects/{slug:slug}", response=ProjectDetail)
def get_project(request: HttpRequest, slug: str) -> ProjectDetail:
    """A project with its progress and its settings."""
    user = user_of(request)
    return _detail(user, access.project_for(user, slug))


@router.patch("/projects/{slug:slug}", response=ProjectDetail)
def change_project(request: HttpRequest, slug: str, body: Settings) -> ProjectDetail:
    """Change the settings that are sent, for managers; each change is in the audit trail."""
    user = user_of(request, scope=Manage)
    project = access.project_for(user, slug, role=Member.Role.MANAGER)
    change_settings(project, by=user, **_checked(project, body.model_dump(exclude_unset=True)))
    return _detail(user, access.project_for(user, slug))


@router.delete("/projects/{slug:slug}", response={204: None})
def remove_project(request: HttpRequest, slug: str) -> Status[None]:
    """Delete a project and its pairs, for managers; 409 where people have labelled, because labels are history."""
    user = user_of(request, scope=Manage)
    delete_project(access.project_for(user, slug, role=Member.Role.MANAGER), by=user)
    return Status(204, None)


def _checked(project: Project, sent: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as the settings page would save them. Raises Invalid with every field that it would refuse."""
    empty = SettingsForm(None, instance=copy(project))
    stored = {name: empty.get_initial_for_field(field, name) for name, field in empty.fields.items()}
    on_page = {name: value for name, value in sent.items() if name not in PLAIN}
    typed = {name: TYPED[name](value) if name in TYPED else value for name, value in on_page.items()}
    form = SettingsForm(stored | typed, instance=copy(project))
    form.is_valid()
    wrong = [(name, str(text)) for name, found in form.errors.items() if name in on_page for text in found]
    fields = {name: form.cleaned_data.get(name) for name in on_page}
    for name in sent.keys() & set(PLAIN):
        try:
            fields[name] = cast("models.Field[Any, Any]", Project._meta.get_field(name)).clean(sent[name], project)
        except ValidationError as error:
            wrong += [(name, text) for text in error.messages]
    if wrong:
        raise Invalid(*wrong)
    return fields


def _summaries(user: User, projects: Sequence[Project]) -> list[dict[str, Any]]:
    roles, found = access.roles_in(user, projects), queries.summaries_for(projects)
    return [
        {"slug": each.slug, "name": each.name, "role": str(roles.get(each.pk)), **asdict(found[each.pk])}
        for each in projects
    ]


def _detail(user: User, project: Project) -> ProjectDetail:
    settings = SettingsOut.model_validate(project)
    if not access.may(user, project, Member.Role.ADJUDICATOR):
        settings = settings.model_copy(update=dict.fromkeys(UNTOLD))
    [summary] = _summaries(user, [project])
    return ProjectDetail(**summary, settings=settings)
