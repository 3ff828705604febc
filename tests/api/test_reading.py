"""What is read over REST besides pairs and labels: judgements with their rationales, flags and statistics."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from labeling.models import Claim, Consensus, Deployment, Flag, Label, Project, Rationale
from labeling.services.claims import SEEN, next_claim
from labeling.services.labels import commit_label
from tests.api.calling import caller, fields_of, problem_of
from tests.factories import ClaimFactory, JudgementFactory, LabelFactory, PairFactory

READS = ["/projects/stories/judgements", "/projects/stories/flags", "/projects/stories/stats"]


@pytest.mark.parametrize(("who", "status"), [("bob", 403), ("charlie", 404), ("dora", 200), ("alice", 200)])
@pytest.mark.parametrize("path", READS)
def test_who_adjudicates_may_read(
    request: pytest.FixtureRequest, champion: Deployment, who: str, status: int, path: str
) -> None:
    assert caller(request.getfixturevalue(who)).get(path).status_code == status


def test_judgements_are_the_champions_with_rationales_on_request(dora: User, champion: Deployment) -> None:
    pair = PairFactory.create(project=champion.project)
    Deployment.objects.update(calibration={"temperature": 2.0})
    scored = JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.8)
    reasoned = JudgementFactory.create(pair=pair, judge=champion.judge, method="cot", p_a=0.7)
    former = JudgementFactory.create(pair=pair, p_a=0.1)
    Rationale.objects.create(judgement=reasoned, swapped=True, sample=0, text="A is clearer.", p_a=0.7, verdict="a")
    api = caller(dora)
    rows = api.get("/projects/stories/judgements").json()["items"]
    assert [row["id"] for row in rows] == [scored.pk, reasoned.pk]
    assert (rows[0]["pair"], rows[0]["judge"], rows[0]["rationales"]) == (pair.pk, champion.judge.name, None)
    assert 0.5 < rows[0]["p_a_calibrated"] < rows[0]["p_a"] == 0.8
    assert rows[1]["p_a_calibrated"] == 0.7
    [row] = api.get("/projects/stories/judgements?rationales=true&method=cot").json()["items"]
    assert row["rationales"] == [{"swapped": True, "sample": 0, "text": "A is clearer.", "p_a": 0.7, "verdict": "a"}]
    assert fields_of(api.get(f"/projects/stories/judgements?judge={former.judge.name}")) == ["judge"]
    Deployment.objects.create(project=champion.project, judge=former.judge, state="retired")
    for named in (former.judge.name, former.judge_id):
        [row] = api.get(f"/projects/stories/judgements?judge={named}").json()["items"]
        assert row["p_a"] == 0.1


def test_a_page_of_judgements_needs_few_queries(
    dora: User, champion: Deployment, django_assert_max_num_queries: Any
) -> None:
    for pair in PairFactory.create_batch(20, project=champion.project):
        JudgementFactory.create(pair=pair, judge=champion.judge)
    api = caller(dora)
    with django_assert_max_num_queries(10):
        assert len(api.get("/projects/stories/judgements?rationales=true").json()["items"]) == 20


@pytest.mark.parametrize("part", ["", "gate"])
def test_who_has_read_a_judgement_is_not_asked_about_its_pair(
    dora: User, bob: User, champion: Deployment, part: str
) -> None:
    pairs = PairFactory.create_batch(2, project=champion.project, part=part)
    for pair in pairs:
        for method in ("score", "cot"):
            JudgementFactory.create(pair=pair, judge=champion.judge, method=method)
    held = ClaimFactory.create(pair=pairs[0], annotator=dora)
    caller(dora).get("/projects/stories/judgements?limit=2")
    held.refresh_from_db()
    assert commit_label(held, choice="left").blind is False
    other = next_claim(champion.project, annotator=dora)
    assert other is not None, "the other pair was not on the page"
    caller(dora).get("/projects/stories/judgements")
    assert set(Claim.objects.filter(annotator=dora).values_list("skip_reason", flat=True)) == {SEEN}
    assert next_claim(champion.project, annotator=bob) is not None


@pytest.mark.parametrize(("kind", "asked"), [("judge_disagrees", False), ("gold_missed", False), ("reported", True)])
def test_who_has_read_what_a_flag_tells_is_not_asked_about_its_pair(
    dora: User, champion: Deployment, kind: str, asked: bool
) -> None:
    pair = PairFactory.create(project=champion.project)
    Flag.objects.create(pair=pair, kind=kind, detail={"gold": "b", "judge": "b"})
    caller(dora).get("/projects/stories/flags")
    assert (next_claim(champion.project, annotator=dora) is not None) is asked


@pytest.fixture
def flag(champion: Deployment) -> Flag:
    pair = PairFactory.create(project=champion.project)
    return Flag.objects.create(pair=pair, kind="annotators_split", value=0.9, detail={"choices": ["a", "b"]})


def test_flags_are_listed_and_settled(dora: User, flag: Flag) -> None:
    api = caller(dora, scope="label")
    [shown] = api.get("/projects/stories/flags").json()["items"]
    assert (shown["pair"], shown["kind"], shown["state"]) == (flag.pair_id, "annotators_split", "open")
    assert api.get("/projects/stories/flags?kind=reported").json()["items"] == []
    body = {"pair": flag.pair_id, "choice": "b", "reason": "A is wrong."}
    [settled] = api.post("/projects/stories/flags", body).json()
    assert (settled["id"], settled["state"], settled["resolution"]) == (flag.pk, "settled", "b")
    assert (settled["reason"], settled["resolved_by"]) == ("A is wrong.", "dora")
    assert Consensus.objects.get().choice == "b"
    found = problem_of(api.post("/projects/stories/flags", body), 409)
    assert found["type"] == "urn:tandem:problem:already-settled"
    assert found["detail"] == "You have settled this pair already."
    Flag.objects.update(state="obsolete", resolved_at=None)
    assert problem_of(api.post("/projects/stories/flags", body), 409)["detail"] == (
        "Nothing is open on this pair any more."
    )
    Flag.objects.update(state="settled", resolved_at=timezone.now())
    assert [one["id"] for one in api.get("/projects/stories/flags?state=settled").json()["items"]] == [flag.pk]


def test_a_pair_is_called_ambiguous_or_sent_back(dora: User, bob: User, flag: Flag) -> None:
    api = caller(dora)
    [sent] = api.post("/projects/stories/flags", {"pair": flag.pair_id, "choice": "send_back"}).json()
    assert sent["state"] == "sent_back"
    Flag.objects.update(state="open")
    [settled] = api.post("/projects/stories/flags", {"pair": flag.pair_id, "choice": "ambiguous"}).json()
    assert settled["resolution"] == "ambiguous"


def test_a_pair_that_nothing_flags_is_opened_and_decided(dora: User, bob: User, project: Project) -> None:
    pair = PairFactory.create(project=project)
    api = caller(dora, scope="label")
    body = {"pair": pair.pk, "reason": "B is cut off."}
    opened = api.post("/projects/stories/flags/open", body)
    assert (opened.status_code, opened.json()["kind"], opened.json()["state"]) == (201, "reported", "open")
    assert opened.json()["detail"] == {"by": "dora", "comment": "B is cut off."}
    assert problem_of(api.post("/projects/stories/flags/open", body), 409)["type"] == "urn:tandem:problem:already-open"
    [settled] = api.post("/projects/stories/flags", {"pair": pair.pk, "choice": "a"}).json()
    assert (settled["id"], settled["resolution"]) == (opened.json()["id"], "a")
    assert fields_of(api.post("/projects/stories/flags/open", {"pair": pair.pk, "reason": " "})) == ["reason"]
    problem_of(api.post("/projects/stories/flags/open", body | {"pair": pair.pk + 1}), 404)
    problem_of(caller(bob).post("/projects/stories/flags/open", body), 403)
    assert Flag.objects.count() == 1


def test_those_who_skipped_a_pair_are_asked_again(dora: User, bob: User, project: Project) -> None:
    pair = PairFactory.create(project=project)
    ClaimFactory.create(pair=pair, annotator=bob, state="skipped", skip_reason="not my field")
    api, body = caller(dora, scope="label"), {"pair": pair.pk}
    asked = api.post("/projects/stories/flags/ask-again", body)
    assert asked.json() == {"pair": pair.pk, "closed": False, "annotators": ["bob"]}
    found = problem_of(api.post("/projects/stories/flags/ask-again", body), 409)
    assert found["type"] == "urn:tandem:problem:nobody-skipped"
    problem_of(api.post("/projects/stories/flags/ask-again", {"pair": pair.pk + 1}), 404)
    problem_of(caller(bob).post("/projects/stories/flags/ask-again", body), 403)
    claim = next_claim(project, annotator=bob)
    assert claim is not None
    assert claim.pair == pair


def test_asking_again_about_a_closed_pair_says_that_it_is_closed(dora: User, bob: User, project: Project) -> None:
    pair = PairFactory.create(project=project, closed=True)
    ClaimFactory.create(pair=pair, annotator=bob, state="skipped")
    asked = caller(dora, scope="label").post("/projects/stories/flags/ask-again", {"pair": pair.pk}).json()
    assert (asked["closed"], asked["annotators"]) == (True, ["bob"])
    assert next_claim(project, annotator=bob) is None


def test_a_bad_decision_is_refused_by_field(dora: User, bob: User, flag: Flag) -> None:
    api = caller(dora)
    assert fields_of(api.post("/projects/stories/flags", {"pair": 0, "choice": "left"})) == ["pair", "choice"]
    problem_of(api.post("/projects/stories/flags", {"pair": flag.pair_id + 1, "choice": "a"}), 404)
    problem_of(caller(bob).post("/projects/stories/flags", {"pair": flag.pair_id, "choice": "a"}), 403)
    assert not Label.objects.exists()


def test_statistics_are_those_of_the_pages(alice: User, champion: Deployment) -> None:
    for number in range(12):
        pair = PairFactory.create(project=champion.project, audit=True)
        LabelFactory.create(pair=pair, choice="a" if number % 2 else "b", external_annotator="ada")
        LabelFactory.create(pair=pair, choice="a" if number % 2 or number < 4 else "b", external_annotator="ben")
        JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.9)
    found = caller(alice).get("/projects/stories/stats").json()
    assert (found["progress"]["pairs"], found["progress"]["labels"]) == (12, 24)
    people = {row["name"]: row["labels"] for row in found["progress"]["annotators"]}
    assert people == {"ada (imported)": 12, "ben (imported)": 12}
    assert (found["judge"]["name"], found["judge"]["scored"]) == (champion.judge.name, 12)
    agreement = found["agreement"]
    assert (agreement["shared"], agreement["judged"]) == (12, 12)
    assert agreement["raw"]["value"] == pytest.approx(10 / 12)
    assert agreement["raw"]["low"] < agreement["raw"]["value"] < agreement["raw"]["high"]
    assert agreement["alpha"]["value"] < agreement["raw"]["value"]
    assert agreement["kappa"]["n"] > 0


def test_pairs_with_flags_are_counted_and_a_user_is_told_from_an_annotator_of_a_file(
    alice: User, bob: User, champion: Deployment
) -> None:
    pair = PairFactory.create(project=champion.project)
    for kind in ("annotators_split", "reported"):
        Flag.objects.create(pair=pair, kind=kind)
    LabelFactory.create(pair=pair, external_annotator="bob")
    for _ in range(2):
        claim = ClaimFactory.create(pair__project=champion.project, annotator=bob)
        commit_label(claim, choice="left")
    api = caller(alice)
    found = api.get("/projects/stories/stats").json()["progress"]
    assert found["open_flags"] == 1
    assert found["annotators"] == [{"name": "bob", "labels": 2}, {"name": "bob (imported)", "labels": 1}]
    described = api.get("/openapi.json").json()["components"]["schemas"]
    assert "pairs with an open flag" in described["ProgressOut"]["properties"]["open_flags"]["description"]


def test_a_project_without_labels_has_no_figures(alice: User, champion: Deployment) -> None:
    found = caller(alice).get("/projects/stories/stats").json()
    assert found["agreement"]["raw"] is None
    assert found["progress"]["annotators"] == []
