"""What happens by itself: figures brought up to date after labels and judgements, and the sweep."""

from collections.abc import Sequence

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from labeling import jobs, queries
from labeling.models import Consensus, Judgement, Label, Pair, Project
from labeling.services import (
    claims,
    consensus,
    dataset_versions,
    deployments,
    flags,
    import_jobs,
    judge_calls,
    judge_labels,
    judging,
    routing,
    storage,
    training,
    trials,
    trust,
    uploads,
)

FORGOTTEN = 1_000
"""Most pairs whose lost refresh one sweep makes up for."""


def refresh_pairs(pair_ids: Sequence[int]) -> None:
    """Consensus, flags and scores of these pairs. The sweep sees to the champion's figures, which take longer."""
    pairs = Pair.objects.select_related("project").filter(pk__in=pair_ids)
    for project in Project.objects.filter(pk__in=pairs.values("project")):
        own = list(pairs.filter(project=project).values_list("pk", flat=True))
        judge_labels.apply(project, pairs=own)
        for pair in pairs.filter(project=project):
            flags.refresh(pair)
        routing.rescore(project, pairs=own)
        if consensus.fit_is_due(project):
            jobs.enqueue(jobs.FIT_CONSENSUS, project_id=project.pk)


def refresh_project(project_id: int) -> None:
    """The champion's figures, then its labels, consensus and flags of every pair that has any, and the scores.

    Of the pairs that the judge alone has labelled those are looked at of which its verdict flips with the order.
    """
    project = Project.objects.get(pk=project_id)
    _measure(project)
    judge_labels.apply(project)
    flips = Judgement.objects.filter(pair=OuterRef("pk"), judge=OuterRef("consensus__judge"), consistent=False)
    touched = Pair.objects.filter(project=project).filter(
        Q(labels__isnull=False) | Q(flags__state="open") | Exists(flips)
    )
    for pair in touched.select_related("project").distinct().iterator(chunk_size=500):
        flags.refresh(pair)
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
        counts = {"claims": claims.expire_claims(), "requests": judging.expire_leases(), "trials": trials.expire()}
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
    counts["calls"] = judge_calls.expire()
    judge_calls.forget()
    for call_id in judge_calls.waiting():
        jobs.send(jobs.JUDGE_CALL, {"call_id": call_id})
    for trial_id in trials.waiting():
        jobs.send(jobs.TRY_JUDGE, {"trial_id": trial_id})
    for dataset_id in dataset_versions.waiting():
        jobs.send(jobs.FREEZE_DATASET, {"dataset_id": dataset_id})
    for batch_id in import_jobs.waiting():
        jobs.send(jobs.IMPORT, {"batch_id": batch_id})
    uploads.forget_old()
    storage.finish_pruning()
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
