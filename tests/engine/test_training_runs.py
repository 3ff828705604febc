"""Which folder a training run may go on in, and what is refused before it costs anything."""

import gc
import json
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from genrm_engine.errors import Cancelled, EngineError
from genrm_engine.progress import Progress
from genrm_engine.training.config import TrainConfig
from genrm_engine.training.replay import replayed
from genrm_engine.types import LabelledPair
from tests.engine.conftest import make_labelled

pytestmark = pytest.mark.model


def config_of(model: Path | str, **changes: Any) -> TrainConfig:
    quick: dict[str, Any] = {"method": "genrm", "learning_rate": 3e-3, "epochs": 1, "rationale_share": 0.0}
    return TrainConfig.from_json({**quick, "model": str(model), "device": "cpu", "threads": 1, **changes})


def run(config: TrainConfig, out: Path, rows: list[LabelledPair] | None = None, **known: Any) -> dict[str, Any]:
    from genrm_engine.training.run import train

    return train(config, rows or make_labelled(8), out, progress=Progress(out), **known)


def test_a_finished_run_is_returned_to_its_own_configuration_and_labels_only(tiny_model: Path, tmp_path: Path) -> None:
    config = config_of(tiny_model)
    about = run(config, tmp_path)
    assert run(replace(config, micro_batch_size=2, checkpoints=1, threads=2), tmp_path) == about
    for other, rows in ((replace(config, seed=1), None), (config, make_labelled(6))):
        with pytest.raises(EngineError, match="holds another run"):
            run(other, tmp_path, rows)
    (tmp_path / "started.json").unlink()
    assert run(config, tmp_path) == about, "the judge of a version that did not note what it began"


def test_other_written_rationales_under_the_same_name_make_another_run(tiny_model: Path, tmp_path: Path) -> None:
    written, out = tmp_path / "written.jsonl", tmp_path / "out"
    config = config_of(tiny_model, warm_up=str(written))
    for says in ("Response {better} is good.", "Response {worse} is bad."):
        rows = [replace(row, rationale=says) for row in make_labelled(6)]
        written.write_text("".join(json.dumps(row.to_json()) + "\n" for row in rows))
        if not out.exists():
            assert run(config, out) == run(config, out)
    with pytest.raises(EngineError, match="holds another run"):
        run(config, out)


def test_a_call_that_computed_nothing_binds_no_later_one(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be loaded"):
        run(config_of(tmp_path / "mistyped"), tmp_path)
    with pytest.raises(EngineError, match="at least 2 are needed"):
        run(config_of(tiny_model, max_tokens=5), tmp_path)
    assert not (tmp_path / "started.json").exists()
    assert run(config_of(tiny_model), tmp_path)["pairs"] == 8


def test_a_run_goes_on_from_its_checkpoint_in_smaller_batches(tiny_model: Path, tmp_path: Path) -> None:
    from genrm_engine.training.run import train
    from tests.engine.test_training_order import CancellingAt

    config = config_of(tiny_model, epochs=4, checkpoints=3)
    with pytest.raises(Cancelled):
        train(config, make_labelled(8), tmp_path, progress=CancellingAt(tmp_path, 4))
    (tmp_path / "cancel").unlink()
    with pytest.raises(EngineError, match="holds another run"):
        run(replace(config, epochs=5), tmp_path)
    about = run(replace(config, micro_batch_size=2, checkpoints=1), tmp_path)
    assert about["metrics"]["resumed_from"].startswith("checkpoint-")
    assert about["metrics"]["steps"] == 8


def test_ids_that_collide_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    *rows, other = make_labelled(9)
    other = replace(other, pair=replace(other.pair, id="p0"))
    with pytest.raises(EngineError, match="the id p0 stands for different pairs"):
        run(config_of(tiny_model), tmp_path, [*rows, other])
    with pytest.raises(EngineError, match="the id p0 stands for different pairs"):
        run(config_of(tiny_model), tmp_path, rows, older=[other])
    with pytest.raises(EngineError, match="the id p0 stands for different choices"):
        run(config_of(tiny_model), tmp_path, [*rows, replace(rows[0], choice="b")])
    assert not (tmp_path / "started.json").exists()


def test_a_pair_labelled_anew_is_known_by_its_content_whatever_its_id() -> None:
    [first, second] = make_labelled(2)
    config = TrainConfig(method="genrm", model="m", replay_share=9.0)
    pair = first.pair
    mirrored = replace(pair, id="x", response_a=pair.response_b, response_b=pair.response_a)
    again = [replace(first, pair=replace(pair, id="y")), replace(first, pair=mirrored)]
    assert replayed(again, config, new=[first]) == []
    namesake = replace(second, pair=replace(second.pair, id=pair.id))
    assert replayed([namesake], config, new=[first]) == [namesake]


def test_one_process_that_sees_several_gpus_is_refused(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(EngineError, match="sees 2 GPUs and trains on one"):
        run(config_of(tiny_model, device="cuda:1"), tmp_path)
    assert not (tmp_path / "started.json").exists()
    assert run(config_of(tiny_model), tmp_path)["pairs"] == 8, "on the CPU they do not matter"


def test_the_usual_rates_are_refused_for_a_large_model(tmp_path: Path) -> None:
    from transformers import LlamaConfig

    from genrm_engine.training.limits import parameters_of, refuse_impossible

    large: dict[str, Any] = {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
    }
    LlamaConfig(vocab_size=32000, **large).save_pretrained(tmp_path)
    assert parameters_of(str(tmp_path)) == pytest.approx(1.74e9, rel=0.01)
    with pytest.raises(EngineError, match=r"learning_rate must be set\. .* has 1\.7 billion parameters.*1e-6"):
        refuse_impossible(config_of(tmp_path, learning_rate=None))
    with pytest.raises(EngineError, match="warm_up has a rate of its own"):
        refuse_impossible(config_of(tmp_path, warm_up="written.jsonl"))
    refuse_impossible(config_of(tmp_path))


def test_the_usual_rates_are_for_small_models(tiny_model: Path, tmp_path: Path) -> None:
    from genrm_engine.training.limits import parameters_of, refuse_impossible

    assert (parameters_of(str(tiny_model)) or 0) < 10_000_000
    assert parameters_of(str(tmp_path / "nowhere")) is None
    refuse_impossible(config_of(tiny_model, learning_rate=None))


def test_an_iterations_model_is_gone_before_the_next_one_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genrm_engine.training import methods

    class Model:
        """Held by a cycle, as a trainer holds its model."""

        def __init__(self) -> None:
            self.itself = self

    alive: list[list[bool]] = []
    made: list[weakref.ref[Model]] = []

    def iteration(*_: Any) -> tuple[Model, dict[str, Any]]:
        alive.append([one() is not None for one in made])
        model = Model()
        made.append(weakref.ref(model))
        return model, {}

    class Run:
        config = TrainConfig(method="star-sft", model="m", iterations=3)
        out = tmp_path
        span = methods.WHOLE

        def saved(self, _: Path) -> None:
            return None

        def save(self, *_: Any) -> None:
            return None

    monkeypatch.setattr(methods, "_iteration", iteration)
    monkeypatch.setattr(methods, "_items", lambda *_: (list(range(12)), 0))
    gc.disable()
    try:
        model, seen = methods.star(Run(), [])  # type: ignore[arg-type]
    finally:
        gc.enable()
    assert alive == [[], [False], [False, False]]
    assert isinstance(model, Model)
    assert len(seen["iterations"]) == 3
