"""docs/operations.md says what the settings are."""

import re
from pathlib import Path

from webapp.env import Env

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


def test_settings_table_is_the_environment() -> None:
    table = PAGE.read_text().partition("## Settings")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", table, re.M)
    assert rows == [
        (
            str(field.validation_alias or f"TANDEM_{name.upper()}"),
            f"`{field.default}`" if str(field.default) else "empty",
            field.description,
        )
        for name, field in Env.model_fields.items()
    ]
