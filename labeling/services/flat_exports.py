"""Tandem's own exports where a table had to hold them: CSV has no objects, only columns and JSON in cells.

Turned back into the rows of the other formats. What a spreadsheet was kept from computing loses its apostrophe again.
"""

from collections.abc import Mapping
from typing import Any

from labeling.readers.jsons import BadJson, parse_value
from labeling.services.texts import BadRow

PREFIX = "provenance."
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_JSON = ("meta", "criteria", "highlights")
_TRUTHS = {"true": True, "false": False}
_NUMBERS = ("seconds", "confidence", "p_a")


def is_flat(raw: Mapping[str, Any]) -> bool:
    """Whether the row is one of an export to CSV."""
    return f"{PREFIX}created_at" in raw


def nested(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its provenance as an object again. Raises BadRow."""
    row: dict[str, Any] = {}
    about: dict[str, Any] = {}
    for name, value in raw.items():
        inside = name.startswith(PREFIX)
        (about if inside else row)[name.removeprefix(PREFIX)] = _value(name.removeprefix(PREFIX), value)
    return {**row, "provenance": about}


def parsed(value: Any, name: str) -> Any:
    """JSON that a table holds as text; anything else as it is. Raises BadRow."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return parse_value(value)
    except BadJson as error:
        raise BadRow(f"{name}: not JSON: {error}") from None


def _value(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if name in _JSON:
        return parsed(value, name)
    if name in _NUMBERS:
        try:
            return float(value)
        except ValueError:
            return value
    if value in _TRUTHS and name in ("blind", "too_fast", "audit"):
        return _TRUTHS[value]
    return value[1:] if value.startswith("'") and value.lstrip("'").startswith(_FORMULA) else value
