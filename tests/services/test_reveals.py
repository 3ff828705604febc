"""What is shown of the judge: never on measured pairs, the counted rationale, in the annotator's order."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from labeling.models import Deployment, JudgingRequest, Label, Pair, Project, Rationale
from labeling.services.labels import commit_label, undo
from labeling.services.reveals import before, reveal
from tests.factories import ClaimFactory, JudgementFactory


def labelled(project: Project, bob: User, *, swapped: bool = False, **pair: Any) -> Label:
    fields = {f"pair__{name}": value for name, value in pair.items()}
    return commit_label(
        ClaimFactory.create(pair__project=project, annotator=bob, swapped=swapped, **fields), choice="left"
    )


@pytest.mark.parametrize("fields", [{"part": "gate"}, {"part": "test"}, {"part": "calibration"}, {"audit": True}])
@pytest.mark.parametrize("policy", Project.Reveal.values)
def test_measured_pairs_reveal_nothing_whatever_the_policy(
    champion: Deployment, bob: User, fields: dict[str, Any], policy: str
) -> None:
    champion.project.reveal = policy
    champion.project.save()
    label = labelled(champion.project, bob, **fields)
    JudgementFactory.create(pair=label.pair, judge=champion.judge)
    assert reveal(label).state == "hidden"
    assert label.claim is not None
    assert before(label.claim) is None
    label.refresh_from_db()
    assert label.revealed_at is None


def test_the_policy_never_reveals_nothing(champion: Deployment, bob: User) -> None:
    champion.project.reveal = Project.Reveal.NEVER
    champion.project.save()
    label = labelled(champion.project, bob)
    JudgementFactory.create(pair=label.pair, judge=champion.judge)
    assert reveal(label).state == "hidden"


@pytest.mark.parametrize(("swapped", "choice", "p_left"), [(False, "left", 0.8), (True, "right", 0.2)])
def test_the_verdict_is_shown_in_the_annotators_order(
    champion: Deployment, bob: User, swapped: bool, choice: str, p_left: float
) -> None:
    label = labelled(champion.project, bob, swapped=swapped)
    JudgementFactory.create(pair=label.pair, judge=champion.judge, p_a=0.8)
    shown = reveal(label)
    assert (shown.state, shown.choice) == ("shown", choice)
    assert shown.p_left == pytest.approx(p_left)
    assert shown.agrees is (not swapped)
    assert shown.confidence == pytest.approx(0.8)
    label.refresh_from_db()
    assert label.revealed_judge == champion.judge


def test_a_pair_not_judged_yet_jumps_the_queue(champion: Deployment, bob: User) -> None:
    label = labelled(champion.project, bob)
    assert reveal(label).state == "waiting"
    urgent = JudgingRequest.objects.filter(pair=label.pair, priority=JudgingRequest.Priority.PERSON_WAITING)
    assert set(urgent.values_list("method", flat=True)) == {"score", "cot"}
    label.refresh_from_db()
    assert label.revealed_at is None


def test_the_rationale_is_one_whose_verdict_was_counted(champion: Deployment, bob: User) -> None:
    label = labelled(champion.project, bob)
    JudgementFactory.create(pair=label.pair, judge=champion.judge, p_a=0.7)
    cot = JudgementFactory.create(pair=label.pair, judge=champion.judge, method="cot", p_a=0.6)
    chains = [("unsure for A", 0.55, "a"), ("sure for A", 0.95, "a"), ("for B", 0.01, "b"), ("unparsed", None, "")]
    for number, (text, p_a, verdict) in enumerate(chains):
        Rationale.objects.create(judgement=cot, swapped=False, sample=number, text=text, p_a=p_a, verdict=verdict)
    shown = reveal(label)
    assert shown.rationale == "sure for A"
    assert "2 of 3" in shown.rationale_note
    assert not shown.rationale_waiting


@pytest.mark.parametrize(
    ("claim_swapped", "judge_swapped", "left"), [(0, 0, "A"), (1, 0, "B"), (0, 1, "B"), (1, 1, "A")]
)
def test_the_note_says_which_response_the_judge_calls_a(
    champion: Deployment, bob: User, claim_swapped: int, judge_swapped: int, left: str
) -> None:
    label = labelled(champion.project, bob, swapped=bool(claim_swapped))
    cot = JudgementFactory.create(pair=label.pair, judge=champion.judge, method="cot", p_a=0.6)
    Rationale.objects.create(
        judgement=cot, swapped=bool(judge_swapped), sample=0, text="A is clearer.", p_a=0.6, verdict="a"
    )
    note = reveal(label).rationale_note
    assert ("calls the left response A" in note) is (left == "A")


def test_under_the_policy_before_the_verdict_is_there_with_the_claim(champion: Deployment, bob: User) -> None:
    champion.project.reveal = Project.Reveal.BEFORE
    champion.project.save()
    claim = ClaimFactory.create(pair__project=champion.project, annotator=bob)
    JudgementFactory.create(pair=claim.pair, judge=champion.judge, p_a=0.9)
    shown = before(claim)
    assert shown is not None
    assert shown.choice == "left"
    assert Pair.objects.get().unrevealed is False


def test_agreement_is_with_the_verdict_that_stands(champion: Deployment, bob: User) -> None:
    label = labelled(champion.project, bob)
    JudgementFactory.create(pair=label.pair, judge=champion.judge, p_a=0.8)
    assert reveal(label).agrees
    claim = undo(champion.project, annotator=bob)
    label = commit_label(claim, choice="right")
    assert (label.choice, label.final_choice) == ("a", "b"), "the blind verdict is kept"
    assert reveal(label).agrees is False


@pytest.mark.parametrize(("method", "confidence"), [("cot", 0.75), ("score", 0.9)])
def test_only_the_method_that_counts_is_calibrated(
    champion: Deployment, bob: User, method: str, confidence: float
) -> None:
    champion.counts, champion.calibration = "cot", {"temperature": 2.0}
    champion.save()
    label = labelled(champion.project, bob)
    JudgementFactory.create(pair=label.pair, judge=champion.judge, method=method, p_a=0.9)
    assert reveal(label).confidence == pytest.approx(confidence)


def test_a_label_undone_while_the_verdict_was_looked_up_is_not_revealed(champion: Deployment, bob: User) -> None:
    label = labelled(champion.project, bob)
    JudgementFactory.create(pair=label.pair, judge=champion.judge)
    undo(champion.project, annotator=bob)
    assert not label.withdrawn, "as it was read before"
    assert reveal(label).state == "hidden"
    label.refresh_from_db()
    assert (label.revealed_at, label.revealed_judge) == (None, None)
