"""A model that was changed after it was written down, lacks weights or writes nothing is not loaded."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from genrm_engine.backends import heads, loading
from genrm_engine.errors import EngineError
from genrm_engine.weights import write_manifest

pytestmark = pytest.mark.model


@pytest.mark.parametrize("load", ["loading:load_model", "heads:load_classifier"])
def test_changed_weights_are_refused(tmp_path: Path, load: str) -> None:
    module, name = load.split(":")
    loader = getattr(import_module(f"genrm_engine.backends.{module}"), name)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    write_manifest(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"others!")
    with pytest.raises(EngineError, match=r"model\.safetensors was changed after it was written"):
        loader(str(tmp_path), dtype="float32", device="cpu")


def model_in(folder: Path, *, kind: str, tied: bool) -> Path:
    """One random layer of a small Llama, saved as the class ``kind`` of Transformers."""
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=tied,
    )
    getattr(transformers, kind)(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("tied", [False, True])
def test_a_reward_model_of_others_is_refused_in_words(tmp_path: Path, tied: bool) -> None:
    folder = model_in(tmp_path / "reward", kind="LlamaForSequenceClassification", tied=tied)
    with pytest.raises(EngineError, match=r"reward is a reward model \(LlamaForSequenceClassification\)"):
        loading.load_model(str(folder), dtype="float32", device="cpu")


def test_a_checkpoint_without_its_output_layer_is_refused_and_a_tied_one_is_whole(tmp_path: Path) -> None:
    headless = model_in(tmp_path / "headless", kind="LlamaModel", tied=False)
    with pytest.raises(EngineError, match=r"no whole language model: .* lack 1 of its weights, lm_head\.weight"):
        loading.load_model(str(headless), dtype="float32", device="cpu")
    tied = model_in(tmp_path / "tied", kind="LlamaModel", tied=True)
    assert loading.load_model(str(tied), dtype="float32", device="cpu").can_generate()


@pytest.mark.parametrize(("said", "expected"), [("\nThis needs bitsandbytes\nmore", "This needs"), ("", "ImportError")])
@pytest.mark.parametrize(
    ("kind", "load"), [("ForCausalLM", loading.load_model), ("ForSequenceClassification", heads.load_classifier)]
)
def test_a_library_that_a_model_needs_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, load: Any, said: str, expected: str
) -> None:
    def missing(*given: object, **known: object) -> None:
        raise ImportError(said)

    monkeypatch.setattr(f"transformers.AutoModel{kind}.from_pretrained", missing)
    with pytest.raises(EngineError, match=f"cannot be loaded: {expected}"):
        load(str(tmp_path), dtype="float32", device="cpu")


TORN = {
    "cut short": lambda whole: whole[: len(whole) // 2],
    "a pointer of Git LFS": lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
}


@pytest.mark.parametrize("how", sorted(TORN))
@pytest.mark.parametrize(
    ("kind", "load"), [("LlamaForCausalLM", loading.load_model), ("LlamaModel", heads.load_classifier)]
)
def test_a_torn_file_of_weights_is_told_in_words(tmp_path: Path, kind: str, load: Any, how: str) -> None:
    folder = model_in(tmp_path / "torn", kind=kind, tied=False)
    weights = folder / "model.safetensors"
    weights.write_bytes(TORN[how](weights.read_bytes()))
    with pytest.raises(EngineError, match="torn cannot be loaded"):
        load(str(folder), dtype="float32", device="cpu")


def test_a_torn_adapter_is_told_in_words(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    base = loading.load_model(
        str(model_in(tmp_path / "base", kind="LlamaForCausalLM", tied=False)), dtype="float32", device="cpu"
    )
    get_peft_model(base, LoraConfig(target_modules=["q_proj"])).save_pretrained(str(tmp_path / "adapter"))
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:99])
    whole = loading.load_model(str(tmp_path / "base"), dtype="float32", device="cpu")
    with pytest.raises(EngineError, match="adapter does not fit"):
        loading.merged(whole, str(tmp_path / "adapter"))
