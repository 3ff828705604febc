"""Checksums of a folder of weights; knows nothing of what the files mean."""

import hashlib
import json
from pathlib import Path

from genrm_engine.errors import EngineError

MANIFEST = "manifest.json"
RUN = "run.json"
ADAPTER = "adapter_config.json"
"""The file by which a folder is known to hold an adapter, which needs the weights that it was trained on."""


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest(folder: Path) -> dict[str, str]:
    """Write ``manifest.json``: the SHA-256 of every other file in the folder, by relative name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    sums = {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}
    (folder / MANIFEST).write_text(json.dumps({"files": sums}, indent=2) + "\n", encoding="utf-8")
    return sums


def read_manifest(folder: Path) -> dict[str, str]:
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return {str(name): str(value) for name, value in files.items()}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise EngineError(f"{folder} has no readable {MANIFEST}") from error


def check_manifest(folder: Path) -> None:
    """Raise EngineError where a file is missing or differs from the manifest."""
    for name, expected in read_manifest(folder).items():
        path = folder / name
        if not path.is_file():
            raise EngineError(f"{folder}: {name} is missing")
        if file_sha256(path) != expected:
            raise EngineError(f"{folder}: {name} was changed after it was written")


def check_model(model: str) -> None:
    """Raise EngineError where a model's folder has a manifest that its files differ from; other models pass."""
    if (Path(model) / MANIFEST).is_file():
        check_manifest(Path(model))


def adapter_base(model: str) -> str | None:
    """The model that the adapter in this folder was trained on; None: no adapter.

    Its ``run.json`` names it, or ``adapter_config.json`` where there is none. A relative folder is looked for in the
    working directory, then beside the adapter and above it. Raises EngineError where an adapter's folder does not tell.
    """
    folder = Path(model)
    if not (folder / ADAPTER).is_file():
        return None
    try:
        if (folder / RUN).is_file():
            base = json.loads((folder / RUN).read_text(encoding="utf-8"))["config"]["model"]
        else:
            base = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        base = None
    if not base:
        raise EngineError(f"{model} holds an adapter, and no {RUN} says on which model it was trained")
    return _found(str(base), folder.resolve())


def _found(base: str, adapter: Path) -> str:
    """The folder that a relative ``base`` means to an adapter; ``base`` itself where there is none (a model's name)."""
    for start in (Path(), adapter, *adapter.parents):
        if (start / base).is_dir() and (start / base).resolve() != adapter:
            return str(start / base)
    return base


def refuse_adapter(model: str, *, by: str) -> None:
    """Raise EngineError where the folder holds an adapter alone, which ``by`` cannot take."""
    if adapter_base(model) is not None:
        raise EngineError(f"{model} holds an adapter alone: {by} needs whole weights (train without keep_adapter)")


def weights_mark(model: str) -> str:
    """What tells a folder's weights from others at little cost: its manifest's checksum, else that of a file list.

    Empty for a model that is no folder here: nothing but its name is known.
    """
    folder = Path(model)
    if (folder / MANIFEST).is_file():
        return file_sha256(folder / MANIFEST)
    if not folder.is_dir():
        return ""
    found = sorted((path.name, path.stat()) for path in folder.iterdir() if path.is_file())
    files = [(name, about.st_size, about.st_mtime_ns) for name, about in found]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def weights_sha256(folder: Path) -> str:
    """One checksum for the weights of a model folder: of its safetensors' names and checksums."""
    sums = {path.name: file_sha256(path) for path in sorted(folder.glob("*.safetensors"))}
    if not sums:
        raise EngineError(f"{folder} has no safetensors weights")
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()
