"""The settings of a project that managers change while people label. Knows no form."""

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from labeling import jobs
from labeling.errors import SettingsMoved
from labeling.models import Deployment, Project
from labeling.services import audit, claims, consensus, judging

FOLLOWS = {
    "routing": jobs.ROUTE,
    "consensus_method": jobs.FIT_CONSENSUS,
    "judge_labels": jobs.JUDGE_LABELS,
    "wished_agreement": jobs.REFRESH_PROJECT,
    "overlap": jobs.REFRESH_PROJECT,
}
"""What is brought up to date in the background after a setting has changed."""

FOLLOWED_UP = FOLLOWS.keys() - {"consensus_method"}
"""What a refresh of the project brings up to date too. That a fit is missing the sweep sees by itself."""


@transaction.atomic
def change_settings(project: Project, *, by: User, seen: Project | None = None, **wanted: object) -> list[str]:
    """Set the fields that differ from what is stored, and say in the audit trail from what to what.

    Raises SettingsMoved if one of the wanted fields is no longer as ``seen``, the row that its new value was chosen by.
    Returns the names of the fields that changed. Another overlap means that other pairs have all their labels; after
    the commit the refresh looks at those again that were labelled or imported meanwhile.
    """
    current = Project.objects.select_for_update(no_key=True).get(pk=project.pk)  # lets an import end
    if seen is not None and any(getattr(current, name) != getattr(seen, name) for name in wanted):
        raise SettingsMoved
    changes = {
        name: {"from": getattr(current, name), "to": value}
        for name, value in wanted.items()
        if getattr(current, name) != value
    }
    if not changes:
        return []
    for name, change in changes.items():
        setattr(current, name, change["to"])
    current.save(update_fields=list(changes))
    audit.record("project.settings", current, by=by, changes=changes)
    if "overlap" in changes:
        claims.reopen(current)
    if "consensus_method" in changes:
        consensus.outdate_fit(current)
    if "samples_per_order" in changes:
        judging.follow_samples(current)
    if FOLLOWED_UP & changes.keys():  # the sweep makes up for a job that is lost with the broker
        champion = Deployment.objects.filter(project=current, state=Deployment.State.CHAMPION)
        champion.update(follow_up=timezone.now())
    for job in {FOLLOWS[name] for name in FOLLOWS.keys() & changes.keys()}:
        jobs.enqueue(job, project_id=current.pk)
    return list(changes)
