"""Where the judge labels alone: pairs no person has labelled, if the project wants it and the judge keeps the wish."""

from collections.abc import Collection, Iterator, Sequence

from django.db import transaction
from django.db.models import Exists, OuterRef

from labeling.models import Consensus, Deployment, Judgement, Label, Pair, Project
from labeling.models.judges import WITH_VERDICT
from labeling.services import trust
from labeling.services.claims import close_settled
from labeling.services.judging import champion_of

Verdicts = dict[int, tuple[str, float, int]]
"""By pair: the judge's choice, its calibrated confidence, and which judge it is."""

Method = Consensus.Method
_CHUNK = 5_000
_WRITTEN = ["choice", "confidence", "method", "judge", "labels", "updated_at"]


@transaction.atomic
def apply(project: Project, *, pairs: Collection[int] | None = None) -> int:
    """Bring the judge's own labels up to date, for all pairs or for these; returns how many stand.

    Hold-out and audit pairs always go to people. A label of the judge is a consensus of its own method, which a
    person's label replaces; it never trains and never measures a judge.
    """
    written = Consensus.objects.filter(pair__project=project, method=Method.JUDGE)
    champion = champion_of(project)
    if pairs is not None:
        written = written.filter(pair__in=pairs)
    if not project.judge_labels and not written.exists():
        return 0
    wanted = _verdicts(project, champion, pairs) if champion and project.judge_labels else {}
    before = {row.pair_id: row for row in written}
    for keys in _chunks([row.pk for pair, row in before.items() if pair not in wanted]):
        Consensus.objects.filter(pk__in=keys).delete()
    changed = [
        Consensus(pair_id=pair, choice=choice, confidence=confidence, method=Method.JUDGE, judge_id=judge, labels=0)
        for pair, (choice, confidence, judge) in wanted.items()
        if pair not in before or (before[pair].choice, before[pair].confidence, before[pair].judge_id) != wanted[pair]
    ]
    Consensus.objects.bulk_create(
        changed, batch_size=500, update_conflicts=True, unique_fields=["pair"], update_fields=_WRITTEN
    )
    for keys in _chunks(sorted(set(before) ^ set(wanted))):
        close_settled(Pair.objects.filter(pk__in=keys))
    return len(wanted)


@transaction.atomic
def withdraw(project: Project) -> int:
    """Take back every label of a judge, at once: it no longer reigns. Returns how many there were."""
    written = Consensus.objects.filter(pair__project=project, method=Method.JUDGE)
    pairs = list(written.values_list("pair_id", flat=True))
    written.delete()
    for keys in _chunks(pairs):
        close_settled(Pair.objects.filter(pk__in=keys))
    return len(pairs)


def _chunks(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    """Few enough keys at a time for one statement."""
    return (keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK))


def _verdicts(project: Project, champion: Deployment, pairs: Collection[int] | None) -> Verdicts:
    """What the champion says of the pairs that nobody has labelled, where it is sure enough."""
    threshold = trust.labels_alone(champion)
    if threshold is None:
        return {}
    standing = Label.objects.filter(pair=OuterRef("pair"), withdrawn=False)
    made = Judgement.objects.filter(WITH_VERDICT, judge=champion.judge_id, method=champion.counts)
    said = made.filter(
        ~Exists(standing),
        pair__project=project,
        pair__part=Pair.Part.TRAIN,
        pair__audit=False,
        pair__ambiguous=False,
        pair__extra_labels=0,
    )
    if pairs is not None:
        said = said.filter(pair__in=pairs)
    found: Verdicts = {}
    for pair, p_a in said.values_list("pair_id", "p_a").iterator(chunk_size=2_000):
        p = trust.calibrated(champion, p_a)
        if max(p, 1 - p) >= threshold:
            found[pair] = ("a" if p >= 0.5 else "b", max(p, 1 - p), champion.judge_id)
    return found
