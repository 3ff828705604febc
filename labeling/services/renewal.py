"""The same judge begun anew, after the guidelines or criteria have changed: a version that has judged nothing yet.

Judgements are never written over, so another text needs another version. It judges the hold-out beside the champion
first, as every newcomer, and tells there what the new text is worth.
"""

from itertools import count

from django.contrib.auth.models import User
from django.db import transaction

from genrm_engine.prompts import PROMPT_VERSION, prompt_hash
from labeling.errors import CannotReign
from labeling.models import Deployment, JudgeEndpoint, JudgeVersion, Project
from labeling.services import audit, deployments, judging

SUFFIX = "-renewed"
READS_NO_TEXT = "bradley-terry"
"""A reward for each response by itself: of what a project has written it reads nothing."""


@transaction.atomic
def renew(deployment: Deployment, *, by: User) -> Deployment:
    """Let the version's model judge anew, beside the champion; returns the new version's deployment.

    Its weights and its server are those of the version, which is its parent. Raises CannotReign where the weights
    were deleted, where it would say the same again, and where this model judges beside the champion already.
    """
    project = Project.objects.select_for_update(no_key=True).get(pk=deployment.project_id)
    judge = JudgeVersion.objects.get(pk=deployment.judge_id)
    if hasattr(judge, "pruned"):
        raise CannotReign(f"The weights of {judge} were deleted: it cannot judge any more.")
    if judge.method == READS_NO_TEXT:
        raise CannotReign(f"{judge} reads neither guidelines nor criteria: it would say the same again.")
    beside = next((one.judge for one in judging.shadows_of(project) if _same_model(one.judge, judge)), None)
    if beside is not None:
        raise CannotReign(f"{beside} is the same model and judges beside the champion already: let it rest first.")
    renewed = JudgeVersion.objects.create(
        name=_free_name(judge),
        method=judge.method,
        parent=judge,
        backend=judge.backend,
        base_model=judge.base_model,
        weights=judge.weights,
        weights_sha256=judge.weights_sha256,
        prompt_version=PROMPT_VERSION,
        prompt_hash=prompt_hash(),
        trainable=judge.trainable,
    )
    endpoint = JudgeEndpoint.objects.filter(judge=judge).first()
    if endpoint is not None:
        JudgeEndpoint.objects.create(judge=renewed, url=endpoint.url, sealed_key=endpoint.sealed_key)
    found = deployments.connect(project, renewed, counts=deployment.counts, by=by)
    audit.record("judge.renew", found, by=by, judge=judge.name)
    return found


def first_of(judge: JudgeVersion) -> JudgeVersion:
    """The version that was begun anew, maybe more than once, until it became this one; itself where it never was."""
    while judge.parent is not None and judge.renews:
        judge = judge.parent
    return judge


def _same_model(one: JudgeVersion, other: JudgeVersion) -> bool:
    return one.same_model(other) and _url(one) == _url(other)


def _url(judge: JudgeVersion) -> str:
    return JudgeEndpoint.objects.filter(judge=judge).values_list("url", flat=True).first() or ""


def _free_name(judge: JudgeVersion) -> str:
    """The first one's name with the suffix, and from the second time on a number; one project at a time gets one."""
    first = JudgeVersion.objects.select_for_update(no_key=True).get(pk=first_of(judge).pk)
    name = f"{first.name[:80]}{SUFFIX}"
    taken = set(JudgeVersion.objects.filter(name__startswith=name).values_list("name", flat=True))
    return name if name not in taken else next(each for n in count(2) if (each := f"{name}-{n}") not in taken)
