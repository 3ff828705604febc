"""The starter judge that Tandem ships: small, checked, described, and able to write its form."""

import json
from pathlib import Path

import pytest

from genrm_engine.embedded import ensure_starter, resolve_model
from genrm_engine.prompts import prompt_hash
from genrm_engine.starter import ADAPTER, EMBEDDED, FOLDERS, STARTER
from genrm_engine.weights import check_manifest, file_sha256, read_manifest
from tests.engine.conftest import shared_home

FOLDER = ADAPTER.parent


def test_the_adapter_is_small_checked_and_made_of_the_shipped_data() -> None:
    check_manifest(ADAPTER)
    assert set(read_manifest(ADAPTER)) == {"adapter_model.safetensors", "adapter_config.json", "run.json"}
    assert (ADAPTER / "adapter_model.safetensors").stat().st_size <= 10 * 1000**2
    about = json.loads((ADAPTER / "run.json").read_text())
    recipe = json.loads((FOLDER / "config.json").read_text())
    assert {name: about["config"][name] for name in recipe} == recipe
    assert json.loads((ADAPTER / "adapter_config.json").read_text())["base_model_name_or_path"] == "embedded-base"


def test_the_starter_was_trained_on_the_pairs_beside_it_with_todays_prompts() -> None:
    from genrm_engine.files import data_hash
    from genrm_engine.formats import read_labelled

    about = json.loads((ADAPTER / "run.json").read_text())
    assert about["data_sha256"] == data_hash(read_labelled(FOLDER / "train.jsonl"))
    assert about["prompt_hash"] == prompt_hash(), "other prompts need another starter"


def test_the_card_names_the_adapter_it_describes() -> None:
    assert file_sha256(ADAPTER / "adapter_model.safetensors")[:16] in (FOLDER / "README.md").read_text()


def test_other_models_are_left_as_they_are() -> None:
    assert resolve_model("some/folder", Path("nowhere"), progress=print) == "some/folder"
    assert set(FOLDERS) == set(EMBEDDED)


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(400)
def test_the_starter_writes_readable_verdicts_about_the_pair() -> None:
    """On demo pairs that it was not trained on; the whole measurement is benchmarks/starter_judge.py."""
    from benchmarks.starter_judge import unseen
    from genrm_engine import JudgeSettings, load_judge
    from genrm_engine.evaluation.rationales import check_rationales

    folder = ensure_starter(shared_home(), progress=lambda text: None)
    assert ensure_starter(shared_home(), progress=pytest.fail) == folder
    check_manifest(folder)
    rows = unseen()[::8]
    settings = JudgeSettings(method="cot", verdict="free", samples_per_order=1)
    with load_judge(STARTER, home=shared_home(), device="cpu", threads=1) as judge:
        found = judge.judge([row.pair for row in rows], settings)
    assert sum(row.unparsed for row in found) <= 0.1 * sum(row.samples for row in found)
    pairs = {row.pair.id: row.pair for row in rows}
    straight = [(one.text, pairs[row.pair_id]) for row in found for one in row.rationales if not one.swapped]
    good = check_rationales(straight)["good"]
    assert good is not None
    assert good >= 0.6
