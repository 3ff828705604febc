"""Judge versions: figures on fixed sets, the family tree, outside sets, storage and the model card."""

import json
from typing import Any

import pytest
import yaml
from django.contrib.auth.models import User

from labeling import version_queries
from labeling.models import (
    AuditEvent,
    Deployment,
    JudgeVersion,
    JudgingRequest,
    Pair,
    Project,
    TrainingRun,
)
from labeling.services import datasets, deployments, judge_reading, judging, model_card, outside, trust
from tests.factories import (
    DeploymentFactory,
    JudgementFactory,
    JudgeVersionFactory,
    LabelFactory,
    PairFactory,
    ProjectFactory,
)

State = Deployment.State
Capture = Any


def labelled(project: Project, count: int, *, part: str = "test", choice: str = "a") -> list[Pair]:
    pairs = PairFactory.create_batch(count, project=project, part=part)
    for pair in pairs:
        LabelFactory.create(pair=pair, choice=choice)
    return pairs


def judged(deployment: Deployment, pairs: list[Pair], *, right: int, **fields: Any) -> None:
    """The first ``right`` of pairs whose label is A are judged as A, the others as B."""
    for number, pair in enumerate(pairs):
        p_a = 0.8 if number < right else 0.3
        JudgementFactory.create(pair=pair, judge=deployment.judge, method=deployment.counts, p_a=p_a, **fields)


def version(
    project: Project, state: str = "retired", *, parent: JudgeVersion | None = None, **judge: Any
) -> Deployment:
    made = JudgeVersionFactory.create(parent=parent, **judge)
    return DeploymentFactory.create(project=project, judge=made, state=state)


def test_figures_are_the_engine_s_on_the_test_part_never_on_the_gate_part(champion: Deployment) -> None:
    test, gate = labelled(champion.project, 10), labelled(champion.project, 6, part="gate")
    judged(champion, test, right=7)
    judged(champion, gate, right=0)
    rows = datasets.holdout_rows(champion.project)
    [one] = version_queries.overview_for(champion.project).versions
    assert one.test == trust.figures_for(champion, [row for row in rows if row.pair.part == "test"])
    assert (one.test.n, one.test.accuracy) == (10, 0.7)
    assert one.whole == trust.figures_for(champion, rows)
    assert one.whole.n == 16


def test_each_version_speaks_by_the_method_that_counts_for_it(champion: Deployment) -> None:
    pairs = labelled(champion.project, 4)
    writer = version(champion.project)
    Deployment.objects.filter(pk=writer.pk).update(counts="cot")
    judged(writer, pairs, right=0)  # by score, which does not count for it
    writer.refresh_from_db()
    judged(writer, pairs, right=4)
    assert version_queries.overview_for(champion.project).versions[1].test.accuracy == 1.0


def test_figures_kept_in_the_cache_follow_the_labels(champion: Deployment) -> None:
    pairs = labelled(champion.project, 4)
    judged(champion, pairs, right=4)
    assert version_queries.overview_for(champion.project).versions[0].test.accuracy == 1.0
    pairs[0].labels.update(choice="b")
    assert version_queries.overview_for(champion.project).versions[0].test.accuracy == 0.75


def test_every_version_stands_under_its_parent(champion: Deployment) -> None:
    project, root = champion.project, champion.judge
    child = version(project, parent=root)
    grandchild = version(project, parent=child.judge)
    second = version(project, parent=root)
    adopted = version(project, parent=JudgeVersionFactory.create())
    tree = version_queries.overview_for(project).tree
    assert [node.version.deployment.pk for node in tree] == [
        one.pk for one in (champion, child, grandchild, second, adopted)
    ]
    assert [(node.opens, len(node.closes)) for node in tree] == [
        (True, 0), (True, 0), (False, 1), (False, 1), (False, 0)
    ]  # fmt: skip
    assert tree[-1].parent is None


def test_a_long_line_of_descent_is_no_trouble(champion: Deployment) -> None:
    last = champion
    for _ in range(40):
        last = version(champion.project, parent=last.judge)
    tree = version_queries.overview_for(champion.project).tree
    assert len(tree) == 41
    assert len(tree[-1].closes) == 40


def test_a_shadow_s_missing_gate_pairs_are_counted(champion: Deployment) -> None:
    gate = labelled(champion.project, 5, part="gate")
    shadow = version(champion.project, "shadow")
    judged(champion, gate, right=5)
    judged(shadow, gate[:2], right=2)
    one = version_queries.overview_for(champion.project).versions[1]
    assert (one.gate_pairs, one.gate_missing, one.champion_missing, one.weighed) == (5, 3, 0, False)
    judged(shadow, gate[2:], right=3)
    assert deployments.weigh(shadow)
    assert version_queries.overview_for(champion.project).versions[1].weighed


# Outside sets


@pytest.fixture
def other(alice: User) -> Project:
    project = ProjectFactory.create(slug="essays", guidelines="Prefer the better argument.")
    project.members.create(user=alice, role="adjudicator")
    return project


def choose(project: Project, *wanted: Project, by: User) -> bool:
    return outside.choose(project, wanted, among=[*wanted, *project.outside.all()], by=by)


def test_the_champion_judges_the_labelled_holdout_of_outside_sets_last_of_all(
    champion: Deployment, other: Project, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "OUTSIDE", 3)
    wanted = labelled(other, 5)
    labelled(other, 1, part="")  # may train
    labelled(other, 1, choice="tie")
    PairFactory.create(project=other, part="test")  # unlabelled
    for place, pair in enumerate([wanted[4], *wanted[:4]]):
        Pair.objects.filter(pk=pair.pk).update(shuffle=place)
    assert choose(champion.project, other, by=alice)
    asked = JudgingRequest.objects.filter(pair__project=other)
    assert {one.pair_id for one in asked} == {wanted[4].pk, wanted[0].pk, wanted[1].pk}
    assert {(one.judge_id, one.method, one.priority) for one in asked} == {(champion.judge_id, "score", 50)}
    assert judging.request_project(champion.project) == 0
    assert not choose(champion.project, other, by=alice)
    event = AuditEvent.objects.get(action="project.outside")
    assert (event.actor, event.detail) == (alice, {"added": ["essays"], "removed": []})


def test_outside_pairs_are_judged_under_their_own_project_s_guidelines(
    champion: Deployment, other: Project, alice: User
) -> None:
    labelled(other, 1)
    choose(champion.project, other, by=alice)
    [request] = judging.lease_chunk()
    found = judge_reading.settings_of(request.pair.project, request.method, backend=request.judge.backend)
    assert found.rubric == "Prefer the better argument."


def test_outside_pairs_are_not_sent_to_a_judge_on_a_server(project: Project, other: Project, alice: User) -> None:
    """Whoever chooses the set may have no say in its project; what was asked for before is forgotten."""
    remote = DeploymentFactory.create(project=project, judge__backend="openai", judge__weights="")
    pairs = labelled(other, 2)
    labelled(project, 1)
    JudgingRequest.objects.create(pair=pairs[0], judge=remote.judge, method="score", priority=50)
    choose(project, other, by=alice)
    assert not JudgingRequest.objects.filter(pair__project=other).exists()
    assert JudgingRequest.objects.filter(pair__project=project, judge=remote.judge).exists()
    local = version(project, "rejected")
    deployments.crown(local, by=alice, because="runs here")
    assert JudgingRequest.objects.filter(pair__project=other, judge=local.judge).count() == 2


@pytest.mark.parametrize("end", ["promote", "unselect", "retire"])
def test_requests_for_outside_pairs_go_with_the_version_and_with_the_set(
    champion: Deployment, other: Project, alice: User, end: str
) -> None:
    labelled(other, 2)
    choose(champion.project, other, by=alice)
    next_one = version(champion.project, "rejected")
    if end == "promote":
        deployments.crown(next_one, by=alice, because="better on my own examples")
    elif end == "unselect":
        outside.choose(champion.project, [], among=[other], by=alice)
    else:
        Deployment.objects.filter(pk=champion.pk).update(state=State.SHADOW)
        champion.refresh_from_db()
        deployments.retire(champion, by=alice)
    assert not JudgingRequest.objects.filter(judge=champion.judge_id).exists()
    asked = JudgingRequest.objects.filter(pair__project=other, judge=next_one.judge_id)
    assert asked.count() == (2 if end == "promote" else 0)


def test_requests_of_the_set_s_own_project_stay(champion: Deployment, other: Project, alice: User) -> None:
    """The same judge reigns in both projects."""
    DeploymentFactory.create(project=other, judge=champion.judge)
    labelled(other, 2)
    judging.request_project(other)
    own = JudgingRequest.objects.filter(pair__project=other, judge=champion.judge_id).count()
    choose(champion.project, other, by=alice)
    deployments.crown(version(champion.project, "rejected"), by=alice, because="better")
    assert JudgingRequest.objects.filter(pair__project=other, judge=champion.judge_id).count() == own == 4


def test_sets_that_were_not_on_offer_stay(champion: Deployment, other: Project, alice: User) -> None:
    champion.project.outside.add(other)
    assert not outside.choose(champion.project, [], among=[], by=alice)
    assert list(champion.project.outside.all()) == [other]


def test_figures_outside_are_those_of_the_versions_that_judged_there(champion: Deployment, other: Project) -> None:
    champion.project.outside.add(other)
    pairs = labelled(other, 6)
    version(champion.project)
    judged(champion, pairs[:4], right=3)
    [measured] = version_queries.overview_for(champion.project).outside
    assert (measured.key, measured.pairs) == ("essays", 6)
    [(one, figures)] = measured.measured
    assert (one.deployment, figures.n, figures.accuracy) == (champion, 4, 0.75)
    assert figures == trust.figures_for(champion, outside.rows_of(other))


# The model card


def test_the_card_holds_every_figure_and_nobody_s_words(champion: Deployment, alice: User, other: Project) -> None:
    project = champion.project
    Project.objects.filter(pk=project.pk).update(name='Tales: "old" | new')
    about = {"method": "genrm", "name": "genrm-5", "weights": "judges/genrm-5", "prompt_hash": "f" * 64}
    made = version(project, "rejected", parent=champion.judge, **about)
    run = TrainingRun.objects.create(
        project=project, trigger="api", method="genrm", start=champion.judge, origin=champion.judge,
        candidate=made.judge, state="rejected", snapshot_sha256="abc123", training_pairs=321, replay_pairs=54,
        versions={"torch": "2.13.0"}, seconds={"training": 77.0}, tokens=12345,
        config={"epochs": 3.0, "model": "/home/somebody/judges", "rubric": "SECRET GUIDELINES"},
    )  # fmt: skip
    for part in ("calibration", "gate", "test"):
        pairs = labelled(project, 8, part=part)
        judged(champion, pairs, right=4)
        judged(made, pairs, right=6)
    project.outside.add(other)
    judged(made, labelled(other, 3), right=3)
    Deployment.objects.filter(pk=made.pk).update(
        gate={"promote": False, "n": 8, "groups": 8, "difference": 0.25, "low": -0.1, "high": 0.5, "detectable": 0.3,
              "conditions": [{"name": "better", "met": False, "text": "The candidate is better with p 0.7."}]},
        overruled_by=alice, overruled_because="SECRET REASON",
    )  # fmt: skip
    made = version_queries.versions_for(project).get(pk=made.pk)
    trust.measure(made)
    card = model_card.card_of(made)
    _, head, body = card.split("---\n", 2)
    front = yaml.safe_load(head)
    assert front["base_model"] == "scripted:longer"
    [result] = front["model-index"][0]["results"]
    assert result["dataset"]["name"] == 'Tales: "old" | new, blind hold-out, test part'
    assert result["metrics"] == [{"type": "accuracy", "name": "agreement with people", "value": 0.75}]
    rows = {line.split("|")[1].strip(): line for line in body.splitlines() if line.startswith("|")}
    assert rows["test: only reported"].startswith("| test: only reported | 8 | 8 | 75 % (")
    assert rows["whole hold-out"].startswith("| whole hold-out | 24 | 24 | 75 % (")
    assert rows[other.name].startswith(f"| {other.name} | 3 | 3 | 100 % (")
    for wanted in (
        f"genrm-5 ← {champion.judge.name}", "f" * 64, "abc123", "321", "54", "+25.0 points", "not met: The candidate",
        "A person overruled", '"torch": "2.13.0"', "12345", "training 77", '"epochs": 3.0', "“longer wins”",
        "the response shown first", "only 8 judged labels", "temperature",
    ):  # fmt: skip
        assert wanted in body, wanted
    secrets = ["SECRET", "somebody", "alice", "external-", "fox", "story", run.project.guidelines]
    assert not [word for word in secrets if word in card]
    assert json.loads(body.split("```json\n")[1].split("```")[0]) == {"epochs": 3.0}


def test_a_card_of_a_version_without_any_figure(champion: Deployment) -> None:
    card = model_card.card_of(champion)
    assert "No training run" in card
    assert "never compared" in card
    assert "model-index" not in card
