"""Pairs that the judge's server refuses cost nobody the other pairs."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx2", reason="comes with the engine's libraries")

from genrm_engine.cli import main
from tests.engine.conftest import make_pair
from tests.engine.fake_server import FakeServer, Reply

FILTERED = "FILTERED"


def write_pairs(folder: Path, *, filtered: set[int], count: int = 20) -> Path:
    file = folder / "pairs.jsonl"
    rows = [{**make_pair(number).to_json(), "choice": "a"} for number in range(count)]
    for number in filtered:
        rows[number]["response_b"] += f" {FILTERED}"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def filtering(server: FakeServer) -> FakeServer:
    """A server with a content filter, which answers 400 for what it does not like."""

    def answer(body: dict[str, Any]) -> Reply:
        if FILTERED in json.dumps(body["messages"]):
            return Reply({"error": {"message": "the content filter was triggered"}}, 400)
        return Reply({"choices": [{"index": 0, "message": {"role": "assistant", "content": "A"}}]})

    server.answer = answer
    return server


def at(server: FakeServer) -> list[str]:
    return ["--backend", "openai", "--url", server.url, "--model", "served", "--method", "score", "--json"]


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_the_other_pairs_are_judged_and_the_refused_ones_named(
    filtering: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_pairs(tmp_path, filtered={3, 17}), tmp_path / "judged.jsonl"
    assert main(["judge", *at(filtering), "--in", str(data), "--out", str(out)]) == 0
    found = last_line(capsys)
    assert (found["pairs"], found["refused"]) == (18, 2)
    judged = {json.loads(line)["pair_id"] for line in out.read_text().splitlines()}
    refused = [json.loads(line) for line in (tmp_path / "judged.refused.jsonl").read_text().splitlines()]
    assert judged == {f"p{number}" for number in range(20) if number not in (3, 17)}
    assert {row["pair_id"] for row in refused} == {"p3", "p17"}
    assert all("content filter" in row["error"] for row in refused)


def test_refused_pairs_are_asked_again_by_the_next_call(
    filtering: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_pairs(tmp_path, filtered={3}), tmp_path / "judged.jsonl"
    command = ["judge", *at(filtering), "--in", str(data), "--out", str(out)]
    assert main(command) == 0
    filtering.answer = lambda _: Reply({"choices": [{"index": 0, "message": {"content": "B"}}]})
    asked = len(filtering.asked)
    assert main(command) == 0
    assert len(filtering.asked) == asked + 2
    assert last_line(capsys)["refused"] == 0
    assert not (tmp_path / "judged.refused.jsonl").exists()


@pytest.mark.parametrize("plain", [True, False])
def test_figures_are_those_of_the_pairs_that_were_judged(
    filtering: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], plain: bool
) -> None:
    data, out = write_pairs(tmp_path, filtered={0}), tmp_path / "out"
    command = ["evaluate", *at(filtering), "--data", str(data), "--out", str(out)]
    assert main([*command, *(["--plain"] if plain else [])]) == 0
    found = last_line(capsys)
    assert (found["n"], found["refused"]) == (19, 1)
    assert plain or "refused 1 more" in (out / "report.md").read_text()


def test_a_server_that_refuses_many_pairs_ends_the_run_with_its_reason(
    filtering: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_pairs(tmp_path, filtered={1, 2, 3}), tmp_path / "judged.jsonl"
    assert main(["judge", *at(filtering), "--in", str(data), "--out", str(out)]) == 2
    assert "the content filter was triggered" in capsys.readouterr().err
    one = write_pairs(tmp_path, filtered={0}, count=1)
    assert main(["judge", *at(filtering), "--in", str(one), "--out", str(tmp_path / "one.jsonl")]) == 2


def test_a_server_that_refuses_everything_is_not_asked_about_all_pairs(filtering: FakeServer, tmp_path: Path) -> None:
    data = write_pairs(tmp_path, filtered=set(range(400)), count=400)
    assert main(["judge", *at(filtering), "--in", str(data), "--out", str(tmp_path / "judged.jsonl")]) == 2
    assert len(filtering.asked) < 50
