"""Fuzz the reading of imported files with Atheris: any bytes must be rows, reasons, or a refusal that says why.

    pip install atheris
    TANDEM_HOME=$(mktemp -d) PYTHONPATH=. python scripts/fuzz_readers.py -max_total_time=300

The options are libFuzzer's. Of Tandem's own code only the readers and the layouts are watched; the first bytes choose
the file's name. Hypothesis does the same without coverage in the ordinary tests.
"""

import io
import os
import sys

import atheris

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

with atheris.instrument_imports(include=["labeling.readers", "labeling.services", "genrm_engine.formats"]):
    import django

    django.setup()
    from labeling.readers import Unreadable, as_text, open_file
    from labeling.services.checking import Plan, outcome_of
    from labeling.services.mapping import FIELDS
    from labeling.services.pairs import Rejected

NAMES = ("a.jsonl", "a.json", "a.csv", "a.tsv", "a", "a.gz")
PLANS = (Plan(), Plan(mapping={name: name for name in FIELDS if name not in ("chosen", "rejected")}))


def one(content: bytes) -> None:
    """Read the bytes as a file and every row as a pair."""
    if len(content) < 2:
        return
    name, plan = NAMES[content[0] % len(NAMES)], PLANS[content[1] % len(PLANS)]
    try:
        for raw in open_file(io.BytesIO(content[2:]), name).rows:
            outcome, _weight = outcome_of(raw, plan)
            if isinstance(outcome, Rejected) and not outcome.reason:
                raise AssertionError("rejected without a reason")
            as_text(raw).encode()
    except Unreadable as error:
        if not str(error):
            raise AssertionError("unreadable without a reason") from None


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
