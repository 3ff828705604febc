"""Settings of the tests: the product's own, with a data folder of their own, a scripted judge and a fast hasher."""

import atexit
import os
import shutil
import tempfile

_home = tempfile.mkdtemp(prefix="tandem-test-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ["TANDEM_HOME"] = _home
os.environ["TANDEM_JUDGE_BACKEND"] = "scripted"
os.environ["TANDEM_JUDGE_MODEL"] = "scripted:longer"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from webapp.settings import *  # noqa: E402, F403  the product's settings, under that environment

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
AXES_ENABLED = False
# Test processes side by side have tokens of the same keys: each counts their requests by itself. That all processes of
# an installation count together is tested on a Valkey of its own.
API_COUNTS_URL = ""
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # noqa: F405
