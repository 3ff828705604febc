"""What adjudicators decide: settled once, sent back for one more label, marked ambiguous, many at a time, in races."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from labeling import jobs
from labeling.errors import AlreadySettled, LabelingError, NobodyLeft, NotSettled
from labeling.models import AuditEvent, Claim, Consensus, Deployment, Flag, Label, LabelRevision, Member, Pair, Project
from labeling.services import audit, claims, flags, judge_labels
from labeling.services.labels import commit_label
from tests.conftest import Sent
from tests.factories import (
    ClaimFactory,
    DeploymentFactory,
    JudgementFactory,
    LabelFactory,
    PairFactory,
    ProjectFactory,
    UserFactory,
)

Kind = Flag.Kind


def open_kinds(pair: Pair) -> set[str]:
    return set(Flag.objects.filter(pair=pair, state="open").values_list("kind", flat=True))


def labelled_by(pair: Pair, annotator: User, shown: str) -> None:
    """A label through the screen: the pair is served to the annotator and labelled."""
    claim = claims.next_claim(pair.project, annotator=annotator)
    assert claim is not None
    assert claim.pair == pair
    Claim.objects.filter(pk=claim.pk).update(swapped=False)
    commit_label(Claim.objects.select_related("pair__project").get(pk=claim.pk), choice=shown)


@pytest.fixture
def annie(project: Project) -> User:
    """A member who has seen no pair yet."""
    annie = UserFactory.create(username="annie")
    Member.objects.create(project=project, user=annie, role=Member.Role.ANNOTATOR)
    return annie


@pytest.fixture
def split(project: Project, bob: User, alice: User) -> Pair:
    """Bob says A and Alice B; everybody who was to label it has."""
    Project.objects.update(overlap=2)
    project.refresh_from_db()
    pair = PairFactory.create(project=project)
    labelled_by(pair, bob, "left")
    labelled_by(pair, alice, "right")
    pair.refresh_from_db()
    flags.refresh(pair)
    return pair


def test_an_adjudicated_pair_is_not_flagged_again_by_the_next_judge(champion: Deployment, dora: User) -> None:
    pair = PairFactory.create(project=champion.project)
    LabelFactory.create(pair=pair, choice="a")
    JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.1)
    flags.refresh(pair)
    flags.settle(pair, by=dora, choice="a", reason="the judge is wrong")
    Deployment.objects.update(state=Deployment.State.RETIRED)
    following = DeploymentFactory.create(project=champion.project, trusted=True)
    JudgementFactory.create(pair=pair, judge=following.judge, p_a=0.05)
    flags.refresh(pair)
    assert open_kinds(pair) == set()


def test_a_settlement_is_a_label_with_a_reason_and_brings_what_depends_on_it_up_to_date(
    split: Pair, dora: User, sent: Sent, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        label = flags.settle(split, by=dora, choice="both_bad", reason="neither answers")
    assert (label.annotator, label.choice, label.comment, label.blind) == (dora, "both_bad", "neither answers", False)
    assert sent[-1] == (jobs.REFRESH_PAIRS, {"pair_ids": [split.pk]})
    flag = Flag.objects.get()
    assert (flag.state, flag.resolution, flag.reason, flag.resolved_by) == (
        "settled",
        "both_bad",
        "neither answers",
        dora,
    )
    with pytest.raises(LabelingError, match="choice"):
        flags.settle(split, by=dora, choice="neither", reason="")


def test_sending_back_asks_somebody_who_has_not_seen_the_pair(
    split: Pair, bob: User, alice: User, dora: User, annie: User
) -> None:
    assert split.closed
    flags.send_back(split, by=dora, reason="read it again")
    assert not split.closed
    assert split.extra_labels == 1
    flag = Flag.objects.get()
    assert (flag.state, flag.reason, flag.resolved_by, flag.resolution) == ("sent_back", "read it again", dora, "")
    assert AuditEvent.objects.get().action == "flag.send_back"
    for asked_before in (bob, alice, dora):
        assert claims.next_claim(split.project, annotator=asked_before) is None
    labelled_by(split, annie, "left")
    split.refresh_from_db()
    assert split.closed
    assert claims.next_claim(split.project, annotator=UserFactory.create()) is None


def test_the_flags_rest_until_the_new_label_and_are_raised_anew_if_people_still_disagree(
    split: Pair, dora: User, annie: User
) -> None:
    flags.send_back(split, by=dora, reason="")
    for _ in range(2):
        flags.refresh(Pair.objects.get(pk=split.pk))
        assert open_kinds(split) == set()
    labelled_by(split, annie, "left")
    flags.refresh(Pair.objects.get(pk=split.pk))
    assert open_kinds(split) == {Kind.ANNOTATORS_SPLIT}
    assert sorted(Flag.objects.values_list("state", flat=True)) == ["open", "sent_back"]


def test_the_flags_do_not_come_back_if_the_new_label_agrees(champion: Deployment, dora: User, bob: User) -> None:
    pair = PairFactory.create(project=champion.project)
    LabelFactory.create(pair=pair, choice="a")
    judgement = JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.1, consistent=False)
    flags.refresh(pair)
    assert open_kinds(pair) == {Kind.ORDER_FLIP}
    flags.send_back(pair, by=dora, reason="")
    labelled_by(pair, bob, "left")
    flags.refresh(Pair.objects.get(pk=pair.pk))
    assert open_kinds(pair) == set()
    judgement.consistent = True
    judgement.save()
    flags.refresh(Pair.objects.get(pk=pair.pk))
    assert open_kinds(pair) == {Kind.JUDGE_DISAGREES}


def test_sending_back_a_pair_with_more_labels_than_asked_for_still_opens_it(
    project: Project, dora: User, annie: User
) -> None:
    pair = PairFactory.create(project=project)
    for choice in ("a", "a", "b"):
        LabelFactory.create(pair=pair, choice=choice)
    flags.refresh(pair)
    flags.send_back(pair, by=dora, reason="")
    assert not pair.closed
    assert pair.extra_labels == 3
    labelled_by(pair, annie, "left")


def test_a_pair_that_everybody_else_has_labelled_cannot_be_sent_back(split: Pair, dora: User) -> None:
    with pytest.raises(NobodyLeft, match="every other member"):
        flags.send_back(split, by=dora, reason="")
    assert open_kinds(split) == {Kind.ANNOTATORS_SPLIT}
    split.refresh_from_db()
    assert (split.closed, split.extra_labels) == (True, 0)


def test_a_settlement_that_is_sent_back_no_longer_stands(split: Pair, dora: User, bob: User, annie: User) -> None:
    label = flags.settle(split, by=dora, choice="a", reason="")
    flags.report(Claim.objects.get(annotator=bob), comment="that is not right")
    flags.send_back(split, by=dora, reason="look again")
    label.refresh_from_db()
    assert label.withdrawn
    assert LabelRevision.objects.values_list("label", "kind", "by").get() == (label.pk, "undo", dora.pk)
    assert Consensus.objects.get().method == Consensus.Method.MAJORITY
    assert not split.closed


def test_what_the_judge_labelled_alone_goes_to_people_when_it_is_sent_back(
    champion: Deployment, dora: User, annie: User
) -> None:
    Project.objects.update(judge_labels=True)
    Deployment.objects.update(thresholds={"threshold": 0.8})
    pair = PairFactory.create(project=Project.objects.get())
    JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.9, consistent=False)
    judge_labels.apply(pair.project)
    pair.refresh_from_db()
    assert pair.closed
    flags.refresh(pair)
    assert open_kinds(pair) == {Kind.ORDER_FLIP}
    flags.send_back(pair, by=dora, reason="")
    judge_labels.apply(pair.project)
    assert not Consensus.objects.exists()
    labelled_by(pair, annie, "right")
    flags.refresh(Pair.objects.get())
    assert (Consensus.objects.get().choice, Consensus.objects.get().method) == ("b", "majority")


def test_an_ambiguous_pair_is_closed_and_flagged_no_more(split: Pair, dora: User) -> None:
    Pair.objects.update(closed=False)
    flags.mark_ambiguous(split, by=dora, reason="it depends on the reader")
    stored = Pair.objects.get()
    assert (stored.ambiguous, stored.closed) == (True, True)
    assert Consensus.objects.get().method == Consensus.Method.AMBIGUOUS
    assert not Label.objects.filter(source="adjudication").exists()
    flag = Flag.objects.get()
    assert (flag.state, flag.resolution, flag.reason) == ("settled", "ambiguous", "it depends on the reader")
    event = AuditEvent.objects.get()
    assert (event.action, event.actor, event.detail) == ("flag.ambiguous", dora, {"reason": "it depends on the reader"})
    flags.refresh(stored)
    assert open_kinds(split) == set()
    with pytest.raises(AlreadySettled):
        flags.mark_ambiguous(split, by=dora, reason="")


def test_a_later_verdict_or_sending_back_ends_the_ambiguity(split: Pair, dora: User, bob: User, annie: User) -> None:
    flags.mark_ambiguous(split, by=dora, reason="")
    flags.report(Claim.objects.get(annotator=bob), comment="A is plainly right")
    flags.settle(split, by=dora, choice="a", reason="so it is")
    assert not Pair.objects.get().ambiguous
    assert (Consensus.objects.get().choice, Consensus.objects.get().method) == ("a", "adjudicated")
    flags.report(Claim.objects.get(annotator=bob), comment="or is it?")
    flags.mark_ambiguous(split, by=dora, reason="")
    assert Consensus.objects.get().method == "ambiguous"
    flags.report(Claim.objects.get(annotator=bob), comment="ask others")
    flags.send_back(split, by=dora, reason="")
    stored = Pair.objects.get()
    assert (stored.ambiguous, stored.closed) == (False, False)


def test_many_are_decided_once_each_and_those_of_others_are_counted(project: Project, dora: User, alice: User) -> None:
    pairs = PairFactory.create_batch(4, project=project)
    for pair in pairs[:3]:
        Flag.objects.create(pair=pair, kind=Kind.REPORTED)
        Flag.objects.create(pair=pair, kind=Kind.ANNOTATORS_SPLIT)
    flags.settle(pairs[0], by=alice, choice="a", reason="first")
    found = flags.decide_all(Pair.objects.filter(project=project), by=dora, choice="tie", reason="all alike")
    assert found == flags.Decided(done=2, before=2, refused=0)
    labels = Label.objects.order_by("pair").values_list("pair", "choice", "comment", "annotator")
    assert list(labels) == [
        (pairs[0].pk, "a", "first", alice.pk),
        (pairs[1].pk, "tie", "all alike", dora.pk),
        (pairs[2].pk, "tie", "all alike", dora.pk),
    ]
    assert AuditEvent.objects.count() == 3


@pytest.mark.parametrize(("choice", "state"), [("send_back", "sent_back"), ("ambiguous", "settled")])
def test_many_are_sent_back_or_marked_ambiguous(
    project: Project, dora: User, annie: User, choice: str, state: str
) -> None:
    pairs = PairFactory.create_batch(3, project=project)
    for pair in pairs:
        Flag.objects.create(pair=pair, kind=Kind.REPORTED)
    ClaimFactory.create(pair=pairs[0], annotator=annie, state="skipped")
    found = flags.decide_all(Pair.objects.filter(project=project), by=dora, choice=choice, reason="odd")
    refused = 1 if choice == "send_back" else 0
    assert found == flags.Decided(done=3 - refused, before=0, refused=refused)
    assert Flag.objects.filter(state=state, reason="odd").count() == 3 - refused
    assert open_kinds(pairs[0]) == ({Kind.REPORTED} if refused else set())


def test_many_are_decided_all_or_none(project: Project, dora: User, monkeypatch: pytest.MonkeyPatch) -> None:
    for pair in PairFactory.create_batch(3, project=project):
        Flag.objects.create(pair=pair, kind=Kind.REPORTED)
    record, calls = audit.record, iter(range(3))

    def fails_at_the_last(*arguments: Any, **named: Any) -> AuditEvent:
        if next(calls) == 2:
            raise RuntimeError("the disk is full")
        return record(*arguments, **named)

    monkeypatch.setattr(audit, "record", fails_at_the_last)
    with pytest.raises(RuntimeError):
        flags.decide_all(Pair.objects.filter(project=project), by=dora, choice="a", reason="")
    assert Flag.objects.filter(state="open").count() == 3
    assert not Label.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_of_eight_adjudicators_at_once_one_settles_the_pair() -> None:
    project = ProjectFactory.create()
    pair = PairFactory.create(project=project)
    for kind in (Kind.REPORTED, Kind.ANNOTATORS_SPLIT):
        Flag.objects.create(pair=pair, kind=kind, created_at=timezone.now())
    users = UserFactory.create_batch(8)

    def settle(user: User) -> bool:
        try:
            flags.decide(Pair.objects.get(pk=pair.pk), by=user, choice="a", reason=user.username)
        except AlreadySettled:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(8) as pool:
        settled = list(pool.map(settle, users))
    winner = users[settled.index(True)]
    assert sum(settled) == 1
    assert Label.objects.get().annotator == winner
    assert set(Flag.objects.values_list("state", "reason")) == {("settled", winner.username)}


def test_a_settlement_by_mistake_is_taken_back_and_settled_anew(split: Pair, dora: User) -> None:
    flags.report(Claim.objects.filter(pair=split).first(), comment="odd")  # type: ignore[arg-type]
    flags.settle(split, by=dora, choice="b", reason="a slip")
    flags.reopen(split, by=dora)
    assert open_kinds(split) == {"annotators_split", "reported"}
    assert Label.objects.get(source="adjudication").withdrawn
    assert Consensus.objects.get().method == "majority"
    events = AuditEvent.objects.order_by("pk").values_list("action", flat=True)
    assert list(events) == ["flag.settle", "flag.reopen"]
    flags.settle(split, by=dora, choice="a", reason="")
    assert (Consensus.objects.get().choice, Consensus.objects.get().method) == ("a", "adjudicated")


def test_an_ambiguity_is_taken_back(split: Pair, dora: User) -> None:
    flags.mark_ambiguous(split, by=dora, reason="")
    flags.reopen(split, by=dora)
    assert not Pair.objects.get().ambiguous
    assert open_kinds(split) == {"annotators_split"}


def test_only_the_last_settlement_can_be_taken_back(split: Pair, dora: User, annie: User) -> None:
    with pytest.raises(NotSettled):
        flags.reopen(split, by=dora)
    flags.settle(split, by=dora, choice="a", reason="")
    flags.reopen(split, by=dora)
    flags.send_back(split, by=dora, reason="")
    with pytest.raises(NotSettled):
        flags.reopen(split, by=dora)


@pytest.mark.parametrize(("second", "method"), [("b", "adjudicated"), ("ambiguous", "ambiguous")])
def test_a_later_decision_takes_the_place_of_the_settlement(
    split: Pair, dora: User, alice: User, bob: User, second: str, method: str
) -> None:
    first = flags.settle(split, by=dora, choice="a", reason="")
    flags.report(Claim.objects.get(annotator=bob), comment="not A")
    flags.decide(split, by=alice, choice=second, reason="")
    standing = Label.objects.filter(source="adjudication", withdrawn=False).values_list("choice", flat=True)
    assert list(standing) == (["b"] if second == "b" else [])
    assert Consensus.objects.get().method == method
    assert LabelRevision.objects.values_list("label", "kind", "by").get() == (first.pk, "undo", alice.pk)


def test_with_the_last_settlement_those_before_it_are_open_again(
    split: Pair, dora: User, bob: User, alice: User
) -> None:
    flags.settle(split, by=dora, choice="a", reason="")
    for comment in ("not A", "still not A"):
        flags.report(Claim.objects.get(annotator=bob), comment=comment)
        flags.settle(split, by=dora, choice="a", reason=comment)
    flags.reopen(split, by=dora)
    opened = Flag.objects.filter(state="open")
    assert [(flag.kind, flag.detail.get("comment")) for flag in opened] == [
        (Kind.REPORTED, "still not A"),
        (Kind.ANNOTATORS_SPLIT, None),
    ]
    assert Flag.objects.count() == 3, "none is raised anew"
    assert not Label.objects.filter(source="adjudication", withdrawn=False).exists()


def test_what_was_settled_before_a_pair_was_sent_back_stays_so(split: Pair, dora: User, bob: User, annie: User) -> None:
    for decision in ("a", "send_back"):
        flags.report(Claim.objects.get(annotator=bob), comment=decision)
        flags.decide(split, by=dora, choice=decision, reason="")
    labelled_by(split, annie, "left")
    flags.refresh(Pair.objects.get())
    flags.settle(split, by=dora, choice="a", reason="")
    flags.reopen(split, by=dora)
    assert open_kinds(split) == {Kind.ANNOTATORS_SPLIT}
