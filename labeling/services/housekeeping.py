"""What happens by itself: figures brought up to date after labels and judgements, and the sweep."""

from collections.abc import Sequence

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from labeling import jobs, queries
from labeling.models import Consensus, Label, Pair, Project
from labeling.services import (
    claims,
    consensus,
    deployments,
    flags,
    judge_labels,
    judging,
    routing,
    training,
    trust,
)

FORGOTTEN = 1_000
"""Most pairs whose lost refresh one sweep makes up for."""


def refresh_pairs(pair_ids: Sequence[int]) -> None:
    """Consensus, flags and scores of these pairs. The sweep sees to the champion's figures, which take longer."""
    pairs = list(Pair.objects.select_related("project").filter(pk__in=pair_ids))
    for pair in pairs:
        flags.refresh(pair)
    for project in {pair.project for pair in pairs}:
        own = [pair.pk for pair in pairs if pair.project_id == project.pk]
        judge_labels.apply(project, pairs=own)
        routing.rescore(project, pairs=own)
        if consensus.fit_is_due(project):
            jobs.enqueue(jobs.FIT_CONSENSUS, project_id=project.pk)


def refresh_project(project_id: int) -> None:
    """The champion's figures, then consensus and flags of every pair with a label or an open flag, then the scores."""
    project = Project.objects.get(pk=project_id)
    _measure(project)
    touched = Pair.objects.filter(project=project).filter(Q(labels__isnull=False) | Q(flags__state="open"))
    for pair in touched.select_related("project").distinct().iterator(chunk_size=500):
        flags.refresh(pair)
    judge_labels.apply(project)
    routing.rescore(project)


def apply_judge_labels(project_id: int) -> None:
    """Where the judge labels alone, after its calibration or its threshold has moved."""
    judge_labels.apply(Project.objects.get(pk=project_id))


def route(project_id: int) -> None:
    """Every open pair's score anew, after the policy has changed."""
    routing.rescore(Project.objects.get(pk=project_id))


def fit_consensus(project_id: int) -> None:
    """The annotators' reliability anew, and with it every consensus by votes."""
    project = Project.objects.get(pk=project_id)
    consensus.refit(project)


def sweep() -> dict[str, int]:
    """Bring back what was left lying: expired leases, judgements nobody asked for, requests and runs nobody took."""
    with transaction.atomic():
        counts = {"claims": claims.expire_claims(), "requests": judging.expire_leases()}
    counts["asked"] = 0
    for project in Project.objects.all():
        deployments.ensure_champion(project)
        counts["asked"] += judging.request_project(project)
        _measure(project, only_if_stale=True)
        for shadow in judging.shadows_of(project):
            deployments.weigh(shadow)
    counts["refreshed"] = _refresh_forgotten()
    if judging.anything_waiting():
        for _ in range(max(queries.live_workers("judge"), 1) - judging.busy_workers()):
            jobs.send(jobs.JUDGE, {})
    runs = training.waiting_runs()
    for run_id in runs:
        jobs.send(jobs.TRAIN, {"run_id": run_id})
    return {**counts, "runs": len(runs)}


def _refresh_forgotten() -> int:
    """Pairs with labels but no consensus by people: their refresh was lost with the broker. A batch at a time."""
    standing = Label.objects.filter(pair=OuterRef("pk"), withdrawn=False)
    by_people = Consensus.objects.filter(pair=OuterRef("pk")).exclude(method=Consensus.Method.JUDGE)
    forgotten = Pair.objects.filter(Exists(standing), ~Exists(by_people))
    ids = list(forgotten.order_by("pk").values_list("pk", flat=True)[:FORGOTTEN])
    if ids:
        refresh_pairs(ids)
    return len(ids)


def _measure(project: Project, *, only_if_stale: bool = False) -> None:
    champion = judging.champion_of(project)
    if champion is not None and (trust.is_stale(champion) or not only_if_stale):
        trust.measure(champion)
