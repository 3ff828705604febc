"""Reading a verdict that a model wrote in free form; the forced verdict needs no reading.

What stands in the responses is untrusted and never reaches this module: only the judge's own text does, and there
the last verdict in the asked form counts.
"""

import re
from typing import Literal

_FORM = re.compile(r"Winner:[ \t]*\[+([^\[\]\n]*)\]+")
_NAMES: dict[str, Literal["A", "B"]] = {"A": "A", "B": "B"}


def parse_verdict(text: str) -> Literal["A", "B"] | None:
    """The last ``Winner: [A]`` or ``Winner: [B]``; None where there is none or the last one names neither."""
    found = _FORM.findall(text)
    return _NAMES.get(found[-1].strip()) if found else None
