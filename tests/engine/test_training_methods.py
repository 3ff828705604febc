"""Each training method end to end on a tiny model: it learns something, writes a judge, and says how it went."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from genrm_engine.backends import BackendSpec, load_backend
from genrm_engine.errors import EngineError
from genrm_engine.files import read_appended
from genrm_engine.progress import Progress
from genrm_engine.training.config import TrainConfig
from genrm_engine.types import LabelledPair
from genrm_engine.weights import check_manifest, write_manifest
from tests.engine.conftest import make_labelled

pytestmark = pytest.mark.model


def config_of(model: Path, method: str, **changes: Any) -> TrainConfig:
    quick: dict[str, Any] = {"learning_rate": 3e-3, "epochs": 4, "max_rationale_tokens": 6, "samples_per_order": 2}
    row = {"method": method, "model": str(model), **quick, "rationale_share": 0.0, "device": "cpu", "threads": 1}
    return TrainConfig.from_json({**row, **changes})


def explained(count: int) -> list[LabelledPair]:
    return [replace(row, rationale="Response {better} is good, {worse} is not.") for row in make_labelled(count)]


def run(config: TrainConfig, out: Path, rows: list[LabelledPair] | None = None, **known: Any) -> dict[str, Any]:
    from genrm_engine.training.run import train

    return train(config, rows or make_labelled(12), out, progress=Progress(out), **known)


def test_star_sft_trains_on_right_rationales_in_iterations(tiny_model: Path, tmp_path: Path) -> None:
    about = run(config_of(tiny_model, "star-sft", iterations=2, epochs=12), tmp_path)  # batches differ: enough of them
    steps = about["metrics"]["iterations"]
    assert len(steps) == 2
    for step in steps:
        assert step["loss_last"] < step["loss_first"]
        yields = step["yields"]
        assert yields["right"] + yields["wrong"] == 6 * 2 * 2 * 4
    sampled = read_appended(tmp_path / "samples.jsonl")
    assert {row["iteration"] for row in sampled} == {0, 1}
    assert len({row["key"] for row in sampled}) == 24, "each iteration has its own slice of the labels"
    check_manifest(tmp_path / "judge")


@pytest.mark.parametrize("changes", [{"method": "star-ipo"}, {"label_noise": 0.1}, {"sft_weight": 0.0}])
def test_the_other_preference_losses_widen_the_margin(tiny_model: Path, tmp_path: Path, changes: Any) -> None:
    config = config_of(tiny_model, "star-dpo", epochs=6, samples_per_order=4)
    about = run(TrainConfig.from_json({**config.to_json(), **changes}), tmp_path)
    assert about["metrics"]["reward_margin"] > 0


def test_a_rationalizer_is_told_the_answer_and_trained_without_it(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genrm_engine.backends.transformers import TransformersBackend
    from genrm_engine.training import likelihood

    asked: list[str] = []
    rows: list[dict[str, Any]] = []
    generate, weighted = TransformersBackend.generate, likelihood.train_weighted

    def watched(self: Any, prompts: Any, sampling: Any) -> Any:
        asked.extend(prompt.user for prompt in prompts)
        return generate(self, prompts, sampling)

    def fitted(model: Any, given: Any, **known: Any) -> Any:
        rows.extend(given)
        return weighted(model, given, **known)

    monkeypatch.setattr(TransformersBackend, "generate", watched)
    monkeypatch.setattr("genrm_engine.training.stages.train_weighted", fitted)
    about = run(config_of(tiny_model, "rationalizer", epochs=12), tmp_path)
    assert len(asked) == 24
    assert all("The better response is " in text for text in asked)
    assert len(rows) == 24
    backend = load_backend(BackendSpec("transformers", str(tmp_path / "judge"), device="cpu", threads=1))
    texts = [backend.encoder.tokenizer.decode(row["input_ids"]) for row in rows]  # type: ignore[attr-defined]
    assert not any("The better response is " in text for text in texts)
    assert about["metrics"]["loss_last"] < about["metrics"]["loss_first"]


def test_a_warm_up_teaches_the_written_form(tiny_model: Path, tmp_path: Path) -> None:
    config = config_of(tiny_model, "warm-up", epochs=30, rationale_weight=1.0, learning_rate=5e-3)
    run(config, tmp_path, explained(12))
    backend = load_backend(BackendSpec("transformers", str(tmp_path / "judge"), device="cpu", threads=1))
    from genrm_engine.prompts import build_prompt
    from genrm_engine.types import Sampling

    prompts = [build_prompt(row.pair, method="cot") for row in make_labelled(6)]
    chains = backend.generate(prompts, Sampling(samples=2, max_tokens=30, temperature=0.1, verdict="free"))
    read = [chain for texts in chains for chain in texts if chain.p_first is not None]
    assert len(read) >= 10, "the free form is kept after a warm-up"
    assert all("good" in chain.text for chain in read)


def test_star_begins_with_a_warm_up_where_it_is_asked_for(tiny_model: Path, tmp_path: Path) -> None:
    written = tmp_path / "written.jsonl"
    written.write_text("".join(json.dumps(row.to_json()) + "\n" for row in explained(8)))
    about = run(config_of(tiny_model, "star-sft", warm_up=str(written), epochs=1), tmp_path / "out")
    check_manifest(tmp_path / "out" / "warm-up" / "judge")
    assert about["config"]["warm_up"] == str(written)
    told = json.loads((tmp_path / "out" / "warm-up" / "judge" / "run.json").read_text())
    assert told["config"]["method"] == "warm-up"


def test_a_warm_up_is_the_first_part_of_a_run_and_not_its_end(tiny_model: Path, tmp_path: Path) -> None:
    written = tmp_path / "written.jsonl"
    written.write_text("".join(json.dumps(row.to_json()) + "\n" for row in explained(8)))
    about = run(config_of(tiny_model, "star-sft", warm_up=str(written), epochs=1), tmp_path / "out")
    told = read_appended(tmp_path / "out" / "progress.jsonl")
    fractions = [row["fraction"] for row in told]
    assert fractions == sorted(fractions)
    assert [row["message"] for row in told if row["phase"] == "done"] == ["The judge is trained"]
    assert (told[-1]["phase"], told[-1]["metrics"]) == ("done", about["metrics"])
    [begun] = [row["fraction"] for row in told if row["message"] == "Saving the warmed-up judge"]
    assert 0 < begun < 0.5
    assert all(row["fraction"] > begun for row in told if row.get("stage") == "star-0")


def test_a_kept_adapter_is_small_and_names_no_folder(tiny_model: Path, tmp_path: Path) -> None:
    config = config_of(tiny_model, "warm-up", lora=True, keep_adapter=True, epochs=1)
    run(config, tmp_path, explained(8))
    names = {path.name for path in (tmp_path / "judge").iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json"} <= names
    assert "model.safetensors" not in names
    assert str(tiny_model) not in (tmp_path / "judge" / "adapter_config.json").read_text()


def test_a_kept_adapter_judges_as_the_whole_weights_do(tiny_model: Path, tmp_path: Path) -> None:
    from genrm_engine.prompts import build_prompt

    prompts = [build_prompt(row.pair, method="score") for row in make_labelled(6)]
    found = {}
    for kept in (True, False):
        out = tmp_path / str(kept)
        run(config_of(tiny_model, "genrm", lora=True, keep_adapter=kept, learning_rate=1e-2), out)
        spec = BackendSpec("transformers", str(out / "judge"), device="cpu", threads=1, dtype="float32")
        found[kept] = load_backend(spec).score(prompts)
    untuned = load_backend(BackendSpec("transformers", str(tiny_model), device="cpu", threads=1)).score(prompts)
    assert found[True] == pytest.approx(found[False], abs=0.002)
    assert found[True] != pytest.approx(untuned, abs=0.02)


def test_an_adapter_is_refused_in_words_where_whole_weights_are_needed(tiny_model: Path, tmp_path: Path) -> None:
    from genrm_engine.backends.loading import load_model
    from genrm_engine.training.heads import load_head_model

    run(config_of(tiny_model, "genrm", lora=True, keep_adapter=True, epochs=1), tmp_path)
    judge = tmp_path / "judge"
    with pytest.raises(EngineError, match="holds an adapter alone: a reward model needs whole weights"):
        load_head_model(str(judge), kind="pairrm", config=config_of(judge, "pairrm"))
    about = json.loads((judge / "run.json").read_text())
    about["config"]["model"] = str(tmp_path / "gone")
    (judge / "run.json").write_text(json.dumps(about))
    write_manifest(judge)
    with pytest.raises(EngineError, match="gone cannot be loaded"):
        load_model(str(judge), dtype="auto", device="cpu")
    (judge / "run.json").unlink()
    settings = json.loads((judge / "adapter_config.json").read_text())
    (judge / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": None}))
    write_manifest(judge)
    with pytest.raises(EngineError, match="says on which model it was trained"):
        load_model(str(judge), dtype="auto", device="cpu")


def test_older_labels_are_part_of_what_was_trained_on(tiny_model: Path, tmp_path: Path) -> None:
    rows = make_labelled(16)
    about = run(config_of(tiny_model, "genrm", epochs=1), tmp_path, rows[:8], older=rows)
    assert about["pairs"] == 12


@pytest.mark.slow
def test_soft_labels_hold_the_judge_back(tiny_model: Path, tmp_path: Path) -> None:
    """Trained to three of four annotators, the judge ends near that share and not at certainty."""
    rows = [replace(row, p_a=0.75 if row.choice == "a" else 0.25) for row in make_labelled(12)]
    probabilities = {}
    for soft in (True, False):
        out = tmp_path / str(soft)
        run(config_of(tiny_model, "genrm", epochs=40, soft_labels=soft), out, rows)
        backend = load_backend(BackendSpec("transformers", str(out / "judge"), device="cpu", threads=1))
        from genrm_engine.prompts import build_prompt

        scores = backend.score([build_prompt(row.pair, method="score") for row in rows])
        pairs = [(row.choice, score) for row, score in zip(rows, scores, strict=True) if score is not None]
        chosen = [score if choice == "a" else 1 - score for choice, score in pairs]
        probabilities[soft] = sum(chosen) / len(chosen)
    assert probabilities[True] == pytest.approx(0.75, abs=0.1)
    assert probabilities[False] > 0.9
