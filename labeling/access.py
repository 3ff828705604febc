"""The only way to fetch an object for a user. Strangers get 404; members below the asked role get 403."""

from collections.abc import Collection

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.db.models import CharField, Exists, OuterRef, QuerySet, Subquery
from django.http import Http404

from labeling.compiled import Compiled, Slot
from labeling.models import (
    Claim,
    DatasetVersion,
    Deployment,
    ImportBatch,
    JudgeTrial,
    Label,
    Member,
    Pair,
    Project,
    SavedFilter,
    TrainingRun,
)

Role = Member.Role
AnyUser = User | AbstractBaseUser | AnonymousUser
RANK: dict[str, int] = {Role.ANNOTATOR: 0, Role.ADJUDICATOR: 1, Role.MANAGER: 2}


def role_in(user: AnyUser, project: Project) -> Role | None:
    """The user's role in the project; superusers manage everything, strangers have none."""
    if not isinstance(user, User) or not user.is_active:
        return None
    if user.is_superuser:
        return Role.MANAGER
    member = _MEMBER.first(project=project.pk, user=user.pk)
    return Role(member.role) if member else None


def roles_in(user: AnyUser, projects: Collection[Project]) -> dict[int, Role]:
    """By project: the user's role, in those of these where they have one."""
    if not isinstance(user, User) or not user.is_active:
        return {}
    if user.is_superuser:
        return dict.fromkeys((project.pk for project in projects), Role.MANAGER)
    own = Member.objects.filter(user=user, project__in=projects).values_list("project", "role")
    return {project: Role(role) for project, role in own}


_MEMBER = Compiled(lambda: Member.objects.filter(project=Slot("project"), user=Slot("user")))


def may(user: AnyUser, project: Project, role: Role) -> bool:
    """Whether the user has at least this role in the project."""
    own = role_in(user, project)
    return own is not None and RANK[own] >= RANK[role]


def projects_for(user: AnyUser) -> QuerySet[Project]:
    """The projects a user may see."""
    if not isinstance(user, User) or not user.is_active:
        return Project.objects.none()
    if user.is_superuser:
        return Project.objects.all()
    return Project.objects.filter(members__user=user)


def adjudicated_by(user: AnyUser) -> QuerySet[Project]:
    """The projects in which a user is at least an adjudicator."""
    found = projects_for(user)
    if not isinstance(user, User) or user.is_superuser:
        return found
    roles = [role for role in Role if RANK[role] >= RANK[Role.ADJUDICATOR]]
    return found.filter(pk__in=Member.objects.filter(user=user, role__in=roles).values("project"))


def project_for(user: AnyUser, slug: str, *, role: Role = Role.ANNOTATOR) -> Project:
    project = _BY_SLUG.first(slug=slug, user=user.pk)
    if project is None:
        raise Http404("no such project")
    return _checked(user, project, role, member=getattr(project, "own_role", None))


_BY_SLUG = Compiled(
    lambda: Project.objects.filter(slug=Slot("slug", CharField())).annotate(
        own_role=Subquery(Member.objects.filter(project=OuterRef("pk"), user=Slot("user")).values("role")[:1])
    )
)


def claim_for(user: AnyUser, claim_id: int) -> Claim:
    """One of the user's own claims; the user's keys, which the next pair is shown with, come in the same query."""
    claim = _OWN_CLAIM.first(claim=claim_id, user=user.pk)
    if claim is None:
        raise Http404("no such claim")
    if isinstance(user, User):
        User.key_map.related.set_cached_value(user, getattr(claim.annotator, "key_map", None))
    if not getattr(claim, "may_label", False):  # the sending of a verdict is spared a query of its own
        _checked(user, claim.pair.project, Role.ANNOTATOR)
    return claim


_OWN_CLAIM = Compiled(
    lambda: (
        Claim.objects.select_related("pair__project", "label", "annotator__key_map")
        .filter(pk=Slot("claim"), annotator=Slot("user"))
        .annotate(
            may_label=Exists(Member.objects.filter(project=OuterRef("pair__project"), user=OuterRef("annotator")))
        )
    )
)


def label_for(user: AnyUser, label_id: int) -> Label:
    """One of the labels that the user made by claim."""
    label = (
        Label.objects.select_related("claim", "pair__project")
        .filter(pk=label_id, annotator_id=user.pk, claim__isnull=False)
        .first()
    )
    if label is None:
        raise Http404("no such label")
    _checked(user, label.pair.project, Role.ANNOTATOR)
    return label


def pair_for(user: AnyUser, slug: str, pair_id: int) -> Pair:
    project = project_for(user, slug, role=Role.ADJUDICATOR)
    pair = Pair.objects.select_related("project").filter(project=project, pk=pair_id).first()
    if pair is None:
        raise Http404("no such pair")
    return pair


def saved_filter_for(user: AnyUser, slug: str, filter_id: int) -> SavedFilter:
    """One of the user's own saved filters of the project's flags."""
    project = project_for(user, slug, role=Role.ADJUDICATOR)
    saved = SavedFilter.objects.filter(project=project, pk=filter_id).first()
    if saved is None or saved.user_id != user.pk:
        raise Http404("no such filter")
    return saved


def deployment_for(user: AnyUser, slug: str, judge_id: int, *, role: Role = Role.ADJUDICATOR) -> Deployment:
    """A judge version of the project."""
    project = project_for(user, slug, role=role)
    known = Deployment.objects.select_related("judge__parent", "judge__pruned", "overruled_by")
    deployment = known.filter(project=project, judge__pk=judge_id).first()
    if deployment is None:
        raise Http404("no such version in this project")
    deployment.project = project
    return deployment


def run_for(user: AnyUser, run_id: int) -> TrainingRun:
    run = TrainingRun.objects.select_related("project", "start", "origin", "candidate").filter(pk=run_id).first()
    if run is None:
        raise Http404("no such run")
    _checked(user, run.project, Role.MANAGER)
    return run


def trial_for(user: AnyUser, trial_id: int) -> JudgeTrial:
    trial = JudgeTrial.objects.select_related("project", "requested_by", "judge").filter(pk=trial_id).first()
    if trial is None:
        raise Http404("no such trial")
    _checked(user, trial.project, Role.MANAGER)
    return trial


def batch_for(user: AnyUser, batch_id: int) -> ImportBatch:
    batch = ImportBatch.objects.select_related("project", "requested_by").filter(pk=batch_id).first()
    if batch is None:
        raise Http404("no such import")
    _checked(user, batch.project, Role.MANAGER)
    return batch


def dataset_for(user: AnyUser, dataset_id: int) -> DatasetVersion:
    """A frozen export, for those who manage its project."""
    dataset = DatasetVersion.objects.select_related("project", "requested_by").filter(pk=dataset_id).first()
    if dataset is None:
        raise Http404("no such dataset")
    _checked(user, dataset.project, Role.MANAGER)
    return dataset


def _checked(user: AnyUser, project: Project, role: Role, *, member: str | None = None) -> Project:
    """The project, if the user has the role in it; ``member`` is their membership's, where that is known already."""
    usual = isinstance(user, User) and user.is_active and not user.is_superuser
    own = Role(member) if member and usual else role_in(user, project)
    if own is None:
        raise Http404("no such project")
    if RANK[own] < RANK[role]:
        raise PermissionDenied(f"this needs the role {role.label}")
    return project
