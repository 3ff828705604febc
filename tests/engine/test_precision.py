"""Which machines use bf16 where nothing is asked for."""

import pytest

from genrm_engine.backends import vllm
from genrm_engine.precision import fast_bfloat16, fast_on

XEON = "processor : 0\nvendor_id : GenuineIntel\nflags : fpu avx512f avx512_bf16\nbugs :\n"


@pytest.mark.parametrize(
    ("cpuinfo", "fast"),
    [
        (XEON, False),
        (XEON.replace("avx512_bf16", "avx512_bf16 amx_bf16 amx_tile"), True),
        (XEON.replace("GenuineIntel", "AuthenticAMD"), True),
        (XEON.replace("GenuineIntel", "AuthenticAMD").replace(" avx512_bf16", " avx2"), False),
        ("processor : 0\nFeatures : fp asimd bf16 i8mm\n", True),
        ("processor : 0\nFeatures : fp asimd\n", False),
        ("", False),
    ],
)
def test_a_cpu_is_known_by_its_flags(cpuinfo: str, fast: bool) -> None:
    assert fast_on(cpuinfo) is fast


def test_gpus_are_fast_at_it() -> None:
    assert fast_bfloat16("cuda:1")


@pytest.mark.parametrize(("fast", "auto"), [(True, "bfloat16"), (False, "float32")])
def test_vllm_computes_in_what_its_device_is_fast_at(fast: bool, auto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm, "fast_bfloat16", lambda device: fast)
    assert vllm.wanted_dtype("auto", "cpu") == auto
    assert vllm.wanted_dtype("float16", "cpu") == "float16"
