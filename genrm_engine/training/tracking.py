"""Where the curves of a training run go beside its progress file. Loads no tracker and no PyTorch: a setting reads it.

What is written there, and when, is not known here (``trackers``).
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from genrm_engine.errors import EngineError

LIBRARIES = ("tensorboard", "mlflow")
STORE = ("sqlalchemy", "alembic")
"""What MLflow needs to write into a file by itself, without a server."""
EXTRA = 'pip install -c constraints.txt ".[tracking]"'
VARIABLE = "GENRM_TRACK"
"""Environment variable with the same text as ``--track``: an address with a password stays out of process lists."""


@dataclass(frozen=True, slots=True)
class Tracking:
    """A tracker's library, its folder or address, and the name of the run there."""

    library: str
    where: str
    name: str

    @classmethod
    def parse(cls, text: str, *, name: str) -> Self:
        """Read ``tensorboard:FOLDER`` or ``mlflow:FOLDER-OR-ADDRESS``.

        Raises EngineError for another tracker, for a place it cannot write to, and where its library is missing.
        """
        library, _, where = text.partition(":")
        wrong = unknown(library) or misplaced(library, where) or missing(library, where)
        if wrong:
            raise EngineError(f"track: {wrong}")
        return cls(library, where, name)

    @property
    def folder(self) -> Path | None:
        """The folder that is written to; None where it is an address."""
        return None if is_address(self.where) else Path(self.where)


def unknown(library: str) -> str:
    """What is wrong with the name of a tracker, if anything."""
    return "" if library in LIBRARIES else f"{library!r} is not one of {', '.join(LIBRARIES)}"


def misplaced(library: str, where: str) -> str:
    """What is wrong with a tracker's place, if anything. Does not look whether it can be reached."""
    if not where:
        return "name the folder or the address after the colon, such as tensorboard:FOLDER"
    return "TensorBoard writes to a folder, not to an address" if library == "tensorboard" and is_address(where) else ""


def missing(library: str, where: str) -> str:
    """Which of a tracker's libraries is not installed, if any; nothing is imported to find out."""
    needed = [library, *(STORE if library == "mlflow" and not is_address(where) else ())]
    absent = [name for name in needed if importlib.util.find_spec(name) is None]
    return f"{', '.join(absent)} is not installed: {EXTRA}" if absent else ""


def is_address(where: str) -> bool:
    """Whether it is an address (``http://…``, ``sqlite:///…``) and not a folder."""
    return "://" in where
