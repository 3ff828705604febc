"""Checksums of a folder of weights; knows nothing of what the files mean."""

import hashlib
import json
from pathlib import Path

from genrm_engine.errors import EngineError

MANIFEST = "manifest.json"


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


def weights_sha256(folder: Path) -> str:
    """One checksum for the weights of a model folder: of its safetensors' names and checksums."""
    sums = {path.name: file_sha256(path) for path in sorted(folder.glob("*.safetensors"))}
    if not sums:
        raise EngineError(f"{folder} has no safetensors weights")
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()
