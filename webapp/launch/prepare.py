"""Makes the data folder ready: database, static files, judge, demo, administrator. Every step may run again."""

import hashlib
import secrets
import subprocess
import sys
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.urls import reverse
from sesame.utils import get_query_string

from genrm_engine.starter import EMBEDDED
from labeling.errors import ImportRefused
from labeling.services.demo import load_demo
from webapp.env import Env, write_private
from webapp.launch.console import step
from webapp.launch.errors import CannotLaunch

# In a process of its own: its memory goes with it, and this one never loads PyTorch.
CONVERT = (
    "import sys; from pathlib import Path; from genrm_engine.embedded import resolve_model; "
    "resolve_model(sys.argv[2], Path(sys.argv[1]), progress=lambda line: None)"
)


def prepare_folder(env: Env, home: Path) -> None:
    """All the steps, each with its line."""
    with step("Database") as current:
        current.result = migrate()
    with step("Static files") as current:
        current.result = collect_static(home)
    if needs_conversion(env):
        with step("Embedded judge (converted once, about half a minute)") as current:
            current.result = convert_judge(env.judge_model, home)
    if env.demo:
        with step("Demo project") as current:
            current.result = demo_project(Path(settings.BASE_DIR, env.demo))
    with step("Administrator") as current:
        current.result = ensure_administrator(home)


def demo_project(path: Path) -> str:
    """The demo of the file, which only the first start reads. Raises CannotLaunch where it cannot be read."""
    try:
        return load_demo(path)
    except (OSError, ImportRefused) as error:
        raise CannotLaunch(f"TANDEM_DEMO: {error}") from None


def migrate() -> str:
    """Bring the database to this version of Tandem."""
    executor = MigrationExecutor(connection)
    waiting = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    if not waiting:
        return "up to date"
    call_command("migrate", interactive=False, verbosity=0)
    return f"{waiting} migrations applied"


def collect_static(home: Path) -> str:
    """Gather the static files, if any of them changed since the last time."""
    digest = hashlib.sha256()
    for finder in get_finders():
        for name, storage in finder.list([]):
            status = Path(storage.path(name)).stat()
            digest.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    stamp, wanted = home / "static.stamp", digest.hexdigest()
    if stamp.exists() and stamp.read_text() == wanted and (home / "static").is_dir():
        return "up to date"
    call_command("collectstatic", interactive=False, clear=True, verbosity=0)
    stamp.write_text(wanted)
    return "collected"


def needs_conversion(env: Env) -> bool:
    return env.judge_backend == "transformers" and env.judge_model in EMBEDDED


def convert_judge(model: str, home: Path) -> str:
    """Make the embedded judge, the first time."""
    ran = subprocess.run(
        [sys.executable, "-c", CONVERT, str(home), model],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if ran.returncode:
        reason = (ran.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise CannotLaunch(f"The embedded judge could not be converted: {reason}")
    return "ready"


def ensure_administrator(home: Path) -> str:
    """Create `admin` with a random password kept in the data folder, unless there is an administrator."""
    if User.objects.filter(is_superuser=True, is_active=True).exists():
        return "there"
    if User.objects.filter(username="admin").exists():
        raise CannotLaunch("The user admin is no active administrator; create one: manage.py createsuperuser")
    password = secrets.token_urlsafe(18)
    path = home / "admin_password"
    with transaction.atomic():
        User.objects.create_superuser("admin", password=password)
        write_private(path, password + "\n")
    return f"admin created, password in {path}"


def sign_in_link(base: str) -> tuple[str, str]:
    """The administrator's name and a link that signs in once."""
    administrators = User.objects.filter(is_superuser=True, is_active=True)
    user = administrators.filter(username="admin").first() or administrators.earliest("pk")
    return user.username, base + reverse("login-once") + get_query_string(user)
