"""What happens by itself: figures brought up to date after labels and judgements, and the sweep."""

import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.db import transaction
from django.db.models import Exists, F, Max, OuterRef, Q, QuerySet
from django.utils import timezone

from labeling import jobs, queries, run_files
from labeling.models import (
    Consensus,
    ConsensusFit,
    Deployment,
    Judgement,
    Label,
    LabelRevision,
    Pair,
    Project,
    TrainingRun,
    WorkerHeartbeat,
)
from labeling.models.judges import WITH_VERDICT
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
NEWEST = 50_000
"""Among how many labels, revisions and judgements each a sweep looks for those whose refresh was lost."""
WITHOUT_JUDGE = (Project.Routing.RANDOM, Project.Routing.COVERAGE)
"""Ways to route in which no judge has a say: a pair's score and reason do not tell whether it was judged."""
A_DAY = timedelta(days=1)
TIDIED = "tidied"
"""The file in the data folder whose time is that of the last daily tidying."""
NOTED_EVERY = 500
"""Of so many pairs' refreshes a long one says that it is still at work."""


def refresh_pairs(pair_ids: Sequence[int]) -> None:
    """Consensus, flags and scores of these pairs, and whether they are closed: the overlap may have changed meanwhile.

    The sweep sees to the champion's figures, which take longer.
    """
    pairs = Pair.objects.select_related("project").filter(pk__in=pair_ids)
    for project in Project.objects.filter(pk__in=pairs.values("project")):
        own = list(pairs.filter(project=project).values_list("pk", flat=True))
        judge_labels.apply(project, pairs=own)
        for pair in pairs.filter(project=project):
            flags.refresh(pair)
        claims.close_settled(Pair.objects.filter(pk__in=own))
        routing.rescore(project, pairs=own)
        if consensus.fit_is_due(project):
            jobs.enqueue(jobs.FIT_CONSENSUS, project_id=project.pk)


def refresh_project(project_id: int) -> None:
    """Which pairs are closed, the champion's figures and labels, every labelled pair's consensus and flags, and scores.

    Of the pairs that the judge alone has labelled those are looked at of which its verdict flips with the order.
    """
    project = Project.objects.get(pk=project_id)
    claims.reopen(project)
    _measure(project)
    champion = judging.champion_of(project)
    judge_labels.apply(project)
    flips = Judgement.objects.filter(pair=OuterRef("pk"), judge=OuterRef("consensus__judge"), consistent=False)
    touched = Pair.objects.filter(project=project).filter(
        Q(labels__isnull=False) | Q(flags__state="open") | Exists(flips)
    )
    for number, pair in enumerate(touched.only("pk").distinct().iterator(chunk_size=NOTED_EVERY)):
        if champion is not None and number % NOTED_EVERY == 0:
            deployments.still_following(champion)
        flags.refresh(pair)
    routing.rescore(project)
    if champion is not None:
        deployments.followed_up(champion)


def apply_judge_labels(project_id: int, answers: str = "") -> None:
    """Where the judge labels alone, after its calibration or its threshold has moved.

    ``answers`` is the champion's mark that it clears, as a text.
    """
    project = Project.objects.get(pk=project_id)
    judge_labels.apply(project)
    if answers:
        deployments.labels_followed_up(project, answers)


def route(project_id: int) -> None:
    """Every open pair's score anew, after the policy has changed."""
    routing.rescore(Project.objects.get(pk=project_id))


def fit_consensus(project_id: int) -> None:
    """The annotators' reliability anew, and with it every consensus by votes; nothing if another job has done it."""
    project = Project.objects.get(pk=project_id)
    if consensus.fit_is_due(project) or _fit_is_left_over(project):
        consensus.refit(project)


def sweep() -> dict[str, int]:
    """Bring back what was left lying: expired leases, judgements nobody asked for, requests and runs nobody took."""
    with transaction.atomic():
        counts = {"claims": claims.expire_claims(), "requests": judging.expire_leases(), "trials": trials.expire()}
        judging.retry_failed()
    counts["asked"] = 0
    for project in Project.objects.all():
        deployments.follow_up_again(deployments.ensure_champion(project))
        counts["asked"] += judging.request_project(project)
        _measure(project, only_if_stale=True)
        for shadow in judging.shadows_of(project):
            deployments.weigh(shadow)
    counts["refreshed"] = _refresh_forgotten()
    counts["calls"] = judge_calls.expire()
    judge_calls.forget()
    runs = training.waiting_runs()
    with jobs.expiring(3 * settings.ENV.sweep_seconds):  # the next sweep sends the same
        _send_again(runs)
    uploads.forget_old()
    storage.finish_pruning()
    WorkerHeartbeat.objects.filter(seen_at__lt=timezone.now() - A_DAY).delete()
    _tidy_daily()
    return {**counts, "runs": len(runs)}


def _send_again(runs: Collection[int]) -> None:
    """Send what waits to workers that may never have heard of it.

    The judge hears of a run that is at work as well: with nothing else to do it leaves that the device's memory.
    """
    at_work = TrainingRun.objects.filter(state=TrainingRun.State.RUNNING, leased_until__gt=timezone.now())
    if judging.anything_waiting() or at_work.exists():
        for _ in range(max(queries.live_workers("judge"), 1) - judging.busy_workers()):
            jobs.send(jobs.JUDGE, {})
    for call_id in judge_calls.waiting():
        jobs.send(jobs.JUDGE_CALL, {"call_id": call_id})
    for trial_id in trials.waiting():
        jobs.send(jobs.TRY_JUDGE, {"trial_id": trial_id})
    for dataset_id in dataset_versions.waiting():
        jobs.send(jobs.FREEZE_DATASET, {"dataset_id": dataset_id})
    for batch_id in import_jobs.waiting():
        jobs.send(jobs.IMPORT, {"batch_id": batch_id})
    for project in Project.objects.all():
        if consensus.fit_is_due(project) or _fit_is_left_over(project):
            jobs.send(jobs.FIT_CONSENSUS, {"project_id": project.pk})
    for run_id in runs:
        jobs.send(jobs.TRAIN, {"run_id": run_id})


def _fit_is_left_over(project: Project) -> bool:
    """Whether the project weighs its annotators no longer, and the job that was to drop their weights was lost."""
    weighs = project.consensus_method == Project.ConsensusMethod.DAWID_SKENE
    return not weighs and ConsensusFit.objects.filter(project=project).exists()


def _tidy_daily() -> None:
    """At most once a day: sessions that have run out, and the checkpoints of runs that nobody will go on with."""
    stamp = Path(settings.HOME, TIDIED)
    if stamp.exists() and stamp.stat().st_mtime > time.time() - A_DAY.total_seconds():
        return
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.touch()
    SessionStore.clear_expired()
    ended = TrainingRun.objects.exclude(state__in=TrainingRun.ACTIVE)
    for run in ended.filter(finished_at__lt=timezone.now() - A_DAY).only("pk"):  # its process has ended too by then
        shutil.rmtree(run_files.folder_of(run) / "training" / "checkpoints", ignore_errors=True)


def _refresh_forgotten() -> int:
    """Pairs whose refresh was lost with the broker. A batch at a time.

    Those with labels but no consensus by people, those whose consensus is older than a label or a revision, and those
    that do not show what the champion says of them.
    """
    standing = Label.objects.filter(pair=OuterRef("pk"), withdrawn=False)
    by_people = Consensus.objects.filter(pair=OuterRef("pk")).exclude(method=Consensus.Method.JUDGE)
    without = Pair.objects.filter(Exists(standing), ~Exists(by_people)).order_by("pk").values_list("pk", flat=True)
    ids = sorted({*without[:FORGOTTEN], *_changed_since(), *_judged_since()})[:FORGOTTEN]
    if ids:
        refresh_pairs(ids)
    return len(ids)


def _changed_since() -> set[int]:
    """Pairs with a label or a revision that is newer than their consensus by people, which every refresh writes.

    Only the newest rows by primary key are looked at: every label would have to pay for an index by time.
    """
    last_label = Label.objects.aggregate(last=Max("pk"))["last"] or 0
    last_revision = LabelRevision.objects.aggregate(last=Max("pk"))["last"] or 0
    labelled = Label.objects.filter(pk__gt=last_label - NEWEST, pair__consensus__updated_at__lt=F("stored_at"))
    revised = LabelRevision.objects.filter(
        pk__gt=last_revision - NEWEST, label__pair__consensus__updated_at__lt=F("at")
    )
    judge = Consensus.Method.JUDGE
    return {
        *labelled.exclude(pair__consensus__method=judge).order_by("pk").values_list("pair", flat=True)[:FORGOTTEN],
        *revised.exclude(label__pair__consensus__method=judge).values_list("label__pair", flat=True)[:FORGOTTEN],
    }


def _judged_since() -> set[int]:
    """Pairs that do not show yet what their trusted champion said of them, though it is a while ago.

    Their consensus by people is older, they are routed by the judge but without a reason, or the judge's own label is
    missing. Only the newest rows by primary key are looked at.
    """
    champions = Deployment.objects.filter(state=Deployment.State.CHAMPION, trusted=True)
    of_pair = champions.filter(project=OuterRef("pair__project"), judge=OuterRef("judge"), counts=OuterRef("method"))
    last = Judgement.objects.aggregate(last=Max("pk"))["last"] or 0
    said = Judgement.objects.filter(Exists(of_pair), pk__gt=last - NEWEST).order_by("pk")
    said = said.filter(created_at__lt=timezone.now() - deployments.FOLLOW_UP_AFTER)
    said = said.filter(pair__part=Pair.Part.TRAIN, pair__audit=False)  # of others nothing follows
    older = said.filter(pair__consensus__updated_at__lt=F("created_at"))
    unrouted = said.filter(pair__closed=False, pair__route_reason="")
    unrouted = unrouted.exclude(pair__project__routing__in=WITHOUT_JUDGE)
    unlabelled = said.filter(WITH_VERDICT, pair__closed=False, pair__consensus=None, pair__extra_labels=0)
    elsewhere = champions.filter(project__judge_labels=True, project__routing__in=WITHOUT_JUDGE)
    return {
        *older.exclude(pair__consensus__method=Consensus.Method.JUDGE).values_list("pair", flat=True)[:FORGOTTEN],
        *unrouted.values_list("pair", flat=True)[:FORGOTTEN],
        *(pair for champion in elsewhere for pair in _labelled_alone(champion, unlabelled)),
    }


def _labelled_alone(champion: Deployment, said: QuerySet[Judgement]) -> Iterator[int]:
    """Of these pairs those of which the champion is sure enough to label them alone."""
    threshold = trust.labels_alone(champion)
    if threshold is None:
        return
    for pair_id, p_a in said.filter(pair__project=champion.project_id).values_list("pair_id", "p_a"):
        p = trust.calibrated(champion, p_a)
        if max(p, 1 - p) >= threshold:
            yield pair_id


def _measure(project: Project, *, only_if_stale: bool = False) -> None:
    champion = judging.champion_of(project)
    if champion is not None and (trust.is_stale(champion) or not only_if_stale):
        trust.measure(champion)
