"""Imports: what is taken, what is rejected and why, and that the same file twice adds nothing."""

import gzip
import io
import json
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from genrm_engine.formats import FORMATS
from labeling.errors import ImportRefused
from labeling.models import ImportBatch, JudgingRequest, Label, Pair, Project
from labeling.readers.jsons import BadJson, parse_object
from labeling.services.imports import import_file
from labeling.services.mapping import FIELDS as MAPPED
from labeling.services.mapping import mapped
from labeling.services.rows import Row, to_row
from labeling.services.texts import BadRow

PAIR: dict[str, Any] = {"id": "p1", "prompt": "Why?", "response_a": "Because.", "response_b": "Why not?"}


def load(project: Project, *rows: object, name: str = "pairs.jsonl") -> ImportBatch:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    return import_file(project, file=io.BytesIO(b"\n".join(lines) + b"\n"), filename=name)


def reasons(batch: ImportBatch) -> dict[int, str]:
    return {line.number: line.reason for line in batch.rejected_lines.all()}


def test_a_pair_comes_with_its_labels_and_asks_for_judgements(project: Project) -> None:
    labels = [{"annotator": "ada", "choice": "a"}, {"annotator": "ben", "choice": "tie"}]
    batch = load(project, {**PAIR, "labels": labels, "gold": "a", "meta": {"group_key": "g"}, "source": "test"})
    pair = Pair.objects.get()
    assert (batch.imported, batch.labels, batch.rejected) == (1, 2, 0)
    assert pair.prompt == [{"role": "user", "content": "Why?"}]
    assert (pair.group_key, pair.gold, pair.meta["source"]) == ("g", "a", "test")
    assert set(Label.objects.values_list("external_annotator", "choice", "blind", "source")) == {
        ("ada", "a", True, "import"),
        ("ben", "tie", True, "import"),
    }
    assert JudgingRequest.objects.count() == 2


def test_the_same_file_twice_adds_nothing(project: Project) -> None:
    first, second = load(project, PAIR), load(project, PAIR)
    assert first == second
    assert Pair.objects.count() == 1


def test_the_same_pair_in_another_file_also_mirrored_is_a_duplicate(project: Project) -> None:
    load(project, PAIR)
    mirrored = {**PAIR, "id": "p2", "response_a": PAIR["response_b"], "response_b": PAIR["response_a"]}
    batch = load(project, PAIR, mirrored, {**PAIR, "id": "p3", "prompt": "How?"})
    assert (batch.imported, batch.duplicates) == (1, 2)


def test_another_pair_with_a_known_id_is_rejected(project: Project) -> None:
    load(project, PAIR)
    batch = load(project, {**PAIR, "prompt": "Something else?"})
    assert reasons(batch) == {1: "id: the project has another pair with the id 'p1'"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe{}", "not UTF-8 (byte 1)"),
        (b"[1]", "not a JSON object"),
        ({}, "prompt: missing"),
        ({**PAIR, "prompt": 3}, "prompt: neither text nor"),
        ({**PAIR, "prompt": [{"role": "wizard", "content": "x"}]}, "unknown role 'wizard'"),
        ({**PAIR, "response_a": "  "}, "response_a: empty"),
        ({**PAIR, "response_b": None}, "response_b: missing"),
        ({**PAIR, "response_b": 5}, "response_b: not text"),
        ({**PAIR, "response_b": PAIR["response_a"]}, "identical"),
        ({**PAIR, "response_b": "x" * 200_001}, "response_b: 200,001 characters"),
        ({**PAIR, "response_b": "a\x00b"}, "response_b: contains a NUL"),
        (b'{"id": 1, "prompt": "x", "response_a": "\\ud800", "response_b": "y"}', "surrogate"),
        ({**PAIR, "labels": [{"annotator": "ada", "choice": "c"}]}, "labels: entry 1: choice 'c'"),
        ({**PAIR, "labels": [{"choice": "a"}]}, "labels: entry 1 names no annotator"),
        ({**PAIR, "gold": "left"}, "gold: 'left'"),
        ({**PAIR, "id": "x" * 201}, "id: 201 characters"),
        ({**PAIR, "meta": []}, "meta: not"),
        (b'{"a":' * 100_000, "not JSON"),
        ({"chosen": "x", "rejected": "y"}, "chosen, rejected: are plain texts without a prompt"),
    ],
)
def test_a_bad_line_is_rejected_by_name_and_the_others_are_taken(project: Project, row: object, reason: str) -> None:
    if row == {**PAIR, "meta": []}:
        row = {**PAIR, "meta": [1]}
    batch = load(project, row, {**PAIR, "id": "good", "prompt": "Who?"})
    assert (batch.imported, batch.rejected) == (1, 1)
    assert reason in reasons(batch)[1]


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        (b'{"\\ud800": 1, "\\ud800": 2}', "a.jsonl", "?: given twice"),
        (b'{"\\u0000": 1, "\\u0000": 2}', "a.jsonl", "�: given twice"),
        (b"a\x00,prompt\n\xe9,Why?\n", "a.csv", "a�: not UTF-8"),
        (b'{"a\\u0001": 1}', "a.jsonl", "prompt: missing; the row's fields are: a\x01"),
    ],
)
def test_a_reason_that_quotes_what_no_database_takes_can_be_kept(
    project: Project, content: bytes, name: str, reason: str
) -> None:
    batch = import_file(project, file=io.BytesIO(content), filename=name)
    line = batch.rejected_lines.get()
    assert line.reason.startswith(reason)
    assert "\x00" not in line.field + line.reason
    line.field.encode()


def test_trl_explicit_and_implicit_rows(project: Project) -> None:
    conversation = [{"role": "user", "content": "Hi"}]
    batch = load(
        project,
        {"prompt": "Q1", "chosen": "good", "rejected": "bad"},
        {"prompt": conversation, "chosen": [{"role": "assistant", "content": "yes"}], "rejected": "no"},
        {
            "chosen": [*conversation, {"role": "assistant", "content": "better"}],
            "rejected": [*conversation, {"role": "assistant", "content": "worse"}],
        },
    )
    assert (batch.imported, batch.labels) == (3, 3)
    for label in Label.objects.select_related("pair"):
        chosen = label.pair.response_a if label.choice == "a" else label.pair.response_b
        assert chosen in ("good", "yes", "better")


def test_gzip_a_header_and_blank_lines(project: Project) -> None:
    text = b'\xef\xbb\xbf{"header": {"note": "made for a test"}}\n\n' + json.dumps(PAIR).encode()
    batch = import_file(project, file=io.BytesIO(gzip.compress(text)), filename="pairs.jsonl.gz")
    assert (batch.imported, batch.note) == (1, "made for a test")


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n", gzip.compress(json.dumps(PAIR).encode(), mtime=0)[:-9]],
    ids=["empty", "blank", "cut off"],
)
def test_an_unreadable_file_is_refused_whole(project: Project, content: bytes) -> None:
    with pytest.raises(ImportRefused):
        import_file(project, file=io.BytesIO(content), filename="broken")
    assert not Pair.objects.exists()
    assert not ImportBatch.objects.exists()


def test_all_pairs_of_a_group_are_on_one_side_and_the_shares_hold(project: Project) -> None:
    project.audit_share = 0.2
    project.save()
    rows = [
        {
            "id": f"{group}-{n}",
            "prompt": f"{group} {n}",
            "response_a": "x",
            "response_b": "y",
            "meta": {"group_key": group},
        }
        for group in (f"g{number}" for number in range(400))
        for n in range(2)
    ]
    load(project, *rows)
    sides = {(pair.group_key, pair.part) for pair in Pair.objects.all()}
    assert len(sides) == 400
    parts = Counter(part for _group, part in sides)
    assert 0.23 < 1 - parts[""] / 400 < 0.37
    assert parts["gate"] > parts["calibration"] > 0 < parts["test"]
    audited = Pair.objects.filter(audit=True)
    assert 0.14 < audited.count() / Pair.objects.filter(part="").count() < 0.26
    assert not audited.exclude(part="").exists()


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.booleans() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_any_bytes_give_a_row_or_a_reason(line: bytes) -> None:
    with suppress(BadRow, BadJson):
        to_row(parse_object(line))


@hypothesis_settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.none()
            | st.integers()
            | st.text(max_size=5)
            | st.lists(st.none() | st.text(max_size=3), max_size=2)
            for name in ("id", "prompt", "response_a", "response_b", "chosen", "rejected", "labels", "gold", "meta")
        },
    )
)
def test_any_object_gives_a_row_or_a_reason_that_names_the_field(raw: dict[str, Any]) -> None:
    reason = ""
    try:
        to_row(raw)
    except BadRow as error:
        reason = str(error)
    assert not reason or reason.split(":")[0].split(",")[0] in raw or "missing" in reason


FIELDS = (
    *("id", "prompt", "response_a", "response_b", "chosen", "rejected", "labels", "gold", "meta", "choice"),
    *("provenance", "source", "group", "strength", "winner", "winner_model_a", "winner_model_b", "winner_tie"),
    *("conversation_a", "conversation_b", "turn", "judge", "response1", "response2", "annotator1", "instruction"),
    *("input", "cmp_key", "score_chosen", "score_rejected", "preference", "preference_strength", "context"),
    *("data", "annotations", "fields", "responses", "best.responses", "best.responses.users", "best", "text1"),
    *("text2", "weight", "p_a", "model_a", "model_b"),
)
ODD = st.sampled_from([10**400, -(10**400), 1.0, "1.0", "-1", "  ", [], {}])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats()
    | st.sampled_from(["a", "tie", "left", "model_a", "1", "", " ", "\x00", "x" * 300, "\ud800", "[1]", '{"a": 1}'])
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "role",
                    "content",
                    "annotator",
                    "choice",
                    "value",
                    "user_id",
                    "result",
                    "selected",
                    "group_key",
                    "status",
                ]
            ),
            inner,
            max_size=4,
        )
        | st.builds(lambda text: [{"role": "user", "content": text}, {"role": "assistant", "content": "y"}], st.text())
    ),
    max_leaves=6,
)
SAID = ("annotator", "final_choice", "strength", "criteria", "highlights", "comment", "seconds", "created_at")
CHOSEN = {"prompt": "Why?", "chosen": "x", "rejected": "y"}
NAMES = st.lists(st.sampled_from(["bob", " bob", "x" * 150 + "a", "x" * 150 + "b"]), max_size=3)


def with_odd(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names), ODD | VALUES, max_size=3)


WHOLE: st.SearchStrategy[dict[str, Any]] = (
    st.just({})
    | with_odd(SAID).map(lambda odd: {**PAIR, "labels": [{"annotator": "ada", "choice": "a", **odd}]})
    | with_odd(SAID).map(lambda odd: {**PAIR, "choice": "a", "provenance": {"annotator": "ada", **odd}})
    | with_odd(("preference", "overall_preference", "weight")).map(lambda odd: {**PAIR, **odd})
    | with_odd(("score_chosen", "score_rejected", "weight")).map(lambda odd: {**CHOSEN, **odd})
    | NAMES.map(lambda names: [{"value": "text1", "user_id": name} for name in names]).map(
        lambda said: {"fields": {"prompt": "Why?", "text1": "x", "text2": "y"}, "responses": {"best": said}}
    )
)
"""Rows that are right but for a value or two."""
SIDES = [{"response_a": "left", "response_b": "right"}, {"chosen": "left", "rejected": "right"}]
COLUMNS = st.sampled_from(["one", "two", "best", "who", "other"])
OTHERS = st.sampled_from(sorted(MAPPED.keys() - {"prompt", *SIDES[0], *SIDES[1]}))


@hypothesis_settings(suppress_health_check=[HealthCheck.too_slow], max_examples=600, deadline=None)
@given(WHOLE, st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=9), st.just("") | st.sampled_from(FORMATS))
def test_any_object_in_any_layout_gives_a_row_that_every_database_takes_or_a_reason(
    whole: dict[str, Any], odd: dict[str, Any], layout: str
) -> None:
    with suppress(BadRow):
        check_that_every_database_takes(to_row({**whole, **odd}, layout or None))


@hypothesis_settings(suppress_health_check=[HealthCheck.too_slow], max_examples=300, deadline=None)
@given(st.dictionaries(COLUMNS, ODD | VALUES, max_size=5), st.dictionaries(OTHERS, COLUMNS), st.sampled_from(SIDES))
def test_any_object_read_by_named_columns_gives_a_row_or_a_reason(
    odd: dict[str, Any], named: dict[str, str], sides: dict[str, str]
) -> None:
    raw = {"q": "Why?", "left": "x", "right": "y", **odd}
    with suppress(BadRow):
        check_that_every_database_takes(mapped(raw, {"prompt": "q", **named, **sides}))


def check_that_every_database_takes(row: Row) -> None:
    kept = [row.external_id, row.response_a, row.group_key, row.model_a, json.dumps(row.meta, allow_nan=False)]
    kept += [part for label in row.labels for part in (label.annotator, label.comment)]
    assert "\x00" not in "".join([*kept, *(one["content"] for one in row.prompt)])
    "".join(kept).encode()
    assert len(row.external_id) <= 200
    assert all(1 <= len(label.annotator) <= 150 for label in row.labels)
    assert len({label.annotator for label in row.labels}) == len(row.labels)
    assert all(label.strength in (None, 1, 2) for label in row.labels)


def test_the_demo_file_is_taken_whole(project: Project) -> None:
    path = Path(settings.BASE_DIR, "demo", "pairs.jsonl")
    with path.open("rb") as file:
        batch = import_file(project, file=file, filename=path.name)
    assert batch.rejected == 0
    assert batch.imported >= 240
    assert "no research data" in batch.note


@pytest.mark.django_db(transaction=True)
def test_the_command_prints_what_happened(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(PAIR) + "\n{\n")
    call_command("import_pairs", project.slug, str(path))
    captured = capsys.readouterr()
    assert "1 pairs imported" in captured.out
    assert "line 2: not JSON" in captured.err
    with pytest.raises(CommandError, match="no project 'nowhere'"):
        call_command("import_pairs", "nowhere", str(path))
    with pytest.raises(CommandError, match="No such file"):
        call_command("import_pairs", project.slug, str(tmp_path / "absent"))


@pytest.mark.django_db(transaction=True)
def test_a_dry_run_of_the_command_leaves_no_project_behind(
    db: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(PAIR) + "\n")
    for source in (path, tmp_path):
        call_command("import_pairs", "new", str(source), "--create", "--dry-run")
        assert "1 pairs would be imported" in capsys.readouterr().out
        assert not Project.objects.exists()
    call_command("import_pairs", "new", str(path), "--create")
    call_command("import_pairs", "new", str(path), "--create", "--dry-run")
    assert "1 duplicates" in capsys.readouterr().out
    assert Project.objects.get().pairs.count() == 1
