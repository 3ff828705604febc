"""When an annotator's next pair should be a gold question. Knows no other lane, and not whether one is left."""

from django.contrib.auth.models import User
from django.utils.crypto import salted_hmac

from labeling.models import Claim, Project


def is_due(project: Project, annotator: User) -> bool:
    """Whether the next pair is the gold question of its window, or one that was owed before.

    Of each ``gold_every`` pairs that the annotator is served one is gold. Its place is drawn anew for every window,
    from the gold question of the window before, so that nobody can count along.
    """
    every = project.gold_every
    if not every:
        return False
    served = Claim.objects.filter(annotator=annotator, pair__project=project)
    served = served.exclude(reason="")  # pairs that were only seen in a queue have none
    last = list(served.order_by("-pk").values_list("pk", "pair__gold")[: 4 * every])
    golden = [(since, claim) for since, (claim, known) in enumerate(last) if known]
    (since, newest), (_, before) = [*golden, (len(last), 0), (0, 0)][:2]
    place = _place(project, annotator, newest)
    if golden:
        place += every - 1 - _place(project, annotator, before)  # so many were left of the window before
    return since >= place


def _place(project: Project, annotator: User, before: int) -> int:
    """Where in its window a gold question comes, by the claim of the one before; 0 stands for none."""
    drawn = salted_hmac("labeling.gold", f"{project.pk}-{annotator.pk}-{before}").hexdigest()
    return int(drawn, 16) % (project.gold_every or 1)
