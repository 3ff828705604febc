"""Other projects' labelled hold-out pairs, by which a project's judges are measured out of distribution.

The pairs are judged under their own project's guidelines, and only by judges that run here: another project's pairs
are never sent to a server that this project's managers connected. What is asked for, and when, is the business of
`judging`.
"""

from collections.abc import Collection

from django.contrib.auth.models import User
from django.db import transaction

from labeling.models import Pair, Project
from labeling.services import audit, judging
from labeling.services.consensus import majority
from labeling.services.datasets import LabelledRow


@transaction.atomic
def choose(project: Project, wanted: Collection[Project], *, among: Collection[Project], by: User) -> bool:
    """Measure the project's champions on these sets; returns whether anything changed.

    ``among`` is what was offered: sets that somebody else chose and that were not on offer stay as they are.
    """
    offered = {other.pk: other for other in among if other.pk != project.pk}
    chosen = {other.pk for other in wanted} & offered.keys()
    current = set(project.outside.values_list("pk", flat=True)) & offered.keys()
    added, removed = sorted(chosen - current), sorted(current - chosen)
    if not (added or removed):
        return False
    project.outside.add(*added)
    project.outside.remove(*removed)
    champion = judging.champion_of(project)
    if champion is not None:
        judging.drop_outside(project, champion.judge_id, [offered[pk] for pk in removed])
    audit.record(
        "project.outside",
        project,
        by=by,
        added=[offered[pk].slug for pk in added],
        removed=[offered[pk].slug for pk in removed],
    )
    judging.request_project(project)
    return True


def rows_of(other: Project) -> list[LabelledRow]:
    """The pairs of an outside set with the consensus of people's blind verdicts."""
    votes = judging.outside_votes(other)
    pairs = Pair.objects.in_bulk(votes)
    return [
        LabelledRow(pairs[pair_id], choice, len(choices), share)
        for pair_id, choices in votes.items()
        for choice, share in (majority(choices),)
    ]
