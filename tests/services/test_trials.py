"""Trials as rows: which pairs, taken once, ended once, and connected once."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from labeling import jobs, sealing, trial_queries
from labeling.errors import CannotConnect
from labeling.models import AuditEvent, Deployment, JudgeEndpoint, JudgeTrial, JudgeVersion, JudgingRequest, Project
from labeling.services import housekeeping, trials
from tests.conftest import Sent
from tests.factories import LabelFactory, PairFactory

KEY = "sk-not-a-real-key-0123456789"
URL = "http://127.0.0.1:9/v1"

pytestmark = pytest.mark.django_db


def row(pair: int, method: str = "score", **fields: Any) -> dict[str, Any]:
    told = {"pair": pair, "method": method, "p_a": 0.7, "p_a_straight": 0.8, "p_a_swapped": 0.6, "consistent": True}
    told |= {"samples": 2, "unparsed": 0, "tokens": 130, "read": 100, "seconds": 0.5, "rationale": "", "made": "base"}
    return {**told, **fields}


def asked(project: Project, by: User, **fields: Any) -> JudgeTrial:
    wanted = {"backend": "openai", "model": "org/judge", "url": URL, "key": KEY, **fields}
    return trials.request_trial(project, by=by, **wanted)


def taken(project: Project, by: User, **fields: Any) -> JudgeTrial:
    trial = trials.take(asked(project, by, **fields))
    assert trial is not None
    return trial


def passed(project: Project, by: User, *rows: dict[str, Any], trainable: bool = False, **fields: Any) -> JudgeTrial:
    trial = taken(project, by, **fields)
    assert trials.finish(trial, rows or [row(1)], trainable=trainable, note="")
    return trial


def test_a_trial_is_asked_for_with_a_sealed_key_and_noted_without_it(
    project: Project, alice: User, sent: Sent, django_capture_on_commit_callbacks: Any
) -> None:
    PairFactory.create(project=project)
    with django_capture_on_commit_callbacks(execute=True):
        trial = asked(project, alice)
    assert sent == [(jobs.TRY_JUDGE, {"trial_id": trial.pk})]
    assert KEY not in trial.sealed_key
    assert sealing.unseal(trial.sealed_key) == KEY
    event = AuditEvent.objects.get(action="judge.try")
    assert (event.actor, event.detail["url"]) == (alice, URL)
    assert KEY not in f"{event.target} {event.detail}"


def test_a_trial_never_sees_hold_out_or_audit_pairs_and_prefers_labelled_ones(project: Project, alice: User) -> None:
    LabelFactory.create(pair=PairFactory.create(project=project, part="gate"))
    LabelFactory.create(pair=PairFactory.create(project=project, audit=True))
    with pytest.raises(CannotConnect, match="import pairs"):
        asked(project, alice)
    assert not JudgeTrial.objects.exists()
    plain = PairFactory.create_batch(4, project=project)
    labelled = PairFactory.create(project=project)
    LabelFactory.create(pair=labelled)
    LabelFactory.create(pair=plain[3], withdrawn=True)
    PairFactory.create()
    assert trials.pairs_of(project) == [labelled, plain[0], plain[1]]


def test_one_worker_takes_a_trial_and_only_that_one_ends_it(project: Project, alice: User) -> None:
    PairFactory.create(project=project)
    waiting = asked(project, alice)
    trial = trials.take(waiting)
    assert trial is not None
    assert trials.take(waiting) is None
    assert trials.waiting_trial(trial.pk) is None
    assert trials.report(trial, [row(1)])
    assert trials.prolong(trial)
    JudgeTrial.objects.update(state="failed", leased_until=None)
    assert not trials.prolong(trial)
    assert not trials.report(trial, [row(2)])
    assert not trials.finish(trial, [row(2)], trainable=True, note="")
    assert not trials.fail(trial, "late")
    trial.refresh_from_db()
    assert (trial.state, trial.error, trial.said[0]["pair"]) == ("failed", "", 1)


def test_neither_the_error_nor_what_was_said_holds_the_key(project: Project, alice: User) -> None:
    PairFactory.create(project=project)
    trial = taken(project, alice)
    trials.report(trial, [row(1, rationale=f"You sent Bearer {KEY}")])
    trial.refresh_from_db()
    assert trial.said[0]["rationale"] == "You sent Bearer …"
    trials.fail(trial, f"the server says: wrong key {KEY[:20]}")
    trial.refresh_from_db()
    assert trial.error == "the server says: wrong key …"
    assert trial.sealed_key == ""


def test_the_sweep_sends_waiting_trials_again_and_fails_those_whose_worker_fell_silent(
    project: Project, alice: User, sent: Sent
) -> None:
    PairFactory.create(project=project)
    waiting, running, silent = asked(project, alice), taken(project, alice), taken(project, alice)
    JudgeTrial.objects.filter(pk=silent.pk).update(leased_until=timezone.now() - timedelta(seconds=1))
    housekeeping.sweep()
    assert [kwargs for name, kwargs in sent if name == jobs.TRY_JUDGE] == [{"trial_id": waiting.pk}]
    states = dict(JudgeTrial.objects.values_list("pk", "state"))
    assert states == {waiting.pk: "waiting", running.pk: "running", silent.pk: "failed"}
    silent.refresh_from_db()
    assert silent.error == trials.SILENT
    assert silent.sealed_key == ""


@pytest.mark.parametrize(
    ("rows", "method"),
    [
        ([row(1), row(1, "cot")], "score"),
        ([row(1, p_a_straight=1.0, p_a_swapped=0.0), row(1, "cot")], "cot"),
        ([row(1, p_a_straight=1.0, p_a_swapped=0.5, unparsed=1), row(1, "cot")], "cot"),
        ([row(1, p_a_straight=1.0, p_a_swapped=1.0)], "score"),
    ],
    ids=["probabilities", "letters only", "no letter", "a reward model"],
)
def test_the_score_counts_where_it_comes_with_probabilities(rows: list[dict[str, Any]], method: str) -> None:
    assert trials.counted(JudgeTrial(said=rows)) == method


def test_connecting_makes_a_version_with_its_own_key_and_a_shadow_once(
    project: Project, alice: User, champion: Deployment
) -> None:
    PairFactory.create(project=project)
    held_out = PairFactory.create(project=project, part="gate")
    trial = passed(project, alice, row(1), row(1, "cot"))
    first, again = trials.connect(trial, by=alice), trials.connect(trial, by=alice)
    assert first == again
    judge = JudgeVersion.objects.exclude(pk=champion.judge_id).get()
    assert (judge.name, judge.backend, judge.base_model, judge.weights) == ("judge", "openai", "org/judge", "")
    assert not judge.trainable
    assert (first.state, first.counts, first.judge) == ("shadow", "score", judge)
    endpoint = JudgeEndpoint.objects.get(judge=judge)
    assert endpoint.url == URL
    assert sealing.unseal(endpoint.sealed_key) == KEY
    trial.refresh_from_db()
    assert (trial.judge, trial.sealed_key) == (judge, "")
    assert list(JudgingRequest.objects.filter(judge=judge).values_list("pair", "method")) == [(held_out.pk, "score")]
    assert AuditEvent.objects.filter(action="judge.connect").count() == 1


def test_a_local_model_keeps_its_folder_its_checksum_and_whether_it_can_be_trained(
    project: Project, alice: User, champion: Deployment
) -> None:
    PairFactory.create(project=project)
    told = {"weights_sha256": "1" * 64}
    trial = passed(
        project, alice, row(1, **told), trainable=True, backend="transformers", model="/models/small", url="", key=""
    )
    judge = trials.connect(trial, by=alice).judge
    assert (judge.name, judge.weights, judge.weights_sha256) == ("small", "/models/small", "1" * 64)
    assert judge.trainable
    assert not JudgeEndpoint.objects.exists()


def test_a_second_judge_of_the_same_model_gets_a_name_of_its_own(
    project: Project, alice: User, champion: Deployment
) -> None:
    PairFactory.create(project=project)
    first, second = passed(project, alice), passed(project, alice)
    names = [trials.connect(trial, by=alice).judge.name for trial in (first, second)]
    assert names == ["judge", f"judge-{second.pk}"]


def test_only_a_passed_trial_can_be_connected(project: Project, alice: User) -> None:
    PairFactory.create(project=project)
    waiting = asked(project, alice)
    with pytest.raises(CannotConnect, match="trial has passed"):
        trials.connect(waiting, by=alice)
    assert not JudgeVersion.objects.exists()


def test_estimates_are_the_trials_figures_times_the_pairs(project: Project, alice: User) -> None:
    first, second = PairFactory.create_batch(2, project=project)
    PairFactory.create_batch(8, project=project, part="gate")
    said = [row(first.pk, tokens=100, read=100), row(second.pk, tokens=300, read=300, seconds=1.5)]
    said += [row(first.pk, "cot", tokens=500, read=400, seconds=2.0)]
    trial = passed(project, alice, *said)
    trial.refresh_from_db()
    shadow, score, cot, both = trial_queries.estimates_for(trial, trial_queries.Prices(2.0, 8.0))
    assert (shadow.pairs, shadow.read, shadow.written, shadow.seconds) == (8, 1600, 0, 8.0)
    assert (score.pairs, score.tokens) == (10, 2000)
    assert (cot.read, cot.written, cot.seconds) == (4000, 1000, 20.0)
    assert cot.cost == pytest.approx((4000 * 2 + 1000 * 8) / 1e6)
    assert both.tokens == 7000
    assert both.cost == pytest.approx((2000 * 2 + 4000 * 2 + 1000 * 8) / 1e6)
    assert all(line.cost is None for line in trial_queries.estimates_for(trial))
