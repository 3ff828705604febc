"""A file's rows, checked and in chunks, ahead of the database that takes them in. Knows no database.

Chunks are small in rows and in bytes, so that memory stays flat whatever the file's size. Beside PostgreSQL the next
chunks are read while the database works; before SQLite, which has one writer, the whole file is read first.
"""

import pickle
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from queue import Full, Queue
from threading import Event, Thread
from typing import Any, TypeVar

from labeling.readers import Opened, Raw, as_text, storable
from labeling.services.mapping import mapped
from labeling.services.pairs import Outcome, Rejected
from labeling.services.rows import Row, layout_of, to_row
from labeling.services.texts import BadRow

ROWS, BYTES = 2_000, 8_000_000
"""The most rows and characters of a chunk."""
AHEAD = 2
"""Chunks that are read ahead."""
IN_MEMORY = 8_000_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """How a file is to be read: the layout that a person chose, or their mapping of columns; else it is detected."""

    layout: str = ""
    mapping: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Chunk:
    """Some rows in a row, what was read of the file when they were, and what the first row says of it."""

    outcomes: list[Outcome] = field(default_factory=list)
    position: int = 0
    layout: str = ""
    note: str = ""


def checked(opened: Opened, plan: Plan, on_chunk: Callable[[Chunk], None] | None = None) -> Iterator[Chunk]:
    """The file's rows in chunks, each row a pair or a reason. ``on_chunk`` hears of every chunk as soon as it is read.

    Raises Unreadable where the file breaks off.
    """
    chunk, size, layout = Chunk(), 0, "mapped" if plan.mapping else plan.layout
    for raw in opened.rows:
        if raw.number == 1 and (note := _note(raw)) is not None:
            chunk.note = note
            continue
        if not layout and raw.row is not None:
            layout = layout_of(raw.row) or ""
        outcome, weight = outcome_of(raw, plan)
        chunk.outcomes.append((raw, outcome))
        size += weight
        if len(chunk.outcomes) >= ROWS or size >= BYTES:
            yield _closed(chunk, opened, layout, on_chunk)
            chunk, size = Chunk(), 0
    yield _closed(chunk, opened, layout, on_chunk)


def _closed(chunk: Chunk, opened: Opened, layout: str, on_chunk: Callable[[Chunk], None] | None) -> Chunk:
    chunk.position, chunk.layout = opened.position(), layout
    if on_chunk:
        on_chunk(chunk)
    return chunk


def _note(raw: Raw) -> str | None:
    """What the header line of Tandem's own files says; None if the row is no header."""
    if raw.row is None or len(raw.row) != 1 or not isinstance(raw.row.get("header"), dict):
        return None
    note = raw.row["header"].get("note")
    return note.replace("\x00", "") if isinstance(note, str) else ""


def outcome_of(raw: Raw, plan: Plan) -> tuple[Row | Rejected, int]:
    """What becomes of a row, and how many characters it holds."""
    if raw.row is None:
        return _turned_away(raw, raw.reason, raw.field)
    try:
        row = mapped(raw.row, plan.mapping) if plan.mapping else to_row(raw.row, plan.layout or None)
    except BadRow as error:
        return _turned_away(raw, str(error), error.field)
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        return _turned_away(raw, f"cannot be read: {error}", "")  # one odd value costs its row, not the file
    return row, len(row.response_a) + len(row.response_b) + sum(len(one["content"]) for one in row.prompt)


def _turned_away(raw: Raw, reason: str, name: str) -> tuple[Rejected, int]:
    """Reasons quote the file, so they are made storable as the row itself is."""
    text = as_text(raw)
    return Rejected(raw.number, storable(reason), storable(name), text), len(text)


@contextmanager
def prefetched(chunks: Iterator[T]) -> Iterator[Iterator[T]]:
    """The same items, read in a thread of their own; what it raises is raised here. The thread ends with the block."""
    queue: Queue[tuple[Any, BaseException | None]] = Queue(maxsize=AHEAD)
    stopped = Event()

    def put(item: tuple[Any, BaseException | None]) -> bool:
        while not stopped.is_set():
            try:
                queue.put(item, timeout=0.2)
            except Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for chunk in chunks:
                if not put((chunk, None)):
                    return
        except BaseException as error:  # noqa: BLE001  raised again where the items are taken
            put((None, error))
        else:
            put((None, StopIteration()))

    thread = Thread(target=read, name="import-reader", daemon=True)
    thread.start()
    try:
        yield _taken(queue)
    finally:
        stopped.set()
        thread.join()


def _taken(queue: "Queue[tuple[Any, BaseException | None]]") -> Iterator[Any]:
    while True:
        item, error = queue.get()
        if isinstance(error, StopIteration):
            return
        if error is not None:
            raise error
        yield item


@contextmanager
def spooled(chunks: Iterator[T]) -> Iterator[Iterator[T]]:
    """The same items, all read before the block begins and kept in a file where they are many."""
    with closing(tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)) as spool:
        count = 0
        for chunk in chunks:
            pickle.dump(chunk, spool, protocol=pickle.HIGHEST_PROTOCOL)
            count += 1
        spool.seek(0)
        yield (pickle.load(spool) for _ in range(count))  # noqa: S301  written by ourselves a moment ago
