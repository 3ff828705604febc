"""Writing a trained judge: bf16 weights or an adapter's, tokenizer, ``run.json``, checksums; whole or not at all.

What the weights mean, and how they were trained, is not known here.
"""

import importlib.metadata
import json
import platform
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from genrm_engine.prompts import PROMPT_VERSION, prompt_hash
from genrm_engine.training.config import TrainConfig
from genrm_engine.weights import write_manifest

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "safetensors", "numpy")
KEPT = ("source.json",)


def save_judge(
    model: "PreTrainedModel | PeftModel",
    tokenizer: "PreTrainedTokenizerBase",
    folder: Path,
    *,
    about: Mapping[str, Any],
) -> None:
    """Write the judge to ``folder`` by way of a neighbour that is renamed when it is complete.

    Of a PEFT model only the adapter is written; it calls its base by the last part of the configuration's ``model``.
    """
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    config = about.get("config", {})  # an iteration's judge is described by what was seen alone
    _save_weights(model.to(torch.bfloat16), part, base=Path(config.get("model", "")).name)  # type: ignore[arg-type]
    tokenizer.save_pretrained(part)
    (part / "run.json").write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for path in part.iterdir():
        path.chmod(0o644)
    write_manifest(part)
    part.replace(folder)


def about_run(config: TrainConfig, *, data_sha256: str, pairs: int, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What ``run.json`` says about how a judge was made."""
    return {
        "config": config.to_json(),
        "seed": config.seed,
        "data_sha256": data_sha256,
        "pairs": pairs,
        "metrics": dict(metrics),
        "prompt_version": PROMPT_VERSION,
        "prompt_hash": prompt_hash(),
        "versions": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "finished": time.time(),
    }


def _save_weights(model: "PreTrainedModel | PeftModel", folder: Path, *, base: str) -> None:
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        model.save_pretrained(folder)
        return
    for settings in model.peft_config.values():
        settings.base_model_name_or_path = base  # where the base lay on this machine is nobody's business
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's card names that place too


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
