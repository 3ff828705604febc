"""The real preference data beside the project is read whole."""

from collections import Counter
from pathlib import Path

import pytest

from genrm_engine.formats import read_data

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.skipif(not DATA.is_dir(), reason="the folder of real preference data is not beside this checkout")
@pytest.mark.parametrize(
    ("name", "pairs", "labelled", "splits"),
    [
        ("pandalm_clean", 820, 745, {"train": 502, "valid": 108, "test": 135}),
        ("oasst_clean", 669, 669, {"train": 512, "valid": 44, "test": 113}),
        ("mtbench_clean", 576, 410, {"train": 279, "valid": 42, "test": 89}),
        ("ukp_benign", 5332, 4468, {"train": 3099, "valid": 611, "test": 758}),
    ],
)
def test_real_data_is_read_whole(name: str, pairs: int, labelled: int, splits: dict[str, int]) -> None:
    rows = read_data(DATA / f"{name}.jsonl.gz")
    decided = [row for row in rows if row.labelled() is not None]
    assert (len(rows), len(decided)) == (pairs, labelled)
    assert Counter(row.split for row in decided) == splits
    assert all(row.labels and row.pair.group for row in rows)
