"""Which judgements on disk are gone on with, and which are refused as another judge's."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from genrm_engine.errors import EngineError
from genrm_engine.evaluation.resuming import judge_marks, same_judging
from genrm_engine.files import append_row
from genrm_engine.prompts import prompt_hash
from genrm_engine.types import BackendSpec, JudgeSettings, Pair
from genrm_engine.weights import weights_mark, write_manifest
from tests.engine.conftest import make_pair

PAIRS = [make_pair(number) for number in range(3)]
SPEC = BackendSpec("openai", "judge", url="http://one/v1", tokenizer="words")
REASONED, SCORED = JudgeSettings(method="cot"), JudgeSettings(method="score")


def go_on(
    folder: Path,
    *,
    settings: JudgeSettings = REASONED,
    judge: Mapping[str, str] | None = None,
    pairs: list[Pair] = PAIRS,
    file: str = "judgements.jsonl",
) -> None:
    same_judging(folder, settings, judge_marks("judge", SPEC) if judge is None else judge, {folder / file: pairs})
    append_row(folder / file, {"pair_id": "p0"})


@pytest.mark.parametrize(
    ("spec", "differs"),
    [
        (replace(SPEC, kind="vllm"), "backend"),
        (replace(SPEC, dtype="float32"), "dtype"),
        (replace(SPEC, url="http://other/v1"), "url"),
        (replace(SPEC, tokenizer="letters"), "tokenizer"),
    ],
)
def test_judgements_of_a_judge_that_runs_otherwise_are_refused(tmp_path: Path, spec: BackendSpec, differs: str) -> None:
    go_on(tmp_path)
    go_on(tmp_path)
    with pytest.raises(EngineError, match=rf"another judge.*\(different: {differs}\)"):
        go_on(tmp_path, judge=judge_marks("judge", spec))


def test_other_weights_in_the_same_folder_are_another_judge(tmp_path: Path) -> None:
    model, out = tmp_path / "model", tmp_path / "out"
    model.mkdir()
    spec = BackendSpec("transformers", str(model))
    for content in (b"weights", b"trained on"):
        (model / "model.safetensors").write_bytes(content)
        write_manifest(model)
        if out.exists():
            with pytest.raises(EngineError, match="different: weights"):
                go_on(out, judge=judge_marks("judge", spec))
        else:
            go_on(out, judge=judge_marks("judge", spec))


def test_weights_are_known_by_their_manifest_else_by_their_files(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    listed = weights_mark(str(tmp_path))
    assert listed == weights_mark(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    assert weights_mark(str(tmp_path)) != listed
    write_manifest(tmp_path)
    signed = weights_mark(str(tmp_path))
    (tmp_path / "model.safetensors").touch()
    assert weights_mark(str(tmp_path)) == signed
    assert weights_mark("owner/name") == ""


def test_other_texts_under_the_same_ids_are_refused_other_groups_are_not(tmp_path: Path) -> None:
    go_on(tmp_path)
    go_on(tmp_path, pairs=[replace(pair, group="g") for pair in reversed(PAIRS)])
    with pytest.raises(EngineError, match=r"different: pairs of judgements\.jsonl"):
        go_on(tmp_path, pairs=[replace(PAIRS[0], response_a="Something else."), *PAIRS[1:]])


def test_another_set_may_join_and_the_first_is_still_known(tmp_path: Path) -> None:
    go_on(tmp_path, file="near.jsonl")
    go_on(tmp_path, file="far.jsonl", pairs=PAIRS[:1])
    with pytest.raises(EngineError, match=r"different: pairs of near\.jsonl"):
        go_on(tmp_path, file="near.jsonl", pairs=PAIRS[:1])


def test_a_call_that_judged_nothing_does_not_bind_the_next(tmp_path: Path) -> None:
    marks, near, far = judge_marks("judge", SPEC), tmp_path / "near.jsonl", tmp_path / "far.jsonl"
    same_judging(tmp_path, replace(SCORED, rubric="Long."), marks, {near: PAIRS})
    same_judging(tmp_path, replace(SCORED, max_prompt_tokens=9000), {**marks, "judge": "other"}, {far: PAIRS[:1]})
    assert "pairs of near.jsonl" not in json.loads((tmp_path / "settings.json").read_text(encoding="utf-8"))
    append_row(far, {"pair_id": "p0"})
    with pytest.raises(EngineError, match="different: max_prompt_tokens, judge"):
        same_judging(tmp_path, SCORED, marks, {near: PAIRS})


def test_sets_whose_names_an_earlier_version_did_not_write_stay_bound(tmp_path: Path) -> None:
    append_row(tmp_path / "near.jsonl", {"pair_id": "p0"})
    (tmp_path / "settings.json").write_text(json.dumps({"method": "score", "judge": "judge"}), encoding="utf-8")
    with pytest.raises(EngineError, match="different: judge"):
        go_on(tmp_path, settings=SCORED, judge=judge_marks("other", SPEC), file="far.jsonl")


def test_a_score_does_not_depend_on_settings_for_rationales(tmp_path: Path) -> None:
    go_on(tmp_path, settings=SCORED)
    go_on(tmp_path, settings=replace(SCORED, samples_per_order=9, temperature=0.3))
    with pytest.raises(EngineError, match="different: rubric"):
        go_on(tmp_path, settings=replace(SCORED, rubric="Be kind."))
    go_on(tmp_path / "cot", settings=REASONED)
    with pytest.raises(EngineError, match="different: samples_per_order"):
        go_on(tmp_path / "cot", settings=replace(REASONED, samples_per_order=9))


def test_a_folder_of_an_earlier_version_is_gone_on_with_and_says_more_from_then_on(tmp_path: Path) -> None:
    append_row(tmp_path / "judgements.jsonl", {"pair_id": "p0"})
    with pytest.raises(EngineError, match=r"nothing says which judge .*judgements\.jsonl is of"):
        go_on(tmp_path)
    earlier = {"method": "score", "samples_per_order": 2, "prompt_hash": prompt_hash(), "judge": "judge"}
    (tmp_path / "settings.json").write_text(json.dumps(earlier), encoding="utf-8")
    with pytest.raises(EngineError, match="different: judge"):
        go_on(tmp_path, settings=SCORED, judge=judge_marks("other", SPEC))
    go_on(tmp_path, settings=SCORED)
    with pytest.raises(EngineError, match="different: url"):
        go_on(tmp_path, settings=SCORED, judge=judge_marks("judge", replace(SPEC, url="http://other/v1")))
