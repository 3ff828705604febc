"""The steps that make a data folder ready."""

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from labeling.models import Pair, Project
from webapp.env import Env
from webapp.launch import prepare
from webapp.launch.errors import CannotLaunch

pytestmark = pytest.mark.django_db


def test_administrator_gets_a_private_random_password(tmp_path: Path) -> None:
    prepare.ensure_administrator(tmp_path)
    path = tmp_path / "admin_password"
    assert path.stat().st_mode & 0o777 == 0o600
    assert User.objects.get(username="admin").check_password(path.read_text().strip())


def test_there_is_one_administrator_however_often_it_starts(tmp_path: Path) -> None:
    prepare.ensure_administrator(tmp_path)
    password = (tmp_path / "admin_password").read_text()
    assert prepare.ensure_administrator(tmp_path) == "there"
    assert (tmp_path / "admin_password").read_text() == password
    assert User.objects.filter(is_superuser=True).count() == 1


def test_existing_administrator_of_another_name_is_enough(tmp_path: Path) -> None:
    User.objects.create_superuser("grace", password="long enough to keep")
    prepare.ensure_administrator(tmp_path)
    assert not (tmp_path / "admin_password").exists()
    assert prepare.sign_in_link("http://127.0.0.1:8000")[0] == "grace"


def test_ordinary_user_called_admin_is_never_promoted(tmp_path: Path) -> None:
    User.objects.create_user("admin")
    with pytest.raises(CannotLaunch, match="createsuperuser"):
        prepare.ensure_administrator(tmp_path)
    assert not User.objects.get(username="admin").is_superuser


def test_sign_in_link_works_once(tmp_path: Path, client: Client) -> None:
    prepare.ensure_administrator(tmp_path)
    _name, link = prepare.sign_in_link("")
    assert client.get(link).status_code == 302
    assert client.session["_auth_user_id"] == str(User.objects.get().pk)
    assert Client().get(link).status_code == 403


def test_static_files_are_collected_again_only_after_a_change(tmp_path: Path, settings: Settings) -> None:
    source, home = tmp_path / "source", tmp_path / "home"
    source.mkdir()
    home.mkdir()
    (source / "extra.css").write_text("a{}")
    settings.STATICFILES_DIRS = [source]
    settings.STATIC_ROOT = home / "static"
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django.contrib.admin"]
    assert prepare.collect_static(home) == "collected"
    assert prepare.collect_static(home) == "up to date"
    (source / "extra.css").write_text("a{color:red}")
    assert prepare.collect_static(home) == "collected"


def test_migrated_database_is_left_alone() -> None:
    assert prepare.migrate() == "up to date"


def test_the_demo_is_loaded_once_and_only_where_it_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.STATIC_ROOT = tmp_path / "static"
    monkeypatch.setenv("TANDEM_DEMO", "")
    prepare.prepare_folder(Env(), tmp_path)
    assert not Project.objects.exists()
    pairs = tmp_path / "two.jsonl"
    pairs.write_text("".join(f'{{"prompt": "{n}?", "response_a": "Yes.", "response_b": "No."}}\n' for n in "12"))
    monkeypatch.setenv("TANDEM_DEMO", str(pairs))
    prepare.prepare_folder(Env(), tmp_path)
    pairs.unlink()  # read by the first start alone
    prepare.prepare_folder(Env(), tmp_path)
    assert Project.objects.get().slug == "demo"
    assert Pair.objects.count() == 2


@pytest.mark.parametrize(("text", "said"), [(None, "No such file"), ("", "has no lines")])
def test_a_demo_that_cannot_be_read_is_one_line_and_leaves_no_project(
    tmp_path: Path, text: str | None, said: str
) -> None:
    path = tmp_path / "demo.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CannotLaunch, match=f"^TANDEM_DEMO: .*{said}"):
        prepare.demo_project(path)
    assert not Project.objects.exists()


def test_only_the_embedded_judges_are_made() -> None:
    for name in ("embedded", "embedded-base"):
        assert prepare.needs_conversion(Env(judge_backend="transformers", judge_model=name))
    assert not prepare.needs_conversion(Env(judge_backend="transformers", judge_model="models/my-own"))
    assert not prepare.needs_conversion(Env(judge_backend="scripted", judge_model="scripted:longer"))


def test_failed_conversion_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "CONVERT", "raise SystemExit('no such model file')")
    with pytest.raises(CannotLaunch, match=r"could not be converted: no such model file$"):
        prepare.convert_judge("embedded", tmp_path)
