"""The judge's report by its address: the engine's figures in words and drawings, for those who may see them."""

import re
from html import unescape
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from genrm_engine.evaluation import calibration, metrics, planner, selective
from labeling.models import Deployment, Judgement, JudgeVersion, Label, Pair, Project, TrainingRun
from labeling.services import datasets, judge_report, trust, win_rates
from labeling.templatetags.tandem import percent, points
from tests import factories

URL = "/p/stories/judge/"
PARTS = ("calibration", "gate", "test")


def words(client: Client, url: str = URL, **headers: str) -> str:
    """The page's text, with single spaces and without tags."""
    page = client.get(url, headers=headers).content.decode()
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def judged_holdout(champion: Deployment, n: int, *, wrong: int = 5) -> None:
    """Labelled and judged hold-out pairs, a third in each part; the judge errs on one in ``wrong``."""
    for number in range(n):
        pair = factories.PairFactory.create(project=champion.project, part=PARTS[number % 3])
        choice = "a" if number % 2 else "b"
        sure = 0.6 + 0.35 * (number % 10) / 9
        right = number % wrong > 0
        factories.LabelFactory.create(pair=pair, choice=choice)
        factories.JudgementFactory.create(
            pair=pair, judge=champion.judge, p_a=sure if (choice == "a") == right else 1 - sure
        )
    trust.measure(champion)
    champion.refresh_from_db()


@pytest.fixture
def measured(champion: Deployment) -> Deployment:
    """A champion with 90 hold-out labels."""
    judged_holdout(champion, 90)
    return champion


def compare(champion: Deployment, n: int = 24) -> None:
    """Pairs of two response models, a half of them audit pairs with labels."""
    for number in range(n):
        pair = factories.PairFactory.create(
            project=champion.project, model_a="new", model_b="old <1>", audit=number % 2 == 0
        )
        factories.JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.3 + 0.1 * (number % 5))
        if pair.audit:
            factories.LabelFactory.create(pair=pair, choice="a" if number % 3 else "b")


def interval(figure: Any) -> str:
    return f"{percent(figure.value)} {percent(figure.low)} to {percent(figure.high)}"


def test_all_figures_are_the_engine_s_on_the_same_rows(as_dora: Client, measured: Deployment) -> None:
    compare(measured)
    rows = [row.to_labelled() for row in datasets.holdout_rows(measured.project)]
    judged = [trust.to_engine(row) for row in Judgement.objects.filter(pair__part__in=PARTS)]
    page = words(as_dora)
    plain = metrics.measure(rows, judged)
    assert f"Agrees with people {percent(plain.accuracy)} 95 %: {percent(plain.accuracy_low)}" in page
    assert f"“Longer wins” does {percent(plain.longer_wins)}" in page
    assert f"Same winner in both orders {percent(plain.consistency)}" in page
    assert f"On {plain.n} blind hold-out labels in {plain.groups} groups" in page
    parts = dict(Pair.objects.values_list("pk", "part"))
    fitted = [row for row in rows if parts[int(row.pair.id)] == "calibration"]
    others = [row for row in rows if parts[int(row.pair.id)] != "calibration"]
    curve = calibration.calibrate(judged, others, others=(judged, fitted))
    assert f"a temperature of {curve.temperature:.2f} , fitted on 30 labels" in page
    for name, one in (("As the judge says it", curve.before), ("Temperature used", curve.after_temperature)):
        assert one is not None
        assert f"{name} {one.ece:.3f} {one.nll:.3f} {one.brier:.3f}" in page
    for place in curve.before.curve:
        share = f"{percent(place.y)} {percent(place.low)} to {percent(place.high)}"
        assert f"{place.n} {percent(place.x)} {share}" in page
    report = judge_report.report_of(judge_report.held_out(measured))
    assert report.bias is not None
    assert report.bias.length is not None
    assert f"Lead on “longer wins” {points(report.bias.lead.value)} 95 %: {points(report.bias.lead.low)}" in page
    assert f"Chooses the one shown first {interval(report.bias.position.first)} – 50 %" in page
    length = report.bias.length
    assert f"Chooses the longer response {interval(length.judge)} {interval(length.people)} 100 %" in page
    assert f"More often than people {points(length.excess.value)} {points(length.excess.low)}" in page
    assert "Format: there is no pair in which one response holds more Markdown." in page
    for line in win_rates.win_rates(measured.project):
        assert line.found is not None
        both, alone = (
            f"{percent(value)} {percent(low)} to {percent(high)}"
            for value, low, high in (
                (line.found.estimate, line.found.low, line.found.high),
                (line.found.classical, line.found.classical_low, line.found.classical_high),
            )
        )
        assert f"{line.model} {both} {alone} {line.found.n} {line.found.items}" in page


def test_the_threshold_and_its_tests_are_the_engine_s(as_dora: Client, measured: Deployment) -> None:
    rows = {str(row.pair.pk): row for row in datasets.holdout_rows(measured.project)}
    tested = {item: row for item, row in rows.items() if row.pair.part in ("calibration", "test")}
    p_a = {str(one.pair_id): trust.calibrated(measured, one.p_a) for one in Judgement.objects.all()}
    found = selective.select(
        {item: max(p_a[item], 1 - p_a[item]) for item in tested},
        {item: (p_a[item] > 0.5) == (row.choice == "a") for item, row in tested.items()},
        wished=0.8,
        groups={item: row.pair.group_key for item, row in tested.items()},
    )
    page = words(as_dora)
    assert found.tested
    for one in found.tested:
        agreement = percent(1 - one.disagreements / one.n)
        assert f"{percent(one.threshold)} {one.n} {one.disagreements} {agreement} {one.p_value:.3f}" in page
    assert "the setting is off" in page


@pytest.mark.parametrize(
    ("thresholds", "sentence"),
    [
        (
            {"threshold": 0.83, "coverage": 0.41, "labels_missing": None, "tested": []},
            "agrees with people in at least 80 % of the pairs, a tie being no agreement (95 % certain): 41 % of the",
        ),
        (
            {"threshold": None, "coverage": 0.0, "labels_missing": 60, "tested": []},
            "No confidence meets the wish of 80 %; about 60 more hold-out labels are missing.",
        ),
        (
            {"threshold": None, "coverage": 0.0, "labels_missing": None, "tested": [
                {"threshold": 0.9, "n": 50, "disagreements": 13, "p_value": 0.9, "passed": False}]},
            "Going by the 50 pairs of which the judge is surest, more labels will not help, but a better judge may: "
            "there it agrees with people in 74 %, no more than is wished.",
        ),
    ],
)  # fmt: skip
def test_selective_labelling_is_said_in_plain_words(
    as_dora: Client, champion: Deployment, thresholds: dict[str, Any], sentence: str
) -> None:
    champion.thresholds = {"wished": 0.8, "certainty": 0.95, "labels": 100, **thresholds}
    champion.save()
    page = words(as_dora)
    assert sentence in page
    assert "This was tested for" not in page
    assert ("labels in the hold-out’s calibration and test parts are missing" in page) == bool(
        thresholds["labels_missing"]
    )
    Project.objects.update(judge_labels=True, wished_agreement=0.9)
    page = words(as_dora)
    assert ("it labels alone from there on" in page) == (thresholds["threshold"] is not None)
    assert "The wish is 90 % now; this was tested for 80 %." in page


def test_the_reliability_curve_is_drawn_and_named(as_dora: Client, measured: Deployment) -> None:
    page = as_dora.get(URL).content.decode()
    [drawing] = re.findall(r'<svg class="reliability".*?</svg>', page, re.DOTALL)
    assert 'aria-labelledby="curve-name curve-text"' in drawing
    before = measured.calibration["before"]["curve"]
    after = measured.calibration["after_temperature"]["curve"]
    assert drawing.count('height="9"') == len(before)
    assert drawing.count("<circle") == len(after)
    x, y = 44 + 264 * after[0]["x"], 12 + 264 * (1 - after[0]["y"])
    assert f'cx="{x:.1f}" cy="{y:.1f}"' in drawing
    assert "style=" not in page


def test_win_rates_are_drawn_within_their_frame(as_dora: Client, champion: Deployment) -> None:
    compare(champion, 20)
    page = as_dora.get(URL).content.decode()
    ranges = re.findall(r'<rect class="range" x="([-\d.]+)" width="([-\d.]+)"', page)
    assert len(ranges) == 4
    assert all(0 <= float(x) <= float(x) + float(width) <= 1.0001 for x, width in ranges)
    assert "old &lt;1&gt;" in page


def test_the_page_says_whose_labels_may_have_trained_the_champion(as_dora: Client, champion: Deployment) -> None:
    compare(champion)
    assert "on all pairs outside the hold-out: none of their labels trained it" in words(as_dora)
    TrainingRun.objects.create(
        project=champion.project,
        trigger="button",
        method="genrm",
        start=champion.judge,
        origin=champion.judge,
        candidate=champion.judge,
    )
    page = words(as_dora)
    assert "on audit pairs alone: other pairs’ labels may have trained it" in page
    assert re.search(r"new \d+ % -?\d+ % to \d+ % \d+ % \d+ % to \d+ % 12 12 ", page)


def test_planning_needs_no_script_and_htmx_swaps_the_region(as_dora: Client, measured: Deployment) -> None:
    held = judge_report.held_out(measured)
    plan = judge_report.plan_of(held, more=250, confidence=0.75)
    assert plan.chosen is not None
    sentence = (
        f"The final labels are expected to agree with people in {percent(plan.chosen.agreement.value)} of the pairs "
        f"(95 %: {percent(plan.chosen.agreement.low)} to {percent(plan.chosen.agreement.high)})"
    )
    whole = words(as_dora, f"{URL}?version={measured.judge_id}&more=250&sure=75")
    assert "With 250 more labels" in whole
    assert "Accepting the judge from 75 % on" in whole
    assert sentence in whole
    assert "Not enough versions measured to say how much better a judge would become: 1 of at least 3" in whole
    headers = {"HX-Request": "true", "HX-Target": "planner"}
    part = as_dora.get(f"{URL}?more=250&sure=75", headers=headers).content.decode()
    assert part.strip().startswith('<section class="panel" id="planner"')
    assert 'name="more" value="250"' in part
    assert "Leanings" not in part


def test_a_learning_curve_is_said_with_its_interval(as_dora: Client, champion: Deployment) -> None:
    judge = champion.judge
    for labels, accuracy in ((50, 0.6), (100, 0.65), (200, 0.7)):
        candidate = factories.JudgeVersionFactory.create(parent=judge)
        figures = {"n": 90, "accuracy": accuracy, "accuracy_low": accuracy - 0.1, "accuracy_high": accuracy + 0.1}
        TrainingRun.objects.create(
            project=champion.project, trigger="button", method="genrm", start=judge, origin=judge, candidate=candidate,
            training_pairs=labels, state="rejected", metrics={"champion": {}, "candidate": {"all": figures}},
        )  # fmt: skip
    found = planner.more_labels(judge_report.history_of(champion.project), 300, now=0)
    assert found.accuracy is not None
    assert (
        f"A judge trained on 300 labelled pairs is expected to agree with people in {percent(found.accuracy)} of the "
        f"pairs (95 %: {percent(found.low)} to {percent(found.high)}), by a power law through 3 sizes"
    ) in words(as_dora, f"{URL}?more=300")


@pytest.mark.parametrize(("query", "field"), [("more=-1", "more"), ("more=many", "more"), ("sure=40", "sure")])
def test_a_bad_plan_is_named_at_its_field(as_dora: Client, measured: Deployment, query: str, field: str) -> None:
    response = as_dora.get(f"{URL}?{query}")
    assert response.status_code == 422
    assert list(response.context["form"].errors) == [field]
    assert "With 100 more labels" in response.content.decode()


def test_any_version_of_the_project_can_be_looked_at(as_dora: Client, measured: Deployment) -> None:
    other: JudgeVersion = factories.JudgeVersionFactory.create(name="candidate-7")
    factories.DeploymentFactory.create(project=measured.project, judge=other, state="rejected")
    pair = Pair.objects.filter(part="gate").first()
    factories.JudgementFactory.create(pair=pair, judge=other, p_a=0.5)
    default, asked = words(as_dora), words(as_dora, f"{URL}?version={other.pk}")
    assert "candidate-7 rejected" in default
    assert "On 90 blind hold-out labels" in default
    assert "The judge’s report candidate-7" in asked
    assert "On 1 blind hold-out label in 1 group" in asked
    assert ("they say little" in default, "they say little" in asked) == (False, True)
    assert "Not calibrated: that is done for the champion" in asked
    stranger = factories.DeploymentFactory.create()
    for version in (stranger.judge_id, 0, "nine"):
        assert as_dora.get(f"{URL}?version={version}").status_code == 404


def test_what_is_missing_is_said(as_dora: Client, project: Project) -> None:
    assert "This project has no judge yet." in words(as_dora)
    champion = factories.DeploymentFactory.create(project=project)
    page = words(as_dora)
    for sentence in (
        "People have labelled 0 hold-out pairs blind as A or B, and this version has judged none of them.",
        "Nothing could be tested yet",
        "needed both in the hold-out’s calibration part (0 so far) and in its other parts (0 so far)",
        "No labelled pair of the hold-out’s calibration and test parts is judged by this version yet.",
        "No judged pair outside the hold-out names the models",
    ):
        assert sentence in page
    judged_holdout(champion, 12)
    assert "the probabilities stand as the judge says them: 4 labels in 4 groups are too few" in words(as_dora)
    compare(champion, 4)
    assert "old <1> Not known yet: human labels are needed in at least 10 groups, not 2." in words(as_dora)
    Deployment.objects.update(state="retired")
    assert "Win rates need a champion" in words(as_dora)


def test_adjudicators_and_managers_see_it(
    as_alice: Client, as_bob: Client, as_dora: Client, as_charlie: Client, client: Client, champion: Deployment
) -> None:
    statuses = [who.get(URL).status_code for who in (client, as_charlie, as_bob, as_dora, as_alice)]
    assert statuses == [302, 404, 403, 200, 200]
    assert as_alice.post(URL).status_code == 405
    links = [f'href="{URL}"' in who.get("/p/stories/").content.decode() for who in (as_bob, as_dora, as_alice)]
    assert links == [False, True, True]


def test_queries_do_not_grow_with_the_data(
    as_dora: Client, champion: Deployment, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    judged_holdout(champion, 30)
    compare(champion)
    for _ in range(3):
        factories.DeploymentFactory.create(project=champion.project, state="rejected")
    cache.clear()
    with django_assert_max_num_queries(24) as first:
        as_dora.get(URL)
    judged_holdout(champion, 30)
    compare(champion)
    factories.LabelFactory.create_batch(3, pair=Pair.objects.filter(part="test").first())
    assert Label.objects.count() > 60
    with django_assert_max_num_queries(len(first)):
        as_dora.get(URL)
