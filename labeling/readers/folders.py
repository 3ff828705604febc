"""Folders as Hugging Face `datasets` saves them, and plain folders of data files, read without that library."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from labeling.readers.opening import Opened, open_file
from labeling.readers.raw import Bound, Raw, Unreadable

_ENDINGS = (".parquet", ".arrow", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
_ABOUT = ("dataset_info.json", "state.json", "dataset_dict.json", "dataset_infos.json")


def data_files(folder: Path, split: str = "") -> list[Path]:
    """The data files of a folder in a fixed order, those of one split where it is named. Raises Unreadable."""
    parts = _described(folder / "dataset_dict.json").get("splits")
    if isinstance(parts, list):
        wanted = [str(part) for part in parts if not split or part == split]
        if not wanted:
            raise Unreadable(f"split: there is no {split!r}, only {', '.join(map(str, parts))}")
        return [file for part in wanted for file in data_files(folder / part)]
    state = _described(folder / "state.json")
    if state.get("_indices_files"):
        raise Unreadable("The data set was saved with a selection; save it again after flatten_indices().")
    named = state.get("_data_files")
    if isinstance(named, list):
        files = [folder / Path(str(one.get("filename"))).name for one in named if isinstance(one, dict)]
    else:
        files = sorted(file for file in folder.rglob("*") if _is_data(file.relative_to(folder)))
        files = [file for file in files if not split or _is_of(split, file.relative_to(folder))]
    missing = [file.name for file in files if not file.is_file()]
    if missing or not files:
        none = f"The folder has no data files of a split {split!r}." if split else "The folder has no data files."
        raise Unreadable(f"The folder lacks {missing[0]}." if missing else none)
    return files


def open_folder(folder: Path, split: str = "") -> Opened:
    """All rows of a folder, numbered through. Raises Unreadable."""
    files = data_files(folder, split)
    done: list[int] = []
    current: list[BinaryIO] = []
    bound = Bound()

    def rows() -> Iterator[Raw]:
        number = 0
        for file in files:
            with file.open("rb") as stream:
                current[:] = [stream]
                for raw in open_file(stream, file.name, bound).rows:
                    number += 1
                    yield Raw(number, raw.row, raw.reason, raw.field, raw.line, raw.cells)
                current.clear()
            done.append(file.stat().st_size)

    with files[0].open("rb") as first:
        container = open_file(first, files[0].name).container
    return Opened(container, "", rows(), lambda: sum(done) + sum(stream.tell() for stream in current), bound)


def folder_identity(folder: Path, split: str = "") -> tuple[str, int]:
    """A checksum of the names and contents of a folder's data files, and their size."""
    digest, size = hashlib.sha256(), 0
    for file in data_files(folder, split):
        digest.update(f"{file.relative_to(folder).as_posix()}\n".encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
        size += file.stat().st_size
    return digest.hexdigest(), size


def _is_of(split: str, name: Path) -> bool:
    """Whether a folder or a part of the file's name is the split: `test` is not in `latest`."""
    return re.search(rf"(?:^|[/._ -]){re.escape(split)}(?:$|[/._ -])", name.as_posix()) is not None


def _is_data(name: Path) -> bool:
    hidden = any(part.startswith(".") for part in name.parts)
    endings = [ending for ending in name.suffixes if ending not in (".gz", ".zst")]
    return not hidden and name.name not in _ABOUT and bool(endings) and endings[-1] in _ENDINGS


def _described(file: Path) -> dict[str, object]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Unreadable(f"{file.name} cannot be read: {error}") from None
    return found if isinstance(found, dict) else {}
