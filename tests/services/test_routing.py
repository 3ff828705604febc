"""Which pair comes next: by score in the routed lane, at random in the drawn one, at their known share."""

import random

import pytest
from django.contrib.auth.models import User

from genrm_engine import routing as engine
from labeling.models import Claim, Deployment, Pair, Project
from labeling.services import claims, housekeeping, routing
from labeling.services.claims import next_claim
from tests.factories import DeploymentFactory, JudgementFactory, LabelFactory, PairFactory

Routing = Project.Routing


def judged(project: Project, champion: Deployment, p_a: float, **fields: object) -> Pair:
    pair = PairFactory.create(project=project, **{"shuffle": 5, **fields})
    JudgementFactory.create(pair=pair, judge=champion.judge, p_a=p_a)
    return pair


@pytest.fixture
def routed(champion: Deployment, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose next pair is always looked for among the routed ones first."""
    project = champion.project
    Project.objects.update(holdout_share=0.0)
    project.refresh_from_db()
    monkeypatch.setattr(claims, "_first_then_any", lambda pairs: pairs)
    return project


def served(project: Project, annotator: User) -> list[tuple[int, str]]:
    """Every pair in the order in which the annotator gets them, with the reason."""
    found = []
    while (claim := next_claim(project, annotator=annotator)) is not None:
        found.append((claim.pair_id, claim.reason))
        Claim.objects.filter(pk=claim.pk).update(state=Claim.State.DONE)
    return found


def test_what_the_trusted_judge_is_least_sure_of_comes_first(routed: Project, champion: Deployment, bob: User) -> None:
    sure, unsure = judged(routed, champion, 0.99, shuffle=1), judged(routed, champion, 0.52, shuffle=2)
    assert routing.rescore(routed) == 2
    assert served(routed, bob) == [(unsure.pk, engine.UNSURE), (sure.pk, engine.NOTHING)]


def test_below_the_trust_floor_the_judge_has_no_say(routed: Project, champion: Deployment, bob: User) -> None:
    Deployment.objects.update(trusted=False)
    first, second = judged(routed, champion, 0.99, shuffle=1), judged(routed, champion, 0.52, shuffle=2)
    assert routing.rescore(routed) == 0
    assert served(routed, bob) == [(first.pk, "random"), (second.pk, "random")]


def test_below_the_trust_floor_what_annotators_disagree_on_comes_first(routed: Project, bob: User) -> None:
    Project.objects.update(overlap=3)
    Deployment.objects.update(trusted=False)
    routed.refresh_from_db()
    agreed, split = (PairFactory.create(project=routed, shuffle=number) for number in (1, 2))
    for pair, choices in ((agreed, "aa"), (split, "ab")):
        for choice in choices:
            LabelFactory.create(pair=pair, choice=choice)
    routing.rescore(routed)
    assert served(routed, bob) == [(split.pk, engine.ANNOTATORS), (agreed.pk, "random")]


def test_the_score_is_the_engines_own(routed: Project, champion: Deployment) -> None:
    Project.objects.update(overlap=3)
    champion.calibration = {"temperature": 2.0}
    champion.save()
    pair = PairFactory.create(project=routed)
    JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.9, consistent=False)
    for choice in ("a", "b"):
        LabelFactory.create(pair=pair, choice=choice)
    routed.refresh_from_db()
    routing.rescore(routed, pairs=[pair.pk])
    pair.refresh_from_db()
    expected = engine.worth(engine.Evidence(p_a=0.75, consistent=False, votes=("a", "b")))
    assert pair.route_reason == expected.reason
    assert pair.route_score == pytest.approx(expected.score, abs=1e-6)


def test_pairs_like_those_the_judge_got_wrong_come_sooner(routed: Project, champion: Deployment) -> None:
    kitchen = "Knead the dough, add flour, salt and butter, and bake the bread in a hot oven."
    code = "The function returns a list of integers; the loop raises an exception in Python."
    for number in range(40):
        text, wrong = (kitchen, True) if number % 2 else (code, False)
        known = judged(routed, champion, 0.9, response_a=f"{text} {number}", closed=True)
        LabelFactory.create(pair=known, choice="b" if wrong else "a")
    bread = judged(routed, champion, 0.7, response_a="Mix butter and flour, then bake the dough.")
    python = judged(routed, champion, 0.7, response_a="A Python function that raises an exception in a loop.")
    routing.rescore(routed)
    bread.refresh_from_db()
    python.refresh_from_db()
    assert bread.route_score > python.route_score


def test_an_earlier_trusted_judge_that_said_otherwise_counts(routed: Project, champion: Deployment) -> None:
    former = champion
    Deployment.objects.update(state=Deployment.State.RETIRED)
    champion = DeploymentFactory.create(project=routed, trusted=True)
    same, other = judged(routed, champion, 0.9), judged(routed, champion, 0.9)
    JudgementFactory.create(pair=same, judge=former.judge, p_a=0.9)
    JudgementFactory.create(pair=other, judge=former.judge, p_a=0.1)
    routing.rescore(routed)
    same.refresh_from_db()
    other.refresh_from_db()
    assert other.route_score > same.route_score
    assert other.route_reason == engine.VERSIONS


def test_coverage_asks_for_prompts_without_a_label_first(routed: Project, bob: User) -> None:
    Project.objects.update(routing=Routing.COVERAGE)
    routed.refresh_from_db()
    same = {"prompt_hash": "one", "project": routed}
    labelled, sibling = PairFactory.create(**same, shuffle=1, closed=True), PairFactory.create(**same, shuffle=2)
    fresh = PairFactory.create(project=routed, shuffle=3)
    LabelFactory.create(pair=labelled)
    routing.rescore(routed)
    assert served(routed, bob) == [(fresh.pk, routing.NO_LABEL), (sibling.pk, routing.FEW_LABELS)]


def test_a_label_moves_its_prompts_other_pairs_back(routed: Project) -> None:
    Project.objects.update(routing=Routing.COVERAGE)
    routed.refresh_from_db()
    labelled, sibling = PairFactory.create_batch(2, project=routed, prompt_hash="one")
    routing.rescore(routed)
    LabelFactory.create(pair=labelled)
    housekeeping.refresh_pairs([labelled.pk])
    sibling.refresh_from_db()
    assert (sibling.route_score, sibling.route_reason) == (0.5, routing.FEW_LABELS)


def test_hold_out_and_audit_come_at_their_share_in_random_order(
    project: Project, champion: Deployment, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A judge that is surest of the earliest pairs does not change the order of those that measure it."""
    draw = random.Random(7)
    monkeypatch.setattr(random, "SystemRandom", lambda: draw)
    monkeypatch.setattr(claims, "_first_then_any", lambda pairs: pairs)
    Project.objects.update(holdout_share=0.25, audit_share=0.2)
    project.refresh_from_db()
    for number in range(200):
        part = "gate" if number % 4 == 0 else ""
        audit = not part and number % 5 == 0
        judged(project, champion, 0.99 - number / 500, part=part, audit=audit, shuffle=number)
    routing.rescore(project)
    found = served(project, bob)
    drawn = [pair for pair, reason in found if reason in ("hold-out", "audit")]
    expected = Pair.objects.filter(claims.DRAWN, project=project).order_by("shuffle")
    assert drawn == [pair.pk for pair in expected]
    first = [reason for _, reason in found[:100]]
    share = sum(reason in ("hold-out", "audit") for reason in first) / 100
    assert share == pytest.approx(0.25 + 0.75 * 0.2, abs=0.12)


def test_uncertainty_alone_leaves_the_audit_to_the_end(routed: Project, champion: Deployment, bob: User) -> None:
    Project.objects.update(routing=Routing.UNCERTAINTY)
    routed.refresh_from_db()
    audit = judged(routed, champion, 0.5, audit=True, shuffle=1)
    others = [judged(routed, champion, 0.99, shuffle=number) for number in (2, 3)]
    routing.rescore(routed)
    assert [pair for pair, _ in served(routed, bob)] == [*(pair.pk for pair in others), audit.pk]


def test_random_ignores_every_score(routed: Project, champion: Deployment, bob: User) -> None:
    Project.objects.update(routing=Routing.RANDOM)
    routed.refresh_from_db()
    pairs = [judged(routed, champion, 0.99 - number / 10, shuffle=number, route_score=number) for number in range(4)]
    routing.rescore(routed)
    assert [pair for pair, _ in served(routed, bob)] == [pair.pk for pair in pairs]
    assert set(Pair.objects.values_list("route_score", flat=True)) == {0.0}


def test_a_pair_that_was_sent_back_takes_one_label_more(project: Project, bob: User, dora: User) -> None:
    pair = PairFactory.create(project=project)
    claim = next_claim(project, annotator=bob)
    assert claim is not None
    Claim.objects.filter(pk=claim.pk).update(state=Claim.State.DONE)
    assert next_claim(project, annotator=dora) is None
    Pair.objects.filter(pk=pair.pk).update(extra_labels=1)
    claims.close_settled(Pair.objects.filter(pk=pair.pk))
    again = next_claim(project, annotator=dora)
    assert again is not None
    assert (again.pair, again.slot, again.slots) == (pair, 1, 2)
