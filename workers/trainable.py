"""Whether a model could be trained on this machine, from its files alone; loads no model."""

import json
import math
import os
import struct
from pathlib import Path
from typing import Any

from genrm_engine.device import lease_name
from genrm_engine.errors import EngineError
from genrm_engine.weights import weights_sha256

BYTES_PER_PARAMETER = 16
"""All weights are trained in fp32 by AdamW: weights, gradients and two moments."""
SPARE = 1.25
"""What is computed on the way needs room too."""
CAUSAL = "ForCausalLM"
GIB = 2**30
_LONGEST_HEADER = 100 * 2**20
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def fitness(folder: Path | None, device: str) -> tuple[bool, str]:
    """Whether the model in the folder could be trained on the device, and why, in a sentence."""
    if folder is None:
        return False, "It has no weights on this machine that could be trained."
    problem = _problem(folder)
    if problem:
        return False, problem
    parameters = sum(_parameters(path) for path in folder.glob("*.safetensors"))
    needed, there = parameters * BYTES_PER_PARAMETER * SPARE, memory_of(device)
    size = f"{parameters / 1e6:,.0f} million parameters need about {needed / GIB:.1f} GiB to be trained"
    return needed <= there, f"{size}; this device ({lease_name(device)}) has {there / GIB:.1f} GiB."


def folder_of(model: str) -> Path | None:
    """Where a model's files lie on this machine: its folder, or what the Hugging Face cache holds of a name."""
    if Path(model).is_dir():
        return Path(model)
    try:
        from huggingface_hub import snapshot_download  # comes with the engine's libraries

        return Path(snapshot_download(model, local_files_only=True))
    except (ImportError, OSError, ValueError):
        return None


def checksum_of(folder: Path | None) -> str:
    """The checksum of a folder's weights; empty where there are none."""
    try:
        return weights_sha256(folder) if folder is not None else ""
    except EngineError:
        return ""


def memory_of(device: str) -> int:
    """Bytes of the device that a process may use."""
    name = lease_name(device)
    if name.startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(name).total_memory)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(machine, int(_CGROUP.read_text()))
    except (OSError, ValueError):
        return machine


def _problem(folder: Path) -> str:
    """What speaks against the training of these files, whatever the device."""
    config = _read_json(folder / "config.json")
    kinds = config.get("architectures") or ["unknown"]
    if config.get("tandem_head"):
        return "It is a reward model: it scores, and cannot learn to write verdicts."
    if not any(str(kind).endswith(CAUSAL) for kind in kinds):
        return f"Only causal language models are trained here, and it is {kinds[0]}."
    if config.get("quantization_config"):
        return "Its weights are quantised: connect the model in full precision to train it."
    if not any(folder.glob("*.safetensors")):
        return "Its weights are not stored as safetensors."
    return ""


def _parameters(path: Path) -> int:
    """How many numbers a safetensors file holds, from its header."""
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, _LONGEST_HEADER)))
        return sum(math.prod(one["shape"]) for name, one in header.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise EngineError(f"{path.name} is no readable safetensors file") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
