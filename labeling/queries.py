"""Reads that are more than one line: progress, the judge's health, the installation's. Writes nothing."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import fmean
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Sum
from django.utils import timezone

from genrm_engine.device import device_holder
from labeling import access
from labeling.flag_queries import queue_for
from labeling.models import (
    Claim,
    Consensus,
    Deployment,
    Judgement,
    JudgingRequest,
    Label,
    Member,
    Pair,
    Project,
    TrainingRun,
    WorkerHeartbeat,
)
from labeling.models.judges import Method
from labeling.services import datasets, judging, training
from labeling.services.annotators import IMPORTED
from labeling.services.claims import SEEN, open_pairs_of
from labeling.services.datasets import blind_labels

ALIVE = timedelta(seconds=30)
RECENT = timedelta(seconds=90)
DEVICES = "devices"
SWEEPS = "sweep"
"""The name of the heartbeat that every sweep writes; it is no worker's."""
MISSED = 12
"""Of so many sweeps in a row none has begun where the scheduler is thought dead: busy workers leave out some."""
BY_PEOPLE = Q(consensus__isnull=False) & ~Q(consensus__method=Consensus.Method.JUDGE)


@dataclass(frozen=True)
class Progress:
    """How far a project's people are, and how many pairs the judge has labelled alone.

    ``open_flags`` are pairs with an open flag; of the ``annotators`` those whom a file brought are marked.
    """

    pairs: int
    labelled: int
    by_judge: int
    labels: int
    blind_labels: int
    holdout_pairs: int
    holdout_labelled: int
    open_flags: int
    annotators: list[tuple[str, int]]

    @property
    def share(self) -> float:
        return self.labelled / self.pairs if self.pairs else 0.0


@dataclass(frozen=True)
class Summary:
    """A project in a list: how far its people are, and how far its champion is."""

    pairs: int
    labelled: int
    labels: int
    judge: str
    judge_trusted: bool
    judged: int
    waiting: int


@dataclass(frozen=True)
class JudgeHealth:
    """How far the champion is, and whether anybody is at work."""

    deployment: Deployment | None
    judge_name: str = ""
    total: int = 0
    scored: int = 0
    reasoned: int = 0
    reasons: bool = True
    waiting: int = 0
    failed: int = 0
    seconds_left: float | None = None
    per_second: float | None = None
    workers: int = 0
    trusted: bool = False
    notice: str = ""
    device_holder: str = ""
    last_error: str = ""


@dataclass(frozen=True)
class WorkerLine:
    name: str
    queues: str
    alive: bool
    last_seen_seconds: float


@dataclass(frozen=True)
class SystemHealth:
    """The installation at a glance."""

    workers: list[WorkerLine]
    broker_ok: bool
    database: str
    device_holder: str
    waiting: int
    failed: int
    active_runs: int
    queues_without_worker: list[str] = field(default_factory=list)
    seconds_without_sweep: float | None = None


def progress_for(project: Project) -> Progress:
    pairs = Pair.objects.filter(project=project)
    standing = Label.objects.filter(pair__project=project, withdrawn=False)
    counts = pairs.aggregate(
        total=Count("pk"),
        holdout=Count("pk", filter=~Q(part=Pair.Part.TRAIN)),
        labelled=Count("pk", filter=BY_PEOPLE),
        by_judge=Count("pk", filter=Q(consensus__method=Consensus.Method.JUDGE)),
        holdout_labelled=Count("pk", filter=BY_PEOPLE & ~Q(part=Pair.Part.TRAIN)),
    )
    by_annotator = standing.values("annotator__username", "external_annotator").annotate(n=Count("pk")).order_by("-n")
    return Progress(
        pairs=counts["total"],
        labelled=counts["labelled"],
        by_judge=counts["by_judge"],
        labels=standing.count(),
        blind_labels=blind_labels(project).count(),
        holdout_pairs=counts["holdout"],
        holdout_labelled=counts["holdout_labelled"],
        open_flags=queue_for(project).count(),
        annotators=[
            (row["annotator__username"] or f"{row['external_annotator']}{IMPORTED}", row["n"]) for row in by_annotator
        ],
    )


def summaries_for(projects: Collection[Project]) -> dict[int, Summary]:
    """By project, in as many queries for fifty as for one."""
    pairs = Pair.objects.filter(project__in=projects).order_by().values_list("project")
    counts = {key: each for key, *each in pairs.annotate(Count("pk"), labelled=Count("pk", filter=BY_PEOPLE))}
    labels = Label.objects.filter(pair__project__in=projects, withdrawn=False).order_by().values_list("pair__project")
    labels_of = dict(labels.annotate(Count("pk")))
    reigning = Deployment.objects.select_related("judge").filter(project__in=projects)
    champions = {one.project_id: one for one in reigning.filter(state=Deployment.State.CHAMPION)}
    of_champions = {"pair__project__in": projects, "judge__in": {one.judge_id for one in champions.values()}}
    made = _by_judge(Judgement.objects.filter(**of_champions, method=Method.SCORE))
    asked = _by_judge(JudgingRequest.objects.filter(**of_champions).exclude(state=JudgingRequest.State.FAILED))
    found = {}
    for project in projects:
        total, labelled = counts.get(project.pk, (0, 0))
        champion = champions.get(project.pk)
        by_champion = project.pk, champion.judge_id if champion else None
        found[project.pk] = Summary(
            pairs=total,
            labelled=labelled,
            labels=labels_of.get(project.pk, 0),
            judge=champion.judge.name if champion else "",
            judge_trusted=champion is not None and champion.trusted,
            judged=made.get(by_champion, 0),
            waiting=asked.get(by_champion, 0),
        )
    return found


def judge_health_for(project: Project) -> JudgeHealth:
    champion = judging.champion_of(project)
    if champion is None:
        return JudgeHealth(deployment=None, notice="This project has no judge yet.", workers=live_workers("judge"))
    made = Judgement.objects.filter(pair__project=project, judge=champion.judge_id)
    counts = made.aggregate(scored=Count("pk", filter=Q(method="score")), cot=Count("pk", filter=Q(method="cot")))
    asked = JudgingRequest.objects.filter(pair__project=project, judge=champion.judge_id)
    failed = asked.filter(state=JudgingRequest.State.FAILED)
    waiting = asked.exclude(state=JudgingRequest.State.FAILED).count()
    per_second, seconds_left = _pace(project, made, asked)
    holder = device_holder(settings.HOME / DEVICES, settings.ENV.device)
    return JudgeHealth(
        deployment=champion,
        judge_name=champion.judge.name,
        total=Pair.objects.filter(project=project).count(),
        scored=counts["scored"],
        reasoned=counts["cot"],
        reasons=Method.COT in judging.methods_of(project, champion),
        waiting=waiting,
        failed=failed.count(),
        seconds_left=seconds_left if waiting else None,
        per_second=per_second,
        workers=live_workers("judge"),
        trusted=champion.trusted,
        notice="" if champion.trusted else _notice(project, champion),
        device_holder=holder.holder if holder else "",
        last_error=failed.order_by("-pk").values_list("error", flat=True).first() or "",
    )


def empty_reason_for(project: Project, annotator: User) -> str:
    """Why there is no pair for this annotator just now, in a sentence.

    Only who adjudicates reads how many pairs wait for that: others could tell what the judge thinks of their verdicts.
    """
    total = Pair.objects.filter(project=project).count()
    if not total:
        return "This project has no pairs yet."
    if open_pairs_of(project, annotator).exists():
        return "The next pair is on its way."
    now = timezone.now()
    own = Claim.objects.filter(pair=OuterRef("pair"), annotator=annotator).exclude(state=Claim.State.EXPIRED)
    others = Claim.objects.filter(pair__project=project, state=Claim.State.LIVE, expires_at__gt=now)
    others = others.filter(~Exists(own), pair__closed=False)  # what is theirs already, or closed, never comes to them
    ends = dict(others.order_by("-expires_at").values_list("pair", "expires_at"))  # by pair, where the first ends
    skips = Claim.objects.filter(pair__project=project, annotator=annotator, state=Claim.State.SKIPPED)
    skipped = skips.exclude(skip_reason=SEEN).count()
    every = "The one pair" if total == 1 else f"Every one of the {total} pairs"
    parts = [f"{every} is labelled, or not for you to label."]
    if ends:
        minutes = max(1, round((min(ends.values()) - now).total_seconds() / 60))
        holding = "pair is" if len(ends) == 1 else "pairs are"
        parts = [f"{len(ends)} {holding} with others; the first lease ends in {minutes} min unless it is renewed."]
    if skipped:
        parts.append(f"You skipped {skipped}.")
    flags = queue_for(project).count() if access.may(annotator, project, Member.Role.ADJUDICATOR) else 0
    if flags:
        parts.append(f"{flags} wait{'s' if flags == 1 else ''} for an adjudicator.")
    return " ".join(parts)


def runs_for(project: Project) -> QuerySet[TrainingRun]:
    return TrainingRun.objects.select_related("candidate", "start", "requested_by").filter(project=project)


def deployments_for(project: Project) -> QuerySet[Deployment]:
    return Deployment.objects.select_related("judge__parent").filter(project=project)


def labelled_today(project: Project, annotator: User) -> int:
    """Labels since midnight, by the clock of whoever asks (`webapp.clock`)."""
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    own = Label.objects.filter(pair__project=project, annotator=annotator, source=Label.Source.CLAIM, withdrawn=False)
    return own.filter(created_at__gte=midnight).count()


def live_workers(queue: str) -> int:
    """How many workers of a queue have said lately that they are there."""
    seen = WorkerHeartbeat.objects.filter(seen_at__gt=timezone.now() - ALIVE).values_list("queues", flat=True)
    return sum(queue in queues.split(",") for queues in seen)


def system_health(*, broker_ok: bool) -> SystemHealth:
    now = timezone.now()
    holder = device_holder(settings.HOME / DEVICES, settings.ENV.device)
    waiting = JudgingRequest.objects.exclude(state=JudgingRequest.State.FAILED)
    return SystemHealth(
        workers=[_worker_line(row, now) for row in WorkerHeartbeat.objects.exclude(name=SWEEPS)],
        broker_ok=broker_ok,
        database=connection.vendor,
        device_holder=holder.holder if holder else "",
        waiting=waiting.count(),
        failed=JudgingRequest.objects.filter(state=JudgingRequest.State.FAILED).count(),
        active_runs=TrainingRun.objects.filter(state__in=TrainingRun.ACTIVE).count(),
        queues_without_worker=[queue for queue in ("default", "files", "judge", "train") if not live_workers(queue)],
        seconds_without_sweep=_seconds_without_sweep(now),
    )


def _by_judge(rows: QuerySet[Any]) -> dict[tuple[int, int | None], int]:
    """How many rows there are by project and judge."""
    counted = rows.order_by().values_list("pair__project", "judge").annotate(rows=Count("pk"))
    return {(project, judge): count for project, judge, count in counted}


def _worker_line(row: WorkerHeartbeat, now: datetime) -> WorkerLine:
    seen = (now - row.seen_at).total_seconds()
    return WorkerLine(row.name, row.queues, seen < ALIVE.total_seconds(), round(seen, 1))


def _seconds_without_sweep(now: datetime) -> float | None:
    """How long none has begun though there were workers for it; None while that says nothing of the scheduler."""
    workers = WorkerHeartbeat.objects.filter(seen_at__gt=now - ALIVE).exclude(name=SWEEPS)
    started = [row.started_at for row in workers if "default" in row.queues.split(",")]
    if not started:
        return None
    swept = WorkerHeartbeat.objects.filter(name=SWEEPS).values_list("seen_at", flat=True)
    seconds = (now - max([min(started), *swept])).total_seconds()
    return seconds if seconds > MISSED * settings.ENV.sweep_seconds else None


def _pace(
    project: Project, made: QuerySet[Judgement], asked: QuerySet[JudgingRequest]
) -> tuple[float | None, float | None]:
    """Judgements per second lately, and the seconds left at each method's own pace; None where nothing is known."""
    recent = made.filter(created_at__gt=timezone.now() - RECENT)
    total = recent.aggregate(n=Count("pk"), s=Sum("seconds"))
    scored = _seconds_per_pair(made, Method.SCORE)
    if scored is None:
        return None, None
    reasoned = _seconds_per_pair(made, Method.COT) or scored * (1 + 2 * project.samples_per_order)
    waiting = asked.exclude(state=JudgingRequest.State.FAILED).aggregate(
        score=Count("pk", filter=Q(method=Method.SCORE)), cot=Count("pk", filter=Q(method=Method.COT))
    )
    return (total["n"] / total["s"] if total["s"] else None), waiting["score"] * scored + waiting["cot"] * reasoned


def _seconds_per_pair(made: QuerySet[Judgement], method: Method) -> float | None:
    """The pace of the judge's newest hundred judgements by a method."""
    newest = made.filter(method=method).order_by("-pk").values_list("seconds", flat=True)[:100]
    return fmean(newest) if newest else None


def _notice(project: Project, champion: Deployment) -> str:
    """The one sentence on a judge below the trust floor: what was measured, and what to do about it."""
    figures = champion.measured
    if figures.get("n"):
        measured = (
            f"On {figures['n']} blind hold-out labels {champion.judge} agrees with people in {figures['accuracy']:.0%} "
            f"of the pairs and names the same winner after a swap in {figures['consistency']:.0%}."
        )
    else:
        measured = f"{champion.judge} has not been measured on hold-out labels yet."
    labelled, gate = datasets.how_many_lately(project)  # pages ask every few seconds
    more = max(training.LEAST_TRAINING - labelled, 0)
    gate_more = max(training.LEAST_GATE - gate, 0)
    needed = max(more, round(gate_more / max(project.holdout_share / 2, 0.05)))
    advice = f"Label about {needed} more pairs, then retrain." if needed else "Retrain it: there are enough labels."
    return f"Not trusted yet, so it flags nothing. {measured} {advice}"
