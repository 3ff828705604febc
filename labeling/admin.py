"""Django's admin: look at everything, change settings and roles, retrain by an action. History cannot be edited."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from labeling.errors import CannotRetrain
from labeling.models import (
    ApiToken,
    AuditEvent,
    Claim,
    Consensus,
    Deployment,
    Flag,
    ImportBatch,
    Judgement,
    JudgeTrial,
    JudgeVersion,
    JudgingRequest,
    Label,
    LabelRevision,
    Member,
    Pair,
    Project,
    PrunedWeights,
    RejectedLine,
    TrainingRun,
    WorkerHeartbeat,
)
from labeling.services import training
from labeling.services.settings import change_settings
from labeling.settings_forms import SeenForm

DRAWN_BY = ("slug", "holdout_share", "audit_share")

admin.site.site_header = admin.site.site_title = "Tandem"


class MemberInline(admin.TabularInline[Member, Project]):
    model = Member
    extra = 1
    autocomplete_fields = ["user"]


@admin.register(Project)
class ProjectAdmin(admin.ModelAdmin[Project]):
    form = SeenForm
    list_display = ["name", "slug", "overlap", "reveal", "retrain_after", "retrain_method"]
    inlines = [MemberInline]
    actions = ["retrain", "retrain_genrm", "retrain_star_dpo"]

    def get_readonly_fields(self, _request: HttpRequest, obj: Project | None = None) -> tuple[str, ...]:
        """What the hold-out and the audit are drawn by: changed later, pairs that measured would train.

        And the criteria, which are written and checked on the project's own page of settings.
        """
        return (*DRAWN_BY, "criteria") if obj else ("criteria",)

    def get_prepopulated_fields(self, _request: HttpRequest, obj: Project | None = None) -> dict[str, Sequence[str]]:
        return {} if obj else {"slug": ["name"]}

    def save_model(self, request: HttpRequest, obj: Project, form: ModelForm[Project], change: bool) -> None:
        """A new project as it is; changes as on the page of settings, with all that follows from them."""
        if not change:
            super().save_model(request, obj, form, change)
            return
        assert isinstance(request.user, User), "the admin lets nobody else in"
        assert isinstance(form, SeenForm)
        form.cleaned_data = form.changes()  # the lists of others, too, are saved only where they were changed
        stored = {field.name for field in Project._meta.concrete_fields}
        change_settings(obj, by=request.user, **{n: v for n, v in form.cleaned_data.items() if n in stored})

    @admin.action(description="Retrain the judge (by the project's method)", permissions=["change"])
    def retrain(self, request: HttpRequest, projects: QuerySet[Project]) -> None:
        self._retrain(request, projects)

    @admin.action(description="Retrain the judge (GenRM)", permissions=["change"])
    def retrain_genrm(self, request: HttpRequest, projects: QuerySet[Project]) -> None:
        self._retrain(request, projects, Project.RetrainMethod.GENRM)

    @admin.action(description="Retrain the judge (STaR-DPO)", permissions=["change"])
    def retrain_star_dpo(self, request: HttpRequest, projects: QuerySet[Project]) -> None:
        self._retrain(request, projects, Project.RetrainMethod.STAR_DPO)

    def _retrain(self, request: HttpRequest, projects: QuerySet[Project], method: str = "") -> None:
        by = request.user if isinstance(request.user, User) else None
        for project in projects:
            try:
                run = training.request_run(
                    project, method=method or project.retrain_method, trigger=TrainingRun.Trigger.ADMIN, by=by
                )
            except CannotRetrain as error:
                self.message_user(request, f"{project}: {error}", messages.ERROR)
            else:
                self.message_user(request, f"{project}: run {run.pk} is queued.", messages.SUCCESS)


class ReadOnlyAdmin(admin.ModelAdmin[Any]):
    """Rows that the system writes: to be looked at, not edited."""

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return False


def _read_only(model: type[Model], *columns: str, filters: tuple[str, ...] = (), hidden: tuple[str, ...] = ()) -> None:
    attributes = {
        "list_display": list(columns),
        "list_filter": list(filters),
        "exclude": list(hidden),
        "show_full_result_count": False,
    }
    admin.site.register(model, type(f"{model.__name__}Admin", (ReadOnlyAdmin,), attributes))


_read_only(ImportBatch, "filename", "project", "imported", "duplicates", "rejected", "created_at")
_read_only(RejectedLine, "batch", "number", "reason")
_read_only(Pair, "external_id", "project", "part", "audit", "gold", filters=("project", "part"))
_read_only(Claim, "pair", "annotator", "slot", "state", "expires_at", filters=("state",))
_read_only(Label, "pair", "annotator", "external_annotator", "choice", "final_choice", "blind", filters=("source",))
_read_only(LabelRevision, "label", "kind", "before", "after", "by", "at", filters=("kind",))
_read_only(Flag, "pair", "kind", "state", "resolution", "resolved_by", filters=("kind", "state"))
_read_only(Consensus, "pair", "choice", "confidence", "method", filters=("method",))
_read_only(JudgeVersion, "name", "method", "parent", "backend", "created_at", filters=("method",))
_read_only(Deployment, "judge", "project", "state", "counts", "trusted", filters=("state",))
_read_only(JudgeTrial, "model", "project", "backend", "state", "created_at", filters=("state",), hidden=("sealed_key",))
_read_only(PrunedWeights, "judge", "by", "at", "bytes")
_read_only(Judgement, "pair", "judge", "method", "p_a", "consistent", filters=("method",))
_read_only(JudgingRequest, "pair", "judge", "method", "priority", "state", "error", filters=("state",))
_read_only(TrainingRun, "pk", "project", "method", "trigger", "state", "created_at", filters=("state", "method"))
_read_only(ApiToken, "owner", "name", "scope", "created_at", "last_used_at", "revoked_at")
_read_only(AuditEvent, "at", "actor", "action", "target", filters=("action",))
_read_only(WorkerHeartbeat, "name", "queues", "seen_at")
