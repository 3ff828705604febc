"""The command line with scripted judges: files, resuming, exit codes; and that PyTorch stays out."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from genrm_engine.backends import BackendSpec, load_backend
from genrm_engine.cli import main
from genrm_engine.device import DeviceLease
from genrm_engine.errors import EXIT_FOR_NOW
from tests.engine.conftest import make_labelled

LONGER = BackendSpec("scripted", "scripted:longer")


def test_evaluate_writes_judgements_and_figures(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = ["evaluate", "--model", "scripted:oracle", "--data", str(data), "--out", str(out), "--plain", "--json"]
    assert main(command) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (figures["n"], figures["accuracy"], figures["consistency"]) == (20, 1.0, 1.0)
    assert json.loads((out / "metrics.json").read_text()) == figures
    progress = [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]
    assert progress[-1]["phase"] == "done"
    assert [row["fraction"] for row in progress] == sorted(row["fraction"] for row in progress)


def test_evaluate_goes_on_with_what_is_judged_already(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["--data", str(data), "--out", str(out), "--plain", "--json"]
    assert main(["evaluate", "--model", "scripted:crash:1", *command]) == EXIT_FOR_NOW
    assert "crashed" in capsys.readouterr().err
    done = (out / "judgements.jsonl").read_text().splitlines()
    assert len(done) == 16
    assert main(["evaluate", "--model", "scripted:crash:1", *command]) == 0
    lines = (out / "judgements.jsonl").read_text().splitlines()
    assert lines[:16] == done
    assert len(lines) == 20


@pytest.mark.parametrize("other", [["--model", "scripted:shorter"], ["--method", "cot"]])
def test_a_plain_measurement_never_gives_another_judges_figures(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], other: list[str]
) -> None:
    command = ["evaluate", "--model", "scripted:longer", "--data", str(data), "--out", str(tmp_path / "out"), "--plain"]
    assert main(command) == 0
    assert main(command) == 0
    assert main([*command, *other]) == 2
    assert "holds judgements of another judge" in capsys.readouterr().err


def test_data_without_rows_or_without_the_split_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    command = ["evaluate", "--model", "scripted:longer", "--out", str(tmp_path / "out"), "--data"]
    assert main([*command, str(empty)]) == 2
    assert f"{empty} has no row\n" in capsys.readouterr().err
    assert main([*command, str(data), "--split", "gate", "test"]) == 2
    assert f"{data} has no row of the split gate, test\n" in capsys.readouterr().err
    assert main(["judge", "--model", "scripted:nobody", "--in", str(empty), "--out", str(tmp_path / "out.jsonl")]) == 2
    assert f"{empty} has no row\n" in capsys.readouterr().err


def test_a_plain_measurement_keeps_to_its_split_and_refuses_what_has_no_effect(
    parted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--model", "scripted:oracle", "--data", str(parted), "--plain", "--json", "--out"]
    assert main([*command, str(tmp_path / "out"), "--split", "test"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["n"] == 5
    for option in (["--calibration", str(parted)], ["--epsilon", "0.1"]):
        assert main([*command, str(tmp_path / "other"), *option]) == 2
        assert f"{option[0]} does not apply with --plain" in capsys.readouterr().err


def test_a_gold_question_without_an_id_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "gold.jsonl"
    rows = [{**row.to_json(), "gold": row.choice} for row in make_labelled(2)]
    del rows[1]["id"]
    command = ["evaluate", "--model", "scripted:oracle", "--data", str(file), "--plain", "--out", str(tmp_path / "out")]
    for row in (rows[1], {**rows[1], "id": None}, {**rows[1], "id": math.nan}):
        file.write_text("".join(json.dumps(each) + "\n" for each in (rows[0], row)))
        assert main(command) == 2
        assert f"{file}, line 2: a gold question needs an id" in capsys.readouterr().err


def test_gold_questions_are_found_by_ids_that_a_data_frame_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gold.jsonl"
    rows = [{**row.to_json(), "gold": row.choice, "id": float(n)} for n, row in enumerate(make_labelled(4))]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["evaluate", "--model", "scripted:oracle", "--data", str(file), "--plain", "--out", str(tmp_path / "out")]
    assert main([*command, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (figures["gold_n"], figures["gold_accuracy"]) == (4, 1.0)


def test_training_keeps_to_its_split_and_reads_its_rubric(
    parted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="the web parts alone are installed")
    given: dict[str, Any] = {}

    def train(config: Any, rows: Any, out: Path, *, older: Any, **_: Any) -> dict[str, Any]:
        given.update(config=config, rows=rows, older=older)
        return {}

    monkeypatch.setattr("genrm_engine.training.run.train", train)
    (tmp_path / "rubric.txt").write_text("Prefer short answers.", encoding="utf-8")
    command = ["train", "--method", "genrm", "--model", "m", "--train", str(parted), "--replay", str(parted)]
    options = ["--split", "train", "--rubric", str(tmp_path / "rubric.txt"), "--out", str(tmp_path / "out")]
    assert main([*command, *options]) == 0
    assert (len(given["rows"]), len(given["older"])) == (15, 15)
    assert given["config"].rubric == "Prefer short answers."
    assert main([*command, "--split", "gate", "--out", str(tmp_path / "out")]) == 2


def test_a_judge_that_learnt_a_rubric_and_judges_without_one_says_so(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    judge = tmp_path / "judge"
    judge.mkdir()
    (judge / "run.json").write_text(json.dumps({"config": {"model": "m", "rubric": "Be kind."}}))
    monkeypatch.setattr("genrm_engine.commands.shared.load_backend", lambda _: load_backend(LONGER))
    (tmp_path / "rubric.txt").write_text("Be kind.")
    command = ["judge", "--model", str(judge), "--in", str(data), "--out"]
    assert main([*command, str(tmp_path / "with.jsonl"), "--rubric", str(tmp_path / "rubric.txt")]) == 0
    assert "rubric" not in capsys.readouterr().err
    assert main([*command, str(tmp_path / "without.jsonl")]) == 0
    assert f"{judge} was trained with a rubric and judges without one" in capsys.readouterr().err


def test_judge_writes_one_line_a_pair(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "judgements.jsonl"
    command = ["judge", "--model", "scripted:longer", "--method", "cot", "--samples", "3", "--in", str(data)]
    assert main([*command, "--out", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 20
    assert {len(row["rationales"]) for row in rows} == {6}
    assert main([*command, "--out", str(out), "--samples", "2"]) == 2
    assert main(["judge", "--model", "scripted:shorter", "--in", str(data), "--out", str(out)]) == 2
    assert len(out.read_text().splitlines()) == 20, "judgements of two judges are not mixed"


def test_lasting_errors_exit_with_two(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert main(["evaluate", "--model", "scripted:nobody", "--data", str(data), *out]) == 2
    assert main(["evaluate", "--model", "scripted:longer", "--data", str(tmp_path / "none.jsonl"), *out]) == 2
    (tmp_path / "config.json").write_text('{"method": "magic", "model": "m"}')
    assert main(["train", "--config", str(tmp_path / "config.json"), "--train", str(data), *out]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert [line.startswith("error: ") for line in errors] == [True] * 3
    assert "method must be one of" in errors[-1]


def test_a_cancelled_run_exits_with_three_and_says_what_to_remove(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "cancel").touch()
    command = ["evaluate", "--model", "scripted:longer", "--data", str(data), "--out", str(out)]
    assert main(command) == 3
    assert f"cancelled; remove {out / 'cancel'} to go on" in capsys.readouterr().err
    (out / "cancel").unlink()
    assert main(command) == 0


def test_waiting_for_the_device_tells_who_holds_it(data: Path, tmp_path: Path) -> None:
    out, leases = tmp_path / "out", tmp_path / "leases"
    code = "import sys; from genrm_engine.cli import main; sys.exit(main(sys.argv[1:]))"
    command = ["evaluate", "--model", "scripted:longer", "--data", str(data), "--out", str(out), "--device", "cpu"]
    with DeviceLease.acquire(leases, "cpu", holder="training run 7", wait=False):  # type: ignore[union-attr]
        child = subprocess.Popen([sys.executable, "-c", code, *command, "--lease-folder", str(leases)])
        said = ""
        while "training run 7" not in said:
            assert child.poll() is None
            said = (out / "progress.jsonl").read_text() if (out / "progress.jsonl").exists() else ""
    assert child.wait(timeout=30) == 0
    rows = [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]
    assert (rows[0]["phase"], rows[0]["holder"]) == ("waiting", "training run 7")
    assert rows[-1]["phase"] == "done"


def test_a_judge_on_a_server_waits_for_no_device(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leases = tmp_path / "leases"
    command = ["evaluate", "--backend", "openai", "--url", "http://127.0.0.1:9/v1", "--model", "m", "--plain"]
    command += ["--data", str(data), "--out", str(tmp_path / "out"), "--lease-folder", str(leases), "--device", "cpu"]
    with DeviceLease.acquire(leases, "cpu", holder="training run 7", wait=False):  # type: ignore[union-attr]
        assert main(command) == EXIT_FOR_NOW
    assert "cannot be reached" in capsys.readouterr().err


def test_a_calibration_file_without_a_choice_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "others.jsonl"
    empty.write_text("")
    command = ["evaluate", "--model", "scripted:longer", "--data", str(data), "--out", str(tmp_path / "out")]
    assert main([*command, "--calibration", str(empty)]) == 2
    assert "has no row with a choice to fit the calibration on" in capsys.readouterr().err


def test_evaluate_measures_several_files_and_writes_a_report(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text("".join(data.read_text().splitlines(keepends=True)[:10]))
    out = tmp_path / "out"
    command = ["evaluate", "--model", "scripted:longer", "--data", str(data), str(other), "--out", str(out), "--json"]
    assert main(command) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"accuracy", "accuracy_low", "accuracy_high", "consistency", "longer_wins", "n"} <= set(figures)
    assert figures["n"] == 30
    assert figures["accuracy"] == pytest.approx(figures["longer_wins"]), "the judge is that baseline"
    assert set(figures["sets"]) == {"data", "other"}
    assert "| other |" in (out / "report.md").read_text()
    for plot in ("reliability.svg", "length.svg", "position.svg"):
        assert (out / "data" / plot).read_text().lstrip().startswith("<?xml")


def test_compare_is_paired_and_needs_no_model(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("oracle", "longer"):
        judged = ["judge", "--model", f"scripted:{name}", "--in", str(data), "--out", str(tmp_path / f"{name}.jsonl")]
        assert main(judged) == 0
    files = ["--first", str(tmp_path / "oracle.jsonl"), "--second", str(tmp_path / "longer.jsonl"), "--data", str(data)]
    assert main(["compare", *files, "--json", "--out", str(tmp_path / "compared.json")]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found == json.loads((tmp_path / "compared.json").read_text())
    assert found["accuracy"]["first"] == 1.0
    assert found["accuracy"]["difference"] == pytest.approx(1.0 - found["accuracy"]["second"])
    (tmp_path / "empty.jsonl").write_text("")
    assert main(["compare", "--first", str(tmp_path / "empty.jsonl"), *files[2:]]) == 2
    assert "holds no judgement" in capsys.readouterr().err
    assert main(["compare", "--first", str(tmp_path / "none.jsonl"), *files[2:]]) == 2
    assert "none.jsonl is missing" in capsys.readouterr().err
    assert main(["compare", "--first", str(data), *files[2:]]) == 2
    assert f"{data}, line 1: lacks or misspells a field of a judgement: KeyError('pair_id')" in capsys.readouterr().err


def test_files_that_give_one_id_to_different_pairs_are_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judged, other = tmp_path / "judged.jsonl", tmp_path / "other.jsonl"
    command = ["judge", "--model", "scripted:longer", "--method", "cot", "--in", str(data), "--out", str(judged)]
    assert main(command) == 0
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    other.write_text(json.dumps({**rows[0], "id": rows[1]["id"]}) + "\n")
    both = ["--data", str(data), str(other)]
    assert main(["compare", "--first", str(judged), "--second", str(judged), *both]) == 2
    assert main(["replay", "--full", str(judged), *both]) == 2
    errors = capsys.readouterr().err
    assert errors.count("the id p1 stands for different pairs") == 2


def test_replay_compares_voting_rules_on_recorded_samples(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judged = ["judge", "--model", "scripted:noisy:1", "--in", str(data), "--out"]
    assert main([*judged, str(tmp_path / "full.jsonl"), "--method", "cot", "--samples", "6"]) == 0
    assert main([*judged, str(tmp_path / "score.jsonl")]) == 0
    files = ["--full", str(tmp_path / "full.jsonl"), "--scores", str(tmp_path / "score.jsonl"), "--data", str(data)]
    assert main(["replay", *files, "--json", "--out", str(tmp_path / "replay.json")]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found == json.loads((tmp_path / "replay.json").read_text())
    certain = [row for row in found["rows"] if "flip" in row["rule"]]
    assert all(row["agreement"] == 1.0 for row in certain[:1])
    assert certain[0]["written_saved"] > 0


def test_the_documented_example_runs() -> None:
    import doctest

    import genrm_engine.api

    assert doctest.testmod(genrm_engine.api) == (0, 4)


def test_the_python_entrances_judge_and_measure(data: Path) -> None:
    from genrm_engine import JudgeSettings, load_judge, read_labelled

    rows = read_labelled(data)
    with load_judge("scripted:oracle") as judge:
        [judgement] = judge.judge([rows[0].pair], JudgeSettings(method="cot", samples_per_order=2))
        assert len(judgement.rationales) == 4
        assert judge.evaluate(rows).accuracy == 1.0


def test_settings_of_a_training_run_come_from_file_and_options(tmp_path: Path) -> None:
    from argparse import Namespace

    from genrm_engine.commands.train import config_row
    from genrm_engine.errors import EngineError

    (tmp_path / "config.json").write_text('{"method": "genrm", "model": "m", "epochs": 2.0}')
    given = {"method": None, "model": "other", "device": None, "threads": 1, "rubric": None}
    options = Namespace(config=tmp_path / "config.json", set=["epochs=0.5", "warm_up=file.jsonl"], **given)
    assert config_row(options) == {
        "method": "genrm",
        "model": "other",
        "epochs": 0.5,
        "warm_up": "file.jsonl",
        "threads": 1,
    }
    with pytest.raises(EngineError, match="NAME=VALUE"):
        config_row(Namespace(config=None, set=["epochs"], **given))


LIGHT = [
    "genrm_engine",
    "genrm_engine.types",
    "genrm_engine.prompts",
    "genrm_engine.judge",
    "genrm_engine.evaluation.metrics",
    "genrm_engine.evaluation.gate",
    "genrm_engine.evaluation.run",
    "genrm_engine.training.config",
    "genrm_engine.device",
    "genrm_engine.embedded",
    "genrm_engine.cli",
    "genrm_engine.commands.reproduce",
    "genrm_engine.formats",
    "genrm_engine.starter",
    "genrm_engine.backends",
    "genrm_engine.files",
    "genrm_engine.weights",
]


HEAVY = {
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "vllm",
    "sklearn",
    "matplotlib",
    "django",
    "celery",
    "redis",
}


def test_nothing_light_imports_a_heavy_library() -> None:
    code = (
        f"import importlib, sys\nfor name in {LIGHT!r}: importlib.import_module(name)\n"
        f"found = {HEAVY!r} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(found)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
