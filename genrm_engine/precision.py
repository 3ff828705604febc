"""In which number format a device computes fast; knows nothing of PyTorch."""

from functools import cache
from pathlib import Path

from genrm_engine.device import lease_name

CPUINFO = Path("/proc/cpuinfo")


def fast_bfloat16(device: str) -> bool:
    """Whether the device computes in bf16 at least as fast as in fp32, so that bf16 is used where nothing is asked for.

    GPUs do, and of CPUs those with AMX, AMD's with AVX-512 BF16, and Arm's with BF16. Others turn every product into
    fp32 and back: an Intel Xeon with AVX-512 BF16 but without AMX reads a prompt in bf16 at 0.6 of fp32's speed, and
    trains at 0.7 of it.
    """
    return lease_name(device) != "cpu" or _of_this_machine()


@cache
def _of_this_machine() -> bool:
    return fast_on(CPUINFO.read_text()) if CPUINFO.exists() else False


def fast_on(cpuinfo: str) -> bool:
    """The same of a CPU, by what Linux says of it."""
    said = dict(line.split(":", 1) for line in cpuinfo.splitlines() if ":" in line)
    told = {name.strip(): words.split() for name, words in said.items()}
    flags = told.get("flags", [])
    by_amd = "avx512_bf16" in flags and told.get("vendor_id") == ["AuthenticAMD"]
    return "amx_bf16" in flags or by_amd or "bf16" in told.get("Features", [])
