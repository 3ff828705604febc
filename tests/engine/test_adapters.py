"""The model that an adapter alone was trained on is found where the adapter is, not only where it was made."""

import json
from pathlib import Path

import pytest

from genrm_engine.errors import EngineError
from genrm_engine.weights import adapter_base


def adapter_in(folder: Path, *, named: object = None, run: object = None) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": named}))
    if run is not None:
        (folder / "run.json").write_text(json.dumps({"config": {"model": run}}))
    return str(folder)


def test_a_relative_folder_is_looked_for_here_then_beside_the_adapter_and_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, home = tmp_path / "away", tmp_path / "home"
    (home / "models" / "base").mkdir(parents=True)
    away.mkdir()
    judge = adapter_in(home / "build" / "run" / "judge", run="models/base")
    monkeypatch.chdir(home)
    assert adapter_base("build/run/judge") == "models/base"
    monkeypatch.chdir(away)
    assert adapter_base(judge) == str(home / "models" / "base")
    (home / "build" / "models" / "base").mkdir(parents=True)
    assert adapter_base(judge) == str(home / "build" / "models" / "base")


def test_a_name_stays_a_name_and_an_adapter_is_never_its_own_base(tmp_path: Path) -> None:
    judge = adapter_in(tmp_path / "judge", run="judge")
    assert adapter_base(judge) == "judge"
    assert adapter_base(adapter_in(tmp_path / "judge", run="org/model")) == "org/model"
    assert adapter_base(str(tmp_path)) is None


def test_without_a_run_the_adapters_own_settings_name_the_base(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    assert adapter_base(adapter_in(tmp_path / "one", named="base")) == str(tmp_path / "base")
    assert adapter_base(adapter_in(tmp_path / "two", named="base", run="other")) == "other"
    with pytest.raises(EngineError, match="says on which model it was trained"):
        adapter_base(adapter_in(tmp_path / "three"))
