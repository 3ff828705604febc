"""What waits to be judged: asked for once, most urgent first, leased, given back, stored once."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from genrm_engine import types as engine
from labeling import jobs
from labeling.models import Deployment, Judgement, JudgingRequest, Project, Rationale
from labeling.services import deployments, housekeeping, judging
from tests.conftest import Sent
from tests.factories import JudgementFactory, JudgeVersionFactory, LabelFactory, PairFactory

Priority = JudgingRequest.Priority


def judged(requests: list[JudgingRequest], p_a: float = 0.7) -> list[engine.Judgement]:
    chains = (engine.Rationale(swapped=False, sample=0, text="A is clearer.", p_a=p_a, verdict="a"),)
    return [
        engine.Judgement(
            str(request.pair_id), engine.as_method(request.method), p_a, p_a, p_a, True, 2, 0, 2, 0, 90, 0.5, chains
        )
        for request in requests
    ]


def test_every_missing_judgement_is_asked_for_once(champion: Deployment, sent: Sent) -> None:
    first, _second = PairFactory.create_batch(2, project=champion.project)
    JudgementFactory.create(pair=first, judge=champion.judge, method="score")
    assert judging.request_project(champion.project) == 3
    assert judging.request_project(champion.project) == 0
    assert JudgingRequest.objects.filter(pair=first).get().method == "cot"


def test_a_project_that_wants_no_rationales_is_only_scored(champion: Deployment) -> None:
    Project.objects.update(samples_per_order=0)
    champion.project.refresh_from_db()
    PairFactory.create(project=champion.project)
    judging.request_project(champion.project)
    assert JudgingRequest.objects.get().method == "score"


def test_a_judge_that_counts_by_its_rationales_is_asked_for_them(champion: Deployment) -> None:
    Project.objects.update(samples_per_order=0)
    Deployment.objects.update(counts="cot")
    PairFactory.create(project=champion.project)
    judging.request_project(Project.objects.get())
    assert set(JudgingRequest.objects.values_list("method", flat=True)) == {"score", "cot"}


def test_a_person_waiting_comes_first_then_new_scores_then_new_rationales_then_the_rest(champion: Deployment) -> None:
    seen, *_new, watched = PairFactory.create_batch(4, project=champion.project)
    JudgementFactory.create(pair=seen, judge=JudgeVersionFactory.create())
    judging.request_project(champion.project)
    judging.person_waits(watched, champion)
    order = []
    while chunk := judging.lease_chunk():
        order += [request.priority for request in chunk]
    assert order == sorted(order)
    assert order.count(Priority.PERSON_WAITING) == 2
    assert order.count(Priority.AGAIN_SCORE) == order.count(Priority.AGAIN_COT) == 1


def test_a_chunk_has_one_judge_and_method_and_is_leased_once(champion: Deployment) -> None:
    PairFactory.create_batch(20, project=champion.project)
    judging.request_project(champion.project)
    first, second = judging.lease_chunk(), judging.lease_chunk()
    assert {request.method for request in first} == {"score"}
    assert [len(first), len(second)] == [16, 4]
    assert not {request.pk for request in first} & {request.pk for request in second}


def test_storing_twice_leaves_the_first_judgement_alone(champion: Deployment) -> None:
    PairFactory.create_batch(2, project=champion.project)
    judging.request_project(champion.project)
    chunk = judging.lease_chunk()
    assert judging.store(chunk, judged(chunk, 0.7)) == 2
    assert judging.store(chunk, judged(chunk, 0.2)) == 0
    assert set(Judgement.objects.values_list("p_a", flat=True)) == {0.7}
    assert Rationale.objects.count() == 2
    assert not JudgingRequest.objects.filter(method="score").exists()


def test_a_failing_chunk_waits_again_and_fails_after_five_attempts(champion: Deployment) -> None:
    PairFactory.create(project=champion.project)
    judging.request_project(champion.project)
    JudgingRequest.objects.filter(method="cot").delete()
    for _ in range(judging.MAX_ATTEMPTS):
        chunk = judging.lease_chunk()
        assert chunk
        judging.give_back(chunk, error="out of memory")
    assert judging.lease_chunk() == []
    assert JudgingRequest.objects.get().state == "failed"
    assert JudgingRequest.objects.get().error == "out of memory"


def test_what_failed_is_tried_again_after_longer_and_longer_waits_behind_everything_else(champion: Deployment) -> None:
    """A server was away, or a key had run out."""
    failed = PairFactory.create(project=champion.project)
    judging.request_project(champion.project)
    JudgingRequest.objects.filter(method="cot").delete()
    waits = []
    for _ in range(12):
        judging.give_back(judging.lease_chunk(), error="401", permanent=True)
        request = JudgingRequest.objects.get()
        assert request.leased_until is not None
        waits.append(round((request.leased_until - timezone.now()).total_seconds()))
        assert judging.retry_failed() == 0, "not yet"
        JudgingRequest.objects.update(leased_until=timezone.now())
        judging.retry_failed()
    assert waits == sorted(waits)
    assert waits[0] == 120
    assert waits[-1] == judging.LONGEST_WAIT.total_seconds()
    PairFactory.create(project=champion.project)
    judging.request_project(champion.project)
    order = []
    while chunk := judging.lease_chunk():
        order += [(request.pair_id, request.priority) for request in chunk]
    assert order[-1] == (failed.pk, Priority.SHADOW)


def test_a_pair_that_failed_is_tried_alone(champion: Deployment) -> None:
    PairFactory.create_batch(3, project=champion.project)
    judging.request_project(champion.project)
    JudgingRequest.objects.filter(method="cot").delete()
    chunk = judging.lease_chunk()
    judging.give_back(chunk, error="one of them is odd")
    PairFactory.create(project=champion.project)
    judging.request_project(champion.project)
    JudgingRequest.objects.filter(method="cot").delete()
    sizes = []
    while chunk := judging.lease_chunk():
        sizes.append((len(chunk), bool(chunk[0].error)))
    assert sizes == [(1, True)] * 3 + [(1, False)]


def test_a_chunk_of_which_one_pair_was_refused_waits_for_each_alone_at_no_attempts_cost(champion: Deployment) -> None:
    PairFactory.create_batch(3, project=champion.project)
    judging.request_project(champion.project)
    JudgingRequest.objects.filter(method="cot").delete()
    judging.give_back_refused(judging.lease_chunk(), error="refuses the request (400): too long\x00")
    assert set(JudgingRequest.objects.values_list("state", "attempts", "priority", "error")) == {
        ("waiting", 0, Priority.NEW_SCORE, "this pair or one beside it: refuses the request (400): too long")
    }
    for _ in range(judging.MAX_ATTEMPTS):
        [alone] = judging.lease_chunk()
        assert JudgingRequest.objects.get(pk=alone.pk).state == "leased", "its own attempts are all left"
        judging.give_back([alone], error="the server is away")
    assert list(JudgingRequest.objects.filter(state="failed")) == [alone]


def test_what_waits_for_some_judges_can_be_left_out(champion: Deployment) -> None:
    remote = JudgeVersionFactory.create(backend="openai")
    for judge in (champion.judge, remote):
        JudgingRequest.objects.create(
            pair=PairFactory.create(project=champion.project), judge=judge, method="score", priority=Priority.NEW_SCORE
        )
    assert judging.places_waiting() == [False, True]
    assert judging.places_waiting(without={champion.judge_id}) == [True]
    assert judging.lease_chunk(remote=False, without={champion.judge_id}) == []
    assert [request.judge for request in judging.lease_chunk(without={champion.judge_id})] == [remote]
    assert judging.anything_waiting()
    assert not judging.anything_waiting(without={champion.judge_id, remote.pk})


def test_a_pair_of_which_two_workers_died_is_tried_alone(champion: Deployment) -> None:
    PairFactory.create_batch(3, project=champion.project)
    judging.request_project(champion.project)
    JudgingRequest.objects.filter(method="cot").delete()
    sizes = []
    for _ in range(3):
        sizes.append(len(judging.lease_chunk()))
        JudgingRequest.objects.filter(state="leased").update(leased_until=timezone.now() - timedelta(seconds=1))
        judging.expire_leases()
    assert sizes == [3, 3, 1]
    assert set(JudgingRequest.objects.values_list("state", "error")) == {
        ("waiting", "the judge worker died on this pair or one beside it")
    }


def test_the_sweep_brings_back_a_silent_workers_chunk_and_sends_the_job(champion: Deployment, sent: Sent) -> None:
    PairFactory.create_batch(3, project=champion.project)
    judging.request_project(champion.project)
    while judging.lease_chunk():
        pass
    JudgingRequest.objects.update(leased_until=timezone.now() - timedelta(seconds=1))
    sent.clear()
    assert housekeeping.sweep()["requests"] == 6
    assert (jobs.JUDGE, {}) in sent
    assert judging.lease_chunk()


def test_the_sweep_makes_up_for_a_lost_refresh(project: Project) -> None:
    pair = LabelFactory.create(pair=PairFactory.create(project=project), choice="b").pair
    assert housekeeping.sweep()["refreshed"] == 1
    assert pair.consensus.choice == "b"
    assert housekeeping.sweep()["refreshed"] == 0


def test_the_sweep_asks_for_what_nobody_asked_for_and_deploys_the_first_judge(project: Project, sent: Sent) -> None:
    PairFactory.create_batch(2, project=project)
    assert housekeeping.sweep()["asked"] == 0  # asked for with the first deployment
    champion = judging.champion_of(project)
    assert champion is not None
    assert champion.judge.base_model == "scripted:longer"
    assert JudgingRequest.objects.count() == 4
    JudgingRequest.objects.all().delete()
    assert housekeeping.sweep()["asked"] == 4


def test_a_promotion_retires_drops_and_judges_again(champion: Deployment) -> None:
    project = champion.project
    first, second = PairFactory.create_batch(2, project=project)
    JudgementFactory.create(pair=first, judge=champion.judge)
    judging.request_project(project)
    successor = JudgeVersionFactory.create()
    deployments.promote(project, successor, counts="score", gate={"p_better": 0.9}, by=None)
    champion.refresh_from_db()
    assert champion.state == Deployment.State.RETIRED
    assert judging.champion_of(project) == Deployment.objects.get(judge=successor)
    assert set(JudgingRequest.objects.values_list("judge", flat=True)) == {successor.pk}
    assert JudgingRequest.objects.get(pair=first, method="score").priority == Priority.AGAIN_SCORE
    assert JudgingRequest.objects.get(pair=second, method="score").priority == Priority.NEW_SCORE
    assert Judgement.objects.filter(judge=champion.judge).count() == 1


def test_the_database_allows_one_champion(champion: Deployment, judge: object) -> None:
    from django.db import IntegrityError, transaction

    with pytest.raises(IntegrityError), transaction.atomic():
        Deployment.objects.create(
            project=champion.project, judge=JudgeVersionFactory.create(), state=Deployment.State.CHAMPION
        )
    assert connection.vendor in ("sqlite", "postgresql")
