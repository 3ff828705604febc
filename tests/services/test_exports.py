"""Which labels leave, and in which form: sources, verdicts, ties, shapes."""

import math
from typing import Any

import pytest
from django.contrib.auth.models import User

from labeling.errors import ExportRefused
from labeling.models import Deployment, Label, Pair, Project, Rationale
from labeling.services import exports
from labeling.services.consensus import refresh
from labeling.services.labels import commit_label
from tests.factories import (
    ClaimFactory,
    DeploymentFactory,
    JudgementFactory,
    JudgeVersionFactory,
    LabelFactory,
    PairFactory,
)

Rows = list[dict[str, Any]]


def rows(project: Project, **options: Any) -> Rows:
    return list(exports.export(project, **options))


def labelled(project: Project, *choices: str, **fields: Any) -> list[Label]:
    """A label on a pair of its own for each choice, with its consensus."""
    made = [LabelFactory.create(pair=PairFactory.create(project=project), choice=one, **fields) for one in choices]
    for label in made:
        refresh(label.pair)
    return made


@pytest.fixture
def alone(champion: Deployment) -> Deployment:
    """A champion that may label alone from 0.9 on."""
    champion.thresholds = {"threshold": 0.9}
    champion.save()
    return champion


def test_the_first_verdict_leaves_unless_the_final_one_is_asked_for(project: Project) -> None:
    labelled(project, "a", final_choice="b")
    assert [row["choice"] for row in rows(project)] == ["a"]
    [final] = rows(project, verdict="final")
    assert (final["choice"], final["provenance"]["final_choice"]) == ("b", "b")
    [chosen] = rows(project, verdict="final", profile="strict")
    assert chosen["chosen"][0]["content"] == Pair.objects.get().response_b


def test_blind_leaves_out_assisted_labels_and_adjudications(project: Project, dora: User) -> None:
    labelled(project, "a")
    labelled(project, "b", blind=False)
    labelled(project, "b", source="adjudication", annotator=dora, external_annotator="")
    assert [row["choice"] for row in rows(project)] == ["a", "b", "b"]
    assert [row["choice"] for row in rows(project, blind=True)] == ["a"]


def test_blind_final_verdicts_are_those_that_the_judge_did_not_change(project: Project) -> None:
    labelled(project, "a", final_choice="b")
    labelled(project, "b")
    assert [row["provenance"]["blind"] for row in rows(project, verdict="final")] == [False, True]
    assert [row["choice"] for row in rows(project, verdict="final", blind=True)] == ["b"]
    assert [row["choice"] for row in rows(project, blind=True)] == ["a", "b"]


@pytest.mark.parametrize(
    ("swapped", "shown", "stored", "order"),
    [(False, "left", "a", "ab"), (True, "left", "b", "ba"), (True, "right", "a", "ba"), (True, "tie", "tie", "ba")],
)
def test_the_order_and_the_choice_that_were_shown_leave_too(
    project: Project, bob: User, swapped: bool, shown: str, stored: str, order: str
) -> None:
    claim = ClaimFactory.create(pair__project=project, annotator=bob, swapped=swapped)
    commit_label(claim, choice=shown)
    [row] = rows(project)
    assert row["choice"] == stored
    assert (row["provenance"]["order_shown"], row["provenance"]["choice_shown"]) == (order, shown)


def test_a_pair_leaves_as_it_is_stored(project: Project) -> None:
    prompt = [{"role": "user", "content": 'Naïve "quotes" \\ and\nlines, \u2028 and 🦊'}]
    pair = PairFactory.create(
        project=project,
        prompt=prompt,
        response_a="Ünïcode\t\x1f",
        model_a="m",
        meta={"source": "π", "n": [1, None]},
        part="gate",
        gold="b",
    )
    LabelFactory.create(pair=pair, choice="a", criteria={"Klarheit für alle": "a"}, comment="ja, €")
    [row] = rows(project)
    assert row["prompt"] == prompt
    assert row["response_a"] == pair.response_a
    assert (row["model_a"], row["model_b"], row["part"], row["gold"]) == ("m", "", "gate", "b")
    assert (row["group"], row["meta"], row["audit"]) == (pair.group_key, {"source": "π", "n": [1, None]}, False)
    assert row["provenance"]["criteria"] == {"Klarheit für alle": "a"}
    assert list(row) == [
        *("id", "prompt", "response_a", "response_b", "model_a", "model_b", "choice"),
        *("group", "part", "audit", "gold", "meta", "provenance"),
    ]


def test_ties_are_dropped_kept_or_soft(project: Project) -> None:
    labelled(project, "a", "tie", "both_bad", "b")
    assert [row["choice"] for row in rows(project)] == ["a", "tie", "both_bad", "b"]
    assert [row["choice"] for row in rows(project, ties="drop")] == ["a", "b"]
    assert [row["p_a"] for row in rows(project, ties="soft")] == [1.0, 0.5, 0.5, 0.0]
    assert len(rows(project, profile="strict")) == 2
    soft = rows(project, profile="strict", ties="soft")
    assert [row["p_chosen"] for row in soft] == [1.0, 0.5, 0.5, 1.0]
    assert list(soft[0]) == ["prompt", "chosen", "rejected", "p_chosen"]


def test_margins_are_peoples_strength_or_log_odds(project: Project) -> None:
    labelled(project, "a", strength=2)
    [a, b] = labelled(project, "b", "tie")
    LabelFactory.create(pair=a.pair, choice="b")
    LabelFactory.create(pair=a.pair, choice="a")
    for each in (a, b):
        refresh(each.pair)
    people = rows(project, shape="reward", ties="keep")
    assert [row["margin"] for row in people] == [2.0, 1.0, 1.0, 1.0, 0.0]
    assert [(row["score_chosen"], row["score_rejected"]) for row in people[3:]] == [(1, 0), (0.5, 0.5)]
    first, second = rows(project, source="consensus", shape="reward")
    assert first["margin"] == pytest.approx(math.log(99))
    assert second["margin"] == pytest.approx(math.log(2))
    assert (second["score_chosen"], second["score_rejected"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))


def test_the_strength_of_the_first_verdict_is_not_that_of_another_one(project: Project) -> None:
    labelled(project, "a", final_choice="b", strength=2)
    labelled(project, "a", strength=2)
    for verdict, margins in (("first", [2.0, 2.0]), ("final", [1.0, 2.0])):
        assert [row["margin"] for row in rows(project, shape="reward", verdict=verdict)] == margins
    given = [row["provenance"]["strength"] for row in rows(project, profile="full", verdict="final")]
    assert given == [None, 2]


def test_kto_sft_and_prompts(project: Project) -> None:
    one, _, bad = labelled(project, "b", "tie", "both_bad")
    PairFactory.create(project=project)
    twin = PairFactory.create(project=project, prompt=one.pair.prompt, prompt_hash=one.pair.prompt_hash)
    LabelFactory.create(pair=twin)
    kto = rows(project, shape="kto")
    assert [(row["completion"][0]["content"], row["label"]) for row in kto][:2] == [
        (one.pair.response_b, True),
        (one.pair.response_a, False),
    ]
    assert [row["label"] for row in rows(project, shape="kto", ties="keep")] == [
        *(True, False, True, True, False, False, True, False)
    ]
    assert [row["completion"][0]["content"] for row in rows(project, shape="sft")] == [
        one.pair.response_b,
        twin.response_a,
    ]
    prompts = rows(project, shape="prompt")
    assert [row["prompt"] for row in prompts] == [one.pair.prompt, _.pair.prompt, bad.pair.prompt]
    assert list(prompts[0]) == ["prompt"]


def test_the_judges_labels_say_who_how_and_how_sure(champion: Deployment) -> None:
    champion.calibration = {"temperature": 2.0}
    champion.thresholds = {"threshold": 0.7}
    champion.save()
    pair = PairFactory.create(project=champion.project)
    sure = JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.1)
    JudgementFactory.create(pair__project=champion.project, judge=champion.judge, p_a=0.6)
    Rationale.objects.create(judgement=sure, swapped=True, sample=0, text="It is “clearer”.", p_a=0.1, verdict="b")
    Rationale.objects.create(judgement=sure, swapped=False, sample=0, text="Hm.", verdict="")
    first, second = rows(champion.project, source="judge")
    provenance = first["provenance"]
    assert first["choice"] == "b"
    assert provenance["p_a"] == 0.1
    assert provenance["p_a_calibrated"] == pytest.approx(0.25)
    assert (provenance["confidence"], provenance["selective_threshold"]) == (0.9, 0.7)
    assert (provenance["may_label_alone"], second["provenance"]["may_label_alone"]) == (True, False)
    assert (provenance["prompt_hash"], provenance["method"], provenance["samples"]) == ("0" * 64, "score", 2)
    assert "rationales" not in provenance
    for options in ({"selective": True}, {"min_confidence": 0.7}):
        assert [row["id"] for row in rows(champion.project, source="judge", **options)] == [pair.external_id]
    [said, nothing] = rows(champion.project, source="judge", rationales=True)
    assert [one["order_shown"] for one in said["provenance"]["rationales"]] == ["ab", "ba"]
    assert said["provenance"]["rationales"][1]["text"] == "It is “clearer”."
    assert nothing["provenance"]["rationales"] == []


def test_another_version_speaks_if_it_is_named(champion: Deployment) -> None:
    other = DeploymentFactory.create(project=champion.project, state="shadow", judge__name="second-1")
    pair = PairFactory.create(project=champion.project)
    JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.9)
    JudgementFactory.create(pair=pair, judge=other.judge, p_a=0.2)
    for named in ("second-1", str(other.judge_id)):
        [row] = rows(champion.project, source="judge", judge=named)
        assert (row["choice"], row["provenance"]["judge"]) == ("b", "second-1")
    foreign = JudgeVersionFactory.create()
    for unknown in (foreign.name, str(foreign.pk), "9" * 40, "½"):
        with pytest.raises(ExportRefused, match=r"judge: the project has no version"):
            exports.open_export(champion.project, exports.ask(source="judge", judge=unknown))


def test_the_hybrid_takes_people_first_and_the_judge_where_it_may_label_alone(alone: Deployment) -> None:
    project = alone.project
    people, sure, unsure, held, audited, waiting = PairFactory.create_batch(6, project=project)
    Pair.objects.filter(pk=held.pk).update(part="gate")
    Pair.objects.filter(pk=audited.pk).update(audit=True)
    for pair, p_a in ((people, 0.99), (sure, 0.95), (unsure, 0.6), (held, 0.99), (audited, 0.99), (waiting, 0.99)):
        JudgementFactory.create(pair=pair, judge=alone.judge, p_a=p_a)
    for pair in (people, held):
        LabelFactory.create(pair=pair, choice="b")
        refresh(pair)
    LabelFactory.create(pair=waiting)  # a person has labelled it, and the consensus is still to come
    found = rows(project, source="hybrid")
    assert [(row["id"], row["choice"], row["provenance"]["method"]) for row in found] == [
        (people.external_id, "b", "majority"),
        (sure.external_id, "a", "judge"),
        (held.external_id, "b", "majority"),
    ]
    assert found[1]["provenance"]["judge"] == alone.judge.name
    assert (found[1]["provenance"]["p_a"], found[0]["provenance"]["p_a"]) == (0.95, None)
    assert [row["id"] for row in rows(project, source="hybrid", min_confidence=0.97)] == [
        people.external_id,
        held.external_id,
    ]
    Deployment.objects.update(trusted=False)
    assert len(rows(project, source="hybrid")) == 2


def test_a_hybrid_without_a_judge_is_peoples_consensus(project: Project) -> None:
    labelled(project, "a")
    [row] = rows(project, source="hybrid")
    assert (row["choice"], row["provenance"]["judge"]) == ("a", None)


def test_what_an_adjudicator_called_ambiguous_teaches_nothing(project: Project) -> None:
    [label] = labelled(project, "a")
    Pair.objects.update(ambiguous=True)
    label.pair.refresh_from_db()
    refresh(label.pair)
    for source in ("consensus", "hybrid"):
        assert [row["provenance"]["method"] for row in rows(project, source=source)] == ["ambiguous"]
        assert rows(project, source=source, profile="strict", ties="soft") == []
    assert rows(project, source="human", profile="strict") == []
    assert [row["choice"] for row in rows(project, source="human")] == ["a"]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"source": "robots"}, "source"),
        ({"shape": "kto", "profile": "full"}, "shape"),
        ({"shape": "kto", "ties": "soft"}, "ties"),
        ({"profile": "strict", "ties": "keep"}, "ties"),
        ({"source": "judge", "verdict": "final"}, "verdict"),
        ({"source": "consensus", "blind": True}, "blind"),
        ({"source": "human", "min_confidence": 0.5}, "min_confidence"),
        ({"source": "judge", "min_confidence": 1.5}, "min_confidence"),
        ({"source": "judge", "min_confidence": float("nan")}, "min_confidence"),
        ({"source": "consensus", "judge": "base"}, "judge"),
        ({"source": "human", "selective": True}, "selective"),
        ({"source": "judge", "rationales": True, "profile": "strict"}, "rationales"),
        ({"source": "judge", "rationales": True, "shape": "kto"}, "rationales"),
        ({"shape": "prompt", "since": "x"}, "since"),
    ],
)
def test_options_that_do_not_go_together_are_refused_by_name(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ExportRefused) as refused:
        exports.ask(**options)
    assert refused.value.field == field


@pytest.mark.parametrize("source", ["human", "judge", "consensus", "hybrid"])
def test_rows_of_other_projects_stay_there(champion: Deployment, source: str) -> None:
    foreign = PairFactory.create()
    LabelFactory.create(pair=foreign)
    refresh(foreign)
    JudgementFactory.create(pair=foreign, judge=champion.judge, p_a=0.99)
    assert rows(champion.project, source=source) == []
    assert rows(champion.project, source=source, shape="prompt") == []


def test_an_export_takes_two_statements_for_many_rows_and_few(
    alone: Deployment, django_assert_max_num_queries: Any
) -> None:
    for pair in PairFactory.create_batch(30, project=alone.project):
        JudgementFactory.create(pair=pair, judge=alone.judge, p_a=0.95)
    for options in ({"source": "judge", "rationales": True}, {"source": "hybrid"}):
        with django_assert_max_num_queries(8):
            assert len(rows(alone.project, **options)) == 30
