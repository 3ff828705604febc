"""Several labelled files judged and measured at once: figures, files, plots, and what stops a run."""

import json
import random
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from genrm_engine.backends import BackendSpec, load_backend
from genrm_engine.cli import main
from genrm_engine.errors import EngineError
from genrm_engine.evaluation.plots import Point, plot_learning
from genrm_engine.evaluation.run import evaluate_sets
from genrm_engine.formats import DataRow, HumanLabel, Label
from genrm_engine.progress import Progress
from genrm_engine.types import JudgeSettings
from tests.engine.conftest import make_labelled, make_pair


def annotated(count: int, *, skill: float, start: int = 0) -> list[DataRow]:
    """Pairs of ``make_pair`` with three annotators; every tenth consensus is a tie."""
    draw = random.Random(start)
    rows = []
    for number in range(start, start + count):
        better: Label = "a" if number % 2 == 0 else "b"
        worse: Label = "b" if better == "a" else "a"
        labels = tuple(HumanLabel(name, better if draw.random() < skill else worse) for name in ("ann", "ben", "cho"))
        pair = make_pair(number, good_first=better == "a", group=f"g{number // 2}")
        rows.append(DataRow(pair, "tie" if number % 10 == 9 else better, labels))
    return rows


def run(
    sets: dict[str, list[DataRow]], out: Path, *, judge: str = "oracle", calibration: list[DataRow] | None = None
) -> dict[str, Any]:
    backend = load_backend(BackendSpec("scripted", f"scripted:{judge}"))
    settings = JudgeSettings(method="cot", samples_per_order=3)
    return evaluate_sets(
        sets, backend=backend, settings=settings, out=out, progress=Progress(out), calibration=calibration or ()
    )


def test_two_sets_are_measured_alone_and_together(tmp_path: Path) -> None:
    sets = {"near": annotated(60, skill=0.8), "far": annotated(40, skill=0.9)}
    found = run(sets, tmp_path, judge="noisy:1:0.8")
    near, far = found["sets"]["near"], found["sets"]["far"]
    assert (near["n"], far["n"], found["n"]) == (54, 36, 90)  # a tie cannot be right or wrong
    assert found["groups"] == near["groups"] + far["groups"]  # the same names in two files are different groups
    assert found["accuracy"] == pytest.approx((54 * near["accuracy"] + 36 * far["accuracy"]) / 90)
    assert found["accuracy_low"] < found["accuracy"] < found["accuracy_high"]
    assert found["longer_wins"] == pytest.approx((54 * near["longer_wins"] + 36 * far["longer_wins"]) / 90)
    assert near["vote_accuracy"] is not None
    assert near["agreement"]["annotators"] == 3
    assert near["alternative_annotator_test"]["passed"] in (True, False)
    assert "cross-fitted" in near["calibration"]["fitted_on"]
    written = json.loads(json.dumps(found, allow_nan=False))
    assert written == json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert written["sets"]["near"] == json.loads((tmp_path / "near" / "metrics.json").read_text(encoding="utf-8"))


def test_the_report_has_a_row_for_each_set_and_its_notes(tmp_path: Path) -> None:
    run({"first": annotated(12, skill=1.0), "second": annotated(60, skill=0.8)}, tmp_path)
    lines = (tmp_path / "report.md").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("Accuracy 1.000 (1.000 to 1.000) on 65 pairs in 36 groups")
    head, first, second = lines[2], lines[4], lines[5]
    assert first.startswith("| first | 11 | 6 | 1.000 (1.000 to 1.000) |")
    assert second.startswith("| second | 54 | 30 |")
    assert head.count("|") == first.count("|") == second.count("|")
    assert "- The intervals rest on only 6 independent groups." in lines
    assert any("0 of 3 annotators share 30 pairs" in line for line in lines)


def test_plots_are_svg_and_the_same_figures_give_the_same_bytes(tmp_path: Path) -> None:
    rows = annotated(60, skill=0.8)
    for name in ("one", "two"):
        run({"set": rows}, tmp_path / name, judge="noisy")
    for plot in ("reliability.svg", "length.svg", "position.svg"):
        one, two = ((tmp_path / name / "set" / plot).read_bytes() for name in ("one", "two"))
        assert ElementTree.fromstring(one).tag.endswith("svg")
        assert one == two
        assert len(one) < 100_000


def test_a_learning_curve_is_drawn(tmp_path: Path) -> None:
    points = [Point(0, 0.6, 0.5, 0.7), Point(1, 0.7), Point(2, 0.72, 0.66, 0.78)]
    plot_learning(tmp_path / "curve.svg", {"STaR-DPO": points}, levels={"untuned": 0.55})
    text = (tmp_path / "curve.svg").read_text(encoding="utf-8")
    assert "STaR-DPO" in text
    assert "untuned" in text


def test_calibration_is_fitted_on_the_rows_given_for_it(tmp_path: Path) -> None:
    sets = {"set": annotated(40, skill=0.8)}
    found = run(sets, tmp_path, judge="noisy", calibration=annotated(40, skill=0.8, start=100))
    assert found["sets"].keys() == {"set"}
    assert found["sets"]["set"]["calibration"]["fitted_on"] == "other held-out labels"
    assert found["sets"]["set"]["calibration"]["labels"] == 36
    same = tmp_path / "same"
    with pytest.raises(EngineError, match="keep groups on one side"):
        run(sets, same, judge="noisy", calibration=sets["set"])
    assert {path.name for path in same.iterdir()} <= {"progress.jsonl"}, "nothing binds the next call"
    assert run(sets, same, judge="noisy", calibration=annotated(40, skill=0.8, start=100))["n"] == found["n"]


def test_an_epsilon_that_cannot_be_is_refused_before_anything_is_judged(tmp_path: Path) -> None:
    backend = load_backend(BackendSpec("scripted", "scripted:oracle"))
    known: Any = {"backend": backend, "settings": JudgeSettings(), "out": tmp_path, "progress": Progress(tmp_path)}
    with pytest.raises(EngineError, match="epsilon must be at least 0 and below 1"):
        evaluate_sets({"set": annotated(20, skill=0.8)}, epsilon=1.5, **known)
    assert not (tmp_path / "set").exists()


def test_what_the_judge_may_label_alone_is_tested_on_ties_too(tmp_path: Path) -> None:
    rows = [replace(row, pair=replace(row.pair, group="")) for row in annotated(200, skill=1.0)]
    decided = run({"set": [row for row in rows if row.choice != "tie"]}, tmp_path / "decided")
    every = run({"set": rows}, tmp_path / "every")
    few, all_of_them = (found["sets"]["set"]["selection"] for found in (decided, every))
    assert (few["labels"], all_of_them["labels"]) == (180, 200)
    assert few["coverage"] == 1.0
    assert all_of_them["tested"][-1]["disagreements"] > 0
    assert all_of_them["coverage"] < 1.0
    assert "a tie counts as disagreement" in (tmp_path / "every" / "report.md").read_text(encoding="utf-8")


def test_a_stopped_run_goes_on_with_what_was_judged(tmp_path: Path) -> None:
    sets = {"one": annotated(20, skill=0.8), "two": annotated(20, skill=0.8, start=20)}
    with pytest.raises(EngineError):
        run(sets, tmp_path, judge="crash:3")
    judged = len((tmp_path / "one" / "judgements.jsonl").read_text(encoding="utf-8").splitlines())
    assert judged == 20
    assert run(sets, tmp_path, judge="oracle")["n"] == 36
    fractions = [json.loads(line)["fraction"] for line in (tmp_path / "progress.jsonl").open(encoding="utf-8")]
    assert fractions == sorted(fractions)
    with pytest.raises(EngineError, match="other settings"):
        evaluate_sets(
            sets,
            backend=load_backend(BackendSpec("scripted", "scripted:oracle")),
            settings=JudgeSettings(method="score"),
            out=tmp_path,
            progress=Progress(tmp_path),
        )


def test_sets_that_cannot_be_measured_are_named(tmp_path: Path) -> None:
    rows = annotated(4, skill=1.0)
    with pytest.raises(EngineError, match=r"'\.\./other'"):
        run({"../other": rows}, tmp_path)
    with pytest.raises(EngineError, match="cannot be named 'calibration': the rows to calibrate on are"):
        run({"calibration": rows}, tmp_path, calibration=annotated(4, skill=1.0, start=100))
    with pytest.raises(EngineError, match="twice holds a pair twice"):
        run({"twice": [*rows, rows[0]]}, tmp_path)
    found = run({"calibration": rows}, tmp_path / "free")
    assert found["sets"].keys() == {"calibration"}, "no other rows have the name"


def test_a_file_that_cannot_name_a_set_is_refused_before_the_judge_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("my data (1).jsonl", "my_data!.jsonl", "my_data?.json", "calibration.jsonl", ".jsonl")
    for name in names:
        rows = [row.to_json() for row in make_labelled(4)]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    spaced, marked, asked, taken, hidden = (str(tmp_path / name) for name in names)
    command = ["evaluate", "--out", str(tmp_path / "out"), "--model"]
    nobody, oracle = [*command, "scripted:nobody", "--data"], [*command, "scripted:oracle", "--data"]
    refusals = {
        "a set cannot be named 'calibration': the rows to calibrate on are": [taken, "--calibration", spaced],
        "a set cannot be named ''": [hidden],
        "two data files are named my_data-": [marked, asked],
    }
    for said, given in refusals.items():
        assert main([*nobody, *given]) == 2
        assert said in capsys.readouterr().err
    assert main([*oracle, spaced, marked, taken]) == 0
    written = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert written["sets"].keys() == {"my-data--1-", "my_data-", "calibration"}


def test_a_set_without_any_consensus_still_measures_agreement(tmp_path: Path) -> None:
    rows = [replace(row, choice=None) for row in annotated(40, skill=0.8)]
    found = run({"open": rows}, tmp_path)
    assert (found["n"], found["accuracy"]) == (0, None)
    figures = found["sets"]["open"]
    assert (figures["calibration"], figures["length"], figures["agreement"]["kappa"]) == (None, None, None)
    assert figures["agreement"]["alpha_with_judge"] is not None
    assert (tmp_path / "report.md").read_text(encoding="utf-8").startswith("No pair has a judgement")
