"""Files of preference data as rows, pairs or labelled pairs; errors name the file, the line and the field."""

from collections.abc import Iterator
from pathlib import Path

from genrm_engine.errors import EngineError
from genrm_engine.files import Place, placed_rows
from genrm_engine.formats.draft import Draft, merged
from genrm_engine.formats.layouts import FORMATS, detect, known, read_row
from genrm_engine.formats.rows import DataRow, labelled_pairs
from genrm_engine.types import LabelledPair, Pair


def iter_data(path: Path, *, format: str | None = None) -> Iterator[DataRow]:  # noqa: A002
    """A row for each line, one at a time and unmerged: a pair with several lines comes several times."""
    return (draft.row(place.number) for place, draft in _drafts(path, format))


def read_data(path: Path, *, format: str | None = None) -> list[DataRow]:  # noqa: A002
    """The pairs of a file in their first order, all lines of a pair merged into one row.

    ``format`` is one of ``FORMATS``; without it the first line decides, and a later line of another layout is an
    error. EngineError also where a line misses a field, or two lines give one id to different content.
    """
    found: dict[str, tuple[Place, Draft]] = {}
    for place, draft in _drafts(path, format):
        first, earlier = found.setdefault(draft.key, (place, draft))
        if first == place:
            continue
        try:
            found[draft.key] = first, merged(earlier, draft)
        except EngineError as error:
            raise EngineError(f"{path}, {place}: the id {draft.key} stands at {first} with {error}") from error
    return [draft.row(place.number) for place, draft in found.values()]


def read_labelled(path: Path, *, format: str | None = None) -> list[LabelledPair]:  # noqa: A002
    """The pairs whose consensus is A or B; ties and pairs without a label are left out."""
    return labelled_pairs(read_data(path, format=format))


def read_pairs(path: Path, *, format: str | None = None) -> list[Pair]:  # noqa: A002
    """The pairs of a file, labelled or not."""
    return [row.pair for row in read_data(path, format=format)]


def _drafts(path: Path, name: str | None) -> Iterator[tuple[Place, Draft]]:
    if name is not None and name not in FORMATS:
        raise EngineError(f"the format {name!r} is not one of {', '.join(FORMATS)}")
    expected, decided = name, None
    for place, row in placed_rows(path):
        if place.number == 1 and row.keys() == {"header"}:
            continue
        try:
            if expected is None:
                expected, decided = detect(row), place
            elif decided is not None and known(row) not in (expected, None):
                raise EngineError(f"in the layout {known(row)}, but {decided} is in {expected}; one file, one layout")
            yield place, read_row(row, expected)
        except EngineError as error:
            raise EngineError(f"{path}, {place}: {error}") from error
