"""The consensus by people: majority or weighted, refitted when labels have come, overruled by adjudicators."""

import pytest

from labeling import jobs
from labeling.models import Consensus, ConsensusFit, Pair, Project
from labeling.services import consensus, housekeeping
from tests.conftest import Sent
from tests.factories import LabelFactory, PairFactory

Method = Consensus.Method
WEIGHED = Project.ConsensusMethod.DAWID_SKENE


def vote(pair: Pair, **choices: str) -> None:
    for annotator, choice in choices.items():
        LabelFactory.create(pair=pair, external_annotator=annotator, choice=choice)


@pytest.fixture
def crowd(project: Project) -> Project:
    """Ann is always right (A), Ben and Cem guess: each is with her in half of the pairs, seldom at once."""
    Project.objects.update(consensus_method=WEIGHED)
    for number in range(40):
        ben, cem, dov = (("b" if number % every == 0 else "a") for every in (2, 3, 9))
        vote(PairFactory.create(project=project), ann="a" if number % 4 else "b", ben=ben, cem=cem, dov=dov)
    project.refresh_from_db()
    return project


def test_weights_decide_where_the_project_wants_them(crowd: Project) -> None:
    pair = PairFactory.create(project=crowd)
    vote(pair, ann="a", ben="a", cem="b")
    before = consensus.refresh(pair)
    assert before is not None
    assert (before.choice, before.method) == ("a", Method.MAJORITY)
    consensus.refit(crowd)
    after = Consensus.objects.get(pair=pair)
    assert after.method == Method.DAWID_SKENE
    assert after.confidence != before.confidence
    again = consensus.refresh(pair)
    assert again is not None
    assert (again.choice, again.confidence, again.method) == (after.choice, after.confidence, after.method)


def test_the_fit_is_due_with_new_labels_and_not_before(
    crowd: Project, sent: Sent, django_capture_on_commit_callbacks: object
) -> None:
    assert consensus.fit_is_due(crowd)
    consensus.refit(crowd)
    assert not consensus.fit_is_due(crowd)
    pair = PairFactory.create(project=crowd)
    vote(pair, ann="a")
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        housekeeping.refresh_pairs([pair.pk])
    assert (jobs.FIT_CONSENSUS, {"project_id": crowd.pk}) not in sent
    vote(PairFactory.create(project=crowd), **{f"annotator{n}": "a" for n in range(10)})
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        housekeeping.refresh_pairs([pair.pk])
    assert (jobs.FIT_CONSENSUS, {"project_id": crowd.pk}) in sent


def test_back_to_the_majority_nothing_of_the_weights_stays(crowd: Project) -> None:
    housekeeping.refresh_pairs(list(Pair.objects.values_list("pk", flat=True)))
    consensus.refit(crowd)
    assert set(Consensus.objects.values_list("method", flat=True)) == {Method.DAWID_SKENE}
    Project.objects.update(consensus_method=Project.ConsensusMethod.MAJORITY)
    housekeeping.fit_consensus(crowd.pk)
    assert set(Consensus.objects.values_list("method", flat=True)) == {Method.MAJORITY}
    assert not ConsensusFit.objects.exists()


def test_too_few_labels_leave_the_majority(project: Project) -> None:
    Project.objects.update(consensus_method=WEIGHED)
    project.refresh_from_db()
    pair = PairFactory.create(project=project)
    vote(pair, ann="a", ben="a", cem="b")
    consensus.refit(project)
    found = consensus.refresh(pair)
    assert found is not None
    assert (found.choice, found.method) == ("a", Method.MAJORITY)
    assert found.confidence == pytest.approx(2 / 3)


def test_an_ambiguous_pair_has_no_verdict_whatever_people_said(project: Project) -> None:
    pair = PairFactory.create(project=project, ambiguous=True)
    vote(pair, ann="a", ben="a")
    found = consensus.refresh(pair)
    assert found is not None
    assert (found.method, found.labels) == (Method.AMBIGUOUS, 2)
