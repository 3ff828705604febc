"""Flags: what somebody should look at, raised and dropped as labels and judgements change, settled by a person."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, Max, OuterRef, QuerySet
from django.utils import timezone

from labeling import jobs
from labeling.errors import AlreadySettled, LabelingError, NobodyLeft, NotSettled
from labeling.models import (
    Claim,
    Consensus,
    Deployment,
    Flag,
    Judgement,
    Label,
    LabelRevision,
    Member,
    Pair,
    Project,
    SavedFilter,
)
from labeling.models.labels import Choice
from labeling.services import audit, consensus, trust
from labeling.services.claims import close_if_settled, keep_away
from labeling.services.judging import champion_of

SURE = 0.6
"""A judge that gives its winner less than this, after calibration, does not disagree with anybody."""
MARGIN = 0.55
"""Below this calibrated confidence a judge that keeps to its winner in both orders is unsure all the same."""

SEND_BACK, AMBIGUOUS = "send_back", "ambiguous"
"""What an adjudicator may decide besides a verdict."""

Kind = Flag.Kind
State = Flag.State
BY_JUDGE = (Kind.JUDGE_DISAGREES, Kind.ORDER_FLIP, Kind.LOW_MARGIN)
AUTOMATIC = (*BY_JUDGE, Kind.ANNOTATORS_SPLIT, Kind.GOLD_MISSED)
DECIDED = (Consensus.Method.ADJUDICATED, Consensus.Method.AMBIGUOUS)
UNDECIDED = {Choice.TIE, Choice.BOTH_BAD}
MOST_REPORTS = 20

Details = dict[str, dict[str, object]]
"""By kind of flag: the figures that it shows."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of many pairs: decided now, nothing open ``before``, and not to be sent back to anybody.

    ``earlier`` says in words how many of those before were decided by whom.
    """

    done: int
    before: int
    refused: int
    earlier: Mapping[str, int] = field(default_factory=dict, compare=False)


@transaction.atomic
def refresh(pair: Pair) -> None:
    """Bring the pair's consensus and automatic flags up to date with its labels and the champion's judgement.

    A pair that an adjudicator has decided raises nothing, nor does one that was sent back and still waits for its
    label. The pair and its project are read anew: of many that are refreshed, some are decided meanwhile.
    """
    found = Pair.objects.select_related("project").filter(pk=pair.pk).first()
    if found is None:
        return  # deleted meanwhile
    pair = found
    current = consensus.refresh(pair)
    champion = champion_of(pair.project)
    due: Details = {}
    if current is None or current.method not in DECIDED:
        people = list(Label.objects.filter(pair=pair, withdrawn=False).exclude(source=Label.Source.ADJUDICATION))
        human = current.choice if current is not None else ""
        due = _by_people(pair, people) | _by_judge(pair, champion, people, human)
        if due and _sent_back(pair, people):
            due = {}
    _write(pair, due, champion)


def withdraw_judge(project: Project) -> int:
    """Close every open flag that a judge raised, at once: it no longer reigns. Returns how many there were."""
    raised = Flag.objects.filter(pair__project=project, state=State.OPEN, kind__in=BY_JUDGE)
    return raised.update(state=State.OBSOLETE)


def worth(kind: str, detail: Mapping[str, object]) -> float:
    """How much settling is worth, 0 to 1: about the chance that the label that stands is not right.

    The judge against people: its calibrated confidence, to the power of how many people are against it. People against
    each other: 0.9 for an even split, less the clearer one verdict leads. A report: 0.8, for a person has looked. A
    missed gold question: m / (n + 1) where m of n missed it, for the more do, the likelier its answer is wrong. The
    judge by itself: 0.3 where its verdict flips with the order; where it is unsure, half of what it leaves to the
    other response.
    """
    said = detail.get("confidence")
    sure = said if isinstance(said, int | float) else 0.5
    if kind == Kind.JUDGE_DISAGREES:
        people = detail.get("people")
        return round(sure ** (people if isinstance(people, int) else 1), 4)
    if kind == Kind.ANNOTATORS_SPLIT:
        verdicts = [str(one) for one in _listed(detail.get("choices"))]
        leading = max(Counter(verdicts).values(), default=0) / max(len(verdicts), 1)
        return round(0.9 * min(1.0, 2 * (1 - leading)), 4)
    if kind == Kind.GOLD_MISSED:
        verdicts = [str(one) for one in _listed(detail.get("choices"))]
        missed = sum(one != detail.get("gold") for one in verdicts)
        return round(missed / (len(verdicts) + 1), 4)
    return {Kind.REPORTED: 0.8, Kind.ORDER_FLIP: 0.3}.get(Kind(kind), round((1 - sure) / 2, 4))


@transaction.atomic
def report(claim: Claim, *, comment: str) -> Flag:
    """An annotator reports the pair; the label stays theirs to give. What others report later is added."""
    said = {"by": claim.annotator.get_username(), "comment": comment}
    flag, created = Flag.objects.select_for_update().get_or_create(
        pair=claim.pair,
        kind=Kind.REPORTED,
        state=State.OPEN,
        defaults={"detail": said, "value": worth(Kind.REPORTED, said)},
    )
    more = _listed(flag.detail.get("more"))
    known = [{"by": flag.detail.get("by"), "comment": flag.detail.get("comment")}, *more]
    if not created and said not in known and len(known) < MOST_REPORTS:
        flag.detail["more"] = [*more, said]
        flag.save(update_fields=["detail"])
    return flag


def decide(pair: Pair, *, by: User, choice: str, reason: str) -> None:
    """Settle the pair with a verdict, send it back or mark it ambiguous. Raises AlreadySettled if no flag is open."""
    if choice == SEND_BACK:
        send_back(pair, by=by, reason=reason)
    elif choice == AMBIGUOUS:
        mark_ambiguous(pair, by=by, reason=reason)
    else:
        settle(pair, by=by, choice=choice, reason=reason)


@transaction.atomic
def decide_all(pairs: QuerySet[Pair], *, by: User, choice: str, reason: str) -> Decided:
    """Decide each of these pairs once, all or none. What has been decided before is left alone and counted."""
    done = refused = 0
    earlier: Counter[str] = Counter()
    for pair in pairs.select_related("project").order_by("pk"):  # always in this order: no two of us wait in a ring
        try:
            decide(pair, by=by, choice=choice, reason=reason)
        except AlreadySettled as error:
            earlier[error.briefly] += 1
        except NobodyLeft:
            refused += 1
        else:
            done += 1
    return Decided(done, earlier.total(), refused, earlier)


@transaction.atomic
def settle(pair: Pair, *, by: User, choice: str, reason: str) -> Label:
    """Settle every open flag of the pair with a verdict in stored order, which takes an earlier settlement's place.

    Raises AlreadySettled if none is open.
    """
    if choice not in Choice.values:
        raise LabelingError(f"choice: {choice!r} is not one of {', '.join(Choice.values)}")
    _resolve(pair, State.SETTLED, by=by, reason=reason, resolution=choice)
    _withdraw_settlement(pair, by=by)
    label = Label.objects.create(
        pair=pair,
        annotator=by,
        source=Label.Source.ADJUDICATION,
        choice=choice,
        final_choice=choice,
        comment=reason,
        blind=False,
    )
    _change(pair, ambiguous=False)
    audit.record("flag.settle", pair, by=by, choice=choice, reason=reason)
    return label


@transaction.atomic
def send_back(pair: Pair, *, by: User, reason: str) -> None:
    """Ask one more person, who has not labelled the pair yet; its flags rest until that label is there.

    Not the one who sends it back: they have seen what the judge and others say. An earlier settlement of the pair no
    longer stands. Raises AlreadySettled if no flag is open, and NobodyLeft if every other member has labelled or
    skipped the pair. Whether somebody is at work is not known here.
    """
    keep_away([pair], project=pair.project, annotator=by)
    _resolve(pair, State.SENT_BACK, by=by, reason=reason)
    asked = Claim.objects.filter(pair=pair, annotator=OuterRef("user")).exclude(state=Claim.State.EXPIRED)
    if not Member.objects.filter(~Exists(asked), project=pair.project_id, user__is_active=True).exists():
        raise NobodyLeft
    _withdraw_settlement(pair, by=by)
    Consensus.objects.filter(pair=pair, method=Consensus.Method.JUDGE).delete()
    imported = Label.objects.filter(pair=pair, source=Label.Source.IMPORT).count()
    have = imported + Claim.objects.filter(pair=pair, state=Claim.State.DONE).count()
    pair.refresh_from_db(fields=["extra_labels"])
    _change(pair, ambiguous=False, extra_labels=max(pair.extra_labels, have - pair.project.overlap) + 1)
    audit.record("flag.send_back", pair, by=by, reason=reason)


@transaction.atomic
def mark_ambiguous(pair: Pair, *, by: User, reason: str) -> None:
    """Say that no verdict on the pair is right, an earlier settlement's neither: nobody is asked again.

    Raises AlreadySettled if no flag is open.
    """
    _resolve(pair, State.SETTLED, by=by, reason=reason, resolution=AMBIGUOUS)
    _withdraw_settlement(pair, by=by)
    _change(pair, ambiguous=True)
    audit.record("flag.ambiguous", pair, by=by, reason=reason)


@transaction.atomic
def reopen(pair: Pair, *, by: User) -> None:
    """Take the last settlement back: its verdict stands no longer, and its flags are open again as far as still true.

    So are those of the settlements whose place it took; of several of one kind the newest. Raises NotSettled where a
    flag is open, or the last thing decided was no settlement.
    """
    flags = Flag.objects.filter(pair=pair)
    last = flags.select_for_update().filter(resolved_at__isnull=False).order_by("-resolved_at").first()
    if last is None or last.state != State.SETTLED or flags.filter(state=State.OPEN).exists():
        raise NotSettled
    _settled_flags(pair).update(state=State.OPEN, resolution="", reason="", resolved_by=None, resolved_at=None)
    _withdraw_settlement(pair, by=by)
    _change(pair, ambiguous=False)
    refresh(pair)
    audit.record("flag.reopen", pair, by=by, was=last.resolution)


def save_filter(project: Project, *, user: User, name: str, query: str) -> SavedFilter:
    """Keep a view of the queue under a name of the user's own; the same name again replaces it."""
    longest = SavedFilter._meta.get_field("query").max_length
    if longest is not None and len(query) > longest:
        raise LabelingError("These filters are too long to be saved.")
    saved, _created = SavedFilter.objects.update_or_create(
        project=project, user=user, name=name, defaults={"query": query}
    )
    return saved


def forget_filter(saved: SavedFilter) -> None:
    saved.delete()


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else []


def _by_people(pair: Pair, people: Sequence[Label]) -> Details:
    due: Details = {}
    verdicts = sorted(label.final_choice for label in people)
    if {"a", "b"} <= set(verdicts):
        due[Kind.ANNOTATORS_SPLIT] = {"choices": verdicts}
    asked = sorted(label.choice for label in people if label.source == Label.Source.CLAIM)
    if pair.gold and any(choice != pair.gold for choice in asked):
        due[Kind.GOLD_MISSED] = {"gold": pair.gold, "choices": asked}
    return due


def _by_judge(pair: Pair, champion: Deployment | None, people: Sequence[Label], human: str) -> Details:
    """What the judge's verdict raises: at most one kind, and none below the trust floor or on unrevealed pairs."""
    if champion is None or not champion.trusted or pair.unrevealed:
        return {}
    judged = Judgement.objects.filter(pair=pair, judge=champion.judge_id, method=champion.counts).first()
    if judged is None or not judged.winner:
        return {}
    p_a = trust.calibrated(champion, judged.p_a)
    sure = round(p_a if judged.winner == "a" else 1 - p_a, 4)
    verdicts = [label.final_choice for label in people]
    doubtful = _doubtful(pair, verdicts)
    if not judged.consistent:
        orders: dict[str, object] = {"straight": round(judged.p_a_straight, 4), "swapped": round(judged.p_a_swapped, 4)}
        return {Kind.ORDER_FLIP: orders} if doubtful else {}
    said: dict[str, object] = {"judge": judged.winner, "confidence": sure}
    if human in ("a", "b") and human != judged.winner and sure >= SURE:
        against = max(verdicts.count(human) - verdicts.count(judged.winner), 1)
        return {Kind.JUDGE_DISAGREES: {"human": human, "people": against, **said}}
    return {Kind.LOW_MARGIN: said} if sure < MARGIN and doubtful else {}


def _doubtful(pair: Pair, verdicts: Sequence[str]) -> bool:
    """Whether a judge that cannot decide makes the pair one for an adjudicator; kept rare, so that the queue is short.

    Not while people are still to label it, not where two or more people agree and nobody is against, and not where
    people say that neither response is better: the judge that cannot decide says the same.
    """
    if not pair.closed and len(verdicts) < pair.project.overlap + pair.extra_labels:
        return False
    unanimous = len(verdicts) > 1 and len(set(verdicts)) == 1
    return not unanimous and not (verdicts and set(verdicts) <= UNDECIDED)


def _sent_back(pair: Pair, people: Sequence[Label]) -> bool:
    """Whether the pair was sent back and the label it was sent back for is still to come."""
    last = Flag.objects.filter(pair=pair, state=State.SENT_BACK).aggregate(at=Max("resolved_at"))["at"]
    return last is not None and not pair.closed and all(label.created_at <= last for label in people)


def _write(pair: Pair, due: Details, champion: Deployment | None) -> None:
    """Make the pair's open automatic flags those that are due."""
    open_flags = Flag.objects.filter(pair=pair, state=State.OPEN, kind__in=AUTOMATIC)
    raised = set(open_flags.values_list("kind", flat=True))
    if over := raised - set(due):
        open_flags.filter(kind__in=over).update(state=State.OBSOLETE)
    for kind, detail in due.items():
        judge = champion.judge if champion is not None and kind in BY_JUDGE else None
        fields = {"detail": detail, "judge": judge, "value": worth(kind, detail)}
        if kind not in raised or not open_flags.filter(kind=kind).update(**fields):
            Flag.objects.get_or_create(pair=pair, kind=kind, state=State.OPEN, defaults=fields)


def _resolve(pair: Pair, state: str, *, by: User, reason: str, resolution: str = "") -> None:
    """Compare-and-set on every open flag of the pair: of two adjudicators one finds none open."""
    open_flags = Flag.objects.filter(pair=pair, state=State.OPEN)
    if not open_flags.update(
        state=state, resolution=resolution, reason=reason, resolved_by=by, resolved_at=timezone.now()
    ):
        raise _none_is_open(pair, by)


def _none_is_open(pair: Pair, by: User) -> AlreadySettled:
    """By the pair's last decision, unless something was raised after it that is no longer true."""
    flags = Flag.objects.filter(pair=pair)
    last = flags.filter(resolved_at__isnull=False).order_by("-resolved_at").first()
    if last is None or flags.filter(state=State.OBSOLETE, created_at__gt=last.resolved_at).exists():
        return AlreadySettled()
    choice = SEND_BACK if last.state == State.SENT_BACK else last.resolution
    return AlreadySettled(choice, own=last.resolved_by_id == by.pk)


def _settled_flags(pair: Pair) -> QuerySet[Flag]:
    """The newest flag of each kind that was settled since the pair was last sent back, which ended what was before."""
    flags = Flag.objects.filter(pair=pair)
    settled = flags.filter(state=State.SETTLED)
    sent_back = flags.filter(state=State.SENT_BACK).aggregate(at=Max("resolved_at"))["at"]
    if sent_back is not None:
        settled = settled.filter(resolved_at__gt=sent_back)
    newest = settled.order_by().values("kind").annotate(newest=Max("pk")).values_list("newest", flat=True)
    return flags.filter(pk__in=list(newest))


def _withdraw_settlement(pair: Pair, *, by: User) -> None:
    """Undo the labels that settled the pair; what they said stays as a revision."""
    for label in Label.objects.filter(pair=pair, source=Label.Source.ADJUDICATION, withdrawn=False):
        Label.objects.filter(pk=label.pk).update(withdrawn=True)
        LabelRevision.objects.create(
            label=label, kind=LabelRevision.Kind.UNDO, before=label.final_choice, blind=False, by=by
        )


def _change(pair: Pair, **fields: bool | int) -> None:
    """Write the pair, and what follows from it: its consensus, whether it is closed, and later its scores."""
    Pair.objects.filter(pk=pair.pk).update(**fields)
    for name, value in fields.items():
        setattr(pair, name, value)
    consensus.refresh(pair)
    close_if_settled(pair.pk)
    pair.refresh_from_db(fields=["closed"])
    jobs.refresh([pair.pk])
