"""Real processes, really killed: nothing is lost, nothing is done twice."""

import time
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db.models import Count

from genrm_engine.embedded import ensure_converted
from labeling.models import (
    Consensus,
    Deployment,
    Judgement,
    JudgeVersion,
    JudgingRequest,
    Label,
    Project,
    TrainingRun,
    WorkerHeartbeat,
)
from labeling.services import deployments, judging
from labeling.services.claims import next_claim
from labeling.services.imports import import_file
from labeling.services.labels import commit_label
from tests.factories import DeploymentFactory, JudgeVersionFactory, PairFactory, ProjectFactory
from tests.resilience.conftest import Stack
from tests.short_pairs import as_lines, short_row

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

PAIRS = 40


@pytest.fixture
def waiting(stack: Stack) -> Deployment:
    """A project with pairs to be judged by a slow judge."""
    judge = JudgeVersionFactory.create(base_model="scripted:slow:0.4")
    deployment = DeploymentFactory.create(judge=judge)
    PairFactory.create_batch(PAIRS, project=deployment.project)
    judging.request_project(deployment.project)
    return deployment


def _every_judgement_is_there_once(deployment: Deployment) -> None:
    assert Judgement.objects.filter(judge=deployment.judge).count() == 2 * PAIRS
    counts = Judgement.objects.filter(method="cot").annotate(chains=Count("rationales"))
    assert set(counts.values_list("chains", flat=True)) == {2 * deployment.project.samples_per_order}
    assert not JudgingRequest.objects.exists()


def test_a_judge_worker_killed_in_a_chunk_and_a_flushed_broker_lose_and_duplicate_nothing(
    stack: Stack, waiting: Deployment
) -> None:
    stack.start("beat", "default", "judge")
    leased = JudgingRequest.objects.filter(state="leased")
    stack.wait(lambda: Judgement.objects.count() >= 8 and leased.exists(), seconds=60, what="a chunk under way")
    stack.kill("judge")
    stack.broker.flushdb()
    assert leased.exists(), "the worker was killed between two chunks"
    done = Judgement.objects.count()
    assert done < 2 * PAIRS
    stack.start("judge")
    stack.wait(lambda: not JudgingRequest.objects.exists(), seconds=120, what="everything judged")
    _every_judgement_is_there_once(waiting)


def test_two_judge_workers_share_the_work(stack: Stack, waiting: Deployment) -> None:
    stack.start("beat", "default", "judge")
    stack.wait(lambda: WorkerHeartbeat.objects.filter(queues="judge").exists(), seconds=60, what="a heartbeat")
    first = stack.processes.pop("judge")
    stack.start("judge")
    stack.processes["judge 1"] = first
    stack.wait(lambda: not JudgingRequest.objects.exists(), seconds=120, what="everything judged")
    _every_judgement_is_there_once(waiting)


def test_people_label_on_while_a_promoted_judge_judges_everything_again(
    stack: Stack, waiting: Deployment, alice: User
) -> None:
    project = waiting.project
    stack.start("beat", "default", "judge")
    stack.wait(lambda: not JudgingRequest.objects.exists(), seconds=120, what="everything judged by the first judge")
    judge = JudgeVersionFactory.create(base_model="scripted:slow:0.4", parent=waiting.judge)
    deployments.promote(project, judge, counts="score", gate={}, by=alice)
    again = Judgement.objects.filter(judge=judge)
    given = 0
    while again.count() < 2 * PAIRS and (claim := next_claim(project, annotator=alice)):
        commit_label(claim, choice="left")
        given += 1
        time.sleep(0.1)
    assert given > 10
    stack.wait(lambda: again.count() == 2 * PAIRS, seconds=120, what="everything judged by the new champion")
    stack.wait(lambda: Consensus.objects.count() == given, seconds=60, what="the consensus of every label")
    assert Label.objects.filter(annotator=alice).count() == given
    assert Judgement.objects.filter(judge=waiting.judge).count() == 2 * PAIRS, "what the former one said stays"
    assert not JudgingRequest.objects.exists()


@pytest.mark.model
@pytest.mark.xdist_group("torch")
def test_a_real_beat_fires_a_real_run_which_survives_its_worker(stack: Stack) -> None:
    """The policy starts a GenRM run of the real small model; its worker is killed, another one brings it to its end."""
    project = _short_project(stack.home)
    stack.start("beat", "default", "train")
    training = TrainingRun.objects.filter(phase="training")
    folder = stack.home / "runs"
    written = "*/training/checkpoints/genrm/checkpoint-*/complete"
    stack.wait(lambda: list(folder.glob(written)), seconds=1000, what="a checkpoint")
    run = training.get()
    assert (run.trigger, run.project) == (TrainingRun.Trigger.POLICY, project)
    stack.kill("train")
    stack.start("train")
    stack.wait(lambda: not TrainingRun.objects.get().active, seconds=1000, what="the end of the run")
    run.refresh_from_db()
    assert run.state in (TrainingRun.State.PROMOTED, TrainingRun.State.REJECTED), run.error
    assert run.attempts == 2
    assert run.candidate is not None
    assert run.gate["reasons"]
    assert run.curve[0]["loss"] > run.curve[-1]["loss"]
    assert TrainingRun.objects.count() == 1
    assert JudgeVersion.objects.filter(method="genrm").count() == 1
    champion = judging.champion_of(project)
    assert champion is not None
    assert (champion.judge == run.candidate) is (run.state == TrainingRun.State.PROMOTED)


def _short_project(home: Path) -> Project:
    """Ninety labelled pairs of a few words, under a policy that asks for a run at once."""
    ensure_converted(home, progress=print)
    project = ProjectFactory.create(
        slug="short", holdout_share=0.4, samples_per_order=0, retrain_after=50, retrain_method="genrm"
    )
    judge = JudgeVersionFactory.create(
        backend="transformers", base_model="embedded-base", weights="judges/embedded-base"
    )
    DeploymentFactory.create(project=project, judge=judge)
    path = home / "some.jsonl"
    path.write_text(as_lines([short_row(number) for number in range(90)]))
    with path.open("rb") as file:
        import_file(project, file=file, filename=path.name)
    return project
