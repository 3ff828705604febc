"""The plan of the periodic rounds: what people say is not imported, and what counts as restored."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rounds_plan import DEMO, PANDALM, comparable, differences, misses, rows_of, summary

DEMO_FILE = Path(__file__).resolve().parents[2] / "demo" / "pairs.jsonl"

Row = dict[str, Any]


def exported(item: str, *, choice: str = "a", **provenance: Any) -> Row:
    return {"id": item, "choice": choice, "provenance": {"p_a": 0.7, **provenance}}


def round_of(decision: str = "promoted", trigger: str = "policy") -> Row:
    return {"decision": decision, "trigger": trigger}


def restored(**counts: int) -> Row:
    return {"differences": {"judge": {"gone": 0, "new": 0, **counts}}}


def test_the_demo_is_imported_without_what_people_say_and_everybody_has_a_verdict() -> None:
    imported, known = rows_of(DEMO, data=Path("nowhere"), demo=DEMO_FILE)
    assert len(imported) == DEMO.pairs == len(known)
    assert all(row.keys().isdisjoint({"labels", "gold"}) and set(row["meta"]) == {"group_key"} for row in imported)
    for row in known:
        assert [one["annotator"] for one in row["labels"]] == list(DEMO.annotators)
        assert row["gold"] in ("a", "b")


def test_three_instalments_leave_something_for_the_judge_to_label_alone() -> None:
    for plan in (PANDALM, DEMO):
        everything = plan.pairs * len(plan.annotators)
        assert 0.05 * everything <= everything - 3 * plan.instalment <= 0.2 * everything


@pytest.mark.parametrize(("methods", "samples"), [(("genrm", "genrm"), 0), (("genrm", "star-dpo"), 1)])
def test_rationales_are_asked_for_where_a_judge_counts_by_them(methods: tuple[str, ...], samples: int) -> None:
    assert replace(PANDALM, methods=methods).samples_per_order == samples


def test_labels_are_restored_if_all_but_the_moment_of_a_consensus_is_the_same() -> None:
    before = comparable([exported("1", method="judge", labels=0, created_at="now"), exported("2", created_at="then")])
    after = comparable([exported("1", method="judge", labels=0, created_at="later"), exported("2", created_at="then")])
    assert before == after
    assert not any(differences(before, after).values())


def test_what_is_not_restored_is_counted_by_kind() -> None:
    before = comparable([exported("1"), exported("2"), exported("3"), exported("4", created_at="then")])
    after = comparable(
        [exported("2", choice="b"), exported("3", p_a=0.6), exported("4", created_at="later"), exported("5")]
    )
    found = differences(before, after)
    assert found == {"gone": 1, "new": 1, "another_choice": 1, "another_provenance": 2}


def test_a_round_that_failed_a_label_that_changed_or_no_roll_back_is_missed() -> None:
    result: Row = {"plan": {"methods": ["genrm", "genrm"]}, "rounds": [round_of(), round_of("rejected")]}
    assert misses({**result, "switched": {"back": restored()}}) == []
    assert misses(result) == ["nobody rolled back"]
    [missed] = misses({**result, "switched": {"back": restored(gone=3)}})
    assert "back: the labels of judge differ" in missed
    result["rounds"] = [round_of("failed", "button")]
    assert misses(result) == [
        "round 1 ended as failed",
        "round 1 did not start by itself",
        "only 1 rounds were run",
    ]


def test_the_figures_at_the_top_are_the_candidates_on_the_test_part() -> None:
    parts = {part: {"n": 20, "accuracy": value} for part, value in (("gate", 0.9), ("test", 0.6), ("all", 0.7))}
    champion = {part: {"n": 20, "accuracy": 0.5} for part in parts}
    run = {
        "state": "promoted", "method": "genrm", "trigger": "policy", "candidate": "genrm-1", "start": "starter",
        "metrics": {"champion": champion, "candidate": parts}, "gate": {"promote": True}, "training_pairs": 50,
        "holdout_pairs": 20, "yields": [],
    }  # fmt: skip
    found = summary(run)
    assert (found["decision"], found["accuracy"], found["champion_before"]["accuracy"]) == ("promoted", 0.6, 0.5)
    assert found["on_the_gate_part"]["candidate"]["accuracy"] == 0.9
    assert summary({**run, "state": "failed", "metrics": {}, "gate": {}})["accuracy"] is None
