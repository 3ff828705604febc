"""The consensus by people: majority or weighted, refitted when labels have come, overruled by adjudicators."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from genrm_engine.evaluation import consensus as engine
from labeling import jobs
from labeling.models import Consensus, ConsensusFit, Flag, Pair, Project
from labeling.services import consensus, flags, housekeeping, settings
from tests.conftest import Sent
from tests.factories import LabelFactory, PairFactory, ProjectFactory

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


class Killed(BaseException):
    """As if the worker's process had ended."""


@pytest.mark.parametrize("wanted", Project.ConsensusMethod.values)
def test_a_refit_that_is_killed_is_made_up_for(
    crowd: Project, sent: Sent, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    housekeeping.refresh_pairs(list(Pair.objects.values_list("pk", flat=True)))
    if wanted != WEIGHED:
        consensus.refit(crowd)
        Project.objects.update(consensus_method=wanted)

    def killed(*_arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(consensus, "_rewrite", killed)
        with pytest.raises(Killed):
            housekeeping.fit_consensus(crowd.pk)
    sent.clear()
    housekeeping.sweep()
    assert (jobs.FIT_CONSENSUS, {"project_id": crowd.pk}) in sent
    housekeeping.fit_consensus(crowd.pk)
    assert set(Consensus.objects.values_list("method", flat=True)) == {wanted}
    sent.clear()
    housekeeping.sweep()
    assert (jobs.FIT_CONSENSUS, {"project_id": crowd.pk}) not in sent


def test_votes_that_come_while_the_consensus_is_rewritten_are_weighed_as_the_new_fit_says(
    crowd: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    weighed = []
    rewrite = consensus._rewrite

    def look(project: Project, model: engine.DawidSkene | None) -> int:
        weighed.append(consensus.model_of(project) == model is not None)
        return rewrite(project, model)

    monkeypatch.setattr(consensus, "_rewrite", look)
    consensus.refit(crowd)
    assert weighed == [True]


def test_a_job_that_comes_after_another_has_done_its_work_does_nothing(
    crowd: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a refit is at work it stays due, so that many jobs are sent."""
    fits = []
    monkeypatch.setattr(engine, "fit", lambda _labels: fits.append("fitted"))
    for _ in range(3):
        housekeeping.fit_consensus(crowd.pk)
    assert fits == ["fitted"]


def test_back_at_the_weights_before_the_majority_was_written_everything_follows_anew(
    crowd: Project, alice: User
) -> None:
    consensus.refit(crowd)
    for method in (Project.ConsensusMethod.MAJORITY, WEIGHED):
        settings.change_settings(crowd, by=alice, consensus_method=method)
    crowd.refresh_from_db()
    assert consensus.fit_is_due(crowd)


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


def test_a_fit_that_was_refused_is_tried_again_with_more_labels_only(project: Project) -> None:
    Project.objects.update(consensus_method=WEIGHED)
    project.refresh_from_db()
    for _ in range(30):
        vote(PairFactory.create(project=project), ann="a")
    assert consensus.fit_is_due(project)
    consensus.refit(project)
    assert not consensus.fit_is_due(project)
    vote(PairFactory.create(project=project), ann="a", ben="a")
    assert consensus.fit_is_due(project)


def test_what_a_refit_changes_is_as_new_as_the_refit(crowd: Project) -> None:
    housekeeping.refresh_pairs(list(Pair.objects.values_list("pk", flat=True)))
    long_ago = timezone.now() - timedelta(days=3)
    Consensus.objects.update(updated_at=long_ago)
    changed = consensus.refit(crowd)
    assert changed == Consensus.objects.filter(updated_at__gt=long_ago).count() == 40


def test_a_vote_that_comes_during_the_fit_counts(crowd: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = PairFactory.create(project=crowd)
    vote(pair, ben="a")
    consensus.refresh(pair)
    fit = engine.fit

    def fit_slowly(labels: Any) -> Any:
        vote(pair, ann="b", dov="b")
        consensus.refresh(pair)
        return fit(labels)

    monkeypatch.setattr(engine, "fit", fit_slowly)
    consensus.refit(crowd)
    found = Consensus.objects.get(pair=pair)
    assert (found.choice, found.labels, found.method) == ("b", 3, Method.DAWID_SKENE)


def test_what_is_settled_during_a_refit_stands(crowd: Project, dora: User, monkeypatch: pytest.MonkeyPatch) -> None:
    housekeeping.refresh_pairs(list(Pair.objects.values_list("pk", flat=True)))
    pair = Pair.objects.earliest("pk")
    Flag.objects.get_or_create(pair=pair, kind=Flag.Kind.REPORTED)
    posterior = engine.posterior

    def settled_meanwhile(*arguments: Any) -> Any:
        if not Consensus.objects.filter(method=Method.ADJUDICATED).exists():
            flags.settle(pair, by=dora, choice="tie", reason="")
        return posterior(*arguments)

    monkeypatch.setattr(engine, "posterior", settled_meanwhile)
    consensus.refit(crowd)
    found = Consensus.objects.get(pair=pair)
    assert (found.choice, found.method) == ("tie", Method.ADJUDICATED)


@pytest.mark.django_db(transaction=True)
def test_nobody_waits_while_a_fit_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[bool] = []
    monkeypatch.setattr(engine, "fit", lambda _labels: waiting.append(connection.in_atomic_block))
    consensus.refit(ProjectFactory.create(consensus_method=WEIGHED))
    assert waiting == [False]


@pytest.mark.parametrize(
    ("choices", "choice"),
    [
        ("a", "a"),
        ("a a b", "a"),
        ("a b", "tie"),
        ("a tie", "tie"),
        ("a a tie both_bad", "tie"),
        ("a a b tie both_bad", "tie"),
        ("a a a tie both_bad", "a"),
        ("both_bad both_bad a", "both_bad"),
        ("b b tie", "b"),
    ],
)
def test_a_response_leads_where_more_prefer_it_than_find_neither_better(choices: str, choice: str) -> None:
    assert consensus.majority(choices.split())[0] == choice
