"""Which labels train and which measure: blind first verdicts of people; hold-out groups and audit pairs never train.

What a judge has trained on already is known pair by pair, along its line of ancestors.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.cache import cache
from django.db.models import Count, Exists, Max, OuterRef, Q, QuerySet, Sum

from genrm_engine.types import LabelledPair
from labeling import jobs
from labeling.models import JudgeVersion, Label, LabelRevision, Pair, Project, TrainedPair, TrainingRun
from labeling.services.consensus import majority

LEARN_SHARES = ("genrm", "bradley-terry")
"""Methods whose loss takes the share of people for either response; the others know a choice alone."""

MAY_TRAIN = Q(pair__part=Pair.Part.TRAIN, pair__audit=False, pair__ambiguous=False)
"""Labels of pairs that may train, but for those of groups that measure."""

KEPT_SECONDS = 24 * 3600


@dataclass(frozen=True)
class LabelledRow:
    """A pair with the consensus of its blind first verdicts.

    ``p_a`` is the share of people for A where a run learns that: their doubt is in it, and weighs the row no more.
    """

    pair: Pair
    choice: str
    votes: int
    share: float
    p_a: float | None = None

    def to_engine(self) -> dict[str, Any]:
        """The row as the engine's files hold it."""
        doubt = {"weight": round(self.share, 4)} if self.p_a is None else {"weight": 1.0, "p_a": round(self.p_a, 4)}
        row: dict[str, Any] = {
            "id": str(self.pair.pk),
            "prompt": self.pair.prompt,
            "response_a": self.pair.response_a,
            "response_b": self.pair.response_b,
            "group": self.pair.group_key,
            "choice": self.choice,
            **doubt,
        }
        return {**row, "gold": self.pair.gold} if self.pair.gold in ("a", "b") else row

    def to_labelled(self) -> LabelledPair:
        """The row as the engine's figures read it."""
        return LabelledPair.from_json(self.to_engine())


@dataclass(frozen=True, slots=True)
class Place:
    """A pair whose blind consensus is A or B, by its number: where it is, and nothing of its texts."""

    pair: int
    part: str
    group: str


def blind_labels(project: Project) -> QuerySet[Label]:
    """Labels that were given before the judge was shown; adjudications are not among them."""
    return Label.objects.filter(pair__project=project, blind=True, withdrawn=False).exclude(
        source=Label.Source.ADJUDICATION
    )


def training_rows(project: Project, *, shares: bool = False) -> list[LabelledRow]:
    """Pairs that may train whose blind consensus is A or B, in a fixed order; with people's ``shares`` where asked."""
    rows = _rows(project, MAY_TRAIN, shares=shares)
    measuring = measuring_groups(project)
    return [row for row in rows if row.pair.group_key not in measuring]


def learns_shares(run: TrainingRun) -> bool:
    """Whether the run learns people's shares where several labelled a pair, and not what most of them prefer."""
    return run.method in LEARN_SHARES and bool(run.config.get("soft_labels"))


def measuring_groups(project: Project) -> set[str]:
    """The groups of labelled hold-out pairs: nothing of them trains.

    What an import brought while its group joined the gate would be of the training part.
    """
    held_out = blind_labels(project).exclude(pair__part=Pair.Part.TRAIN)
    return set(held_out.values_list("pair__group_key", flat=True).distinct())


def holdout_rows(project: Project, *, undecided: bool = False) -> list[LabelledRow]:
    """Hold-out pairs whose blind consensus is A or B, in a fixed order; with those that are a tie where asked.

    A judge names one response always: what it is worth is measured where people prefer one, but how often its labels
    would be people's on all pairs.
    """
    return _rows(project, ~Q(pair__part=Pair.Part.TRAIN), undecided=undecided)


def trained_by(judge: JudgeVersion, project: Project) -> set[int]:
    """The project's pairs that the judge or one of its ancestors has trained on."""
    line = TrainingRun.objects.filter(project=project, candidate__in=ancestry(judge))
    return set(TrainedPair.objects.filter(run__in=line).values_list("pair_id", flat=True))


def how_many(project: Project) -> tuple[int, int]:
    """How many `training_rows` there are, and how many `holdout_rows` of the gate, without reading the pairs."""
    training, held_out = places(project)
    return len(training), sum(one.part == Pair.Part.GATE for one in held_out)


def how_many_lately(project: Project) -> tuple[int, int]:
    """The same for pages that ask every few seconds: the labels are read again only when they have changed."""
    key = f"how-many-{project.pk}-{project.created_at:%Y%m%d%H%M%S%f}-{_fingerprint(project)}"
    found: tuple[int, int] | None = cache.get(key)
    if found is None:
        found = how_many(project)
        cache.set(key, found, KEPT_SECONDS)
    return found


def places(project: Project) -> tuple[list[Place], list[Place]]:
    """Where the pairs of `training_rows` are, and those of `holdout_rows`, without reading the pairs."""
    votes: dict[int, list[str]] = defaultdict(list)
    found: dict[int, Place] = {}
    kept: set[int] = set()
    given = blind_labels(project).values_list(
        "pair_id", "choice", "pair__part", "pair__audit", "pair__ambiguous", "pair__group_key"
    )
    for pair_id, choice, part, audit, ambiguous, group in given:
        votes[pair_id].append(choice)
        found[pair_id] = Place(pair_id, part, group)
        if audit or ambiguous:
            kept.add(pair_id)
    decided = [found[pair_id] for pair_id, choices in votes.items() if majority(choices)[0] in ("a", "b")]
    measuring = {one.group for one in found.values() if one.part != Pair.Part.TRAIN}
    held_out = [one for one in decided if one.part != Pair.Part.TRAIN]
    training = [one for one in decided if one.part == Pair.Part.TRAIN and one.pair not in kept]
    return [one for one in training if one.group not in measuring], held_out


def ancestry(judge: JudgeVersion) -> list[JudgeVersion]:
    """The judge, its parent and so on, to the one that was not trained here."""
    found = [judge]
    while found[-1].parent is not None:
        found.append(found[-1].parent)
    return found


def lines() -> dict[int, list[int]]:
    """Every judge with its ancestors, by number, itself first."""
    parents = dict(JudgeVersion.objects.order_by().values_list("pk", "parent_id"))
    found = {judge: [judge] for judge in parents}
    for line in found.values():
        while (parent := parents[line[-1]]) is not None:
            line.append(parent)
    return found


def learnt_by(project: Project, known: Mapping[int, Sequence[int]] | None = None) -> dict[int, int]:
    """How many of the project's pairs each judge and its ancestors have trained on; a line learns a pair once.

    ``known`` are the ``lines``, where they have been read.
    """
    trained = TrainedPair.objects.filter(run__project=project, run__candidate__isnull=False)
    own = dict(trained.values_list("run__candidate").annotate(Count("pk")).order_by())
    return {judge: sum(own.get(one, 0) for one in line) for judge, line in (known or lines()).items()}


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


def _fingerprint(project: Project) -> str:
    """Changes whenever a blind label comes, goes or changes, a group joins the gate, or a pair is marked ambiguous."""
    labels = Label.objects.filter(pair__project=project).aggregate(
        count=Count("pk"), last=Max("pk"), blind=Count("pk", filter=Q(blind=True, withdrawn=False))
    )
    revised = LabelRevision.objects.filter(label__pair__project=project).aggregate(last=Max("pk"))
    pairs = Pair.objects.filter(project=project).aggregate(
        held_out=Count("pk", filter=~Q(part=Pair.Part.TRAIN)),
        marked=Count("pk", filter=Q(ambiguous=True)),
        which=Sum("pk", filter=Q(ambiguous=True)),
    )
    return "-".join(str(each or 0) for each in (*labels.values(), *revised.values(), *pairs.values()))


def _rows(project: Project, where: Q, *, shares: bool = False, undecided: bool = False) -> list[LabelledRow]:
    votes: dict[int, list[str]] = defaultdict(list)
    for pair_id, choice in blind_labels(project).filter(where).order_by("pk").values_list("pair_id", "choice"):
        votes[pair_id].append(choice)
    pairs = Pair.objects.in_bulk(votes)
    rows = []
    for pair_id in sorted(votes):
        choice, share = majority(votes[pair_id])
        if undecided or choice in ("a", "b"):
            p_a = _share_for_a(votes[pair_id]) if shares else None
            rows.append(LabelledRow(pairs[pair_id], choice, len(votes[pair_id]), share, p_a))
    return rows


def _share_for_a(choices: Sequence[str]) -> float:
    """A tie, and two bad responses, are half a vote for each."""
    return sum({"a": 1.0, "b": 0.0}.get(choice, 0.5) for choice in choices) / len(choices)
