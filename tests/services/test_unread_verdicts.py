"""Where no verdict could be read of the judge: its texts are kept, and nobody takes one half for a verdict."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from genrm_engine import neighbours
from genrm_engine import types as engine
from labeling import flag_queries
from labeling.models import Consensus, Deployment, Flag, Judgement, Label, Pair, Project, Rationale
from labeling.services import (
    agreement,
    changes,
    datasets,
    exports,
    flags,
    housekeeping,
    judge_labels,
    judging,
    routing,
    trust,
)
from labeling.services.labels import commit_label
from labeling.services.reveals import reveal
from tests import factories


def unread(pair: Pair, deployment: Deployment, **fields: Any) -> Judgement:
    return factories.JudgementFactory.create(
        pair=pair, judge=deployment.judge, method=deployment.counts, p_a=0.5, consistent=False, unparsed=2, **fields
    )


def said(method: engine.Method, *texts: str, rationales: tuple[engine.Rationale, ...] = ()) -> engine.Judgement:
    samples = len(texts) + len(rationales)
    return engine.Judgement(
        "1", method, 0.5, 0.5, 0.5, False, 0, 0, samples, len(texts), 90, 0.5, rationales, unparsed_texts=texts
    )


def stored(pair: Pair, deployment: Deployment, row: engine.Judgement) -> list[tuple[bool, int, str, str, float | None]]:
    judging.store_judgement(pair.pk, deployment.judge, row)
    return list(Rationale.objects.values_list("swapped", "sample", "text", "verdict", "p_a"))


def test_texts_without_a_verdict_are_kept_in_their_places(champion: Deployment, pair: Pair) -> None:
    read = (engine.Rationale(swapped=False, sample=1, text="A.", p_a=0.9, verdict="a"),)
    assert stored(pair, champion, said("cot", "first", "second", "third", rationales=read)) == [
        (False, 0, "first", "", None),
        (False, 1, "A.", "a", 0.9),
        (True, 0, "second", "", None),
        (True, 1, "third", "", None),
    ]


def test_a_score_has_no_texts(champion: Deployment, pair: Pair) -> None:
    assert stored(pair, champion, said("score", "", "")) == []


def test_what_no_database_takes_is_left_out_of_the_texts(champion: Deployment, pair: Pair) -> None:
    read = (engine.Rationale(swapped=False, sample=0, text="a\x00 \ud83d is", p_a=0.9, verdict="a"),)
    texts = [text for _, _, text, _, _ in stored(pair, champion, said("cot", "\x00no\udc00ne", rationales=read))]
    assert texts == ["a  is", "none"]


@pytest.mark.parametrize(
    ("samples", "unparsed", "winner"), [(2, 2, ""), (2, 1, "a"), (2, 0, "a"), (0, 0, "a")], ids=str
)
def test_there_is_a_winner_where_any_verdict_was_read(pair: Pair, samples: int, unparsed: int, winner: str) -> None:
    made = factories.JudgementFactory.create(pair=pair, p_a=0.5, samples=samples, unparsed=unparsed)
    assert made.winner == winner


@pytest.mark.parametrize("choice", ["left", "right"])
def test_the_reveal_says_so_and_neither_agrees_nor_disagrees(
    champion: Deployment, pair: Pair, bob: User, as_bob: Client, choice: Any
) -> None:
    label = commit_label(factories.ClaimFactory.create(pair=pair, annotator=bob), choice=choice)
    unread(pair, champion)
    cot = factories.JudgementFactory.create(pair=pair, judge=champion.judge, method="cot", p_a=0.9)
    Rationale.objects.create(judgement=cot, swapped=False, sample=0, text="A is clearer.", p_a=0.9, verdict="a")
    shown = reveal(label)
    assert (shown.state, shown.choice, shown.agrees, shown.rationale) == ("shown", "", None, "")
    page = as_bob.get(f"/labels/{label.pk}/reveal/").content.decode()
    assert "No verdict could be read." in page
    assert "The judge: no verdict could be read." in page
    assert "with you" not in page
    assert "% sure" not in page
    assert 'class="tag">judge<' not in page


@pytest.mark.parametrize("people", [("a",), ("a", "b")])
def test_it_raises_no_flag(champion: Deployment, pair: Pair, people: tuple[str, ...]) -> None:
    for choice in people:
        factories.LabelFactory.create(pair=pair, choice=choice)
    unread(pair, champion)
    flags.refresh(pair)
    by_people = {Flag.Kind.ANNOTATORS_SPLIT} if len(people) > 1 else set()
    assert set(Flag.objects.values_list("kind", flat=True)) == by_people
    champion.refresh_from_db()
    [row] = flag_queries.rows_for([_queued(pair)], champion)
    assert (row.judge, row.confidence) == ("", None)


def _queued(pair: Pair) -> Any:
    pair.value, pair.since = 0.0, timezone.now()  # type: ignore[attr-defined]
    return pair


def test_the_dossier_says_so(champion: Deployment, pair: Pair, as_dora: Client) -> None:
    unread(pair, champion)
    assert flag_queries.pair_dossier(pair).confidence is None
    page = as_dora.get(f"/p/stories/pairs/{pair.pk}/").content.decode()
    assert "No verdict could be read" in page
    assert "flips" not in page


@pytest.fixture
def free(champion: Deployment) -> Deployment:
    """A judge that may label whatever it has a verdict of."""
    Project.objects.update(judge_labels=True)
    Deployment.objects.update(trusted=True, thresholds={"threshold": 0.5})
    return judging.champion_of(Project.objects.get()) or champion


def test_it_is_no_label_of_the_judge(free: Deployment, pair: Pair) -> None:
    other = factories.PairFactory.create(project=free.project)
    unread(pair, free)
    factories.JudgementFactory.create(pair=other, judge=free.judge, p_a=0.5)
    assert judge_labels.apply(free.project) == 1
    assert Consensus.objects.get().pair == other
    for source in ("judge", "hybrid"):
        rows = [row["id"] for row in exports.export(free.project, source=source, profile="full")]
        assert rows == [other.external_id], source


def test_it_is_no_prompt_that_the_judge_has_labelled(free: Deployment, pair: Pair) -> None:
    unread(pair, free)
    assert list(exports.export(free.project, source="judge", shape="prompt")) == []


def test_it_never_agrees_where_the_threshold_is_tested(champion: Deployment) -> None:
    for number in range(30):
        held_out = factories.PairFactory.create(project=champion.project, part="test")
        factories.LabelFactory.create(pair=held_out, choice="ab"[number % 2])
        unread(held_out, champion)
    trust.measure(champion)
    assert champion.measured["accuracy"] == 0.5, "as the engine counts one half"
    assert {one["disagreements"] for one in champion.thresholds["tested"]} == {30}


def test_it_is_unsure_and_does_not_flip_where_pairs_are_routed(champion: Deployment, pair: Pair) -> None:
    flipped = factories.PairFactory.create(project=champion.project)
    unread(pair, champion)
    factories.JudgementFactory.create(pair=flipped, judge=champion.judge, p_a=0.5, consistent=False)
    routing.rescore(champion.project)
    scores = {one.pk: (one.route_score, one.route_reason) for one in Pair.objects.all()}
    assert scores[pair.pk] == (0.45, "the judge is unsure")
    assert scores[flipped.pk][0] == pytest.approx(0.65)


def test_a_version_that_said_nothing_did_not_change_its_mind(champion: Deployment, pair: Pair) -> None:
    new = factories.DeploymentFactory.create(project=champion.project, state="rejected")
    other = factories.PairFactory.create(project=champion.project)
    unread(pair, champion)
    factories.JudgementFactory.create(pair=pair, judge=new.judge, p_a=0.1)
    factories.JudgementFactory.create(pair=other, judge=champion.judge, p_a=0.1)
    unread(other, new)
    assert changes.count(champion, new) == changes.Counts(0, 0, 0, 0, 0, 0)


def test_nobody_went_over_to_it(champion: Deployment, pair: Pair, bob: User) -> None:
    unread(pair, champion)
    label = commit_label(factories.ClaimFactory.create(pair=pair, annotator=bob), choice="right")
    reveal(label)
    Label.objects.update(final_choice="a")
    [person] = agreement.report_for(champion.project).people
    assert person.moved.of == 0


def test_a_pair_is_not_like_those_that_the_judge_got_wrong(
    champion: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []

    def likeness(_texts: object, wrong: dict[str, bool]) -> dict[str, float]:
        compared.append(len(wrong))
        return {}

    monkeypatch.setattr(neighbours, "available", lambda: True)
    monkeypatch.setattr(neighbours, "likeness", likeness)
    pairs = factories.PairFactory.create_batch(routing.LEAST_NEIGHBOURS + 1, project=champion.project)
    for number, one in enumerate(pairs):
        factories.LabelFactory.create(pair=one, choice="b")
        if number:
            factories.JudgementFactory.create(pair=one, judge=champion.judge, p_a=0.9)
        else:
            unread(one, champion)
    assert len(datasets.training_rows(champion.project)) == len(pairs)
    housekeeping.route(champion.project.pk)
    assert compared == [routing.LEAST_NEIGHBOURS]
