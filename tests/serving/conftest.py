"""The same judge behind Transformers, vLLM in this process, and vLLM's own server; one after the other in memory."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from genrm_engine.backends import BackendSpec
from genrm_engine.backends.transformers import TransformersBackend
from genrm_engine.backends.vllm import wanted_dtype
from genrm_engine.files import read_rows
from genrm_engine.types import Pair
from tests.engine.conftest import embedded_model

__all__ = ["embedded_model"]

DEMO = Path(__file__).resolve().parents[2] / "demo" / "pairs.jsonl"
SERVED = "tandem-judge"
KEY = "sk-only-for-this-test"
START_SECONDS = 300


@pytest.fixture(scope="session", autouse=True)
def _vllm_is_here() -> None:
    if importlib.util.find_spec("vllm") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("vLLM is not installed, and here it must be")
        pytest.skip("vLLM is not installed: TANDEM_PARTS=vllm scripts/setup_env.py test makes an environment with it")


@pytest.fixture(scope="session")
def pairs() -> list[Pair]:
    """Some of the demo's pairs, of every length."""
    return [Pair.from_json(row) for row in read_rows(DEMO) if "response_a" in row][::24]


@pytest.fixture(scope="session")
def reference(embedded_model: Path) -> Iterator[TransformersBackend]:
    """The judge as every other test knows it, in bf16."""
    backend = TransformersBackend(BackendSpec("transformers", str(embedded_model), device="cpu"))
    yield backend
    backend.close()


@contextmanager
def vllm_server(model: Path, log: Path) -> Iterator[str]:
    """The base URL of a server in a process group of its own, which is ended afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", SERVED, "--api-key", KEY]
    command += ["--enforce-eager"]  # compiling takes longer than the tests
    command += [
        "--dtype",
        wanted_dtype("auto", "cpu"),
        "--max-model-len",
        "4096",
        "--hf-overrides",
        '{"head_dtype": "float32"}',
    ]
    # Not what the backend in this process has set for itself.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_")}
    environment |= {"VLLM_CPU_NUM_OF_RESERVED_CPU": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", process, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(30)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + START_SECONDS
    while time.monotonic() < give_up:
        if process.poll() is not None:
            break
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(1)
    raise AssertionError(f"vLLM's server did not start:\n{log.read_text(errors='replace')[-3000:]}")
