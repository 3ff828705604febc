"""Writing a trained judge: merged bf16 weights, tokenizer, ``run.json`` and checksums, whole or not at all."""

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
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "safetensors", "numpy")
KEPT = ("source.json",)


def save_judge(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", folder: Path, *, about: Mapping[str, Any]
) -> None:
    """Write the judge to ``folder`` by way of a neighbour that is renamed when it is complete."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    model.to(torch.bfloat16).save_pretrained(part)  # type: ignore[arg-type]
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


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
