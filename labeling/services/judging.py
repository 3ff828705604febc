"""What judges still have to judge, who is at it, and what they said. Knows no model: the workers do the judging."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import islice
from uuid import uuid4

from django.conf import settings
from django.db import transaction
from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Value, When
from django.utils import timezone

from genrm_engine import types as engine
from genrm_engine.training.config import HEADS
from labeling import jobs
from labeling.models import Deployment, Judgement, JudgeVersion, JudgingRequest, Pair, Project, Rationale
from labeling.models.judges import Method
from labeling.services import bulk, datasets, texts
from labeling.services.consensus import majority

Priority = JudgingRequest.Priority
State = JudgingRequest.State

CHUNK = {Method.SCORE: 16, Method.COT: 12}
"""Pairs per chunk: a few seconds of work on a small CPU, far below every lease and time-out."""

REMOTE = ("openai",)
"""Backends whose model runs on a server: they need no device of this machine."""

MAX_ATTEMPTS = 5
"""After so many a request has failed, until it is tried again."""
DEATHS_ALONE = 2
"""After so many attempts whose worker died a pair is judged alone: one of its chunk may be what the workers die of."""

FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=6)
"""Until a failed request is tried again: twice as long after each attempt. A server comes back, a key is renewed."""

OUTSIDE = 200
"""Most pairs of another project by which this one's judges are measured."""


def methods_of(project: Project, champion: Deployment) -> tuple[Method, ...]:
    """A quick score of every pair; rationales too where the project wants some or the judge counts by them.

    A judge that writes none is never asked for any.
    """
    wanted = project.samples_per_order > 0 or champion.counts == Method.COT
    reasons = wanted and champion.judge.method not in HEADS
    return (Method.SCORE, Method.COT) if reasons else (Method.SCORE,)


def request_project(project: Project) -> int:
    """Ask for every judgement of the project's champion and its shadows that is missing; returns how many.

    New pairs go before those that an earlier judge has judged already. A shadow judges the hold-out, and the pairs
    imported since it became one, by the method that counts for it, when nothing else waits. So the champion judges the
    pairs of the project's outside sets, unless it runs on a server: nobody of those projects chose to send it anything.
    """
    champion = champion_of(project)
    if champion is None:
        return 0
    asked = sum(_request(project, champion.judge, method) for method in methods_of(project, champion))
    for shadow in shadows_of(project):
        beside = ~Q(part=Pair.Part.TRAIN) | Q(created_at__gte=shadow.shadow_since)
        asked += _request(project, shadow.judge, Method(shadow.counts), where=beside, priority=Priority.SHADOW)
    here = champion.judge.backend not in REMOTE
    if not here:
        drop_outside(project, champion.judge_id, project.outside.all())
    for other in project.outside.all() if here else ():
        pairs = Q(pk__in=list(outside_votes(other)))
        asked += _request(other, champion.judge, Method(champion.counts), where=pairs, priority=Priority.SHADOW)
    if asked:
        jobs.enqueue(jobs.JUDGE)
    return asked


def follow_samples(project: Project) -> None:
    """Ask for rationales where the project wants some now, and forget those that wait where it wants none."""
    champion = champion_of(project)
    if champion is None:
        return
    if Method.COT not in methods_of(project, champion):
        own = JudgingRequest.objects.filter(pair__project=project, judge=champion.judge_id, method=Method.COT)
        own.delete()
    request_project(project)


def outside_votes(other: Project) -> dict[int, list[str]]:
    """The pairs by which judges of other projects are measured, in random order, with people's blind verdicts.

    They are the first hold-out pairs whose blind consensus is A or B; no judge was trained on them.
    """
    votes: dict[int, list[str]] = defaultdict(list)
    given = datasets.blind_labels(other).exclude(pair__part=Pair.Part.TRAIN)
    for pair_id, choice in given.order_by("pair__shuffle", "pair_id", "pk").values_list("pair_id", "choice"):
        votes[pair_id].append(choice)
    return dict(islice((one for one in votes.items() if majority(one[1])[0] in ("a", "b")), OUTSIDE))


def drop_requests(project: Project, judge_id: int) -> None:
    """Forget what a judge that no longer reigns or shadows in the project still had to judge for it."""
    JudgingRequest.objects.filter(pair__project=project, judge=judge_id).delete()
    drop_outside(project, judge_id, project.outside.all())


def forget_requests(project: Project, judge_id: int) -> None:
    """Forget what no worker is at yet, so that it is asked for anew, at the priority that is right now."""
    asked = JudgingRequest.objects.filter(pair__project=project, judge=judge_id)
    asked.exclude(state=State.LEASED).delete()


def drop_outside(project: Project, judge_id: int, sets: Iterable[Project]) -> None:
    """Forget what the judge still had to judge of these outside sets.

    Where it reigns or shadows in the set's own project the requests stay: they are that project's.
    """
    at_work = Deployment.objects.filter(
        judge=judge_id, state__in=[Deployment.State.CHAMPION, Deployment.State.SHADOW]
    ).exclude(project=project)
    theirs = [other.pk for other in sets]
    asked = JudgingRequest.objects.filter(pair__project__in=theirs, judge=judge_id, priority=Priority.SHADOW)
    asked.exclude(pair__project__in=at_work.values("project")).delete()


def person_waits(pair: Pair, champion: Deployment) -> None:
    """Put the pair's missing judgements at the head of the queue, because somebody looks at it right now."""
    made = set(Judgement.objects.filter(pair=pair, judge=champion.judge_id).values_list("method", flat=True))
    missing = [method for method in methods_of(pair.project, champion) if method not in made]
    known = JudgingRequest.objects.filter(pair=pair, judge=champion.judge_id)
    raised = known.filter(state=State.WAITING).exclude(priority=Priority.PERSON_WAITING)
    changed = raised.update(priority=Priority.PERSON_WAITING)
    if known.count() < len(missing):
        rows = [
            JudgingRequest(pair=pair, judge=champion.judge, method=method, priority=Priority.PERSON_WAITING)
            for method in missing
        ]
        JudgingRequest.objects.bulk_create(rows, ignore_conflicts=True)
        changed += 1
    if changed:
        jobs.enqueue(jobs.JUDGE)


def lease_chunk(*, remote: bool | None = None, without: Collection[int] = ()) -> list[JudgingRequest]:
    """Take the next chunk of one judge and method, most urgent first; empty if nothing waits.

    ``remote``: only for judges on servers, or only for judges that run here; ``without``: for none of these judges.
    Compare-and-set on the state: two workers that look at the same rows share them out, neither judges twice.
    """
    first = _waiting(remote, without).first()
    if first is None:
        return []
    same = _waiting().filter(judge=first.judge_id, method=first.method, priority=first.priority)
    same = same.filter(pair__project=first.pair.project_id)
    same = same.filter(pk=first.pk) if first.error else same.filter(error="")  # one bad pair fails alone
    ids = list(same.values_list("pk", flat=True)[: CHUNK[Method(first.method)]])
    token = uuid4().hex
    JudgingRequest.objects.filter(pk__in=ids, state=State.WAITING).update(
        state=State.LEASED,
        lease=token,
        leased_until=timezone.now() + timedelta(seconds=settings.ENV.judge_lease_seconds),
        attempts=F("attempts") + 1,
    )
    return list(JudgingRequest.objects.filter(lease=token).select_related("pair__project", "judge").order_by("pk"))


def has_judged(project: Project) -> bool:
    """Whether the project's champion has judged one of its pairs."""
    champion = champion_of(project)
    return champion is not None and Judgement.objects.filter(pair__project=project, judge=champion.judge_id).exists()


@transaction.atomic
def store(requests: Sequence[JudgingRequest], judged: Sequence[engine.Judgement]) -> int:
    """Write what the judge said and drop the requests; returns how many judgements are new.

    Idempotent: a chunk judged twice (its worker was thought dead) leaves the first judgement alone.
    """
    by_pair = {int(row.pair_id): row for row in judged}
    new = sum(
        store_judgement(request.pair_id, request.judge, by_pair[request.pair_id])
        for request in requests
        if request.pair_id in by_pair
    )
    JudgingRequest.objects.filter(pk__in=[request.pk for request in requests if request.pair_id in by_pair]).delete()
    jobs.refresh(sorted(by_pair))
    return new


@transaction.atomic
def store_judgement(pair_id: int, judge: JudgeVersion, row: engine.Judgement) -> bool:
    """Insert a judgement with its rationales unless the pair has one by this judge and method; True if it is new."""
    judgement, created = Judgement.objects.get_or_create(
        pair_id=pair_id,
        judge=judge,
        method=row.method,
        defaults={
            "p_a": row.p_a,
            "p_a_straight": row.p_a_straight,
            "p_a_swapped": row.p_a_swapped,
            "consistent": row.consistent,
            "votes_a": row.votes_a,
            "votes_b": row.votes_b,
            "samples": row.samples,
            "unparsed": row.unparsed,
            "tokens": row.tokens,
            "seconds": row.seconds,
        },
    )
    if created:
        Rationale.objects.bulk_create(
            Rationale(
                judgement=judgement,
                swapped=chain.swapped,
                sample=chain.sample,
                text=texts.storable(chain.text),
                p_a=chain.p_a,
                verdict=chain.verdict,
            )
            for chain in row.rationales
        )
        Rationale.objects.bulk_create(
            Rationale(judgement=judgement, swapped=swapped, sample=sample, text=texts.storable(text))
            for swapped, sample, text in _unparsed(row)
        )
    return created


def _unparsed(row: engine.Judgement) -> Iterator[tuple[bool, int, str]]:
    """The order, number and text of the chains in which no verdict could be read: those that the rationales leave."""
    read = {(chain.swapped, chain.sample) for chain in row.rationales}
    drawn = range(row.samples // 2) if row.decided_by == "cot" else range(0)  # a score writes nothing
    left = [(swapped, sample) for swapped in (False, True) for sample in drawn if (swapped, sample) not in read]
    for (swapped, sample), text in zip(left, row.unparsed_texts, strict=False):
        yield swapped, sample, text


def give_back(requests: Sequence[JudgingRequest], *, error: str = "", permanent: bool = False) -> None:
    """Return a leased chunk: to the queue, or out of it for a while when the error is permanent or came too often."""
    for request in requests:
        failed = permanent or (bool(error) and request.attempts >= MAX_ATTEMPTS)
        JudgingRequest.objects.filter(pk=request.pk, lease=request.lease).update(
            state=State.FAILED if failed else State.WAITING,
            lease="",
            leased_until=timezone.now() + _wait(request.attempts) if failed else None,
            error=texts.storable(error)[:2000],
        )


def give_back_refused(requests: Sequence[JudgingRequest], *, error: str) -> None:
    """Return a leased chunk of which one pair was refused, and nobody knows which: each is judged alone from now on.

    The attempt counts against none of them.
    """
    leased = JudgingRequest.objects.filter(pk__in=[request.pk for request in requests], lease=requests[0].lease)
    leased.update(
        state=State.WAITING,
        lease="",
        leased_until=None,
        attempts=F("attempts") - 1,
        error=texts.storable(f"this pair or one beside it: {error}")[:2000],
    )


def retry_failed() -> int:
    """Let failed requests whose time has come wait again, behind everything else; returns how many."""
    due = Q(leased_until=None) | Q(leased_until__lte=timezone.now())
    return JudgingRequest.objects.filter(due, state=State.FAILED).update(
        state=State.WAITING, leased_until=None, priority=Priority.SHADOW
    )


def _wait(attempts: int) -> timedelta:
    return min(FIRST_WAIT * int(2 ** min(attempts, 10)), LONGEST_WAIT)


def expire_leases() -> int:
    """Requests whose worker fell silent wait again, each alone from the second time, or fail if it happened too often.

    Returns how many.
    """
    silent = JudgingRequest.objects.filter(state=State.LEASED, leased_until__lt=timezone.now())
    failed = silent.filter(attempts__gte=MAX_ATTEMPTS).update(
        state=State.FAILED,
        lease="",
        leased_until=timezone.now() + LONGEST_WAIT,
        error="the judge worker died again and again on this pair",
    )
    suspect = silent.filter(attempts__gte=DEATHS_ALONE)
    failed += suspect.update(
        state=State.WAITING, lease="", leased_until=None, error="the judge worker died on this pair or one beside it"
    )
    return failed + silent.update(state=State.WAITING, lease="", leased_until=None)


def anything_waiting(*, without: Collection[int] = ()) -> bool:
    """Whether a judge worker would find something to do that is for none of these judges."""
    return _waiting(without=without).exists()


def places_waiting(*, without: Collection[int] = ()) -> list[bool]:
    """Where something waits to be judged, the most urgent place first: True on servers, False on the device here.

    ``without``: what waits for these judges does not count.
    """
    first = {remote: _waiting(remote, without).values_list("priority", "pk").first() for remote in (False, True)}
    return [remote for _urgency, remote in sorted((found, remote) for remote, found in first.items() if found)]


def busy_workers() -> int:
    """How many judge workers are at a chunk right now."""
    return JudgingRequest.objects.filter(state=State.LEASED).values("lease").distinct().count()


def still_to_judge(deployment: Deployment, pairs: Collection[int]) -> bool:
    """Whether one of these pairs waits for its judgement by the method that counts, and has not failed."""
    asked = JudgingRequest.objects.filter(judge=deployment.judge_id, method=deployment.counts, pair__in=pairs)
    return asked.exclude(state=State.FAILED).exists()


def champion_of(project: Project) -> Deployment | None:
    """The project's reigning judge."""
    return Deployment.objects.select_related("judge").filter(project=project, state=Deployment.State.CHAMPION).first()


def shadows_of(project: Project) -> QuerySet[Deployment]:
    """The judges that judge beside the champion."""
    return Deployment.objects.select_related("judge").filter(project=project, state=Deployment.State.SHADOW)


def _waiting(remote: bool | None = None, without: Collection[int] = ()) -> QuerySet[JudgingRequest]:
    waiting = JudgingRequest.objects.select_related("pair").filter(state=State.WAITING).order_by("priority", "pk")
    waiting = waiting.exclude(judge__in=without)
    if remote is None:
        return waiting
    on_servers = Q(judge__backend__in=REMOTE)
    return waiting.filter(on_servers if remote else ~on_servers)


def _request(
    project: Project, judge: JudgeVersion, method: Method, *, where: Q | None = None, priority: int | None = None
) -> int:
    judged = Judgement.objects.filter(pair=OuterRef("pk"))
    asked = JudgingRequest.objects.filter(pair=OuterRef("pk"), judge=judge, method=method)
    missing = (
        Pair.objects.filter(where or Q(), project=project)
        .filter(~Exists(judged.filter(judge=judge, method=method)), ~Exists(asked))
        .order_by("shuffle", "pk")
    )
    new, again = (
        (Priority.NEW_SCORE, Priority.AGAIN_SCORE) if method == Method.SCORE else (Priority.NEW_COT, Priority.AGAIN_COT)
    )
    if priority is None:
        judged_before = Exists(judged.exclude(judge=judge))
        urgency: Case | Value = Case(When(judged_before, then=Value(int(again))), default=Value(int(new)))
    else:
        urgency = Value(int(priority))
    columns = {
        "pair": F("pk"),
        "judge": Value(judge.pk),
        "method": Value(method.value),
        "priority": urgency,
        "state": Value(State.WAITING.value),
        "lease": Value(""),
        "attempts": Value(0),
        "error": Value(""),
    }
    return bulk.insert_selected(JudgingRequest, missing, columns)
