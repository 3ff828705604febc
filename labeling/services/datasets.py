"""Which labels train and which measure: blind first verdicts of people; hold-out groups and audit pairs never train.

What a judge has trained on already is known pair by pair, along its line of ancestors.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from genrm_engine.types import LabelledPair
from labeling import jobs
from labeling.models import JudgeVersion, Label, Pair, Project, TrainedPair, TrainingRun
from labeling.services.consensus import majority


@dataclass(frozen=True)
class LabelledRow:
    """A pair with the consensus of its blind first verdicts."""

    pair: Pair
    choice: str
    votes: int
    share: float

    def to_engine(self) -> dict[str, Any]:
        """The row as the engine's files hold it."""
        row: dict[str, Any] = {
            "id": str(self.pair.pk),
            "prompt": self.pair.prompt,
            "response_a": self.pair.response_a,
            "response_b": self.pair.response_b,
            "group": self.pair.group_key,
            "choice": self.choice,
            "weight": round(self.share, 4),
        }
        return {**row, "gold": self.pair.gold} if self.pair.gold in ("a", "b") else row

    def to_labelled(self) -> LabelledPair:
        """The row as the engine's figures read it."""
        return LabelledPair.from_json(self.to_engine())


def blind_labels(project: Project) -> QuerySet[Label]:
    """Labels that were given before the judge was shown; adjudications are not among them."""
    return Label.objects.filter(pair__project=project, blind=True, withdrawn=False).exclude(
        source=Label.Source.ADJUDICATION
    )


def training_rows(project: Project) -> list[LabelledRow]:
    """Pairs that may train whose blind consensus is A or B, in a fixed order: not of the hold-out, not of the audit.

    A pair that an adjudicator called ambiguous teaches nothing either.
    """
    return _rows(project, Q(pair__part=Pair.Part.TRAIN, pair__audit=False, pair__ambiguous=False))


def audit_rows(project: Project) -> list[LabelledRow]:
    """Audit pairs (drawn at random, never trained on) whose blind consensus is A or B, in a fixed order."""
    return _rows(project, Q(pair__audit=True))


def holdout_rows(project: Project) -> list[LabelledRow]:
    """Hold-out pairs whose blind consensus is A or B, in a fixed order. Ties measure agreement elsewhere, not here."""
    return _rows(project, ~Q(pair__part=Pair.Part.TRAIN))


def trained_by(judge: JudgeVersion, project: Project) -> set[int]:
    """The project's pairs that the judge or one of its ancestors has trained on."""
    line = TrainingRun.objects.filter(project=project, candidate__in=ancestry(judge))
    return set(TrainedPair.objects.filter(run__in=line).values_list("pair_id", flat=True))


def ancestry(judge: JudgeVersion) -> list[JudgeVersion]:
    """The judge, its parent and so on, to the one that was not trained here."""
    found = [judge]
    while found[-1].parent is not None:
        found.append(found[-1].parent)
    return found


def refresh_gate(project: Project) -> int:
    """Let audit groups that nothing was ever trained on join the gate part; returns how many groups did.

    Each decision of the gate wears its labels a little: the champion has been chosen by them. Audit pairs are drawn
    at random too and never train, so that after a first decision those labelled by then are fresh evidence. Only
    groups of which no other labelled pair could train: nothing that teaches is taken away. What a judge alone has
    labelled or flagged there goes with the refresh that follows.
    """
    if not TrainingRun.objects.filter(project=project).exclude(gate={}).exists():
        return 0
    standing = Label.objects.filter(pair=OuterRef("pk"), blind=True, withdrawn=False)
    labelled = Pair.objects.filter(Exists(standing), project=project, part=Pair.Part.TRAIN)
    fresh = set(labelled.filter(audit=True).values_list("group_key", flat=True))
    teaching = set(labelled.filter(audit=False).values_list("group_key", flat=True))
    trained = set(TrainedPair.objects.filter(run__project=project).values_list("pair__group_key", flat=True))
    groups = fresh - teaching - trained
    Pair.objects.filter(project=project, group_key__in=groups).update(part=Pair.Part.GATE)
    if groups:
        jobs.enqueue(jobs.REFRESH_PROJECT, project_id=project.pk)
    return len(groups)


def _rows(project: Project, where: Q) -> list[LabelledRow]:
    votes: dict[int, list[str]] = defaultdict(list)
    for pair_id, choice in blind_labels(project).filter(where).order_by("pk").values_list("pair_id", "choice"):
        votes[pair_id].append(choice)
    pairs = Pair.objects.in_bulk(votes)
    rows = []
    for pair_id in sorted(votes):
        choice, share = majority(votes[pair_id])
        if choice in ("a", "b"):
            rows.append(LabelledRow(pairs[pair_id], choice, len(votes[pair_id]), share))
    return rows
