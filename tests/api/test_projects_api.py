"""Projects over REST: made by who may, changed as on the settings page, deleted while nobody has labelled."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User

from labeling.models import (
    AuditEvent,
    Consensus,
    Deployment,
    JudgingRequest,
    Label,
    Member,
    Pair,
    Project,
    TrainingRun,
)
from labeling.services.consensus import refresh
from tests.api.calling import Caller, caller, fields_of, problem_of
from tests.factories import (
    ClaimFactory,
    DeploymentFactory,
    JudgementFactory,
    JudgeVersionFactory,
    LabelFactory,
    PairFactory,
    ProjectFactory,
)


@pytest.fixture
def api(alice: User) -> Caller:
    return caller(alice)


@pytest.fixture
def maker(alice: User) -> Caller:
    """Alice, who may add projects."""
    alice.user_permissions.add(Permission.objects.get(codename="add_project"))
    return caller(alice)


def test_who_may_not_add_projects_makes_none(api: Caller) -> None:
    assert "administrator" in problem_of(api.post("/projects", {"slug": "new", "name": "New"}), 403)["detail"]
    assert not Project.objects.filter(slug="new").exists()


def test_a_new_project_is_its_makers_and_has_a_judge(maker: Caller, alice: User) -> None:
    body = {"slug": "new", "name": "New", "overlap": 2, "criteria": [{"name": "Tone", "about": "kinder: by far"}]}
    answer = maker.post("/projects", {**body, "holdout_share": 0.5, "wished_agreement": 0.9})
    assert answer.status_code == 201, answer.content
    assert answer["Location"] == "/api/v1/projects/new"
    project = Project.objects.get(slug="new")
    assert (project.overlap, project.holdout_share, project.audit_share) == (2, 0.5, 0.2)
    assert project.criteria == [{"name": "Tone", "about": "kinder: by far"}]
    assert project.wished_agreement == 0.9
    assert project.members.get().user == alice
    assert Deployment.objects.get(project=project).state == "champion"
    found = answer.json()
    assert (found["role"], found["settings"]["criteria"]) == ("manager", project.criteria)
    assert maker.get(answer["Location"]).json() == found
    assert "project.create" in AuditEvent.objects.values_list("action", flat=True)


@pytest.mark.parametrize("name", ["Klarheit für alle", "明確さ", "Clarté – “nette”", "é" * 60])
def test_criteria_are_named_as_on_the_page(api: Caller, project: Project, name: str) -> None:
    criteria = [{"name": name, "about": "genauer: „wahr“ 🦊"}]
    answer = api.patch("/projects/stories", {"criteria": criteria})
    assert answer.status_code == 200, answer.content
    assert answer.json()["settings"]["criteria"] == criteria


@pytest.mark.parametrize("text", ["é" * 201, " a", "a ", "a\nb: c", "a\x85b: c", "a\u2028b: c", "a\u200bb", "\u3000"])
def test_criteria_that_the_page_would_refuse_are_refused(api: Caller, project: Project, text: str) -> None:
    for criterion in ({"name": text, "about": "c"}, {"name": "A", "about": text}):
        [field] = fields_of(api.patch("/projects/stories", {"criteria": [criterion]}))
        assert field.startswith("criteria")
    project.refresh_from_db()
    assert project.criteria == []


def test_a_slug_is_taken_once(maker: Caller) -> None:
    found = problem_of(maker.post("/projects", {"slug": "stories", "name": "Again"}), 409)
    assert found["type"] == "urn:tandem:problem:slug-taken"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"slug": "a b", "name": "New"}, ["slug"]),
        ({"slug": "new"}, ["name"]),
        ({"slug": "new", "name": "  "}, ["name"]),
        ({"slug": "new", "name": "New", "holdout_share": 1}, ["holdout_share"]),
        ({"slug": "new", "name": "New", "overlap": "2"}, ["overlap"]),
        ({"slug": "new", "name": "New", "criteria": [{"name": "a:b", "about": "c"}]}, ["criteria.0.name"]),
        ({"slug": "new", "name": "New", "criteria": [{"name": "A", "about": "c"}, {"name": "a", "about": "d"}]},
         ["criteria"]),
        ({"slug": "new", "name": "New", "retrain_after": 0, "replay_share": 11}, ["retrain_after", "replay_share"]),
    ],
)  # fmt: skip
def test_a_bad_project_names_its_fields(maker: Caller, body: dict[str, Any], fields: list[str]) -> None:
    assert fields_of(maker.post("/projects", body)) == fields
    assert not Project.objects.filter(slug="new").exists()


def test_settings_change_as_on_the_page(api: Caller, alice: User, project: Project) -> None:
    wanted: dict[str, Any] = {
        "name": "Long stories", "guidelines": "Prefer **depth**.", "scale": "graded", "criteria_required": True,
        "criteria": [{"name": "Facts", "about": "fewer errors"}], "comments": "required", "highlights": True,
        "overlap": 3, "gold_every": 10, "least_seconds": 4, "reveal": "never", "routing": "coverage",
        "consensus_method": "dawid_skene", "wished_agreement": 0.85, "judge_labels": True, "retrain_after": 50,
        "retrain_every_days": 7, "retrain_method": "genrm", "retrain_from": "base", "retrain_labels": "consensus",
        "replay_share": 1.5, "samples_per_order": 4,
    }  # fmt: skip
    answer = api.patch("/projects/stories", wanted)
    assert answer.status_code == 200, answer.content
    project.refresh_from_db()
    assert {name: getattr(project, name) for name in wanted} == wanted
    shown = answer.json()["settings"]
    assert {name: shown[name] for name in wanted} == wanted
    changes = AuditEvent.objects.get(action="project.settings")
    assert (changes.actor, set(changes.detail["changes"])) == (alice, set(wanted))
    empty = {"gold_every": None, "retrain_after": None, "guidelines": ""}
    assert api.patch("/projects/stories", empty).status_code == 200
    project.refresh_from_db()
    assert (project.gold_every, project.retrain_after, project.guidelines) == (None, None, "")
    assert project.overlap == 3


def test_what_stays_as_it_is_leaves_no_trace(api: Caller, project: Project) -> None:
    assert api.patch("/projects/stories", {}).status_code == 200
    assert api.patch("/projects/stories", {"name": project.name}).status_code == 200
    assert not AuditEvent.objects.filter(action="project.settings").exists()


def test_annotators_look_and_change_nothing(bob: User, project: Project) -> None:
    api = caller(bob)
    assert api.get("/projects/stories").json()["role"] == "annotator"
    problem_of(api.patch("/projects/stories", {"overlap": 2}), 403)
    problem_of(api.delete("/projects/stories"), 403)


def test_annotators_are_not_told_by_which_settings_they_are_measured(bob: User, dora: User, project: Project) -> None:
    Project.objects.update(gold_every=7, least_seconds=3)
    told = caller(dora).get("/projects/stories").json()["settings"]
    secret = {"gold_every": 7, "least_seconds": 3, "routing": "audit", "holdout_share": 0.3, "audit_share": 0.0}
    assert {name: told[name] for name in secret} == secret
    assert caller(bob).get("/projects/stories").json()["settings"] == told | dict.fromkeys(secret)


def test_a_project_is_deleted_with_what_came_from_files(api: Caller, champion: Deployment) -> None:
    LabelFactory.create(pair=PairFactory.create(project=champion.project))
    answer = api.delete("/projects/stories")
    assert (answer.status_code, answer.content) == (204, b"")
    assert not Project.objects.exists()
    assert not Pair.objects.exists()
    assert "project.delete" in AuditEvent.objects.values_list("action", flat=True)
    problem_of(api.get("/projects/stories"), 404)


def test_the_files_of_a_deleted_project_go_with_it_and_no_others(
    api: Caller, champion: Deployment, home: Path, django_capture_on_commit_callbacks: Any
) -> None:
    project, judge = champion.project, champion.judge
    other = ProjectFactory.create()
    own, kept = (
        TrainingRun.objects.create(
            project=each, trigger="api", method="genrm", start=judge, origin=judge, state=TrainingRun.State.CANCELLED
        )
        for each in (project, other)
    )
    files = [home / "runs" / str(run.pk) / "train.jsonl" for run in (own, kept)]
    files += [home / "datasets" / str(each.pk) / "1-spring.csv" for each in (project, other)]
    files.append(home / "judges" / str(project.pk) / "weights")
    for file in files:
        file.parent.mkdir(parents=True)
        file.touch()
    with django_capture_on_commit_callbacks() as after_commit:
        assert api.delete("/projects/stories").status_code == 204
    assert all(file.exists() for file in files), "a deletion that is rolled back takes no file"
    for callback in after_commit:
        callback()
    assert [file.exists() for file in files] == [False, True, False, True, True]
    assert [file.parent.exists() for file in files[::2]] == [False, False, True]


def test_weights_that_were_trained_in_a_deleted_project_go_unless_they_serve_elsewhere(
    api: Caller, champion: Deployment, home: Path, django_capture_on_commit_callbacks: Any
) -> None:
    project, start = champion.project, champion.judge
    folders = [home / "judges" / name for name in ("genrm-1", "genrm-2")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"weights")
        judge = JudgeVersionFactory.create(name=folder.name, weights=f"judges/{folder.name}", parent=start)
        TrainingRun.objects.create(
            project=project, trigger="api", method="genrm", start=start, origin=start, candidate=judge, state="rejected"
        )
        Deployment.objects.create(project=project, judge=judge, state="retired", counts="score")
    Deployment.objects.create(project=ProjectFactory.create(), judge=judge, state="champion", counts="score")
    with django_capture_on_commit_callbacks(execute=True):
        assert api.delete("/projects/stories").status_code == 204
    assert [folder.exists() for folder in folders] == [False, True]


def test_what_people_have_labelled_is_not_deleted(api: Caller, bob: User, project: Project) -> None:
    claim = ClaimFactory.create(pair=PairFactory.create(project=project), annotator=bob)
    caller(bob).post(f"/claims/{claim.pk}/label", {"choice": "left"})
    found = problem_of(api.delete("/projects/stories"), 409)
    assert "labels here (1)" in found["detail"]
    assert Label.objects.exists()


def test_the_list_says_of_each_project_how_far_it_is(api: Caller, champion: Deployment, bob: User) -> None:
    project, judge = champion.project, champion.judge
    empty, other = ProjectFactory.create(), ProjectFactory.create()
    for each in (empty, other):
        Member.objects.create(project=each, user=bob, role=Member.Role.ADJUDICATOR)
    shadow = DeploymentFactory.create(project=project, state="shadow")
    DeploymentFactory.create(project=other, judge=judge)
    pairs = PairFactory.create_batch(3, project=project)
    for pair in (*pairs, PairFactory.create(project=other)):
        JudgementFactory.create(pair=pair, judge=judge)
        JudgementFactory.create(pair=pair, judge=judge, method="cot")
        JudgementFactory.create(pair=pair, judge=shadow.judge)
    for pair, state in zip(pairs, ("waiting", "leased", "failed"), strict=True):
        JudgingRequest.objects.create(pair=pair, judge=judge, method="score", state=state, priority=20)
    JudgingRequest.objects.create(pair=pairs[0], judge=shadow.judge, method="score", priority=20)
    for pair in pairs[:2]:
        refresh(LabelFactory.create(pair=pair).pair)
    LabelFactory.create(pair=pairs[1])
    LabelFactory.create(pair=pairs[2], withdrawn=True)
    Consensus.objects.create(pair=pairs[2], choice="a", confidence=0.9, method="judge", judge=judge, labels=0)
    found = {row.pop("slug"): row for row in caller(bob).get("/projects").json()}
    nothing = {"pairs": 0, "labelled": 0, "labels": 0, "judge": "", "judge_trusted": False, "judged": 0, "waiting": 0}
    name = project.name
    assert found == {
        "stories": {
            "name": name, "role": "annotator", "pairs": 3, "labelled": 2, "labels": 3, "judge": judge.name,
            "judge_trusted": True, "judged": 3, "waiting": 2,
        },
        empty.slug: {"name": name, "role": "adjudicator", **nothing},
        other.slug: {
            "name": name, "role": "adjudicator", **nothing, "pairs": 1, "judge": judge.name, "judged": 1,
        },
    }  # fmt: skip
    alone = api.get("/projects/stories").json()
    assert {**found["stories"], "role": "manager"} == {field: alone[field] for field in found["stories"]}


@pytest.mark.parametrize("more", [0, 4])
def test_the_list_takes_as_many_queries_for_many_projects(
    api: Caller, alice: User, champion: Deployment, more: int, django_assert_max_num_queries: Any
) -> None:
    for _ in range(more):
        project = DeploymentFactory.create().project
        Member.objects.create(project=project, user=alice, role=Member.Role.ANNOTATOR)
        LabelFactory.create(pair=PairFactory.create(project=project))
    with django_assert_max_num_queries(10):
        assert len(api.get("/projects").json()) == 1 + more
