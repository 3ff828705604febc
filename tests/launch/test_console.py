"""What reaches the terminal."""

import io
from pathlib import Path

import pytest

from webapp.launch.console import Attention, LogFollower, last_lines, step


def test_step_says_what_and_how_it_went() -> None:
    out = io.StringIO()
    with step("Database", out) as current:
        current.result = "3 migrations applied"
    assert out.getvalue() == "  Database … 3 migrations applied\n"


def test_failing_step_ends_its_line() -> None:
    out = io.StringIO()
    with pytest.raises(RuntimeError), step("Database", out):
        raise RuntimeError
    assert out.getvalue() == "  Database …\n"


def test_follower_gives_new_complete_lines_once(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    log.write_text("of the last run\n")
    follower = LogFollower(log)
    assert follower.lines() == []
    with log.open("a") as file:
        file.write("first\nhal")
    assert follower.lines() == ["first"]
    with log.open("a") as file:
        file.write("f\n")
    assert follower.lines() == ["half"]
    assert follower.lines() == []


def test_follower_survives_rotation_and_a_late_file(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    follower = LogFollower(log)
    assert follower.lines() == []
    log.write_text("one\n")
    assert follower.lines() == ["one"]
    log.rename(tmp_path / "web.log.1")
    log.write_text("two\n")
    assert follower.lines() == ["two"]


def test_only_warnings_and_errors_need_attention_and_each_once() -> None:
    attention = Attention()
    assert not attention.wants("12:00:00 [info     ] task done")
    assert attention.wants("12:00:00 [error    ] broker unreachable")
    assert not attention.wants("12:00:10 [error    ] broker unreachable")
    assert attention.wants("12:00:10 [warning  ] something else")
    assert not attention.wants("# WARNING Memory overcommit must be enabled! Without it …")


def test_last_lines_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    assert last_lines(log, 2) == ""
    log.write_text("a\nb\nc\n")
    assert last_lines(log, 2) == "b\nc"
