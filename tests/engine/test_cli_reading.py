"""What the commands read beside pairs, and the libraries that they need: splits, rubrics, the extra."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from genrm_engine.cli import main


def test_a_warm_up_file_is_held_to_the_split_where_its_rows_name_one(
    parted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="the web parts alone are installed")
    from genrm_engine.errors import EngineError
    from genrm_engine.training import methods, run

    given: list[set[str]] = []

    def warm_up(_: Any, rows: Any) -> Any:
        given.append({row.pair.id for row in rows})
        raise EngineError("enough")

    for name in ("load_tokenizer", "PromptEncoder"):
        monkeypatch.setattr(run, name, str)
    monkeypatch.setitem(methods.METHODS, "warm-up", warm_up)
    monkeypatch.setattr(run, "refuse_impossible", lambda _: None)
    rows = [json.loads(line) for line in parted.read_text().splitlines()]
    plain = tmp_path / "plain.jsonl"
    plain.write_text("".join(json.dumps({**row, "split": ""}) + "\n" for row in rows))
    command = ["train", "--method", "star-dpo", "--model", "m", "--device", "cpu", "--train", str(parted)]
    command += ["--out", str(tmp_path / "out"), "--set"]
    assert main([*command, f"warm_up={parted}", "--split", "train"]) == 2
    assert main([*command, f"warm_up={plain}", "--split", "train"]) == 2
    assert main([*command, f"warm_up={parted}"]) == 2
    every = {row["id"] for row in rows}
    assert given == [{row["id"] for row in rows if row["split"] == "train"}, every, every]
    parted.write_text("".join(json.dumps({**row, "split": "test"}) + "\n" for row in rows))
    command[command.index(str(parted))] = str(plain)
    plain.write_text("".join(json.dumps({**row, "split": "train"}) + "\n" for row in rows))
    assert main([*command, f"warm_up={parted}", "--split", "train"]) == 2
    assert f"{parted} has no row of the split train\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("written", "says"),
    [(None, "No such file"), ("Prefer „short“ answers.".encode("cp1252"), "can't decode byte 0x84")],
)
def test_a_rubric_that_cannot_be_read_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], written: bytes | None, says: str
) -> None:
    rubric = tmp_path / "rubric.txt"
    if written is not None:
        rubric.write_bytes(written)
    judged = ["judge", "--model", "scripted:longer", "--in", str(data)]
    for command in (judged, ["train", "--method", "genrm", "--model", "m", "--train", str(data)]):
        assert main([*command, "--rubric", str(rubric), "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert f"error: {rubric} cannot be read: " in error
        assert says in error


def test_the_mark_at_the_beginning_of_a_rubric_is_not_part_of_it(tmp_path: Path) -> None:
    from genrm_engine.commands.shared import rubric_of

    (tmp_path / "rubric.txt").write_text("Prefer short answers.", encoding="utf-8-sig")
    assert rubric_of(tmp_path / "rubric.txt") == "Prefer short answers."


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["judge", "--in"], "error: judging needs the 'engine' extra: "),
        (["train", "--method", "genrm", "--train"], "error: training needs the 'engine' extra: "),
    ],
)
def test_what_needs_the_engines_libraries_says_so_without_them(
    data: Path, tmp_path: Path, command: list[str], says: str
) -> None:
    code = "import sys; sys.modules['torch'] = None; from genrm_engine.cli import main; sys.exit(main(sys.argv[1:]))"
    given = [*command, str(data), "--model", "m", "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(says)


def test_a_fault_of_our_own_is_not_taken_for_a_missing_library() -> None:
    from genrm_engine.backends.loading import needing_extra

    with pytest.raises(ImportError, match="genrm_engine"), needing_extra("judging"):
        import genrm_engine.nowhere  # type: ignore[import-not-found]  # noqa: F401
