"""The page of judge versions and the page of changes, by their addresses."""

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from labeling.models import Claim, Deployment, PrunedWeights, TrainingRun
from labeling.services import trust
from labeling.services.consensus import refresh
from labeling.services.datasets import holdout_rows
from labeling.templatetags.tandem import percent
from tests import factories

URL = "/p/stories/versions/"
State = Deployment.State


def words(response: Any) -> str:
    """The page's text, with single spaces and without tags."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


def version(champion: Deployment, state: str = "rejected", **fields: Any) -> Deployment:
    judge = factories.JudgeVersionFactory.create(parent=champion.judge)
    return factories.DeploymentFactory.create(project=champion.project, judge=judge, state=state, **fields)


def labelled(champion: Deployment, *others: Deployment, n: int = 9, part: str = "test") -> None:
    """Hold-out pairs that people prefer A on; the champion is right on two of three, the others always."""
    for number in range(n):
        pair = factories.PairFactory.create(project=champion.project, part=part)
        factories.LabelFactory.create(pair=pair, choice="a")
        factories.JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.9 if number % 3 else 0.2)
        for other in others:
            factories.JudgementFactory.create(pair=pair, judge=other.judge, p_a=0.8)


def act(client: Client, deployment: Deployment, what: str, **data: object) -> Any:
    return client.post(f"{URL}{deployment.judge_id}/{what}/", data)


ACTIONS = ["promote", "shadow", "renew", "retire", "prune"]


@pytest.mark.parametrize(("who", "look", "change"), [("bob", 403, 403), ("dora", 200, 403), ("charlie", 404, 404)])
def test_adjudicators_look_and_managers_act(
    request: pytest.FixtureRequest, champion: Deployment, who: str, look: int, change: int
) -> None:
    client = request.getfixturevalue(f"as_{who}")
    other = version(champion)
    for address in ("", f"{other.judge_id}/changes/", f"{other.judge_id}/card/"):
        assert client.get(URL + address).status_code == look
    for what in ACTIONS:
        assert act(client, other, what, because="so").status_code == change
    for what in ("roll-back", "outside", "thin-runs"):
        assert client.post(f"{URL}{what}/").status_code == change
    other.refresh_from_db()
    assert (other.state, other.shadow_since) == ("rejected", None)


def test_a_version_of_another_project_is_not_found(as_alice: Client, champion: Deployment) -> None:
    stranger = factories.DeploymentFactory.create()
    for what in ACTIONS:
        assert act(as_alice, stranger, what, because="so").status_code == 404
    assert as_alice.get(f"{URL}{stranger.judge_id}/changes/").status_code == 404
    other = version(champion)
    assert as_alice.get(f"{URL}{other.judge_id}/changes/?since={stranger.judge_id}").status_code == 404
    assert as_alice.get(f"{URL}{other.judge_id}/changes/?since=nonsense").status_code == 404
    assert as_alice.get(f"{URL}{other.judge_id}/changes/?show=nonsense").status_code == 404


def test_the_page_shows_state_origin_reign_and_figures(as_alice: Client, as_dora: Client, champion: Deployment) -> None:
    child = version(champion)
    run = TrainingRun.objects.create(
        project=champion.project, trigger="api", method="genrm", start=champion.judge, origin=champion.judge,
        candidate=child.judge, state="rejected",
    )  # fmt: skip
    Deployment.objects.filter(pk=champion.pk).update(promoted_at=timezone.now())
    labelled(champion, child)
    labelled(champion, part="gate")
    page = as_alice.get(URL)
    text = words(page)
    [test] = [trust.figures_for(champion, [row for row in holdout_rows(champion.project) if row.pair.part == "test"])]
    figures = f"{percent(test.accuracy)} {percent(test.accuracy_low)} to {percent(test.accuracy_high)}"
    assert f"1 {champion.judge.name} 9 {figures} 100 % 100 % to 100 %" in text
    assert f"2 {child.judge.name} 9 100 % 100 % to 100 %" in text
    assert f"training run {run.pk} ({child.judge.method}), from {champion.judge.name}" in text
    assert "Reigns since" in text
    assert f'href="/runs/{run.pk}/"' in page.content.decode()
    seen = as_dora.get(URL).content.decode()
    assert f'href="/runs/{run.pk}/"' not in seen, "the run's page is the managers'"
    assert "<form" not in seen.split("<main")[1]


def test_the_chart_holds_the_figures_of_the_table(as_dora: Client, champion: Deployment) -> None:
    child = version(champion)
    labelled(champion, child)
    html = as_dora.get(URL).content.decode()
    [drawing] = re.findall(r'<svg class="over-versions".*?</svg>', html, re.DOTALL)
    accuracy, consistency = re.findall(r'<polyline points="([^"]*)"', drawing)
    heights = [[float(dot.split(",")[1]) for dot in line.split()] for line in (accuracy, consistency)]
    assert heights[0] == pytest.approx([12 + 200 / 3, 12], abs=0.1)
    assert heights[1] == [12, 12]
    assert drawing.count('class="whisker"') == 4


def test_the_tree_is_well_formed(as_alice: Client, champion: Deployment) -> None:
    child = version(champion)
    version(child)
    version(champion)
    html = as_alice.get(URL).content.decode()
    tree = html[html.index('<ul class="tree">') : html.index('id="charts-title"')]
    depth, deepest = 0, 0
    for closing, name in re.findall(r"<(/?)(ul|li)\b", tree):
        depth += -1 if closing else 1
        deepest = max(deepest, depth if name == "li" else 0)
        assert depth >= 0
    assert (depth, deepest) == (0, 6)


def test_promoting_against_the_gate_asks_for_a_reason_and_shows_who_and_why(
    as_alice: Client, champion: Deployment
) -> None:
    other = version(champion, gate={"promote": False, "n": 9, "reasons": ["The candidate is not better."]})
    refused = act(as_alice, other, "promote")
    assert refused.status_code == 422
    assert f"The gate did not promote {other.judge}: say why" in words(refused)
    too_long = act(as_alice, other, "promote", because="x" * 501)
    assert too_long.status_code == 422
    assert "Reason: at most 500 characters (it has 501)." in words(too_long)
    done = as_alice.post(f"{URL}{other.judge_id}/promote/", {"because": "better on poems"}, follow=True)
    assert done.redirect_chain == [(URL, 302)]
    assert f"{other.judge} reigns from now on." in words(done)
    assert "The gate was overruled by alice: better on poems" in words(done)
    assert "The candidate is not better." in words(done)
    other.refresh_from_db()
    assert other.state == State.CHAMPION
    again = act(as_alice, other, "promote", because="again")
    assert (again.status_code, "is the champion already" in words(again)) == (422, True)


def test_a_version_that_the_gate_promoted_needs_no_reason(as_alice: Client, champion: Deployment) -> None:
    other = version(champion, "retired", gate={"promote": True})
    assert f'id="because-{other.judge_id}"' not in as_alice.get(URL).content.decode()
    assert act(as_alice, other, "promote").status_code == 302


def test_rolling_back_names_its_version_and_pressed_twice_goes_back_once(
    as_alice: Client, champion: Deployment
) -> None:
    Deployment.objects.update(promoted_at=timezone.now())
    other = version(champion)
    act(as_alice, other, "promote", because="so")
    assert f"Roll back to {champion.judge}" in words(as_alice.get(URL))
    back = {"to": champion.judge_id}
    assert as_alice.post(f"{URL}roll-back/", back).status_code == 302
    champion.refresh_from_db()
    assert champion.state == State.CHAMPION
    twice = as_alice.post(f"{URL}roll-back/", back)
    assert twice.status_code == 422
    assert "not the last former champion any more" in words(twice)
    champion.refresh_from_db()
    assert champion.state == State.CHAMPION
    assert "To: name the version." in words(as_alice.post(f"{URL}roll-back/"))


def test_a_shadow_shows_what_is_missing_then_its_figures(as_alice: Client, champion: Deployment) -> None:
    other = version(champion)
    assert act(as_alice, other, "shadow").status_code == 302
    assert "No pair of the gate part has labels yet" in words(as_alice.get(URL))
    labelled(champion, n=4, part="gate")
    assert "It still has 4 of 4 gate pairs to judge" in words(as_alice.get(URL))
    Deployment.objects.filter(pk=other.pk).update(
        weighed_of=[champion.judge_id],
        gate={"promote": True, "n": 4, "candidate_accuracy": 0.9, "champion_accuracy": 0.6, "difference": 0.3,
              "low": 0.1, "high": 0.5, "conditions": [{"met": True, "text": "Better with probability 0.97."}]},
    )  # fmt: skip
    page = words(as_alice.get(URL))
    assert "On 4 pairs it agrees with people in 90 %, the champion in 60 %: +30.0 points" in page
    assert "Met: Better with probability 0.97." in page
    assert act(as_alice, other, "shadow").status_code == 422
    assert act(as_alice, other, "retire").status_code == 302
    refused = act(as_alice, champion, "retire")
    assert (refused.status_code, "reigns or rests already" in words(refused)) == (422, True)


def test_outside_sets_are_chosen_among_one_s_own(
    as_alice: Client, alice: User, champion: Deployment, project: Any
) -> None:
    mine, hers, foreign = (factories.ProjectFactory.create(name=name) for name in ("Essays", "Poems", "Letters"))
    mine.members.create(user=alice, role="adjudicator")
    hers.members.create(user=alice, role="annotator")
    project.outside.add(foreign)
    page = words(as_alice.get(URL))
    assert "Chosen by others: Letters" in page
    assert "Poems" not in page
    for wrong in (hers.pk, project.pk, "x"):
        refused = as_alice.post(f"{URL}outside/", {"sets": [mine.pk, wrong]})
        assert (refused.status_code, "Projects: " in words(refused)) == (422, True)
    assert as_alice.post(f"{URL}outside/", {"sets": [mine.pk]}).status_code == 302
    assert set(project.outside.all()) == {mine, foreign}
    page = as_alice.get(URL).content.decode()
    assert re.search(rf'value="{mine.pk}"[^>]* checked', page)
    assert as_alice.post(f"{URL}outside/").status_code == 302
    assert set(project.outside.all()) == {foreign}


def test_weights_are_pruned_by_a_button_where_they_may(
    as_alice: Client, champion: Deployment, home: Path, django_capture_on_commit_callbacks: Any
) -> None:
    other = version(champion)
    folder = home / "judges/none"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"x" * 2048)
    page = words(as_alice.get(URL))
    assert "No: it reigns, here or elsewhere." in page
    assert f"No: {champion.judge.name} has the same ones, and it reigns, here or elsewhere." in page
    refused = act(as_alice, other, "prune")
    assert (refused.status_code, "has the same ones" in words(refused)) == (422, True)
    alone = factories.JudgeVersionFactory.create(weights="judges/alone")
    single = factories.DeploymentFactory.create(project=champion.project, judge=alone, state="rejected")
    folder.rename(home / "judges/alone")
    with django_capture_on_commit_callbacks(execute=True):
        assert act(as_alice, single, "prune").status_code == 302
    assert not (home / "judges/alone").exists()
    assert PrunedWeights.objects.get().judge == alone
    assert "2.0 KB freed" in words(as_alice.get(URL))
    refused = act(as_alice, single, "promote", because="so")
    assert (refused.status_code, "were deleted" in words(refused)) == (422, True)


def test_the_card_is_a_file(as_dora: Client, champion: Deployment) -> None:
    response = as_dora.get(f"{URL}{champion.judge_id}/card/")
    assert response["Content-Type"] == "text/markdown; charset=utf-8"
    assert response["Content-Disposition"] == f'attachment; filename="{champion.judge.name}-model-card.md"'
    assert response.content.decode().startswith("---\nlibrary_name")


def flipped(champion: Deployment, other: Deployment, n: int) -> None:
    for number in range(n):
        pair = factories.PairFactory.create(project=champion.project, part="gate" if number % 2 else "")
        factories.JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.9)
        made = factories.JudgementFactory.create(pair=pair, judge=other.judge, p_a=0.1)
        cot = factories.JudgementFactory.create(pair=made.pair, judge=other.judge, method="cot", p_a=0.1)
        cot.rationales.create(swapped=True, sample=0, text=f"B is **clearer** {number}.", p_a=0.1, verdict="b")
        if number % 3 == 0:
            factories.LabelFactory.create(pair=pair, choice="b")
            refresh(pair)


def test_changes_show_the_reasons_beside_the_responses(as_dora: Client, champion: Deployment, dora: User) -> None:
    other = version(champion)
    flipped(champion, other, 4)
    page = as_dora.get(f"{URL}{other.judge_id}/changes/")
    text = words(page)
    assert "Flipped 4 of 4 pairs that both have judged Now right 2 Now wrong 0" in text
    assert f"{other.judge.name} since {champion.judge.name}" in text
    assert "B is clearer 0." in text
    assert "It read B first and calls it response A." in text
    assert "A is better → B is better . People: B is better (majority, 100 % of 1)." in text
    assert "No rationale ends in this verdict." in text
    assert "<strong>clearer</strong>" in page.content.decode()
    assert Claim.objects.filter(annotator=dora, state="skipped").count() == 4
    only = words(as_dora.get(f"{URL}{other.judge_id}/changes/?show=unlabelled"))
    assert only.count("A is better → B is better") == 2
    back = words(as_dora.get(f"{URL}{champion.judge_id}/changes/?since={other.judge_id}"))
    assert "Now right 0 Now wrong 2" in back


def test_without_another_version_there_is_nothing_to_compare(as_dora: Client, champion: Deployment) -> None:
    assert "no other version to compare it with" in words(as_dora.get(f"{URL}{champion.judge_id}/changes/"))


@pytest.mark.parametrize(("rows", "query", "shown"), [(1, "", 1), (45, "", 20), (45, "?page=3", 5)])
def test_the_page_of_changes_takes_few_queries(
    as_dora: Client,
    champion: Deployment,
    rows: int,
    query: str,
    shown: int,
    django_assert_max_num_queries: Any,
) -> None:
    other = version(champion)
    flipped(champion, other, rows)
    with django_assert_max_num_queries(20):
        html = as_dora.get(f"{URL}{other.judge_id}/changes/{query}").content.decode()
    assert html.count('class="panel change"') == shown
    assert (f"?since={champion.judge_id}&amp;show=&amp;page=" in html) == (rows > 20)


@pytest.mark.parametrize("number", [1, 25])
def test_the_page_of_versions_takes_few_queries(
    as_alice: Client, champion: Deployment, number: int, home: Path, django_assert_max_num_queries: Any
) -> None:
    others = [version(champion) for _ in range(number)]
    labelled(champion, *others, n=3)
    outside = factories.ProjectFactory.create()
    champion.project.outside.add(outside)
    with django_assert_max_num_queries(32):
        html = as_alice.get(URL).content.decode()
    assert html.count('class="panel leaf"') == number + 1


def test_a_judge_begins_anew_by_button(as_alice: Client, as_dora: Client, champion: Deployment) -> None:
    labelled(champion)
    name = champion.judge.name
    assert "Judge anew" in words(as_alice.get(URL))
    assert "Judge anew" not in words(as_dora.get(URL))
    done = act(as_alice, champion, "renew")
    assert done.status_code == 302
    page = words(as_alice.get(URL))
    assert f"{name} begins anew: it judges the hold-out and new pairs beside the champion" in page
    assert f"2 {name}-renewed shadow Begun anew on" in page
    assert f", from {name}." in page
    renewed = Deployment.objects.get(state="shadow")
    assert f"/{renewed.judge_id}/renew/" not in as_alice.get(URL).content.decode()
    again = act(as_alice, champion, "renew")
    assert again.status_code == 422
    assert "Nothing was changed." in words(again)
    assert Deployment.objects.count() == 2
