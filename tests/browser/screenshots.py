"""Pictures of every page, light and dark, wide and phone: `pytest tests/browser/screenshots.py` writes docs/images."""

import shutil
import subprocess
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Page

from labeling.models import Flag, ImportBatch, Pair, Project, TrainingRun
from tests.browser import scene
from tests.browser.conftest import WIDE, OpenAs
from tests.browser.scene import hold
from tests.browser.test_never_loses import GUARD_MS

FOLDER = Path(settings.BASE_DIR, "docs", "images")
PHONE = {"width": 390, "height": 844}
LOOKS = [("light", "wide", WIDE), ("dark", "wide", WIDE), ("light", "phone", PHONE), ("dark", "phone", PHONE)]


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("scheme", "size", "viewport"), LOOKS)
def test_pictures(open_as: OpenAs, scheme: str, size: str, viewport: dict[str, int]) -> None:
    maria = User.objects.create_user("maria", is_staff=True)
    project = scene.build(maria)
    client = Client()
    client.force_login(maria)
    paths = {
        "projects": "/",
        "project": "/p/demo/",
        "flags": "/p/demo/flags/",
        "pairs": "/p/demo/pairs/",
        "dossier": f"/p/demo/pairs/{Flag.objects.filter(kind='judge_disagrees')[0].pair_id}/",
        "agreement": "/p/demo/agreement/",
        "judge": "/p/demo/judge/",
        "settings": "/p/demo/settings/",
        "own-keys": "/keys/",
        "import": "/p/demo/import/",
        "batch": f"/imports/{ImportBatch.objects.order_by('pk').last().pk}/",  # type: ignore[union-attr]
        "run": f"/runs/{TrainingRun.objects.get(state='promoted').pk}/",
        "run-live": f"/runs/{TrainingRun.objects.get(state='running').pk}/",
        "versions": "/p/demo/versions/",
        "changes": f"/p/demo/versions/{TrainingRun.objects.get(state='promoted').candidate_id}/changes/",
        "connect": "/p/demo/connect/",
        "trial": f"/trials/{scene.tried(project, maria).pk}/",
        "datasets": "/p/demo/datasets/",
        "tokens": "/tokens/",
        "reference": "/api/",
        "health": "/health/",
        "nothing-here": "/p/no-such-project/",
    }
    page = open_as(None, "/login/", viewport=viewport, scheme=scheme)
    _shoot(page, f"login-{size}-{scheme}")
    page = open_as(client, "/", viewport=viewport, scheme=scheme)
    for name, path in paths.items():
        page.goto(path)
        _shoot(page, f"{name}-{size}-{scheme}")
    hold(maria, project.pairs.filter(judgements__method="cot", part="", consensus=None)[0])
    page.goto("/p/demo/label/")
    _shoot(page, f"label-{size}-{scheme}")
    for key, name in (("?", "keys"), ("d", "differences"), ("s", "skip")):
        page.keyboard.press(key)
        page.wait_for_timeout(GUARD_MS)
        _shoot(page, f"{name}-{size}-{scheme}")
        page.keyboard.press("d" if key == "d" else "Escape")
        page.wait_for_timeout(GUARD_MS)
    page.keyboard.press("1")
    page.locator("#keep").wait_for()
    _shoot(page, f"reveal-{size}-{scheme}")
    page.evaluate("document.getElementById('login').showModal()")
    _shoot(page, f"login-in-place-{size}-{scheme}")
    _everything_asked_for(page, project, f"{size}-{scheme}")
    page.goto("/keys/")
    page.wait_for_load_state("networkidle")
    Pair.objects.all().delete()
    page.goto("/p/demo/label/")
    _shoot(page, f"empty-{size}-{scheme}")


def _everything_asked_for(page: Page, project: Project, look: str) -> None:
    """Criteria, a passage as evidence, and verdicts that wait for the network."""
    Project.objects.filter(pk=project.pk).update(criteria=scene.CRITERIA, highlights=True, scale="graded")
    page.goto("/p/demo/label/")
    page.wait_for_load_state("networkidle")
    for key in ("h", "ArrowDown", "Enter", "Escape"):
        page.keyboard.press(key)
    _shoot(page, f"criteria-{look}")
    page.wait_for_timeout(GUARD_MS)
    page.context.set_offline(True)
    page.keyboard.press("t")
    page.wait_for_timeout(GUARD_MS)
    page.keyboard.press("Enter")
    page.locator("#trouble").get_by_text("waits in this browser").wait_for()
    _shoot(page, f"offline-{look}")
    page.context.set_offline(False)
    page.locator("#saved").get_by_text("All saved").wait_for()


def _shoot(page: Page, name: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    page.wait_for_load_state("networkidle")
    file = FOLDER / f"{name}.png"
    page.screenshot(path=file)
    if pngquant := shutil.which("pngquant"):
        subprocess.run([pngquant, "--force", "--ext=.png", "--speed=1", "128", file], check=True)
