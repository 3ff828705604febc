"""What changed between two judge versions: the pairs whose verdict flipped, and whether people say rightly.

Each version speaks by the method that counts for it. People's verdict is the pair's consensus, which also holds
verdicts that were revised after the judge was shown; the figures on the blind hold-out are elsewhere.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db.models import Count, Exists, F, FloatField, OuterRef, Q, QuerySet, Subquery

from labeling.models import Consensus, Deployment, Judgement, Pair, Rationale
from labeling.models.judges import WITH_VERDICT, Method
from labeling.services import deployments

BY_PEOPLE = Q(pair__consensus__isnull=False) & ~Q(pair__consensus__method=Consensus.Method.JUDGE)
DECIDED = BY_PEOPLE & ~Q(pair__consensus__method=Consensus.Method.AMBIGUOUS) & Q(pair__consensus__choice__in=["a", "b"])
TO_A = Q(p_a__gte=0.5, before__lt=0.5)
TO_B = Q(p_a__lt=0.5, before__gte=0.5)
RIGHT = DECIDED & ((Q(pair__consensus__choice="a") & TO_A) | (Q(pair__consensus__choice="b") & TO_B))
WRONG = DECIDED & ((Q(pair__consensus__choice="a") & TO_B) | (Q(pair__consensus__choice="b") & TO_A))

KINDS: dict[str, Q] = {
    "wrong": WRONG,
    "right": RIGHT,
    "undecided": BY_PEOPLE & ~DECIDED,
    "unlabelled": ~BY_PEOPLE,
}
"""What people say of a flip. Undecided: they see no winner, or an adjudicator called the pair ambiguous."""


@dataclass(frozen=True)
class Counts:
    """Of the pairs that both versions have judged, how many flipped, and what people say of those."""

    both: int
    flipped: int
    right: int
    wrong: int
    undecided: int
    unlabelled: int


@dataclass(frozen=True)
class Side:
    """What a version said of a pair: its winner, how sure it was, and a rationale that ends in that winner.

    ``first`` is the response that the rationale calls A, because it was read first.
    """

    winner: str
    confidence: float
    rationale: str
    first: str


@dataclass(frozen=True)
class Change:
    """A pair whose verdict flipped. ``kind`` is what people say of it."""

    pair: Pair
    consensus: Consensus | None
    kind: str
    old: Side
    new: Side


def compared_with(deployment: Deployment) -> Deployment | None:
    """What a version is compared with unless somebody says otherwise: its parent, else the former champion."""
    others = Deployment.objects.select_related("judge").filter(project=deployment.project)
    parent = others.filter(judge=deployment.judge.parent_id).first() if deployment.judge.parent_id else None
    former = parent or deployments.former_champion(deployment.project)
    return former if former is not None and former.pk != deployment.pk else None


def flips(old: Deployment, new: Deployment, *, kind: str = "") -> QuerySet[Judgement]:
    """The new version's judgements whose winner is not the old one's, each with ``before``, the old one's P(A)."""
    before = Judgement.objects.filter(WITH_VERDICT, pair=OuterRef("pair"), judge=old.judge_id, method=old.counts)
    found = _judged(new).annotate(before=Subquery(before.values("p_a")[:1], output_field=FloatField()))
    flipped = found.filter(TO_A | TO_B)
    return (flipped.filter(KINDS[kind]) if kind else flipped).order_by("pair_id")


def count(old: Deployment, new: Deployment) -> Counts:
    said = Judgement.objects.filter(WITH_VERDICT, pair=OuterRef("pair"), judge=old.judge_id, method=old.counts)
    both = _judged(new).filter(Exists(said)).count()
    kinds = flips(old, new).order_by().aggregate(**{name: Count("pk", filter=where) for name, where in KINDS.items()})
    return Counts(both=both, flipped=sum(kinds.values()), **kinds)


def changes(old: Deployment, new: Deployment, found: Iterable[Judgement]) -> list[Change]:
    """The page's flips with what is shown of them, in as many queries for twenty as for one."""
    after = list(found)
    ids = [one.pair_id for one in after]
    before = {one.pair_id: one for one in Judgement.objects.filter(pair__in=ids, judge=old.judge_id, method=old.counts)}
    pairs = Pair.objects.select_related("consensus", "project").in_bulk(ids)
    reasons = _reasons([old.judge_id, new.judge_id], ids)
    return [
        Change(
            pair=pairs[one.pair_id],
            consensus=_by_people(pairs[one.pair_id]),
            kind=kind_of(_by_people(pairs[one.pair_id]), one.winner),
            old=_side(before[one.pair_id], reasons),
            new=_side(one, reasons),
        )
        for one in after
        if one.pair_id in before
    ]


def kind_of(consensus: Consensus | None, winner: str) -> str:
    """What people say of a flip to this winner."""
    if consensus is None:
        return "unlabelled"
    if consensus.method == Consensus.Method.AMBIGUOUS or consensus.choice not in ("a", "b"):
        return "undecided"
    return "right" if consensus.choice == winner else "wrong"


def _judged(deployment: Deployment) -> QuerySet[Judgement]:
    return Judgement.objects.filter(
        WITH_VERDICT, pair__project=deployment.project_id, judge=deployment.judge_id, method=deployment.counts
    )


def _by_people(pair: Pair) -> Consensus | None:
    found: Consensus | None = getattr(pair, "consensus", None)
    return None if found is None or found.method == Consensus.Method.JUDGE else found


def _reasons(judges: Sequence[int], pairs: Sequence[int]) -> dict[tuple[int, int, str], tuple[float, Rationale]]:
    """By pair, judge and verdict: the surest counted rationale that ends in that verdict."""
    chains = Rationale.objects.filter(
        judgement__pair__in=pairs, judgement__judge__in=judges, judgement__method=Method.COT, verdict__in=["a", "b"]
    ).annotate(of_pair=F("judgement__pair"), of_judge=F("judgement__judge"))
    surest: dict[tuple[int, int, str], tuple[float, Rationale]] = {}
    for chain in chains:
        key = chain.of_pair, chain.of_judge, chain.verdict
        p_a = 0.5 if chain.p_a is None else chain.p_a
        sure = p_a if chain.verdict == "a" else 1 - p_a
        if key not in surest or sure > surest[key][0]:
            surest[key] = sure, chain
    return surest


def _side(said: Judgement, reasons: dict[tuple[int, int, str], tuple[float, Rationale]]) -> Side:
    _sure, chain = reasons.get((said.pair_id, said.judge_id, said.winner), (0.0, None))
    return Side(
        winner=said.winner,
        confidence=said.confidence,
        rationale=chain.text if chain else "",
        first="b" if chain and chain.swapped else "a",
    )
