"""How far a project is and how far its people and its judge agree, over REST. Reckons nothing itself."""

from typing import Any

from django.http import HttpRequest
from ninja import Field, Router, Schema

from genrm_engine.evaluation.slices import overall
from labeling import access, queries
from labeling.api.auth import user_of
from labeling.models import Member, Project
from labeling.services.agreement import DRAWS, rows_for

router = Router(tags=["statistics"])


class FigureOut(Schema):
    """A figure with its 95 % interval; n is on how many pairs it rests."""

    n: int
    value: float
    low: float | None
    high: float | None


class AgreementOut(Schema):
    """On people's blind first verdicts; null where there are too few pairs to tell."""

    pairs: int
    labels: int
    shared: int = Field(description="pairs with two labels or more")
    judged: int = Field(description="hold-out and audit pairs with a label and the judge's verdict")
    raw: FigureOut | None = Field(description="share of pairs of people that say the same")
    kappa: FigureOut | None = Field(description="Cohen's kappa, mean over every two people")
    alpha: FigureOut | None = Field(description="Krippendorff's alpha")
    judge_raw: FigureOut | None
    judge_kappa: FigureOut | None
    judge_accuracy: FigureOut | None = Field(description="how often the judge says what most people say")


class ByAnnotator(Schema):
    name: str = Field(description="one that a file brought is marked: `ada (imported)`")
    labels: int


class ProgressOut(Schema):
    pairs: int
    labelled: int
    by_judge: int
    labels: int
    blind_labels: int
    holdout_pairs: int
    holdout_labelled: int
    open_flags: int = Field(description="pairs with an open flag, however many each has")
    annotators: list[ByAnnotator]


class JudgeProgressOut(Schema):
    """The champion's progress; the name is empty where the project has none."""

    name: str
    trusted: bool
    notice: str
    total: int
    scored: int
    reasoned: int
    waiting: int
    failed: int


class StatsOut(Schema):
    progress: ProgressOut
    judge: JudgeProgressOut
    agreement: AgreementOut


@router.get("/projects/{slug:slug}/stats", response=StatsOut)
def get_stats(request: HttpRequest, slug: str) -> dict[str, Any]:
    """Progress, the judge's health, and agreement with 95 % intervals, for adjudicators and managers."""
    project = access.project_for(user_of(request), slug, role=Member.Role.ADJUDICATOR)
    return {"progress": _progress(project), "judge": _judge(project), "agreement": _agreement(project)}


def _progress(project: Project) -> dict[str, Any]:
    found = queries.progress_for(project)
    names = [name for name in ProgressOut.model_fields if name != "annotators"]
    people = [{"name": name, "labels": labels} for name, labels in found.annotators]
    return {**{name: getattr(found, name) for name in names}, "annotators": people}


def _judge(project: Project) -> dict[str, Any]:
    health = queries.judge_health_for(project)
    names = [name for name in JudgeProgressOut.model_fields if name != "name"]
    return {"name": health.judge_name, **{name: getattr(health, name) for name in names}}


def _agreement(project: Project) -> dict[str, Any]:
    found = overall(rows_for(project).rated, draws=DRAWS).to_json()
    return {name: found[name] for name in AgreementOut.model_fields}
