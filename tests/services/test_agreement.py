"""Which labels and which of the judge's verdicts count for agreement, and the habits of each annotator."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from genrm_engine.evaluation.agreement_matrix import agreement_matrix
from genrm_engine.evaluation.alternative_annotator import replacement_test
from genrm_engine.evaluation.slices import by_criterion, overall, trend
from labeling.models import Claim, Deployment, Label, Pair, Project
from labeling.services.agreement import DRAWS, MOST_PEOPLE, Person, report_for, rows_for
from labeling.services.datasets import training_rows
from tests.factories import ClaimFactory, JudgementFactory, JudgeVersionFactory, LabelFactory, PairFactory


def labelled(user: User, *, pair: Pair | None = None, swapped: bool = False, **fields: Any) -> Label:
    """A label by claim, given blind."""
    claim = ClaimFactory.create(
        pair=pair or PairFactory.create(), annotator=user, swapped=swapped, state=Claim.State.DONE
    )
    first = fields.get("choice", "a")
    given = {"choice": first, "final_choice": first, "blind": True, **fields}
    return Label.objects.create(pair=claim.pair, claim=claim, annotator=user, source=Label.Source.CLAIM, **given)


def person(project: Project, name: str) -> Person:
    return next(one for one in report_for(project).people if one.name == name)


def test_blind_first_verdicts_that_stand_count_and_nothing_else(pair: Pair, alice: User, bob: User, dora: User) -> None:
    labelled(bob, pair=pair, choice="a", final_choice="b", revealed_at=timezone.now())
    labelled(dora, pair=PairFactory.create(project=pair.project), blind=False)
    labelled(alice, pair=PairFactory.create(project=pair.project), withdrawn=True)
    Label.objects.create(
        pair=pair, annotator=dora, source=Label.Source.ADJUDICATION, choice="b", final_choice="b", blind=True
    )
    LabelFactory.create(pair=pair, external_annotator="bob", choice="both_bad")
    LabelFactory.create()  # of another project
    [item] = rows_for(pair.project).rated
    assert item.labels == {"bob": "a", "bob (imported)": "both_bad"}
    assert (item.id, item.group) == (str(pair.pk), pair.group_key)


def test_the_judge_is_compared_where_it_never_trains(champion: Deployment) -> None:
    project = champion.project
    fields: list[dict[str, Any]] = [
        {}, {"audit": True}, {"part": "gate"}, {"part": "calibration"}, {"part": "test", "audit": True},
    ]  # fmt: skip
    pairs = [PairFactory.create(project=project, **each) for each in fields]
    for pair in pairs:
        LabelFactory.create(pair=pair)
        JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.9)
        JudgementFactory.create(pair=pair, judge=champion.judge, method="cot", p_a=0.1)
        JudgementFactory.create(pair=pair, judge=JudgeVersionFactory.create(), p_a=0.1)
    assert [item.judge for item in rows_for(project).rated] == [None, "a", "a", "a", "a"]
    assert [row.pair for row in training_rows(project)] == pairs[:1]
    Deployment.objects.update(counts="cot")
    assert [item.judge for item in rows_for(project).rated] == [None, "b", "b", "b", "b"]


def test_a_judgement_without_a_verdict_is_none(champion: Deployment) -> None:
    for unparsed in (0, 3, 4):
        pair = PairFactory.create(project=champion.project, part="test")
        LabelFactory.create(pair=pair)
        JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.5, samples=4, unparsed=unparsed)
    assert [item.judge for item in rows_for(champion.project).rated] == ["tie", "tie", None]


def test_the_report_is_the_engine_s_on_the_same_rows(champion: Deployment) -> None:
    project = champion.project
    for number in range(90):
        pair = PairFactory.create(project=project, part="test", group_key=f"g{number // 2}")
        for name in ("x", "y", "z"):
            choice = "ab"[number % 2] if (number + ord(name)) % 7 else "tie"
            LabelFactory.create(pair=pair, external_annotator=name, choice=choice, criteria={"Tone": choice})
        JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.9 if number % 3 else 0.1)
    report, items = report_for(project), rows_for(project).rated
    assert report.overall == overall(items, draws=DRAWS)
    assert report.matrix == agreement_matrix(items, draws=DRAWS, most=MOST_PEOPLE)
    assert report.criteria == by_criterion(items, draws=DRAWS)
    assert report.windows == trend(items, draws=DRAWS)
    said = {item.id: item.judge for item in items if item.judge is not None}
    assert report.test == replacement_test(said, {item.id: item.labels for item in items})
    assert report.test.passed is not None
    assert report.overall.alpha is not None
    assert len(report.windows) == 3
    assert set(report.criteria) == {"Tone"}


def test_slices_are_by_source_models_prompt_and_lengths(project: Project) -> None:
    code = [{"role": "user", "content": "Write a Python script."}]
    for number in range(50):
        first, second = ("m1", "m2") if number % 2 else ("m2", "m1")
        pair = PairFactory.create(
            project=project,
            meta={"source": "arena" if number < 25 else "forum"},
            model_a=first,
            model_b=second,
            response_a="x" * (number + 1),
            response_b="y" * 60,
            **({"prompt": code} if number < 20 else {}),
        )
        for name in ("x", "y"):
            LabelFactory.create(pair=pair, external_annotator=name, choice="a" if number % 5 else "b")
    found = {name: [(one.value, one.figures.pairs) for one in each] for name, each in report_for(project).slices}
    assert found["Source"] == [("arena", 25), ("forum", 25)]
    assert found["Models"] == [("m1 / m2", 50)]
    assert found["Prompt"] == [("instruction", 30), ("code", 20)]
    assert found["Lengths"] == [("other", 50)]  # no third has 20 pairs


def test_a_key_that_no_pair_has_makes_no_slices(project: Project) -> None:
    LabelFactory.create(pair=PairFactory.create(project=project))
    assert [name for name, _ in report_for(project).slices] == ["Prompt", "Lengths"]


def test_the_side_chosen_is_the_side_shown(project: Project, bob: User) -> None:
    for number in range(30):
        swapped = number % 2 == 1
        labelled(bob, pair=PairFactory.create(project=project), swapped=swapped, choice="b" if swapped else "a")
    labelled(bob, pair=PairFactory.create(project=project), choice="tie")
    LabelFactory.create(pair=PairFactory.create(project=project), external_annotator="file")
    assert (person(project, "bob").left.hits, person(project, "bob").left.of) == (30, 30)
    assert person(project, "bob").leans == "left"
    assert person(project, "file (imported)").left.value is None
    Claim.objects.update(swapped=False)
    assert person(project, "bob").left.hits == 15
    assert person(project, "bob").leans == ""


def test_habits_are_counted_by_annotator(project: Project, bob: User, dora: User) -> None:
    golds = ["a", "b", "", "b"]
    for seconds, gold in zip((2.0, 4.0, 9.0, None), golds, strict=True):
        pair = PairFactory.create(project=project, gold=gold)
        labelled(bob, pair=pair, choice="a", seconds=seconds, too_fast=seconds == 2.0)
    labelled(dora, pair=PairFactory.create(project=project))
    first, second = report_for(project).people
    assert (first.name, first.labels, first.seconds) == ("bob", 4, 4.0)
    assert (first.too_fast.hits, first.too_fast.of) == (1, 4)
    assert (first.gold.hits, first.gold.of) == (1, 3)
    assert (second.name, second.seconds, second.gold.value) == ("dora", None, None)


def test_going_over_to_the_judge_needs_a_difference_and_a_reveal(champion: Deployment, bob: User) -> None:
    cases: list[dict[str, Any]] = [
        {"choice": "a", "final_choice": "b"},  # went over
        {"choice": "a"},  # kept
        {"choice": "tie", "final_choice": "b"},  # went over
        {"choice": "a", "final_choice": "tie"},  # changed, but not to the judge's
        {"choice": "b", "final_choice": "a"},  # they agreed
    ]
    for case in cases:
        pair = PairFactory.create(project=champion.project)
        labelled(bob, pair=pair, revealed_at=timezone.now(), revealed_judge=champion.judge, **case)
        JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.2)
        JudgementFactory.create(pair=pair, judge=champion.judge, method="cot", p_a=0.9)
    unseen = PairFactory.create(project=champion.project)
    labelled(bob, pair=unseen, choice="a", final_choice="b")
    JudgementFactory.create(pair=unseen, judge=champion.judge, p_a=0.2)
    moved = person(champion.project, "bob").moved
    assert (moved.hits, moved.of) == (2, 4)


def test_a_pair_stands_at_its_last_label(project: Project) -> None:
    pair, early = PairFactory.create(project=project), timezone.now() - timedelta(days=3)
    labels = [LabelFactory.create(pair=pair) for _ in range(2)]
    Label.objects.filter(pk=labels[0].pk).update(created_at=early)
    [item] = rows_for(project).rated
    labels[1].refresh_from_db()
    assert item.at == labels[1].created_at


def test_an_answer_that_is_none_is_no_label_of_a_criterion(project: Project) -> None:
    pair = PairFactory.create(project=project)
    LabelFactory.create(pair=pair, external_annotator="x", criteria={"Tone": "both_bad", "Facts": "tie"})
    LabelFactory.create(pair=pair, external_annotator="y", criteria={})
    [item] = rows_for(project).rated
    assert item.criteria == {"x (imported)": {"Facts": "tie"}}


@pytest.mark.usefixtures("champion")
def test_an_empty_project_has_no_figures(project: Project) -> None:
    report = report_for(project)
    assert (report.people, report.slices, report.criteria, report.windows) == ([], [], {}, ())
    assert (report.overall.pairs, report.overall.raw, report.test.passed) == (0, None, None)
