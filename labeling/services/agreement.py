"""How far a project's people and its judge agree: rows handed to the engine, which reckons. Writes nothing.

What counts are people's blind first verdicts that stand, those from files included; no adjudications. The judge is
compared only on pairs that never train: the hold-out and the audit. The intervals rest on fewer resamples than the
engine's own default, so that the page is there at once.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any, cast

from django.db.models import F, Q
from django.db.models.fields.json import KT
from django.db.models.functions import Length

from genrm_engine.evaluation import slice_keys
from genrm_engine.evaluation.agreement import label_of
from genrm_engine.evaluation.agreement_matrix import AgreementMatrix, Rater, agreement_matrix
from genrm_engine.evaluation.alternative_annotator import AlternativeAnnotatorTest, replacement_test
from genrm_engine.evaluation.rated import Rated, Verdict
from genrm_engine.evaluation.slices import Overall, Slice, Window, by_criterion, overall, slices, trend
from genrm_engine.types import Message
from labeling.models import Deployment, Judgement, Pair, Project
from labeling.models.judges import WITH_VERDICT
from labeling.services.datasets import blind_labels

DRAWS = 1_000
MOST_PEOPLE = 25
UNKNOWN = "not stated"
LENGTHS = "Lengths"
LEAST_SIDED = 20
NEVER_TRAINS = ~Q(pair__part=Pair.Part.TRAIN) | Q(pair__audit=True)

Row = Mapping[str, Any]
"""A row as the database gives it, by the column's name."""


@dataclass(frozen=True)
class Share:
    """How many of how many."""

    hits: int
    of: int

    @property
    def value(self) -> float | None:
        return self.hits / self.of if self.of else None


@dataclass(frozen=True)
class Person:
    """An annotator's habits, and how far they agree with the others.

    ``left`` is of the verdicts for one side, ``gold`` of the gold questions answered, ``moved`` of the verdicts that
    differed from the judge's when it was revealed: how many went over to it.
    """

    name: str
    labels: int
    seconds: float | None
    too_fast: Share
    gold: Share
    left: Share
    moved: Share
    rater: Rater | None

    @property
    def leans(self) -> str:
        """The side that is chosen more often than an even coin would (two standard errors); the order is drawn."""
        if self.left.of < LEAST_SIDED or abs(2 * self.left.hits - self.left.of) <= 2 * self.left.of**0.5:
            return ""
        return "left" if 2 * self.left.hits > self.left.of else "right"


@dataclass(frozen=True)
class Report:
    """Everything on the page, as the engine gave it."""

    judge: str
    overall: Overall
    matrix: AgreementMatrix
    people: list[Person]
    slices: list[tuple[str, tuple[Slice, ...]]]
    criteria: dict[str, Overall]
    test: AlternativeAnnotatorTest
    windows: tuple[Window, ...]
    draws: int = DRAWS


@dataclass(frozen=True)
class Rows:
    """What is read of a project, once."""

    labels: Sequence[Row]
    pairs: Mapping[int, Row]
    judge: str
    said: Mapping[int, float]
    revealed: Mapping[tuple[int, int], str]

    @cached_property
    def rated(self) -> list[Rated]:
        """Every labelled pair as the engine takes it, in a fixed order."""
        by_pair: dict[int, list[Row]] = defaultdict(list)
        for label in self.labels:
            by_pair[label["pair_id"]].append(label)
        return [self._rated(pair_id, labels) for pair_id, labels in sorted(by_pair.items())]

    def _rated(self, pair_id: int, labels: Sequence[Row]) -> Rated:
        p_a = self.said.get(pair_id)
        return Rated(
            id=str(pair_id),
            group=self.pairs[pair_id]["group_key"],
            labels={label["rater"]: label["choice"] for label in labels},
            judge=None if p_a is None else label_of(p_a),
            criteria={label["rater"]: _answers(label["criteria"]) for label in labels if label["criteria"]},
            at=max(label["created_at"] for label in labels),
        )


def report_for(project: Project) -> Report:
    """All figures of the project, on the rows as they are now."""
    rows = rows_for(project)
    items = rows.rated
    matrix = agreement_matrix(items, draws=DRAWS, most=MOST_PEOPLE)
    said = {item.id: item.judge for item in items if item.judge is not None}
    return Report(
        judge=rows.judge,
        overall=overall(items, draws=DRAWS),
        matrix=matrix,
        people=_people(rows, matrix),
        slices=_slices(rows),
        criteria=by_criterion(items, draws=DRAWS),
        test=replacement_test(said, {item.id: item.labels for item in items}),
        windows=trend(items, draws=DRAWS),
    )


def rows_for(project: Project) -> Rows:
    """The labels that count, their pairs, and what the judge says where it may be compared."""
    blind = blind_labels(project)
    columns = (
        "pair_id", "choice", "final_choice", "criteria", "seconds", "too_fast", "created_at", "annotator__username",
        "external_annotator", "claim__swapped", "revealed_at", "revealed_judge_id",
    )  # fmt: skip
    labels = [{**row, "rater": _rater(row)} for row in blind.order_by("pk").values(*columns)]
    pairs = Pair.objects.filter(pk__in=blind.values("pair_id"))
    pairs = pairs.annotate(source=KT("meta__source"), length_a=Length("response_a"), length_b=Length("response_b"))
    wanted = ("pk", "group_key", "gold", "model_a", "model_b", "source", "prompt", "length_a", "length_b")
    deployments = list(Deployment.objects.select_related("judge").filter(project=project))
    champion = next((one for one in deployments if one.state == Deployment.State.CHAMPION), None)
    return Rows(
        labels=labels,
        pairs={row["pk"]: row for row in pairs.values(*wanted)},
        judge=champion.judge.name if champion else "",
        said=_said(champion) if champion else {},
        revealed=_revealed(project, deployments),
    )


def _rater(row: Row) -> str:
    """The name to show; one from a file is marked, and so is never taken for a user's."""
    return row["annotator__username"] or f"{row['external_annotator']} (imported)"


def _said(champion: Deployment) -> dict[int, float]:
    judged = Judgement.objects.filter(
        NEVER_TRAINS, WITH_VERDICT, pair__project=champion.project_id, judge=champion.judge_id, method=champion.counts
    )
    return dict(judged.values_list("pair_id", "p_a"))


def _revealed(project: Project, deployments: Iterable[Deployment]) -> dict[tuple[int, int], str]:
    """The winner of each pair that was revealed, by pair and judge: by the method that counts, or the one there is."""
    counts = {one.judge_id: one.counts for one in deployments}
    shown = Judgement.objects.filter(pair__project=project, pair__labels__revealed_judge=F("judge")).distinct()
    found: dict[tuple[int, int], str] = {}
    for one in shown.only("pair", "judge", "method", "p_a", "samples", "unparsed"):
        if one.method == counts.get(one.judge_id) or (one.pair_id, one.judge_id) not in found:
            found[one.pair_id, one.judge_id] = one.winner
    return found


def _answers(criteria: object) -> dict[str, Verdict]:
    """What was answered to the criteria, as far as it is an answer."""
    given = criteria.items() if isinstance(criteria, dict) else ()
    return {str(name): cast(Verdict, answer) for name, answer in given if answer in ("a", "b", "tie")}


def _people(rows: Rows, matrix: AgreementMatrix) -> list[Person]:
    """Everybody who labelled, those with most labels first."""
    raters = {rater.name: rater for rater in matrix.raters if not rater.judge}
    by_name: dict[str, list[Row]] = defaultdict(list)
    for label in rows.labels:
        by_name[label["rater"]].append(label)
    order = sorted(by_name, key=lambda name: (-len(by_name[name]), name))
    return [_person(name, by_name[name], rows, raters.get(name)) for name in order]


def _person(name: str, labels: Sequence[Row], rows: Rows, rater: Rater | None) -> Person:
    seconds = [label["seconds"] for label in labels if label["seconds"] is not None]
    sided = [label for label in labels if label["choice"] in ("a", "b") and label["claim__swapped"] is not None]
    asked = [(label["choice"], gold) for label in labels if (gold := rows.pairs[label["pair_id"]]["gold"])]
    moved = [
        label["final_choice"] == judge
        for label in labels
        if (judge := _shown(label, rows)) not in ("", label["choice"])
    ]
    return Person(
        name=name,
        labels=len(labels),
        seconds=median(seconds) if seconds else None,
        too_fast=Share(sum(label["too_fast"] for label in labels), len(labels)),
        gold=Share(sum(choice == gold for choice, gold in asked), len(asked)),
        left=Share(sum((label["choice"] == "b") == label["claim__swapped"] for label in sided), len(sided)),
        moved=Share(sum(moved), len(moved)),
        rater=rater,
    )


def _shown(label: Row, rows: Rows) -> str:
    """The judge's verdict that the annotator was shown after theirs; empty where none was."""
    if label["revealed_at"] is None:
        return ""
    return rows.revealed.get((label["pair_id"], label["revealed_judge_id"]), "")


def _slices(rows: Rows) -> list[tuple[str, tuple[Slice, ...]]]:
    """The figures by each key that any pair has a value of."""
    pairs = {str(pk): row for pk, row in rows.pairs.items()}
    keys = {
        "Source": {item: str(row["source"] or UNKNOWN) for item, row in pairs.items()},
        "Models": {
            item: slice_keys.model_pair(row["model_a"], row["model_b"]) or UNKNOWN for item, row in pairs.items()
        },
        "Prompt": {
            item: slice_keys.prompt_kind([_message(one) for one in row["prompt"]]) for item, row in pairs.items()
        },
        LENGTHS: slice_keys.length_bands({item: (row["length_a"], row["length_b"]) for item, row in pairs.items()}),
    }
    return [
        (name, slices(rows.rated, values, draws=DRAWS, in_order=name == LENGTHS))
        for name, values in keys.items()
        if set(values.values()) - {UNKNOWN}
    ]


def _message(one: Mapping[str, Any]) -> Message:
    return Message(str(one.get("role", "")), str(one.get("content", "")))
