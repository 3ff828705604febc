"""Which labels train and which measure: blind first verdicts of people; hold-out groups and audit pairs never train."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from genrm_engine.types import LabelledPair
from labeling.models import Label, Pair, Project
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
    return _rows(project, Q(pair__part=Pair.Part.TRAIN, pair__audit=True))


def holdout_rows(project: Project) -> list[LabelledRow]:
    """Hold-out pairs whose blind consensus is A or B, in a fixed order. Ties measure agreement elsewhere, not here."""
    return _rows(project, ~Q(pair__part=Pair.Part.TRAIN))


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
