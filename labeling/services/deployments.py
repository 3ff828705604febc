"""Which judge reigns in a project and which ones judge beside it. Every change is atomic and audited.

A new champion takes over at one moment: with the change of state the flags and labels that the former one gave are
withdrawn. Its judgements stay; the new champion's own flags, labels and routing follow as it judges.
"""

from datetime import datetime, timedelta
from itertools import chain, count
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from genrm_engine.evaluation import gate as gates
from genrm_engine.prompts import PROMPT_VERSION, prompt_hash
from genrm_engine.starter import FOLDERS
from genrm_engine.types import as_choice
from labeling import jobs
from labeling.errors import CannotReign
from labeling.models import Deployment, JudgeVersion, Pair, Project
from labeling.models.judges import Method
from labeling.services import audit, datasets, flags, judge_labels, judging, trust

State = Deployment.State
LONGEST_REASON = 500
FOLLOW_UP_AFTER = timedelta(minutes=2)
"""How long the sweep leaves a change of reign or of trust to the job that was sent for it."""


def first_judge(*, backend: str, model: str) -> JudgeVersion:
    """The judge that new projects begin with: an embedded one, a folder, or a scripted one.

    A name is not enough to know it by: a manager may have connected a server's judge that is called the same.
    """
    weights = FOLDERS.get(model, model)
    name = weights.rstrip("/").rsplit("/", 1)[-1] if backend == "transformers" else model
    same = {"backend": backend, "base_model": model, "weights": weights}
    made = {
        "method": "base",
        "prompt_version": PROMPT_VERSION,
        "prompt_hash": prompt_hash(),
        "trainable": backend == "transformers",
    }
    names = chain([name[:100]], (f"{name[:90]}-{number}" for number in count(2)))
    judges = (JudgeVersion.objects.get_or_create(name=each, defaults={**same, **made})[0] for each in names)
    return next(judge for judge in judges if all(getattr(judge, field) == value for field, value in same.items()))


@transaction.atomic
def ensure_champion(project: Project) -> Deployment:
    """The project's champion; a project that has none gets the installation's first judge and all its pairs judged."""
    champion = judging.champion_of(project)
    if champion is not None:
        return champion
    judge = first_judge(backend=settings.ENV.judge_backend, model=settings.ENV.judge_model)
    deployment = Deployment.objects.create(
        project=project, judge=judge, state=Deployment.State.CHAMPION, counts=Method.SCORE, promoted_at=timezone.now()
    )
    judging.request_project(project)
    return deployment


@transaction.atomic
def promote(
    project: Project,
    judge: JudgeVersion,
    *,
    counts: str,
    gate: dict[str, Any],
    by: User | None,
    because: str = "",
    beaten: JudgeVersion | None = None,
) -> Deployment:
    """Crown the judge: the old champion retires with its flags and labels, and every pair is judged again.

    ``because`` is why a person did not follow the gate; an earlier reason stands until the gate says yes. Raises
    CannotReign if another judge reigns by now than the one that was ``beaten``.
    """
    _lock(project)
    champion = judging.champion_of(project)
    if beaten is not None and (champion is None or champion.judge_id != beaten.pk):
        reigns = champion.judge if champion else "no judge"
        raise CannotReign(f"{judge} was compared with {beaten}, but {reigns} reigns by now: no comparison holds.")
    retired = _dethrone(project)
    overruled = {"overruled_because": because, "overruled_by": by if because else None}
    deployment = _deploy(
        project,
        judge,
        State.CHAMPION,
        counts=counts,
        gate=gate,
        shadow_since=None,
        promoted_at=timezone.now(),
        follow_up=timezone.now(),
        **(overruled if because or gate.get("promote") else {}),
    )
    former = str(retired.judge) if retired else ""
    audit.record("judge.promote", deployment, by=by, former=former, gate=gate, because=because)
    judging.forget_requests(project, judge.pk)  # as a shadow it was to judge when nothing else waited
    _follow(project)
    return deployment


@transaction.atomic
def reject(project: Project, judge: JudgeVersion, *, counts: str, gate: dict[str, Any], by: User | None) -> Deployment:
    """Keep the candidate for the record; the champion stays."""
    deployment = _deploy(project, judge, State.REJECTED, counts=counts, gate=gate)
    audit.record("judge.reject", deployment, by=by, gate=gate)
    return deployment


@transaction.atomic
def crown(deployment: Deployment, *, by: User, because: str = "") -> Deployment:
    """Make a version champion by hand. Raises CannotReign where it may not, or where the gate is overruled silently.

    A version that the gate did not promote, and that has never reigned, needs a reason, which is kept.
    """
    _lock(deployment.project)
    deployment = Deployment.objects.select_for_update(no_key=True).get(pk=deployment.pk)
    overruled = needs_reason(deployment, judging.champion_of(deployment.project))
    because = because.strip()
    if deployment.state == State.CHAMPION:
        raise CannotReign(f"{deployment.judge} is the champion already.")
    if hasattr(deployment.judge, "pruned"):
        raise CannotReign(f"The weights of {deployment.judge} were deleted: it cannot judge any more.")
    if len(because) > LONGEST_REASON:
        raise CannotReign(f"because: at most {LONGEST_REASON} characters, not {len(because)}.")
    if overruled and not because:
        raise CannotReign(f"The gate did not promote {deployment.judge}: say why it is to reign all the same.")
    return promote(
        deployment.project,
        deployment.judge,
        counts=deployment.counts,
        gate=deployment.gate,
        by=by,
        because=because if overruled else "",
    )


def needs_reason(deployment: Deployment, champion: Deployment | None) -> bool:
    """Whether to crown it overrules the gate: that found it better than no judge that reigns now, and it never reigned.

    A shadow's comparison holds for the champion that it was compared with, and no other.
    """
    if deployment.promoted_at:
        return False
    weighed = deployment.state == State.SHADOW or bool(deployment.weighed_of)
    holds = not weighed or (champion is not None and deployment.weighed_of[:1] == [champion.judge_id])
    return not (deployment.gate.get("promote") and holds)


def former_champion(project: Project) -> Deployment | None:
    """The version that a roll-back restores: of those that have reigned before the champion the last one."""
    reigned = Deployment.objects.select_related("judge").filter(
        project=project, promoted_at__isnull=False, judge__pruned__isnull=True
    )
    reigned = reigned.exclude(state=State.CHAMPION)
    return reigned.order_by("-retired_at", "-pk").first()


def roll_back(project: Project, *, by: User) -> Deployment:
    """Restore the former champion with what it said. Raises CannotReign if there is none."""
    former = former_champion(project)
    if former is None:
        raise CannotReign("There is no former champion to return to.")
    return crown(former, by=by)


@transaction.atomic
def shadow(deployment: Deployment, *, by: User | None) -> Deployment:
    """Let a version judge beside the champion, and be weighed against it. Raises CannotReign for the champion."""
    changed = (
        Deployment.objects.filter(pk=deployment.pk)
        .exclude(state__in=[State.CHAMPION, State.SHADOW])
        .update(state=State.SHADOW, shadow_since=timezone.now(), weighed_of=[])
    )
    if not changed or hasattr(deployment.judge, "pruned"):
        raise CannotReign(
            f"{deployment.judge} cannot judge beside the champion: it reigns, does so already or is gone."
        )
    deployment.refresh_from_db()
    audit.record("judge.shadow", deployment, by=by)
    judging.request_project(deployment.project)
    return deployment


@transaction.atomic
def retire(deployment: Deployment, *, by: User) -> None:
    """Let a version rest; what it said stays. Raises CannotReign for the champion: another one must take over first."""
    others = Deployment.objects.filter(pk=deployment.pk).exclude(state__in=[State.CHAMPION, State.RETIRED])
    if not others.update(state=State.RETIRED, shadow_since=None):
        raise CannotReign(f"{deployment.judge} reigns or rests already: promote another version, or roll back.")
    judging.drop_requests(deployment.project, deployment.judge_id)
    audit.record("judge.retire", deployment, by=by)


def connect(project: Project, judge: JudgeVersion, *, counts: str, by: User) -> Deployment:
    """Bring a judge that was not trained here into the project: as a shadow, until the gate or a person promotes it."""
    with transaction.atomic():
        deployment, created = Deployment.objects.get_or_create(
            project=project, judge=judge, defaults={"state": State.RETIRED, "counts": counts}
        )
        audit.record("judge.connect", deployment, by=by)
        return shadow(deployment, by=by) if created else deployment


def weigh(deployment: Deployment) -> bool:
    """Compare a shadow with the champion on the gate part, once both have judged it; True if that was done now.

    Each by the method that counts for it. Pairs that one of the two cannot judge are left out, and counted: nothing
    waits for them. The decision is only written down: a person promotes a shadow.
    """
    champion = judging.champion_of(deployment.project)
    if champion is None:
        return False
    compared = [champion.judge_id, *trust.fingerprint(champion), *trust.fingerprint(deployment)]
    if deployment.weighed_of == compared:
        return False
    rows = [row for row in datasets.holdout_rows(deployment.project) if row.pair.part == Pair.Part.GATE]
    if not rows:
        return False
    old, new = trust.counted(champion, rows), trust.counted(deployment, rows)
    both = {one.pair_id for one in old} & {one.pair_id for one in new}
    left_out = len(rows) - len(both)
    pairs = [row.pair.pk for row in rows]
    if not both or (left_out and any(judging.still_to_judge(one, pairs) for one in (champion, deployment))):
        return False
    decision = gates.decide(
        old,
        new,
        {str(row.pair.pk): as_choice(row.choice) for row in rows},
        {str(row.pair.pk): row.pair.group_key for row in rows},
        gold={str(row.pair.pk): as_choice(row.pair.gold) for row in rows if row.pair.gold in ("a", "b")},
        lengths={str(row.pair.pk): (len(row.pair.response_a), len(row.pair.response_b)) for row in rows},
    )
    still = Deployment.objects.filter(pk=deployment.pk, state=State.SHADOW)
    return bool(still.update(gate={**decision.to_json(), "left_out": left_out}, weighed_of=compared))


def keep(project: Project, judge: JudgeVersion, *, counts: str) -> Deployment:
    """List a version that no gate has seen, because its run ended before: it rests, and its weights may be deleted."""
    deployment, _created = Deployment.objects.get_or_create(
        project=project, judge=judge, defaults={"state": State.RETIRED, "counts": counts}
    )
    return deployment


def counts_of(project: Project, judge: JudgeVersion) -> str | None:
    """The method by which the judge's verdicts count in the project; None if it was never there."""
    known = Deployment.objects.filter(project=project, judge=judge)
    return known.values_list("counts", flat=True).first()


def follow_up_again(champion: Deployment) -> bool:
    """Send again what brings the champion's labels, flags and routing up to date, if it has waited too long."""
    if champion.follow_up is None or champion.follow_up > timezone.now() - FOLLOW_UP_AFTER:
        return False
    Deployment.objects.filter(pk=champion.pk).update(follow_up=timezone.now())
    jobs.send(jobs.REFRESH_PROJECT, {"project_id": champion.project_id})
    return True


def still_following(champion: Deployment) -> None:
    """Note that the job is at work, so that the sweep does not send it a second time beside it."""
    waiting = Deployment.objects.filter(pk=champion.pk, promoted_at=champion.promoted_at, follow_up__isnull=False)
    waiting.update(follow_up=timezone.now())


def followed_up(champion: Deployment) -> None:
    """Note that all of it is up to date, if it is still the reign for which that was asked."""
    Deployment.objects.filter(pk=champion.pk, promoted_at=champion.promoted_at).update(follow_up=None)


def labels_followed_up(project: Project, mark: str) -> None:
    """Note that the champion's labels are up to date, if nothing has been asked for since the mark was set."""
    marked = Deployment.objects.filter(project=project, state=State.CHAMPION, follow_up=datetime.fromisoformat(mark))
    marked.update(follow_up=None)


def _lock(project: Project) -> None:
    """Until the transaction ends: of two changes of reign the second waits, and finds what the first has done."""
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)


def _dethrone(project: Project) -> Deployment | None:
    """The champion retires: what it has not judged yet is dropped, its flags and labels are withdrawn."""
    retired = judging.champion_of(project)
    if retired is not None:
        Deployment.objects.filter(pk=retired.pk).update(state=State.RETIRED, retired_at=timezone.now())
        judging.drop_requests(project, retired.judge_id)
        flags.withdraw_judge(project)
        judge_labels.withdraw(project)
    return retired


def _follow(project: Project) -> None:
    """What a new champion brings about in the background."""
    judging.request_project(project)
    jobs.enqueue(jobs.REFRESH_PROJECT, project_id=project.pk)


def _deploy(project: Project, judge: JudgeVersion, state: str, **fields: Any) -> Deployment:
    deployment, _created = Deployment.objects.update_or_create(
        project=project, judge=judge, defaults={"state": state, **fields}
    )
    return deployment
