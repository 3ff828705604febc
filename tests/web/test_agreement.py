"""The agreement page: the engine's own figures on the same rows, what is missing in words, who may see it."""

import random
import re
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from genrm_engine.evaluation.agreement import Figure
from genrm_engine.evaluation.agreement_matrix import agreement_matrix
from genrm_engine.evaluation.rated import Rated
from genrm_engine.evaluation.slices import overall
from labeling.models import Deployment, Judgement, Label, Project
from labeling.services.agreement import DRAWS, MOST_PEOPLE
from labeling.views.agreement import MOST_IN_MATRIX
from tests import factories

URL = "/p/stories/agreement/"
PEOPLE = ("Ada", "Ben", "Cleo")


def text(client: Client) -> str:
    """The page's words, without its tags."""
    page = client.get(URL).content.decode()
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def fill(
    project: Project,
    pairs: int,
    *,
    deployment: Deployment | None = None,
    people: tuple[str, ...] = PEOPLE,
    skill: float = 0.8,
) -> None:
    """Pairs of the test part with three labels each; people mostly say what is right, the judge nearly always."""
    draw = random.Random(7)
    for number in range(pairs):
        right = "ab"[number % 2]
        pair = factories.PairFactory.create(project=project, part="test", group_key=f"g{number // 2}")
        for name in draw.sample(people, 3):
            choice = right if draw.random() < skill else draw.choice(["a", "b", "tie", "both_bad"])
            factories.LabelFactory.create(
                pair=pair, external_annotator=name, choice=choice, criteria={"Tone": right, "Facts": draw.choice("ab")}
            )
        if deployment:
            p_a = 0.9 if right == "a" else 0.1
            factories.JudgementFactory.create(
                pair=pair, judge=deployment.judge, p_a=p_a if draw.random() < 0.95 else 1 - p_a
            )


def share(figure: Figure | None) -> str:
    assert figure is not None
    return f"{100 * figure.value:.0f} % {100 * figure.low:.0f} % to {100 * figure.high:.0f} %"


def index(figure: Figure | None) -> str:
    assert figure is not None
    return f"{figure.value:.2f} {figure.low:.2f} to {figure.high:.2f}"


def test_the_figures_on_the_page_are_the_engine_s_on_the_same_rows(as_dora: Client, champion: Deployment) -> None:
    fill(champion.project, 60, deployment=champion)
    by_pair: dict[int, dict[str, Any]] = {}
    for label in Label.objects.order_by("pk"):
        by_pair.setdefault(label.pair_id, {})[f"{label.external_annotator} (imported)"] = label.choice
    groups = dict(champion.project.pairs.values_list("pk", "group_key"))
    said = dict(Judgement.objects.values_list("pair_id", "p_a"))
    items = [Rated(str(pk), groups[pk], labels, "a" if said[pk] > 0.5 else "b") for pk, labels in by_pair.items()]
    page = text(as_dora)
    all_of_it, matrix = overall(items, draws=DRAWS), agreement_matrix(items, draws=DRAWS, most=MOST_PEOPLE)
    assert f"Raw agreement {share(all_of_it.raw)}" in page
    assert f"κ, mean of every two {index(all_of_it.kappa)}" in page
    assert f"Krippendorff’s α {index(all_of_it.alpha)}" in page
    assert f"Raw agreement with people {share(all_of_it.judge_raw)}" in page
    assert f"Accuracy {share(all_of_it.judge_accuracy)}" in page
    for cell in matrix.cells:
        assert cell.raw is not None
        printed = f"{index(cell.kappa)} {100 * cell.raw.value:.0f} % of {cell.n}"
        assert page.count(printed) >= 2, printed
    assert len(matrix.cells) == 6
    for rater in matrix.raters:
        figures = [share(rater.rest), *map(index, (rater.kappa, rater.alpha_with, rater.alpha_without))]
        assert " ".join(figures) in page


def test_the_page_answers_whether_the_judge_may_replace_an_annotator(as_dora: Client, champion: Deployment) -> None:
    fill(champion.project, 60, deployment=champion, skill=0.6)
    assert "Yes. The judge may stand in for 100 % of the annotators tested" in text(as_dora)
    Judgement.objects.update(p_a=0.5)
    assert "No. The judge may stand in for 0 % of the annotators tested" in text(as_dora)
    Judgement.objects.filter(pair__in=champion.project.pairs.order_by("pk")[:35]).delete()
    assert "Not enough labels to say. On the pairs that the judge is compared on, 0 of 3 annotators" in text(as_dora)


def test_an_empty_project_says_what_is_missing(as_dora: Client, project: Project) -> None:
    page = text(as_dora)
    assert "on 0 blind first verdicts of 0 pairs" in page
    assert "needs 10 pairs with two labels or more; there are 0" in page
    assert "This project has no judge to compare with people." in page
    assert "Not enough labels to say. This project has no judge." in page
    assert "two windows of 30 pairs" in page
    assert "nan" not in page.lower().split()
    assert "None" not in page


def test_few_labels_give_no_figure_but_a_count(as_dora: Client, champion: Deployment) -> None:
    fill(champion.project, 9, deployment=champion)
    page = text(as_dora)
    assert "there are 9" in page
    assert "it has judged 9 of them, and 10 are needed" in page
    assert page.count("9 shared, too few") == 12  # of four raters every two, read in either order
    assert "nan" not in page.lower().split()


def test_labels_that_are_all_the_same_are_explained(as_dora: Client, project: Project) -> None:
    for _ in range(12):
        pair = factories.PairFactory.create(project=project)
        for name in PEOPLE:
            factories.LabelFactory.create(pair=pair, external_annotator=name, choice="a")
    page = text(as_dora)
    assert "All labels are the same, so κ and α have no agreement by chance to correct for." in page
    assert "no κ one label only 100 % of 12" in page
    assert "Raw agreement 100 % 100 % to 100 %" in page


def test_the_trend_is_a_chart_and_a_table(as_dora: Client, champion: Deployment) -> None:
    fill(champion.project, 90, deployment=champion)
    html = as_dora.get(URL).content.decode()
    windows = as_dora.get(URL).context["report"].windows
    assert len(windows) == 3
    assert html.count("<polyline") == 2 * 3  # three lines and their samples in the legend
    assert re.search(r'd="M8\.0 [\d.]+h0 M300\.0 [\d.]+h0 M592\.0 [\d.]+h0"', html)
    assert "The figures as a table" in html
    assert f"{100 * windows[0].figures.raw.value:.0f} %" in html


def test_criteria_and_slices_have_a_row_each(as_dora: Client, project: Project) -> None:
    fill(project, 30)
    page = text(as_dora)
    found = as_dora.get(URL).context["report"].criteria
    assert f"Tone 30 100 % 100 % to 100 % {index(found['Tone'].kappa)} 1.00 1.00 to 1.00" in page
    assert f"Facts 30 {share(found['Facts'].raw)}" in page
    assert "Prompt instruction 30" in page


def test_shades_follow_kappa(as_dora: Client, project: Project) -> None:
    fill(project, 40, skill=1.0)
    html = as_dora.get(URL).content.decode()
    assert html.count('<td class="heat-5">') == 6
    Label.objects.filter(external_annotator="Ada").update(choice="b")
    html = as_dora.get(URL).content.decode()
    assert (html.count('<td class="heat-5">'), html.count('<td class="heat-1">')) == (2, 4)


def test_a_crowd_is_cut_to_those_with_most_labels(as_dora: Client, project: Project) -> None:
    fill(project, 60, people=tuple(f"worker {number:02}" for number in range(60)))
    page, response = text(as_dora), as_dora.get(URL)
    people = len(response.context["report"].people)
    assert people > 50
    assert f"The 50 with most labels, of {people}." in page
    assert f"the other {people - MOST_PEOPLE} count among the others" in page
    assert response.content.decode().count('<td class="own">') == MOST_IN_MATRIX


def test_names_are_text(as_dora: Client, project: Project) -> None:
    fill(project, 3, people=("<b>Ada</b>", "Ben", "Cleo"))
    html = as_dora.get(URL).content.decode()
    assert "&lt;b&gt;Ada&lt;/b&gt; (imported)" in html
    assert "<b>Ada" not in html


@pytest.mark.parametrize("pairs", [3, 40])
def test_the_page_takes_few_queries_however_many_pairs_there_are(
    as_dora: Client, champion: Deployment, pairs: int, django_assert_max_num_queries: Any
) -> None:
    fill(champion.project, pairs, deployment=champion)
    with django_assert_max_num_queries(10):
        assert as_dora.get(URL).context["report"].overall.pairs == pairs


def test_only_adjudicators_and_managers_see_it(
    client: Client, as_alice: Client, as_bob: Client, as_charlie: Client, as_dora: Client, project: Project
) -> None:
    answers = [who.get(URL).status_code for who in (client, as_charlie, as_bob, as_dora, as_alice)]
    assert answers == [302, 404, 403, 200, 200]
    assert as_dora.post(URL).status_code == 405
    assert as_dora.get("/p/nothing/agreement/").status_code == 404


def test_the_project_page_leads_there(as_dora: Client, as_bob: Client, project: Project, bob: User) -> None:
    assert f'href="{URL}"' in as_dora.get("/p/stories/").content.decode()
    assert f'href="{URL}"' not in as_bob.get("/p/stories/").content.decode()
