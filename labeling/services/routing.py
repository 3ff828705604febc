"""Which pair a person is asked for next: what a label is worth on each pair, by the project's policy.

Hold-out and audit pairs have no score: they are served in random order, so that what they measure holds for all.
Knows no claims; those take the pairs in the order that is written here.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from django.db.models import Exists, OuterRef, Q, QuerySet

from genrm_engine import neighbours, routing
from labeling.models import Deployment, Judgement, Label, Pair, Project
from labeling.models.judges import WITH_VERDICT
from labeling.services import datasets, judging, trust

NO_LABEL = "no label for this prompt yet"
FEW_LABELS = "few labels for this prompt"
LEAST_NEIGHBOURS = 30
"""With fewer labelled pairs the judge's mistakes have no neighbourhood."""
MOST_COMPARED = 5_000
"""Only the pairs that would come first anyway are compared with the judge's mistakes: reading texts takes time."""
_CHUNK = 1_000
_NAMED = 500

Row = TypeVar("Row", Label, Judgement)

Scores = Iterator[tuple[Pair, float, str]]


def rescore(project: Project, *, pairs: Collection[int] | None = None) -> int:
    """Bring the scores of the open pairs up to date, all of them or these; returns how many changed.

    Of single pairs their likeness to the judge's mistakes is not looked at: it needs all texts.
    """
    found = Pair.objects.filter(project=project, closed=False, part=Pair.Part.TRAIN, audit=False)
    if pairs is not None:
        prompts = Pair.objects.filter(pk__in=pairs).values("prompt_hash")
        of_prompt = project.routing == Project.Routing.COVERAGE
        found = found.filter(prompt_hash__in=prompts) if of_prompt else found.filter(pk__in=pairs)
    changed = 0
    without_texts = found.only("prompt_hash", "route_score", "route_reason").order_by("pk")
    scored = _scores(project, list(without_texts), whole=pairs is None)
    batch: list[Pair] = []
    for pair, score, reason in scored:
        if (pair.route_score, pair.route_reason) != (score, reason):
            pair.route_score, pair.route_reason = score, reason
            batch.append(pair)
    for start in range(0, len(batch), _CHUNK):
        changed += Pair.objects.bulk_update(batch[start : start + _CHUNK], ["route_score", "route_reason"])
    return changed


def _scores(project: Project, pairs: list[Pair], *, whole: bool) -> Scores:
    if project.routing == Project.Routing.RANDOM:
        return ((pair, 0.0, "") for pair in pairs)
    if project.routing == Project.Routing.COVERAGE:
        return _coverage(project, pairs)
    return _uncertainty(project, pairs, whole=whole)


def _coverage(project: Project, pairs: list[Pair]) -> Scores:
    """Prompts with the fewest labelled pairs first."""
    standing = Label.objects.filter(pair=OuterRef("pk"), withdrawn=False)
    labelled = Pair.objects.filter(Exists(standing), project=project)
    counts = Counter(labelled.values_list("prompt_hash", flat=True))
    for pair in pairs:
        n = counts[pair.prompt_hash]
        yield pair, round(1 / (1 + n), 6), FEW_LABELS if n else NO_LABEL


@dataclass(frozen=True)
class _Known:
    """What is known of all pairs that are scored, by pair."""

    said: dict[int, tuple[float, bool]] = field(default_factory=dict)
    before: dict[int, float] = field(default_factory=dict)
    votes: dict[int, list[str]] = field(default_factory=dict)
    likeness: dict[str, float] = field(default_factory=dict)


def _uncertainty(project: Project, pairs: list[Pair], *, whole: bool) -> Scores:
    """By the engine's rule. A judge below the trust floor has no say: only what people said counts then."""
    ids = {pair.pk for pair in pairs}
    champion = judging.champion_of(project)
    votes: dict[int, list[str]] = defaultdict(list)
    standing = Label.objects.filter(pair__project=project, withdrawn=False).order_by("pk")
    for pair_id, choice in _few(standing, ids).values_list("pair_id", "final_choice"):
        votes[pair_id].append(choice)
    known = _Known(votes=votes)
    if champion is not None and champion.trusted:
        known = _Known(said=_said(champion, ids), before=_said_before(project, champion, ids), votes=votes)
        if whole:
            first = sorted(pairs, key=lambda pair: -routing.worth(_evidence(pair, known)).score)[:MOST_COMPARED]
            known = replace(known, likeness=_likeness(project, champion, first))
    for pair in pairs:
        found = routing.worth(_evidence(pair, known))
        if pair.pk in known.said:
            yield pair, round(found.score, 6), found.reason
        elif len(set(known.votes.get(pair.pk, ()))) > 1:
            yield pair, round(found.score, 6), routing.ANNOTATORS
        else:
            yield pair, 0.0, ""


def _evidence(pair: Pair, known: _Known) -> routing.Evidence:
    p_a, consistent = known.said.get(pair.pk, (None, True))
    return routing.Evidence(
        p_a=p_a,
        consistent=consistent,
        p_a_before=known.before.get(pair.pk),
        votes=tuple(known.votes.get(pair.pk, ())),
        likeness=known.likeness.get(str(pair.pk), 0.0),
    )


def _said(deployment: Deployment, ids: Collection[int], *, where: Q | None = None) -> dict[int, tuple[float, bool]]:
    """By pair: the calibrated P(A) of the method that counts, and whether both orders agree.

    A judge whose verdict could not be read is unsure, but does not flip.
    """
    judged = Judgement.objects.filter(where or Q(), judge=deployment.judge_id, method=deployment.counts)
    judged = _few(judged.filter(pair__project=deployment.project_id), ids)
    said = judged.values_list("pair_id", "p_a", "consistent", "samples", "unparsed")
    return {
        pair: (trust.calibrated(deployment, p_a), consistent or 0 < samples <= unparsed)
        for pair, p_a, consistent, samples, unparsed in said
        if pair in ids
    }


def _few(rows: QuerySet[Row], ids: Collection[int]) -> QuerySet[Row]:
    """Only the rows of these pairs, where they are few enough to be named in a query."""
    return rows.filter(pair__in=ids) if len(ids) <= _NAMED else rows


def _said_before(project: Project, champion: Deployment, ids: Collection[int]) -> dict[int, float]:
    """What the champion before said, if it was trusted: two judges that guess disagree for no reason.

    A later judge that was rolled back is not the one before: with the champion its routing returns.
    """
    retired = Deployment.objects.filter(project=project, state=Deployment.State.RETIRED, trusted=True)
    former = retired.filter(pk__lt=champion.pk).order_by("-promoted_at").first()
    if former is None:
        return {}
    return {pair: p_a for pair, (p_a, _) in _said(former, ids, where=WITH_VERDICT).items()}


def _likeness(project: Project, champion: Deployment, pairs: list[Pair]) -> dict[str, float]:
    """How much each pair is like those of which people say that the judge was wrong; nothing without the encoder."""
    if not neighbours.available():
        return {}
    rows = datasets.training_rows(project)
    said = _said(champion, {row.pair.pk for row in rows}, where=WITH_VERDICT)
    judged = [row for row in rows if row.pair.pk in said]
    if len(judged) < LEAST_NEIGHBOURS:
        return {}
    wrong = {str(row.pair.pk): ("a" if said[row.pair.pk][0] >= 0.5 else "b") != row.choice for row in judged}
    texts = {str(row.pair.pk): _text(row.pair) for row in judged}
    texts |= {str(pk): _text(pair) for pk, pair in Pair.objects.in_bulk([pair.pk for pair in pairs]).items()}
    return neighbours.likeness(texts, wrong)


def _text(pair: Pair) -> str:
    return "\n".join([*(str(message["content"]) for message in pair.prompt), pair.response_a, pair.response_b])
