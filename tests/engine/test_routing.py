"""The routing score never falls when there is more to learn, and says why; the simulation of it runs and resumes."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genrm_engine.errors import EngineError
from genrm_engine.neighbours import available
from genrm_engine.routing import REASONS, Evidence, worth

SHARE = st.floats(0, 1)
VOTES = st.lists(st.sampled_from(["a", "b", "tie"]), max_size=5).map(tuple)
SLACK = 1e-12  # of floating point
steady = settings(deadline=None)  # a busy machine is no failure


def evidence(**known: Any) -> Evidence:
    return Evidence(**{"p_a": 0.9, **known})


@st.composite
def anything(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "p_a": draw(st.none() | SHARE),
        "consistent": draw(st.booleans()),
        "p_a_before": draw(st.none() | SHARE),
        "votes": draw(VOTES),
        "likeness": draw(SHARE),
    }


@steady
@given(anything())
def test_a_score_is_a_share_and_a_reason_one_of_those_that_are_known(known: dict[str, Any]) -> None:
    found = worth(Evidence(**known))
    assert 0 <= found.score <= 1
    assert found.reason in REASONS


def test_the_scale_is_used_whole() -> None:
    assert worth(Evidence(1.0)).score == 0
    everything = Evidence(0.5, consistent=False, p_a_before=1.0, votes=("a", "b"), likeness=1.0)
    assert worth(everything).score > 0.9


@steady
@given(anything(), SHARE, SHARE)
def test_the_nearer_to_one_half_the_more(known: dict[str, Any], first: float, second: float) -> None:
    nearer, further = sorted((first, second), key=lambda p: abs(p - 0.5))
    known = {**known, "p_a_before": None}
    sure, unsure = Evidence(**{**known, "p_a": further}), Evidence(**{**known, "p_a": nearer})
    assert worth(unsure).score >= worth(sure).score - SLACK


@steady
@given(anything())
def test_a_verdict_that_flips_adds(known: dict[str, Any]) -> None:
    straight, flipped = Evidence(**{**known, "consistent": True}), Evidence(**{**known, "consistent": False})
    assert worth(flipped).score >= worth(straight).score
    if known["p_a"] is not None:
        assert worth(flipped).score > worth(straight).score


@steady
@given(anything(), SHARE, SHARE, SHARE)
def test_the_further_the_judge_has_moved_the_more(known: dict[str, Any], p: float, one: float, other: float) -> None:
    nearer, further = sorted((one, other), key=lambda before: abs(before - p))
    little, much = ({**known, "p_a": p, "p_a_before": before} for before in (nearer, further))
    assert worth(Evidence(**much)).score >= worth(Evidence(**little)).score - SLACK


@steady
@given(anything(), st.integers(2, 9), st.data())
def test_the_more_annotators_differ_the_more(known: dict[str, Any], people: int, data: st.DataObject) -> None:
    few = data.draw(st.integers(0, people // 2))
    many = data.draw(st.integers(few, people // 2))
    less, more = ({**known, "votes": ("a",) * (people - rare) + ("b",) * rare} for rare in (few, many))
    assert worth(Evidence(**more)).score >= worth(Evidence(**less)).score - SLACK


@steady
@given(anything(), SHARE, SHARE)
def test_the_more_like_wrong_ones_the_more(known: dict[str, Any], one: float, other: float) -> None:
    less, more = ({**known, "likeness": likeness} for likeness in sorted((one, other)))
    assert worth(Evidence(**more)).score >= worth(Evidence(**less)).score - SLACK


@pytest.mark.parametrize(
    "more",
    [
        {"p_a": 0.6},
        {"p_a": None},
        {"consistent": False},
        {"p_a_before": 0.2},
        {"votes": ("a", "b")},
        {"votes": ("a", "tie")},
        {"likeness": 0.5},
    ],
    ids=str,
)
def test_every_part_counts(more: dict[str, Any]) -> None:
    assert worth(evidence(**more)).score > worth(evidence()).score


@pytest.mark.parametrize("nothing_new", [{"p_a": 0.1}, {"p_a_before": 0.9}, {"votes": ("b",)}, {"votes": ("b", "b")}])
def test_what_tells_nothing_adds_nothing(nothing_new: dict[str, Any]) -> None:
    assert worth(evidence(**nothing_new)).score == pytest.approx(worth(evidence()).score)


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ({}, "nothing stands out"),
        ({"p_a": None}, "not judged yet"),
        ({"p_a": 0.6}, "the judge is unsure"),
        ({"p_a": 0.25}, "the judge is unsure"),
        ({"consistent": False}, "the judge's verdict flips with the order"),
        ({"p_a_before": 0.1}, "two judge versions disagree"),
        ({"votes": ("a", "b", "b")}, "annotators disagree"),
        ({"likeness": 0.6}, "like pairs that the judge got wrong"),
        ({"p_a": 0.55, "consistent": False, "likeness": 1.0}, "the judge is unsure"),
        ({"consistent": False, "votes": ("a", "b"), "likeness": 1.0}, "the judge's verdict flips with the order"),
    ],
)
def test_the_reason_is_what_weighs_most(known: dict[str, Any], reason: str) -> None:
    assert worth(evidence(**known)).reason == reason


def test_reasons_fit_their_place() -> None:
    assert all(reason == reason.lower() and len(reason) <= 60 for reason in REASONS)
    assert len(set(REASONS)) == len(REASONS)


@pytest.mark.parametrize(
    "wrong", [{"p_a": 1.2}, {"p_a": float("nan")}, {"p_a_before": -0.1}, {"likeness": 2.0}], ids=str
)
def test_what_is_no_share_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match=next(iter(wrong))):
        evidence(**wrong)


def write_set(path: Path, *, pairs: int = 72) -> None:
    """Pairs of which the longer one is better, two of three annotators saying so, and now and then all a tie."""
    with gzip.open(path, "wt", encoding="utf-8") as stream:
        for number in range(pairs):
            good, bad = "It is the green one, and here is why. " * (3 + number % 4), f"No idea, {number}."
            a_is_good = number % 2 == 0
            votes = ["tie"] * 3 if number % 9 == 0 else ["ab"[not a_is_good]] * 3
            row = {
                "id": f"pair-{number}",
                "prompt": f"Which stone, number {number // 3}?",
                "response_a": good if a_is_good else bad,
                "response_b": bad if a_is_good else good,
                "labels": [{"annotator": f"w{at}", "choice": choice} for at, choice in enumerate(votes)],
                "meta": {"group_key": f"prompt-{number // 3}"},
            }
            stream.write(json.dumps(row) + "\n")


@pytest.mark.skipif(not available(), reason="the sentence encoder is not installed")
def test_the_simulation_tells_the_labels_needed_and_resumes(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    from benchmarks import routing

    write_set(tmp_path / "tiny.jsonl.gz")
    arguments = ["--data", str(tmp_path), "--sets", "tiny", "--out", str(tmp_path)]
    routing.main([*arguments, "--seeds", "2"])
    result = tmp_path / "routing-tiny.json"
    report = json.loads(result.read_text())
    assert set(report["labels_needed"]) == {"routed", "random"}
    assert report["accuracy_whole_pool"]["mean"] == 1.0, "the longer one is easily learnt"
    assert report["ties_in_pool"]["mean"] > 0
    assert {"command", "machine", "seconds", "judge", "outcome"} <= report.keys()
    curves = {name: policy["curve"] for name, policy in report["policies"].items()}
    assert set(curves) == {"random", "uncertainty", "audit", "coverage", "audit_likeness"}
    assert len({json.dumps(curve[0]) for curve in curves.values()}) == 1, "all start with the same labels"
    assert all([point["labels"] for point in curve] == [20, 40, 48] for curve in curves.values()), "ties are spent too"

    with monkeypatch.context() as broken:
        broken.setattr(routing, "simulate", lambda *_: pytest.fail("computed again"))
        routing.main([*arguments, "--seeds", "2"])
    assert "has it already" in capsys.readouterr().out
    routing.main([*arguments, "--seeds", "3"])
    assert len(json.loads(result.read_text())["policies"]["audit"]["labels_needed"]["0.9"]["seeds"]) == 3


def test_a_set_that_is_not_there_is_named(tmp_path: Path) -> None:
    from benchmarks import routing

    with pytest.raises(EngineError, match=r"absent\.jsonl\.gz"):
        routing.main(["--data", str(tmp_path), "--sets", "absent", "--out", str(tmp_path)])
