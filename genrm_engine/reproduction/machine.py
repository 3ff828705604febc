"""What a figure was measured on; nothing here imports PyTorch before it is there anyway."""

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

from genrm_engine.device import lease_name


def machine(name: str, device: str, threads: int | None) -> dict[str, Any]:
    """Name, processor, cores, threads, device and the versions that bear on speed."""
    return {
        "name": name or platform.machine(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "threads": threads,
        "device": _gpu(device) or device,
        "python": platform.python_version(),
        "torch": _torch(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _gpu(device: str) -> str:
    """The name of the GPU that a device means; empty where it means none, or none is there."""
    kind, _, number = lease_name(device).partition(":")
    torch = sys.modules.get("torch")
    if kind != "cuda" or torch is None or not torch.cuda.is_available():
        return ""
    return str(torch.cuda.get_device_name(int(number or 0)))


def _torch() -> str:
    """The installed version; empty where the engine's computing parts are not installed."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""
