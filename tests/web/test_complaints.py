"""The table of complaints names tests that exist, and every complaint that a label screen can answer."""

import re
from pathlib import Path

from django.conf import settings

TABLE = Path(settings.BASE_DIR, "docs", "labelling.md").read_text(encoding="utf-8")
ANSWERED = {*range(1, 27), 42, 43, 44, 49}


def test_every_complaint_has_a_test_that_exists() -> None:
    rows = re.findall(r"^\| (\d+) \|.*\| `([^`:]+)::(\w+)` \|$", TABLE, flags=re.MULTILINE)
    assert {int(number) for number, _file, _name in rows} == ANSWERED
    missing = [
        f"{file}::{name}"
        for _number, file, name in rows
        if f"def {name}(" not in Path(settings.BASE_DIR, file).read_text(encoding="utf-8")
    ]
    assert missing == []
