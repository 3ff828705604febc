"""A project in the middle of its work, for the pictures: the demo's pairs, a judge half-way, flags and runs."""

import random
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from labeling.models import (
    Claim,
    Deployment,
    Flag,
    ImportBatch,
    Judgement,
    JudgeTrial,
    JudgeVersion,
    JudgingRequest,
    Member,
    Pair,
    Project,
    Rationale,
    TrainingRun,
    WorkerHeartbeat,
)
from labeling.services import flags, trials, trust
from labeling.services.demo import GUIDELINES
from labeling.services.imports import import_file
from tests import factories

REASONS = """The first response answers the question and keeps to the facts that the prompt gives. \
The second is longer, but repeats itself and leaves the **last step** out, so that a person who follows it \
would not get there.

Better response: {verdict}"""

METRICS = {
    "champion": {"n": 41, "accuracy": 0.561, "accuracy_low": 0.415, "accuracy_high": 0.707, "consistency": 0.22},
    "candidate": {"n": 41, "accuracy": 0.78, "accuracy_low": 0.659, "accuracy_high": 0.902, "consistency": 0.85},
}
GATE = {
    "promote": True,
    "difference": 0.219,
    "low": 0.049,
    "high": 0.39,
    "detectable": 0.17,
    "conditions": [
        {"met": True, "text": "The candidate is better with probability 0.99 (0.80 is asked)."},
        {"met": True, "text": "The same winner in both orders: 85% (champion 22%)."},
        {"met": True, "text": "Answers without a verdict: 0.0% (champion 0.0%)."},
    ],
}


def build(manager: User) -> Project:
    """The project `demo`, managed by this person."""
    project = Project.objects.create(slug="demo", name="Everyday questions", guidelines=GUIDELINES, audit_share=0.0)
    Member.objects.create(project=project, user=manager, role=Member.Role.MANAGER)
    with Path(settings.BASE_DIR, "demo", "pairs.jsonl").open("rb") as file:
        import_file(project, file=file, filename="pairs.jsonl")
    champion = _judge(project)
    _judge_pairs(project, champion)
    _measured(project, champion)
    _flags(project)
    _runs(project, champion, manager)
    _rejected(project)
    for name in ("default", "files", "judge", "train"):
        now = timezone.now()
        WorkerHeartbeat.objects.create(name=f"{name}@laptop", queues=name, pid=100, started_at=now, seen_at=now)
    return project


CRITERIA = [
    {"name": "Correct", "about": "Are the facts right?"},
    {"name": "Helpful", "about": "Does it do what was asked?"},
    {"name": "Tone", "about": ""},
]


def hold(user: User, pair: Pair) -> None:
    """Make this the pair on the user's screen."""
    Claim.objects.filter(annotator=user).delete()
    factories.ClaimFactory.create(pair=pair, annotator=user, swapped=False)


def judge_pair(pair: Pair, judge: JudgeVersion, p_a: float, *, swapped_p_a: float | None = None) -> None:
    """A judgement by both methods with two rationales."""
    back = p_a if swapped_p_a is None else swapped_p_a
    fields = {
        "p_a": (p_a + back) / 2,
        "p_a_straight": p_a,
        "p_a_swapped": back,
        "consistent": (p_a > 0.5) == (back > 0.5),
    }
    factories.JudgementFactory.create(pair=pair, judge=judge, method="score", **fields)
    reasoned = factories.JudgementFactory.create(pair=pair, judge=judge, method="cot", **fields)
    for swapped, p in ((False, p_a), (True, back)):
        verdict = "a" if p > 0.5 else "b"
        shown_first = (verdict == "a") != swapped
        text = REASONS.format(verdict="the first" if shown_first else "the second")
        Rationale.objects.create(judgement=reasoned, swapped=swapped, sample=0, text=text, p_a=p, verdict=verdict)


def _judge(project: Project) -> Deployment:
    first = Deployment.objects.select_related("judge").get(project=project)
    base = first.judge
    Deployment.objects.filter(pk=first.pk).update(state=Deployment.State.RETIRED, measured=METRICS["champion"])
    JudgingRequest.objects.all().delete()
    judge = JudgeVersion.objects.create(
        name="star-dpo-1",
        method="star-dpo",
        parent=base,
        backend="scripted",
        base_model="x",
        prompt_version="1",
        prompt_hash="0",
    )
    return Deployment.objects.create(
        project=project,
        judge=judge,
        state=Deployment.State.CHAMPION,
        counts="cot",
        trusted=True,
        measured=METRICS["candidate"],
    )


def _judge_pairs(project: Project, champion: Deployment) -> None:
    draw = random.Random(7)
    for number, pair in enumerate(project.pairs.order_by("pk")):
        if number % 5 < 3:
            judge_pair(pair, champion.judge, _said(pair, draw))
        else:
            asked = JudgingRequest(
                pair=pair, judge=champion.judge, method="cot", priority=JudgingRequest.Priority.NEW_COT
            )
            asked.save()
    Judgement.objects.update(created_at=timezone.now(), seconds=1.4)


def _said(pair: Pair, draw: random.Random) -> float:
    """P(A) of a judge that mostly agrees with people, and the more the surer it is."""
    choices = list(pair.labels.values_list("choice", flat=True))
    sure = draw.choice([0.95, 0.9, 0.81, 0.74, 0.62])
    side = max(("a", "b"), key=choices.count)
    return sure if (side == "a") == (draw.random() < sure - 0.05) else round(1 - sure, 2)


def _measured(project: Project, champion: Deployment) -> None:
    """Labelled audit pairs by two models, and the champion's own figures on the hold-out."""
    labelled = project.pairs.filter(labels__isnull=False, part="")
    project.pairs.filter(pk__in=[pair.pk for pair in labelled.distinct() if pair.pk % 4 == 0]).update(audit=True)
    project.pairs.update(model_a="larch-8b", model_b="birch-3b")
    Project.objects.filter(pk=project.pk).update(wished_agreement=0.7)
    champion.project.refresh_from_db()
    trust.measure(champion)


def _flags(project: Project) -> None:
    """What the labels and judgements themselves raise, and one report."""
    for pair in project.pairs.filter(labels__isnull=False).distinct():
        flags.refresh(pair)
    odd = project.pairs.filter(flags__isnull=True)[0]
    detail = {"by": "nora", "comment": "The prompt asks for nothing."}
    Flag.objects.create(pair=odd, kind=Flag.Kind.REPORTED, detail=detail)


def _runs(project: Project, champion: Deployment, manager: User) -> None:
    base = champion.judge.parent
    assert base is not None
    started = timezone.now() - timedelta(hours=3)
    common = {"project": project, "requested_by": manager, "trigger": "button", "training_pairs": 132}
    measured = {who: {"gate": figures, "test": figures, "all": figures} for who, figures in METRICS.items()}
    TrainingRun.objects.create(
        **common,
        method="star-dpo",
        start=base,
        origin=base,
        candidate=champion.judge,
        holdout_pairs=82,
        state="promoted",
        message="star-dpo-1 is the new champion",
        progress=1,
        curve=_curve(60),
        metrics=measured,
        gate=GATE,
        yields=[
            {"iteration": 0, "right": 402, "wrong": 371, "unparsed": 19, "paired": 61, "all_right": 22, "all_wrong": 16}
        ],
        examples=[
            {"text": REASONS.format(verdict="the first"), "right": True, "verdict": "a"},
            {"text": REASONS.format(verdict="the second"), "right": False, "verdict": "b"},
        ],
        log="09:14:02 Sampling rationales\n09:21:40 118 of 132 questions gave a right and a wrong rationale\n"
        "09:34:11 Weights written as star-dpo-1\n09:36:50 star-dpo-1 is the new champion",
        started_at=started,
        finished_at=started + timedelta(minutes=22),
    )
    TrainingRun.objects.create(
        **common,
        method="genrm",
        start=champion.judge,
        origin=champion.judge,
        holdout_pairs=82,
        state="running",
        phase="training",
        message="Step 24 of 66",
        progress=0.31,
        curve=_curve(24),
        log="12:02:10 Starting to train\n12:02:31 Training on 132 pairs in both orders",
        started_at=timezone.now() - timedelta(minutes=2),
    )


def _curve(steps: int) -> list[dict[str, float]]:
    draw = random.Random(3)
    return [{"step": step, "loss": 0.2 + 0.5 * 0.95**step + draw.uniform(-0.03, 0.03)} for step in range(steps)]


def _rejected(project: Project) -> None:
    batch = ImportBatch.objects.create(
        project=project, filename="support-tickets.jsonl", sha256="1", imported=412, rejected=3, duplicates=8
    )
    for number, reason, excerpt in [
        (17, "response_b: is missing", '{"prompt": "Explain tides", "response_a": "Tides are'),
        (204, "not JSON: Expecting ',' delimiter at column 88", '{"prompt": "Plan a picnic" "response_a"'),
        (391, "response_a and response_b are the same text", '{"prompt": "Add 3 and 4", "response_a": "7", "resp'),
    ]:
        batch.rejected_lines.create(number=number, reason=reason, excerpt=excerpt)


def tried(project: Project, manager: User) -> JudgeTrial:
    """A trial of a judge on a server that has passed."""
    asked = trials.request_trial(
        project, backend="openai", model="Qwen/Qwen3-8B", url="http://127.0.0.1:8000/v1", by=manager
    )
    trial = trials.take(asked)
    assert trial is not None
    said = []
    for method, read, written, seconds in (("score", 612, 2, 0.21), ("cot", 655, 171, 1.87)):
        for number, pair in enumerate(trials.pairs_of(project)):
            straight, swapped = 0.81 - 0.2 * number, 0.74 - 0.2 * number
            row = {"pair": pair.pk, "method": method, "p_a": (straight + swapped) / 2, "p_a_straight": straight}
            row |= {"p_a_swapped": swapped, "consistent": number != 2, "samples": 4, "unparsed": 0, "made": "base"}
            row |= {"read": read, "tokens": read + written, "seconds": seconds}
            said.append({**row, "rationale": REASONS.format(verdict="A") if method == "cot" else ""})
    note = "A judge on a server cannot be trained here: its weights are not at hand."
    trials.finish(trial, said, trainable=False, note=note)
    return trial
