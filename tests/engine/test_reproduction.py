"""The reproduction on a tiny model: every row, settings chosen before a test fold is read, resumable, one table."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from genrm_engine.backends.scripted import ScriptedBackend
from genrm_engine.errors import Cancelled, EngineError
from genrm_engine.progress import Progress
from genrm_engine.reproduction.comparisons import begun_with, difference
from genrm_engine.reproduction.machine import machine
from genrm_engine.reproduction.presets import PRESETS, Preset, Study, preset
from genrm_engine.reproduction.run import reproduce, tables
from genrm_engine.reproduction.splits import fold, group_of, inner, some
from genrm_engine.training.config import TrainConfig
from genrm_engine.types import LabelledPair
from tests.engine.conftest import make_pair


def grouped(count: int) -> list[LabelledPair]:
    rows = []
    for number in range(count):
        first = number % 2 == 0
        rows.append(LabelledPair(make_pair(number, good_first=first, group=f"g{number // 3}"), "a" if first else "b"))
    return rows


def test_every_pair_is_tested_once_and_no_group_is_on_both_sides() -> None:
    rows = grouped(60)
    tested = []
    for number in range(3):
        train, test = fold(rows, number, folds=3)
        assert not {group_of(row) for row in train} & {group_of(row) for row in test}
        assert len(train) + len(test) == len(rows)
        tested += [row.pair.id for row in test]
    assert sorted(tested) == sorted(row.pair.id for row in rows)
    assert fold(rows[::-1], 0, folds=3)[1] == fold(rows, 0, folds=3)[1][::-1]


def test_settings_are_chosen_inside_the_training_part() -> None:
    train, _ = fold(grouped(60), 0, folds=3)
    learn, valid = inner(train)
    assert learn
    assert valid
    assert not {group_of(row) for row in learn} & {group_of(row) for row in valid}
    assert len(learn) + len(valid) == len(train)
    assert [row.pair.id for row in some(train, 7, purpose="x")] == [row.pair.id for row in some(train, 7, purpose="x")]
    assert len(some(train, 7, purpose="x")) == 7


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_setting_of_a_preset_is_a_valid_configuration(name: str) -> None:
    chosen = preset(name)
    for row in chosen.rows:
        if row.train:
            for settings in chosen.grid[row.name]:
                TrainConfig.from_json({**chosen.config(row, settings), "model": "m"})


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(EngineError, match="unknown preset 'tpu'"):
        preset("tpu")


def test_a_difference_is_paired_and_knows_its_sign() -> None:
    rows = grouped(30)
    sure: Any = {row.pair.id: [1.0 if row.choice == "a" else 0.0] * 2 for row in rows}
    wrong: Any = {row.pair.id: [0.0 if row.choice == "a" else 1.0] * 2 for row in rows[:20]}
    found = difference(sure, wrong, rows, by_pair=False)
    assert (found["n"], found["difference"], found["p_better"]) == (20, 1.0, 1.0)
    assert difference(wrong, sure, rows, by_pair=False)["high"] == -1.0


@pytest.mark.parametrize(
    ("row", "start"),
    [("genrm", "base-score"), ("star-dpo", "starter-cot"), ("star-dpo-genrm", "genrm-writing")],
)
def test_a_trained_judge_is_held_against_the_one_it_began_with(row: str, start: str) -> None:
    assert begun_with(PRESETS["cpu-small"], PRESETS["cpu-small"].row(row)) == start


TINY = Study("inside", "inside.jsonl", {"outside": "outside.jsonl:g1"}, folds=2, sampled_folds=1, outside_pairs=2)


QUICK = {"learning_rate": 1e-3, "epochs": 1.0}


def tiny_preset() -> Preset:
    rows = ("bradley-terry", "pairrm", "genrm", "star-sft", "rationalizer", "star-dpo")
    grid: dict[str, Any] = {row: (QUICK, {**QUICK, "learning_rate": 1e-2}) for row in rows}
    return Preset(
        name="tiny",
        studies=(TINY,),
        samples_per_order=2,
        max_rationale_tokens=6,
        iterations=2,
        grid=grid | {"genrm-writing": ({**QUICK, "rationale_share": 0.5},), "star-dpo-genrm": (QUICK,)},
        common={"rationale_share": 0.0, "checkpoints": 1},
    )


def place_for(tmp_path: Path, model: Path) -> Any:
    from genrm_engine.reproduction.rows import Place

    data = tmp_path / "data"
    data.mkdir(exist_ok=True)
    for name in ("inside", "outside"):
        text = "".join(json.dumps(row.to_json()) + "\n" for row in grouped(24))
        (data / f"{name}.jsonl").write_text(text)
    models = {"embedded": str(model), "embedded-base": str(model)}
    progress = Progress(tmp_path / "out")
    return Place(data, tmp_path / "out", tmp_path / "work", models, progress, device="cpu", threads=1)


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_all_rows_run_once_and_the_table_names_every_judge(tiny_model: Path, tmp_path: Path) -> None:
    place = place_for(tmp_path, tiny_model)
    plan = tiny_preset()
    partly = reproduce(place, plan, only=["genrm"])
    assert "inside/star-dpo/0" in partly["missing"]
    file = place.out / "rows" / "inside-genrm-1.json"
    before = file.read_text()
    assert json.loads(before)["training"]["config"]["seed"] == 1, "the fold's number"
    done = reproduce(place, plan)
    assert done["missing"] == []
    assert file.read_text() == before, "a finished row is not computed again"
    results = json.loads((place.out / "results.json").read_text())
    lines = {line["row"] + line["part"]: line for line in results["lines"]["inside"]}
    assert {"longer-wins", "base-score", "base-cot", "star-sft1", "star-sft2", "star-dpo2", "pairrm"} <= set(lines)
    genrm = lines["genrm"]["sets"]["inside"]
    assert genrm["n"] == 24, "both folds together test every pair"
    assert {"against_untuned", "against_longer_wins"} <= set(genrm)
    assert genrm["against_start"] == genrm["against_untuned"], "it began with the bare model"
    starts = {"star-sft1": "starter-cot", "star-dpo2": "starter-cot", "star-dpo-genrm2": "genrm-writing"}
    for line, start in starts.items():
        inside = lines[line]["sets"]["inside"]
        gained = inside["accuracy"] - lines[start]["sets"]["inside"]["accuracy"]
        assert inside["against_start"]["difference"] == pytest.approx(gained)
    assert "against_start" not in lines["starter-cot"]["sets"]["inside"]
    assert lines["base-cot"]["sets"]["inside"]["samples"] == 4
    assert lines["star-dpo2"]["sets"]["outside"]["n"] == 2
    assert "outside" not in lines["star-dpo1"]["sets"]
    chosen = results["choices"]["inside"]["genrm"]
    assert len(chosen["candidates"]) == 2
    assert chosen["chosen"] in [candidate["settings"] for candidate in chosen["candidates"]]
    row = json.loads((place.out / "rows" / "inside-star-dpo-0.json").read_text())
    yields = [step["yields"] for step in row["training"]["metrics"]["iterations"]]
    assert len(yields) == 2
    assert all({"right", "wrong", "unparsed"} <= set(one) for one in yields)
    further = json.loads((place.out / "rows" / "inside-star-dpo-genrm-0.json").read_text())
    assert further["start"] == "genrm-writing"
    start = json.loads((place.work / "inside" / "star-dpo-genrm-0" / "judge" / "run.json").read_text())["config"][
        "model"
    ]
    assert start == str(place.work / "inside" / "genrm-writing-0" / "judge")
    assert results["choices"]["inside"]["genrm-writing"] == {
        "candidates": [],
        "chosen": {**QUICK, "rationale_share": 0.5},
    }
    gaps = (place.out / "differences.md").read_text()
    assert gaps.count("STaR-DPO, iteration 2") == len(plan.rows), "once with each other row and with the longer ones"
    assert "iteration 1" not in gaps
    table = (place.out / "table.md").read_text()
    for title in ("longer wins", "Bradley-Terry", "STaR-DPO, iteration 2", "STaR-DPO from GenRM, iteration 2"):
        assert f"| {title} |" in table
    assert (place.out / "inside-iterations.svg").read_text().lstrip().startswith("<?xml")
    assert "[good]" not in "".join(path.read_text() for path in place.out.rglob("*.json")), "no texts in results"


@pytest.mark.model
def test_a_choice_after_the_test_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    place = place_for(tmp_path, tiny_model)
    (place.out / "rows").mkdir(parents=True)
    (place.out / "rows" / "inside-genrm-0.json").write_text("{}")
    with pytest.raises(EngineError, match="tested before its settings were chosen"):
        reproduce(place, tiny_preset(), only=["genrm"])
    with pytest.raises(EngineError, match="unknown row magic"):
        reproduce(replace(place, out=tmp_path / "other"), tiny_preset(), only=["magic"])


def test_the_table_needs_no_model(tmp_path: Path) -> None:
    place = place_for(tmp_path, tmp_path)
    found = tables(place, tiny_preset())
    assert found["studies"]["inside"]["longer-wins"]["n"] == 24


def test_a_folder_keeps_to_its_preset_and_its_data(tmp_path: Path) -> None:
    place, plan = place_for(tmp_path, tmp_path), tiny_preset()
    tables(place, plan)
    about = place.out / "preset.json"
    assert json.loads(about.read_text())["preset"] == "tiny"
    other = replace(plan, name="other")
    for work in (tables, reproduce):
        with pytest.raises(EngineError, match="holds results of another preset or other data"):
            work(place, other)
    about.unlink()
    assert tables(place, other)["preset"] == "other", "results that do not tell are taken for those asked for"
    with (place.data / "inside.jsonl").open("a") as stream:
        stream.write(json.dumps(grouped(25)[-1].to_json()) + "\n")
    with pytest.raises(EngineError, match="another preset or other data"):
        tables(place, other)
    (place.data / "inside.jsonl").unlink()
    with pytest.raises(EngineError, match=r"inside\.jsonl: no such file"):
        tables(place, other)


def test_a_reproduction_stops_at_the_cancel_file_that_the_command_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_for(tmp_path, tmp_path)
    monkeypatch.setattr("genrm_engine.reproduction.rows.load_backend", lambda _: ScriptedBackend("scripted:longer"))
    place.progress.cancel_file.touch()
    with pytest.raises(Cancelled):
        reproduce(place, tiny_preset(), only=["base-score"])
    place.progress.cancel_file.unlink()
    assert "inside/base-score/0" not in reproduce(place, tiny_preset(), only=["base-score"])["missing"]


@pytest.mark.parametrize(("device", "named"), [("cpu", "cpu"), ("cuda", "GPU 0"), ("cuda:1", "GPU 1")])
def test_a_figure_names_the_device_that_it_was_measured_on(
    monkeypatch: pytest.MonkeyPatch, device: str, named: str
) -> None:
    cuda = SimpleNamespace(is_available=lambda: True, get_device_name=lambda number: f"GPU {number}")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert machine("", device, 1)["device"] == named
