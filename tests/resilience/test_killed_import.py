"""A worker that is killed in the middle of an import: nothing of it is there, and another one does it anew."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from labeling.models import ImportBatch, Pair, Project
from labeling.services import import_jobs, imports

pytestmark = pytest.mark.django_db(transaction=True)

WORKER = """
import sys, time
from pathlib import Path
import django
django.setup()
from django.conf import settings
from labeling.services import checking, import_jobs, pairs

settings.HOME = Path(sys.argv[2])
checking.ROWS = 10
store = pairs.store

def slow(*given):
    store(*given)
    print("stored", flush=True)
    time.sleep(60)

pairs.store = slow
import_jobs.run(int(sys.argv[1]))
"""


def test_a_killed_import_leaves_nothing_and_is_done_by_the_next_worker(
    project: Project, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "AT_ONCE", 10)
    rows = ({"prompt": f"Q{n}", "response_a": "x", "response_b": "y"} for n in range(50))
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    batch = imports.import_stream(project, stream=io.BytesIO(content), filename="a.jsonl")
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(batch.pk), str(home)],
        stdout=subprocess.PIPE,
        env={**os.environ, "DATABASE_URL": _test_database(), "DJANGO_SETTINGS_MODULE": "webapp.settings"},
        cwd=Path(__file__).resolve().parents[2],
    )
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"stored\n"
        if connection.vendor == "postgresql":  # SQLite's one writer is inside
            assert ImportBatch.objects.get(pk=batch.pk).state == "running"
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait(timeout=10)
    _until_released()
    assert not Pair.objects.exists()
    assert import_jobs.run(batch.pk) is None  # nobody knows yet that it is dead
    ImportBatch.objects.filter(pk=batch.pk).update(leased_until=timezone.now() - timedelta(seconds=1))
    assert import_jobs.waiting() == [batch.pk]
    done = import_jobs.run(batch.pk)
    assert done is not None
    assert (done.state, done.imported, Pair.objects.count()) == ("done", 50, 50)


def _test_database() -> str:
    """The address of the database that this test has."""
    values = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{values['NAME']}"
    user = f"{values['USER']}:{values['PASSWORD']}@" if values["PASSWORD"] else f"{values['USER']}@"
    return f"postgresql://{user}{values['HOST']}:{values['PORT'] or 5432}/{values['NAME']}"


def _until_released(seconds: float = 10.0) -> None:
    """PostgreSQL notices the dead client a moment later."""
    until = time.monotonic() + seconds
    while connection.vendor == "postgresql" and time.monotonic() < until:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
            if not cursor.fetchone()[0]:
                return
        time.sleep(0.1)
