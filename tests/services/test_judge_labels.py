"""Calibration, the confidence from which on the judge labels alone, and what comes of it."""

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from genrm_engine.evaluation import calibration, selective
from labeling import jobs
from labeling.models import Consensus, Deployment, Judgement, Label, Pair, Project
from labeling.services import datasets, exports, housekeeping, judge_labels, trust
from labeling.services.claims import next_claim
from labeling.services.labels import commit_label
from labeling.services.reveals import reveal
from labeling.services.tokens import create_token
from tests.conftest import Sent
from tests.factories import ClaimFactory, JudgementFactory, LabelFactory, PairFactory

Method = Consensus.Method


def judged(project: Project, champion: Deployment, p_a: float, *, human: str = "", **fields: object) -> Pair:
    pair = PairFactory.create(project=project, **fields)
    JudgementFactory.create(pair=pair, judge=champion.judge, p_a=p_a)
    if human:
        LabelFactory.create(pair=pair, choice=human)
    return pair


@pytest.fixture
def measured(champion: Deployment) -> Deployment:
    """A hold-out on which the judge is right where it is sure, overconfident, and wrong half of the time elsewhere."""
    project = champion.project
    Project.objects.update(wished_agreement=0.8, judge_labels=True)
    for part in ("calibration", "test", "gate"):
        for number in range(40):
            judged(project, champion, 0.99, human="b" if number % 20 == 0 else "a", part=part)
        for number in range(20):
            judged(project, champion, 0.8, human="a" if number % 2 else "b", part=part)
    champion.refresh_from_db()
    trust.measure(champion)
    return champion


def test_the_figures_are_the_engines_own(measured: Deployment) -> None:
    rows = datasets.holdout_rows(measured.project)
    said = trust.counted(measured, rows)
    parts = {
        part: [row.to_labelled() for row in rows if row.pair.part == part] for part in ("calibration", "gate", "test")
    }
    own = calibration.calibrate(said, parts["gate"] + parts["test"], others=(said, parts["calibration"]))
    assert measured.calibration["temperature"] == pytest.approx(own.temperature)
    assert measured.calibration["temperature"] > 1
    assert own.after_temperature is not None
    assert measured.calibration["after_temperature"]["ece"] == pytest.approx(own.after_temperature.ece)
    tested = [row for part in ("calibration", "test") for row in parts[part]]
    p_a = {one.pair_id: trust.calibrated(measured, one.p_a) for one in said}
    selection = selective.select(
        {row.pair.id: max(p_a[row.pair.id], 1 - p_a[row.pair.id]) for row in tested},
        {row.pair.id: (p_a[row.pair.id] >= 0.5) == (row.choice == "a") for row in tested},
        wished=0.8,
    )
    assert measured.thresholds["threshold"] == pytest.approx(selection.threshold)
    assert measured.thresholds["coverage"] == pytest.approx(selection.coverage)
    assert 0.6 < measured.thresholds["coverage"] < 0.7


def test_where_people_see_a_tie_the_judge_does_not_agree(measured: Deployment) -> None:
    """It names a response always: were ties left out, it would label alone what people would not have labelled so."""
    before = measured.thresholds
    n = measured.measured["n"]
    for part in ("calibration", "test"):
        for number in range(20):
            judged(measured.project, measured, 0.99, human="tie" if number % 2 else "both_bad", part=part)
    trust.measure(measured)
    assert measured.measured["n"] == n, "accuracy is measured where people prefer one"
    surest, surest_before = measured.thresholds["tested"][0], before["tested"][0]
    assert surest["n"] == surest_before["n"] + 40
    assert surest["disagreements"] == surest_before["disagreements"] + 40
    assert measured.thresholds["threshold"] is None


def test_the_gates_labels_do_not_choose_the_threshold(measured: Deployment) -> None:
    Label.objects.filter(pair__part="gate").update(choice="b", final_choice="b")
    before = measured.thresholds
    trust.measure(measured)
    assert measured.thresholds == before


def test_a_sure_trusted_judge_labels_alone_and_closes_the_pair(measured: Deployment) -> None:
    project = measured.project
    sure, unsure = judged(project, measured, 0.01), judged(project, measured, 0.7)
    audit = judged(project, measured, 0.99, audit=True)
    held_out = judged(project, measured, 0.99, part="test")
    project.refresh_from_db()
    assert judge_labels.apply(project) == 1
    row = Consensus.objects.get()
    assert (row.pair, row.choice, row.method, row.judge, row.labels) == (sure, "b", Method.JUDGE, measured.judge, 0)
    closed = {pair.pk: pair.closed for pair in Pair.objects.filter(pk__in=[sure.pk, unsure.pk, audit.pk, held_out.pk])}
    assert closed == {sure.pk: True, unsure.pk: False, audit.pk: False, held_out.pk: False}
    assert [row["provenance"]["judge"] for row in exports.export(project, source="consensus", profile="full")] == [
        measured.judge.name
    ]
    assert sure.pk not in [row.pair.pk for row in datasets.training_rows(project)]


def test_the_selective_export_leaves_out_what_the_judge_is_not_sure_enough_of(
    measured: Deployment, as_alice: Client, alice: User
) -> None:
    project = measured.project
    sure, unsure = judged(project, measured, 0.01), judged(project, measured, 0.6)
    Pair.objects.exclude(pk__in=[sure.pk, unsure.pk]).delete()
    token = create_token(alice)
    headers = {"Authorization": f"Bearer {token}"}
    for query, expected in (("", {sure: True, unsure: False}), ("&selective=true", {sure: True})):
        answer = as_alice.get(f"/api/v1/projects/stories/labels?source=judge{query}", headers=headers)
        rows = [json.loads(line) for line in answer.getvalue().splitlines()]
        found = {row["id"]: row["provenance"]["may_label_alone"] for row in rows}
        assert found == {pair.external_id: alone for pair, alone in expected.items()}
    assert rows[0]["provenance"]["p_a_calibrated"] == pytest.approx(trust.calibrated(measured, 0.01))


def test_what_annotators_see_is_the_calibrated_confidence(measured: Deployment, bob: User) -> None:
    Project.objects.update(samples_per_order=0)
    pair = judged(measured.project, measured, 0.99)
    label = commit_label(ClaimFactory.create(pair=pair, annotator=bob), choice="left")
    assert reveal(label).confidence == pytest.approx(trust.calibrated(measured, 0.99))
    assert reveal(label).confidence < 0.99


def test_a_persons_label_replaces_the_judges(measured: Deployment, bob: User) -> None:
    project = measured.project
    pair = judged(project, measured, 0.99)
    claim = ClaimFactory.create(pair=pair, annotator=bob)
    project.refresh_from_db()
    judge_labels.apply(project)
    commit_label(claim, choice="right")
    housekeeping.refresh_pairs([pair.pk])
    row = Consensus.objects.get(pair=pair)
    assert (row.choice, row.method, row.judge) == ("b", Method.MAJORITY, None)


def test_another_confidence_replaces_the_judges_label_and_the_page_counts_it_apart(
    measured: Deployment, as_alice: Client
) -> None:
    project = measured.project
    pair = judged(project, measured, 0.99)
    project.refresh_from_db()
    for sure in (0.99, 0.999):
        Judgement.objects.filter(pair=pair).update(p_a=sure)
        assert judge_labels.apply(project) == 1
        row = Consensus.objects.get(pair=pair)
        assert row.confidence == pytest.approx(trust.calibrated(measured, sure))
    page = as_alice.get("/p/stories/").content.decode()
    assert "<strong>0</strong> of 181 pairs labelled, and 1 by the judge alone" in page


@pytest.mark.parametrize("change", ["the project no longer wants it", "the judge is no longer trusted"])
def test_the_judges_labels_go_and_the_pair_comes_back(measured: Deployment, bob: User, change: str) -> None:
    project = measured.project
    pair = judged(project, measured, 0.99)
    Pair.objects.exclude(pk=pair.pk).update(closed=True)
    project.refresh_from_db()
    judge_labels.apply(project)
    assert next_claim(project, annotator=bob) is None
    if change.startswith("the project"):
        Project.objects.update(judge_labels=False)
    else:
        Deployment.objects.update(trusted=False)
    housekeeping.apply_judge_labels(project.pk)
    assert not Consensus.objects.filter(method=Method.JUDGE).exists()
    claim = next_claim(project, annotator=bob)
    assert claim is not None
    assert claim.pair == pair


def test_an_untrained_judge_gets_no_coverage_and_is_told_how_many_labels_are_missing(champion: Deployment) -> None:
    for number in range(60):
        judged(champion.project, champion, 0.55 if number % 3 else 0.45, human="ab"[number % 2], part="test")
    trust.measure(champion)
    assert trust.labels_alone(champion) is None
    assert champion.thresholds["threshold"] is None
    assert champion.thresholds["coverage"] == 0


def test_what_moves_with_the_calibration_is_brought_up_to_date(
    measured: Deployment, sent: Sent, django_capture_on_commit_callbacks: object
) -> None:
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        trust.measure(measured)
    assert (jobs.JUDGE_LABELS, {"project_id": measured.project_id}) not in sent
    Label.objects.filter(pair__part="calibration").update(choice="a")
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        trust.measure(measured)
    assert (jobs.JUDGE_LABELS, {"project_id": measured.project_id}) in sent


@pytest.fixture
def moved(measured: Deployment, sent: Sent, django_capture_on_commit_callbacks: Any) -> dict[str, Any]:
    """What the job was sent with that brings the judge's labels up to date after its calibration has moved."""
    Deployment.objects.update(follow_up=None)
    measured.refresh_from_db()
    measured.project.refresh_from_db()
    judged(measured.project, measured, 0.9, human="a", part="calibration")
    with django_capture_on_commit_callbacks(execute=True):
        trust.measure(measured)
    [answers] = [kwargs for name, kwargs in sent if name == jobs.JUDGE_LABELS]
    return answers


def test_a_moved_calibration_brings_no_refresh_of_everything(
    measured: Deployment, moved: dict[str, Any], sent: Sent
) -> None:
    measured.refresh_from_db()
    assert measured.follow_up is not None
    housekeeping.apply_judge_labels(**moved)
    measured.refresh_from_db()
    assert measured.follow_up is None


@pytest.mark.parametrize("meanwhile", ["lost", "trust", "again"])
def test_what_else_waits_is_not_forgotten_with_it(measured: Deployment, moved: dict[str, Any], meanwhile: str) -> None:
    measured.refresh_from_db()
    before = measured.follow_up
    assert before is not None
    if meanwhile == "trust":
        Label.objects.filter(pair__part__in=["test", "gate"]).update(choice="b")
        assert not trust.measure(measured)
        housekeeping.apply_judge_labels(**moved)
    elif meanwhile == "again":
        Deployment.objects.update(follow_up=timezone.now())
        housekeeping.apply_judge_labels(**moved)
    measured.refresh_from_db()
    assert measured.follow_up is not None
    assert (measured.follow_up > before) == (meanwhile != "lost")


def test_a_mark_that_waits_for_more_is_left_to_it(measured: Deployment) -> None:
    asked = timezone.now()
    Deployment.objects.update(follow_up=asked)
    judged(measured.project, measured, 0.9, human="a", part="calibration")
    trust.measure(measured)
    measured.refresh_from_db()
    assert measured.follow_up == asked


def test_audit_pairs_never_train(project: Project) -> None:
    for audit in (True, False):
        LabelFactory.create(pair__project=project, pair__audit=audit)
    assert [row.pair.audit for row in datasets.training_rows(project)] == [False]


def test_the_sweep_measures_anew_when_hold_out_labels_came_changed_or_went(measured: Deployment) -> None:
    project = measured.project
    before = measured.measured["n"]
    assert not trust.is_stale(measured)
    pair = judged(project, measured, 0.9, human="a", part="test")
    housekeeping.sweep()
    measured.refresh_from_db()
    assert measured.measured["n"] == before + 1
    Label.objects.filter(pair=pair).update(withdrawn=True)
    assert trust.is_stale(measured)
    housekeeping.sweep()
    measured.refresh_from_db()
    assert measured.measured["n"] == before
    judged(project, measured, 0.9, human="a")
    assert not trust.is_stale(measured), "labels outside the hold-out measure nothing"


def test_no_statement_names_more_pairs_than_a_database_takes(
    measured: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = measured.project
    pairs = [judged(project, measured, 0.99) for _ in range(5)]
    project.refresh_from_db()
    monkeypatch.setattr(judge_labels, "_CHUNK", 2)
    named: list[int] = []

    def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        named.extend(found.count("%s") for found in re.findall(r" IN \(([%s, ]+)\)", sql))
        return execute(sql, params, many, context)

    own = Pair.objects.filter(pk__in=[pair.pk for pair in pairs])
    for wanted, closed in ((True, 5), (False, 0)):
        project.judge_labels = wanted
        with connection.execute_wrapper(count):
            judge_labels.apply(project)
        assert own.filter(closed=True).count() == closed
    assert named.count(2) >= 6, "written, and deleted"
    assert max(named) <= len(Method)
