"""The columns of an export: each has a name and a kind, from which every file format follows."""

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["text", "whole", "number", "truth", "time", "json", "messages", "reply"]
"""`json` and `messages` are JSON as text, so that nobody need parse it; `reply` is a text that becomes one message."""

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Field:
    """A column. ``empty`` says that it may hold none, ``inside`` in which object it lies."""

    name: str
    kind: Kind
    empty: bool = False
    inside: str = ""

    @property
    def path(self) -> str:
        """Its name where there are no objects inside of others."""
        return f"{self.inside}.{self.name}" if self.inside else self.name


PAIR = (
    Field("id", "text"),
    Field("prompt", "messages"),
    Field("response_a", "text"),
    Field("response_b", "text"),
    Field("model_a", "text"),
    Field("model_b", "text"),
    Field("choice", "text"),
    Field("group", "text"),
    Field("part", "text"),
    Field("audit", "truth"),
    Field("gold", "text", empty=True),
    Field("meta", "json"),
)
"""The columns that every row begins with, whatever its source."""
PROMPT, RESPONSE_A, RESPONSE_B, CHOICE, PART = 1, 2, 3, 6, 8
SURE, STRENGTH = len(PAIR), len(PAIR) + 1
"""Then come how probable it is that the choice is right and how strong it is; none where nobody said."""
PROVENANCE = len(PAIR) + 2


def provenance(*fields: tuple[str, Kind] | tuple[str, Kind, bool]) -> tuple[Field, ...]:
    """Columns of the object `provenance`; a third entry says that they may be empty."""
    return tuple(Field(name, kind, empty=bool(rest and rest[0]), inside="provenance") for name, kind, *rest in fields)
