"""Projects over REST."""

from django.http import HttpRequest
from ninja import Router, Schema

from labeling import access, queries
from labeling.api.auth import user_of

router = Router(tags=["projects"])


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


@router.get("/projects", response=list[ProjectOut])
def list_projects(request: HttpRequest) -> list[ProjectOut]:
    """The projects that the token's owner may see, with their progress."""
    user = user_of(request)
    found = []
    for project in access.projects_for(user):
        progress, health = queries.progress_for(project), queries.judge_health_for(project)
        found.append(
            ProjectOut(
                slug=project.slug,
                name=project.name,
                role=str(access.role_in(user, project)),
                pairs=progress.pairs,
                labelled=progress.labelled,
                labels=progress.labels,
                judge=health.judge_name,
                judge_trusted=health.trusted,
                judged=health.scored,
                waiting=health.waiting,
            )
        )
    return found
