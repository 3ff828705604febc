"""A judge begun anew: another version of the same model, which reads the present guidelines beside the champion."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from labeling.errors import CannotReign
from labeling.models import (
    AuditEvent,
    Deployment,
    JudgeEndpoint,
    Judgement,
    JudgingRequest,
    PrunedWeights,
    TrainedPair,
    TrainingRun,
)
from labeling.services import datasets, deployments, judge_reading, judging, model_card, projects, renewal, storage
from labeling.services.settings import change_settings
from tests.factories import (
    DeploymentFactory,
    JudgementFactory,
    JudgeVersionFactory,
    LabelFactory,
    PairFactory,
    ProjectFactory,
)
from tests.services.test_storage import with_weights
from tests.services.test_versions import version
from workers import resident

State = Deployment.State
Capture = Any


def test_a_renewed_judge_judges_the_hold_out_again_and_once_promoted_every_pair(
    champion: Deployment, alice: User
) -> None:
    project = champion.project
    taught, held_out = PairFactory.create(project=project), PairFactory.create(project=project, part="gate")
    for pair in (taught, held_out):
        JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.9)
    change_settings(project, by=alice, guidelines="Shorter is better.")
    judging.request_project(project)
    assert not JudgingRequest.objects.filter(method="score").exists(), "the champion has judged both"

    renewed = renewal.renew(champion, by=alice)
    assert (renewed.state, renewed.counts, renewed.judge.parent) == (State.SHADOW, champion.counts, champion.judge)
    assert renewed.judge.renews
    assert renewed.judge.name == f"{champion.judge.name}-renewed"
    asked = JudgingRequest.objects.filter(judge=renewed.judge)
    assert [request.pair for request in asked] == [held_out]
    assert "Shorter is better." in judge_reading.rubric_of(asked.get().pair.project)
    event = AuditEvent.objects.get(action="judge.renew")
    assert (event.actor, event.detail) == (alice, {"judge": champion.judge.name})

    deployments.crown(renewed, by=alice, because="the guidelines ask for short ones")
    assert {request.pair for request in JudgingRequest.objects.filter(judge=renewed.judge, method="score")} == {
        taught,
        held_out,
    }
    assert Judgement.objects.filter(judge=champion.judge).count() == 2, "what was said stays"


def test_the_gate_weighs_it_against_what_the_champion_said_by_the_old_text(champion: Deployment, alice: User) -> None:
    Deployment.objects.filter(pk=champion.pk).update(promoted_at=timezone.now())
    renewed = renewal.renew(champion, by=alice)
    for number in range(60):
        pair = PairFactory.create(project=champion.project, part="gate")
        LabelFactory.create(pair=pair, choice="a")
        JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.9 if number % 2 else 0.2)
        JudgementFactory.create(pair=pair, judge=renewed.judge, p_a=0.8)
    assert deployments.weigh(renewed)
    renewed.refresh_from_db()
    assert renewed.gate["promote"]
    assert deployments.crown(renewed, by=alice).overruled_because == ""
    assert deployments.roll_back(champion.project, by=alice).judge == champion.judge


def test_names_are_free_and_tell_the_first_one(champion: Deployment, alice: User) -> None:
    first = renewal.renew(champion, by=alice)
    deployments.crown(first, by=alice, because="so")
    second = renewal.renew(first, by=alice)
    deployments.crown(second, by=alice, because="so")
    deployments.retire(renewal.renew(champion, by=alice), by=alice)
    name = champion.judge.name
    names = Deployment.objects.order_by("pk").values_list("judge__name", flat=True)
    assert list(names) == [name, f"{name}-renewed", f"{name}-renewed-2", f"{name}-renewed-3"]
    assert renewal.first_of(second.judge) == champion.judge
    long = version(ProjectFactory.create(), name="n" * 100, base_model="scripted:other")
    assert len(renewal.renew(long, by=alice).judge.name) <= 100


@pytest.mark.django_db(transaction=True)
def test_projects_that_share_a_judge_renew_it_at_once_under_different_names(champion: Deployment, alice: User) -> None:
    shared = [champion, *DeploymentFactory.create_batch(3, judge=champion.judge)]
    begin = Barrier(len(shared))

    def renew(deployment: Deployment) -> str:
        try:
            begin.wait()
            return renewal.renew(deployment, by=alice).judge.name
        finally:
            connection.close()

    with ThreadPoolExecutor(len(shared)) as pool:
        names = set(pool.map(renew, shared))
    assert len(names) == len(shared)


def test_who_cannot_begin_anew(champion: Deployment, alice: User) -> None:
    project = champion.project
    renewed = renewal.renew(champion, by=alice)
    for one in (champion, renewed):  # the button pressed twice, and the newcomer itself
        with pytest.raises(CannotReign, match=f"{renewed.judge} is the same model"):
            renewal.renew(one, by=alice)
    other = version(project, base_model="scripted:other")
    assert renewal.renew(other, by=alice).state == State.SHADOW, "another model may shadow too"
    pruned = version(project, base_model="scripted:third")
    PrunedWeights.objects.create(judge=pruned.judge, by=alice, bytes=1)
    with pytest.raises(CannotReign, match="were deleted"):
        renewal.renew(pruned, by=alice)
    reward = version(project, method="bradley-terry", base_model="scripted:fourth")
    with pytest.raises(CannotReign, match="reads neither guidelines nor criteria"):
        renewal.renew(reward, by=alice)
    assert Deployment.objects.filter(project=project, state=State.SHADOW).count() == 2
    assert AuditEvent.objects.filter(action="judge.renew").count() == 2


def test_a_judge_on_a_server_keeps_its_address_and_its_key(champion: Deployment, alice: User) -> None:
    remote = version(champion.project, backend="openai", base_model="m", weights="", trainable=False)
    JudgeEndpoint.objects.create(judge=remote.judge, url="https://one.example/v1", sealed_key="sealed")
    elsewhere = version(champion.project, backend="openai", base_model="m", weights="", trainable=False)
    JudgeEndpoint.objects.create(judge=elsewhere.judge, url="https://two.example/v1", sealed_key="other")
    deployments.shadow(elsewhere, by=alice)
    renewed = renewal.renew(remote, by=alice)
    endpoint = JudgeEndpoint.objects.get(judge=renewed.judge)
    assert (endpoint.url, endpoint.sealed_key) == ("https://one.example/v1", "sealed")
    assert not renewed.judge.trainable
    with pytest.raises(CannotReign, match="same model"):
        renewal.renew(elsewhere, by=alice)


def test_what_its_line_has_learnt_stays_learnt(champion: Deployment, alice: User) -> None:
    project = champion.project
    run = TrainingRun.objects.create(
        project=project, trigger="api", method="genrm", start=champion.judge, origin=champion.judge, state="promoted"
    )
    trained = version(project, parent=champion.judge, weights="judges/genrm-1", method="genrm", weights_sha256="f" * 64)
    TrainingRun.objects.filter(pk=run.pk).update(candidate=trained.judge, training_pairs=77)
    pair = PairFactory.create(project=project)
    TrainedPair.objects.create(run=run, pair=pair)
    renewed = renewal.renew(trained, by=alice)
    assert datasets.trained_by(renewed.judge, project) == {pair.pk}
    assert not trained.judge.renews
    card, own = model_card.card_of(renewed), model_card.card_of(trained)
    assert "No training run" not in card
    assert card.partition("## Training")[2].partition("## ")[0] == own.partition("## Training")[2].partition("## ")[0]
    assert "f" * 64 in card


@pytest.fixture
def trained(champion: Deployment, home: Path) -> Deployment:
    with_weights(home, "genrm-7")
    return version(
        champion.project, "rejected", backend="transformers", method="genrm", weights="judges/genrm-7",
        parent=champion.judge,
    )  # fmt: skip


def test_shared_weights_stay_while_one_of_them_needs_them_and_go_for_all_at_once(
    trained: Deployment, home: Path, alice: User, django_capture_on_commit_callbacks: Capture
) -> None:
    renewed = renewal.renew(trained, by=alice)
    again = renewal.renew(version_of(renewed, State.RETIRED), by=alice)
    [found] = storage.stored([trained.judge])
    assert found.kept == f"{again.judge} has the same ones, and it judges beside a champion."
    with pytest.raises(storage.CannotPrune, match="the same ones"):
        storage.prune(renewed.judge, by=alice)
    version_of(again, State.RETIRED)
    assert [one.kept for one in storage.stored([trained.judge, renewed.judge, again.judge])] == ["", "", ""]
    with django_capture_on_commit_callbacks(execute=True):
        storage.prune(renewed.judge, by=alice)
    assert not (home / "judges/genrm-7").exists()
    freed = dict(PrunedWeights.objects.values_list("judge", "bytes"))
    assert freed == {trained.judge_id: 0, renewed.judge_id: 1000, again.judge_id: 0}
    assert storage.finish_pruning() == 0
    with pytest.raises(CannotReign, match="were deleted"):
        deployments.crown(Deployment.objects.get(pk=again.pk), by=alice, because="so")


def test_an_adapter_trained_from_the_renewed_one_keeps_them(trained: Deployment, home: Path, alice: User) -> None:
    renewed = version_of(renewal.renew(trained, by=alice), State.RETIRED)
    with_weights(home, "genrm-8")
    (home / "judges/genrm-8/adapter_config.json").write_text("{}")
    version(trained.project, "rejected", parent=renewed.judge, backend="transformers", weights="judges/genrm-8")
    [found] = storage.stored([trained.judge])
    assert "an adapter of another version needs them" in found.kept


def test_with_a_deleted_project_go_the_weights_that_are_renewed_in_it_alone(
    trained: Deployment, home: Path, alice: User, django_capture_on_commit_callbacks: Capture
) -> None:
    project = trained.project
    judges = {"start": trained.judge, "origin": trained.judge, "candidate": trained.judge}
    TrainingRun.objects.create(project=project, trigger="api", method="genrm", state="rejected", **judges)
    renewed = renewal.renew(trained, by=alice)
    elsewhere = Deployment.objects.create(project=ProjectFactory.create(), judge=renewed.judge, state=State.RETIRED)
    with django_capture_on_commit_callbacks(execute=True):
        projects.delete_project(project, by=alice)
    assert (home / "judges/genrm-7").exists(), "it may judge again in the other project"
    elsewhere.delete()
    with django_capture_on_commit_callbacks(execute=True):
        storage.prune(trained.judge, by=alice)
    assert not (home / "judges/genrm-7").exists()


def test_the_same_model_is_not_loaded_twice(champion: Deployment, alice: User) -> None:
    renewed = renewal.renew(champion, by=alice)
    resident.unload()
    backend = resident.judge_backend(champion.judge)
    assert resident.judge_backend(renewed.judge) is backend
    other = JudgeVersionFactory.create(base_model="scripted:first")
    assert resident.judge_backend(other) is not backend
    resident.unload()


def version_of(deployment: Deployment, state: str) -> Deployment:
    """The deployment, in another state."""
    Deployment.objects.filter(pk=deployment.pk).update(state=state)
    deployment.refresh_from_db()
    return deployment
