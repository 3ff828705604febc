"""Reads of the adjudicators' queue and of one pair's dossier. Writes nothing, and knows no form."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.db.models import Count, Exists, Max, OuterRef, Q, QuerySet, Subquery

from labeling.diffs import Diff, diff
from labeling.models import Claim, Consensus, Deployment, Flag, Judgement, Label, Pair, Project, Rationale
from labeling.models.judges import WITH_VERDICT
from labeling.services import judging, trust
from labeling.services.claims import SEEN

SHORT = {"a": "A", "b": "B", "tie": "tie", "both_bad": "both bad"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What part of the queue somebody looks at; empty fields leave everything in."""

    kinds: tuple[str, ...] = ()
    source: str = ""
    model: str = ""
    annotator: str = ""
    text: str = ""
    least: float = 0.0

    @property
    def query(self) -> str:
        """As the page's address has it; empty for the whole queue."""
        rest = {name: getattr(self, name) for name in ("source", "model", "annotator", "text")}
        given = [(name, value) for name, value in rest.items() if value]
        least = [("least", f"{self.least:g}")] if self.least else []
        return urlencode([*(("kind", kind) for kind in self.kinds), *given, *least])

    @property
    def of_any_kind(self) -> "Wanted":
        """The same without the kinds."""
        return replace(self, kinds=())

    def toggled(self, kind: str) -> "Wanted":
        """The same with this kind ticked, or no longer."""
        ticked = set(self.kinds) ^ {kind}
        return replace(self, kinds=tuple(one for one in Flag.Kind.values if one in ticked))


ALL = Wanted()


@dataclass(frozen=True)
class KindCount:
    """A kind of flag that can be ticked, how many pairs have it, and the query with it ticked or no longer."""

    kind: str
    name: str
    count: int
    ticked: bool
    query: str


@dataclass(frozen=True)
class Slices:
    """Where the pairs of the queue come from: what the filters offer."""

    sources: list[str]
    models: list[str]
    annotators: list[str]


@dataclass(frozen=True)
class Reason:
    """A flag, and its figures in words."""

    flag: Flag
    words: str


@dataclass(frozen=True)
class Row:
    """A pair of the queue. The judge's verdict is there only if the judge is trusted."""

    pair: Pair
    reasons: list[Reason]
    people: list[Label]
    judge: str
    confidence: float | None
    value: float
    since: datetime

    def tells(self, reader: User) -> bool:
        """Whether the row says what the judge or somebody else thinks of the pair, or its known answer."""
        told = any(tells(reason.flag, reader) for reason in self.reasons)
        return bool(self.judge) or told or _by_others(self.people, reader)


@dataclass(frozen=True)
class Dossier:
    """Everything known of a pair, for an adjudicator. The rationales by order: A shown first, B shown first."""

    pair: Pair
    labels: list[Label]
    skips: list[Claim]
    judgement: Judgement | None
    calibrated: float | None
    trusted: bool
    orders: list[tuple[str, list[Rationale]]]
    reasons: list[Reason]
    consensus: Consensus | None
    diff: Diff

    def tells(self, reader: User) -> bool:
        """Whether it says what the judge or somebody else thinks of the pair, or its known answer."""
        told = any(tells(reason.flag, reader) for reason in self.reasons)
        by_judge = self.consensus is not None and self.consensus.method == Consensus.Method.JUDGE
        return self.judgement is not None or by_judge or told or _by_others(self.labels, reader)

    @property
    def asks_again(self) -> bool:
        """Whether somebody has skipped the pair who could be asked again, now or once it is sent back."""
        skipped = any(claim.skip_reason != SEEN for claim in self.skips)
        return skipped and (self.is_open or not self.pair.closed)

    @property
    def is_open(self) -> bool:
        """Whether there is anything to settle."""
        return any(reason.flag.state == Flag.State.OPEN for reason in self.reasons)

    @property
    def is_settled(self) -> bool:
        """Whether the last thing decided was a settlement, which can be taken back."""
        decided = [reason.flag for reason in self.reasons if reason.flag.resolved_at is not None]
        last = max(decided, key=lambda flag: flag.resolved_at or flag.created_at, default=None)
        return not self.is_open and last is not None and last.state == Flag.State.SETTLED

    @property
    def confidence(self) -> float | None:
        """Of the judge's winner, after calibration."""
        if self.judgement is None or self.calibrated is None or not self.judgement.winner:
            return None
        return self.calibrated if self.judgement.winner == "a" else 1 - self.calibrated


def tells(flag: Flag, reader: User) -> bool:
    """Whether the flag says what the judge or others think of its pair, or the known answer: all but an open report."""
    return flag.kind != Flag.Kind.REPORTED or (bool(flag.resolution) and flag.resolved_by_id != reader.pk)


def open_flags_for(project: Project) -> QuerySet[Flag]:
    return Flag.objects.filter(pair__project=project, state=Flag.State.OPEN).order_by()


def flag_kinds_for(project: Project, wanted: Wanted = ALL) -> list[KindCount]:
    """Every kind of flag with its pairs, counted under all filters but the kind."""
    found = open_flags_for(project).filter(pair__in=queue_for(project, wanted.of_any_kind).order_by().values("pk"))
    counts = dict(found.values_list("kind").annotate(Count("pk")))
    return [
        KindCount(kind, kind.label, counts.get(kind, 0), kind in wanted.kinds, wanted.toggled(kind).query)
        for kind in Flag.Kind
    ]


def slices_for(project: Project, wanted: Wanted = ALL) -> Slices:
    """The sources, models and annotators of the whole queue, and those that are asked for even if none is left."""
    flagged = open_flags_for(project).values("pair")
    rows = Pair.objects.filter(pk__in=flagged).values_list("meta__source", "model_a", "model_b").distinct()
    labels = Label.objects.filter(pair__in=flagged, withdrawn=False)
    sources, models, annotators = {wanted.source}, {wanted.model}, {wanted.annotator}
    for source, model_a, model_b in rows:
        sources |= {source} if isinstance(source, str) else set()
        models |= {model_a, model_b}
    for name, external in labels.values_list("annotator__username", "external_annotator").distinct():
        annotators.add(name or external)
    return Slices(*(sorted(names - {""}) for names in (sources, models, annotators)))


def queue_for(project: Project, wanted: Wanted = ALL) -> QuerySet[Any]:
    """The pairs with an open flag, most valuable first, each with its `value` and `since` when it has been open."""
    of_pair = Flag.objects.filter(pair=OuterRef("pk"), state=Flag.State.OPEN)
    flagged = open_flags_for(project)
    if wanted.kinds:
        flagged = flagged.filter(kind__in=wanted.kinds)
    found = _matching(Pair.objects.filter(project=project, pk__in=flagged.values("pair")), wanted).annotate(
        value=Subquery(of_pair.order_by("-value").values("value")[:1]),
        since=Subquery(of_pair.order_by("created_at").values("created_at")[:1]),
    )
    if wanted.least:
        found = found.filter(value__gte=wanted.least)
    return found.order_by("-value", "pk")


def rows_for(pairs: Iterable[Any], champion: Deployment | None) -> list[Row]:
    """What the queue shows of these pairs of `queue_for`, in as many queries for fifty as for one."""
    pairs = list(pairs)
    ids = [pair.pk for pair in pairs]
    flags: dict[int, list[Flag]] = defaultdict(list)
    for flag in Flag.objects.filter(pair__in=ids, state=Flag.State.OPEN).order_by("-value", "pk"):
        flags[flag.pair_id].append(flag)
    labels: dict[int, list[Label]] = defaultdict(list)
    for label in Label.objects.select_related("annotator").filter(pair__in=ids, withdrawn=False).order_by("pk"):
        labels[label.pair_id].append(label)
    said = _said(champion, ids) if champion is not None and champion.trusted else {}
    rows = []
    for pair in pairs:
        reasons = [Reason(flag, words_for(flag)) for flag in flags[pair.pk]]
        judge, confidence = said.get(pair.pk, ("", None))
        rows.append(Row(pair, reasons, labels[pair.pk], judge, confidence, pair.value, pair.since))
    return rows


def words_for(flag: Flag) -> str:
    """The figures of a flag in words; empty if it has none."""
    detail = flag.detail
    if flag.kind == Flag.Kind.JUDGE_DISAGREES:
        return f"people say {_short(detail.get('human'))}, the judge {_short(detail.get('judge'))}{_sure(detail)}"
    if flag.kind == Flag.Kind.ANNOTATORS_SPLIT:
        counts = Counter(map(_short, detail.get("choices", []))).most_common()
        return ", ".join(f"{count} × {choice}" for choice, count in counts)
    if flag.kind == Flag.Kind.ORDER_FLIP:
        straight, swapped = _percent(detail.get("straight")), _percent(detail.get("swapped"))
        return f"P(A) is {straight} with A first, {swapped} with B first"
    if flag.kind == Flag.Kind.LOW_MARGIN:
        return f"{_short(detail.get('judge'))}{_sure(detail)}"
    if flag.kind == Flag.Kind.GOLD_MISSED:
        said = ", ".join(map(_short, detail.get("choices", [])))
        return f"the known answer is {_short(detail.get('gold'))}" + (f", people said {said}" if said else "")
    reports = [detail, *detail.get("more", [])]
    return "; ".join(f"{one.get('by', '')}: {one.get('comment', '')}" for one in reports if one.get("comment"))


def in_prompt(text: str) -> Q:
    """Pairs with this text in their prompt, which is JSON: some databases keep it escaped."""
    found = Q()
    for ascii_only in (True, False):
        found |= Q(prompt__icontains=json.dumps(text, ensure_ascii=ascii_only)[1:-1])
    return found


def place_of(pair: Pair) -> float:
    """The value by which the pair stands in the queue, or stood."""
    of_pair = Flag.objects.filter(pair=pair)
    found = of_pair.aggregate(now=Max("value", filter=Q(state=Flag.State.OPEN)), ever=Max("value"))
    value: float | None = found["ever"] if found["now"] is None else found["now"]
    return value or 0.0


def next_pair_for(project: Project, wanted: Wanted, *, after: Pair, place: float) -> int | None:
    """The pair that follows in this part of the queue; at its end the first one again, None if it was the last."""
    others = queue_for(project, wanted).exclude(pk=after.pk)
    behind = others.filter(Q(value__lt=place) | Q(value=place, pk__gt=after.pk))
    found: int | None = behind.values_list("pk", flat=True).first() or others.values_list("pk", flat=True).first()
    return found


def pair_dossier(pair: Pair) -> Dossier:
    champion = judging.champion_of(pair.project)
    judged = Judgement.objects.filter(pair=pair, judge=champion.judge_id) if champion else Judgement.objects.none()
    made = {judgement.method: judgement for judgement in judged.select_related("judge")}
    counted = made.get(champion.counts) if champion else None
    reasons = made.get("cot")
    rationales = list(reasons.rationales.all()) if reasons else []
    labels = Label.objects.select_related("annotator", "claim").filter(pair=pair, withdrawn=False)
    skips = Claim.objects.select_related("annotator").filter(pair=pair, state=Claim.State.SKIPPED)
    flags = Flag.objects.select_related("resolved_by", "judge").filter(pair=pair)
    return Dossier(
        pair=pair,
        labels=list(labels.order_by("pk")),
        skips=list(skips.order_by("pk")),
        judgement=counted or reasons,
        calibrated=trust.calibrated(champion, counted.p_a) if champion and counted else None,
        trusted=champion is not None and champion.trusted,
        orders=[
            ("A shown first", [one for one in rationales if not one.swapped]),
            ("B shown first", [one for one in rationales if one.swapped]),
        ],
        reasons=[Reason(flag, words_for(flag)) for flag in flags],
        consensus=Consensus.objects.filter(pair=pair).first(),
        diff=diff(pair.response_a, pair.response_b),
    )


def _by_others(labels: Iterable[Label], reader: User) -> bool:
    return any(label.annotator_id != reader.pk for label in labels)


def _matching(pairs: QuerySet[Pair], wanted: Wanted) -> QuerySet[Pair]:
    if wanted.source:
        pairs = pairs.filter(meta__source=wanted.source)
    if wanted.model:
        pairs = pairs.filter(Q(model_a=wanted.model) | Q(model_b=wanted.model))
    if wanted.annotator:
        by_name = Q(annotator__username=wanted.annotator) | Q(external_annotator=wanted.annotator)
        pairs = pairs.filter(Exists(Label.objects.filter(by_name, pair=OuterRef("pk"), withdrawn=False)))
    if wanted.text:
        pairs = pairs.filter(_holds(wanted.text))
    return pairs


def _holds(text: str) -> Q:
    """Part of the prompt, a response or the pair's name."""
    found = Q(external_id__icontains=text) | Q(response_a__icontains=text) | Q(response_b__icontains=text)
    return found | in_prompt(text)


def _said(champion: Deployment, ids: list[int]) -> dict[int, tuple[str, float]]:
    """By pair: the judge's winner, and its calibrated confidence in it."""
    judged = Judgement.objects.filter(WITH_VERDICT, pair__in=ids, judge=champion.judge_id, method=champion.counts)
    sure = ((one, trust.calibrated(champion, one.p_a)) for one in judged)
    return {one.pair_id: (one.winner, p if one.winner == "a" else 1 - p) for one, p in sure}


def _short(choice: object) -> str:
    return SHORT.get(str(choice), "?")


def _percent(share: object) -> str:
    return f"{100 * share:.0f} %" if isinstance(share, int | float) else "?"


def _sure(detail: dict[str, object]) -> str:
    share = detail.get("confidence")
    return f" ({_percent(share)} sure)" if share is not None else ""
