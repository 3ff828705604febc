"""Whether ids tell labelled pairs apart; knows nothing of files: rows of several may stand together."""

from collections.abc import Iterable
from dataclasses import replace

from genrm_engine.errors import EngineError
from genrm_engine.types import Choice, LabelledPair, Pair


def refuse_collisions(rows: Iterable[LabelledPair]) -> None:
    """Raise EngineError where an id stands for different pairs or choices: by their ids rows would be mixed up."""
    found: dict[str, tuple[Choice, Pair]] = {}
    for row in rows:
        choice, pair = row.choice, replace(row.pair, group="")
        if found.setdefault(pair.id, (choice, pair)) != (choice, pair):
            differing = "choices" if found[pair.id][1] == pair else "pairs"
            raise EngineError(f"the id {pair.id} stands for different {differing}: every pair needs an id of its own")
