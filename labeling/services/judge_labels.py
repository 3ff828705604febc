"""Where the judge labels alone: pairs no person has labelled, if the project wants it and the judge keeps the wish."""

from collections.abc import Collection

from django.db import transaction
from django.db.models import Exists, OuterRef

from labeling.models import Consensus, Deployment, Judgement, Label, Pair, Project
from labeling.services import trust
from labeling.services.claims import close_settled
from labeling.services.judging import champion_of

Verdicts = dict[int, tuple[str, float]]
"""By pair: the judge's choice and its calibrated confidence."""


@transaction.atomic
def apply(project: Project, *, pairs: Collection[int] | None = None) -> int:
    """Bring the judge's own labels up to date, for all pairs or for these; returns how many stand.

    Hold-out and audit pairs always go to people. A label of the judge is a consensus of its own method, which a
    person's label replaces; it never trains and never measures a judge.
    """
    written = Consensus.objects.filter(pair__project=project, method=Consensus.Method.JUDGE)
    champion = champion_of(project)
    if pairs is not None:
        written = written.filter(pair__in=pairs)
    if not project.judge_labels and not written.exists():
        return 0
    wanted = _verdicts(project, champion, pairs) if champion and project.judge_labels else {}
    before = {row.pair_id: row for row in written}
    Consensus.objects.filter(pk__in=[row.pk for pair, row in before.items() if pair not in wanted]).delete()
    for pair, (choice, confidence) in wanted.items():
        assert champion is not None, "only a champion's verdicts are wanted"
        said = {"choice": choice, "confidence": confidence, "judge": champion.judge}
        if pair not in before or any(getattr(before[pair], name) != value for name, value in said.items()):
            Consensus.objects.update_or_create(
                pair_id=pair, defaults={**said, "method": Consensus.Method.JUDGE, "labels": 0}
            )
    touched = set(before) ^ set(wanted)
    close_settled(Pair.objects.filter(pk__in=touched), overlap=project.overlap)
    return len(wanted)


def _verdicts(project: Project, champion: Deployment, pairs: Collection[int] | None) -> Verdicts:
    """What the champion says of the pairs that nobody has labelled, where it is sure enough."""
    threshold = trust.labels_alone(champion)
    if threshold is None:
        return {}
    standing = Label.objects.filter(pair=OuterRef("pair"), withdrawn=False)
    said = Judgement.objects.filter(~Exists(standing), judge=champion.judge_id, method=champion.counts).filter(
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
            found[pair] = ("a" if p >= 0.5 else "b", max(p, 1 - p))
    return found
