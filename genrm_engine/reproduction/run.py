"""The reproduction: choose settings, compute the rows one after the other, draw the table; every step resumes."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from genrm_engine.errors import EngineError
from genrm_engine.files import write_json
from genrm_engine.reproduction.comparisons import compared
from genrm_engine.reproduction.lines import Result, read_lines
from genrm_engine.reproduction.presets import Preset, RowSpec, Study
from genrm_engine.reproduction.rows import Place, file_of, judge_of, read_set, run_row, train_row, try_settings
from genrm_engine.reproduction.table import summary, write_tables
from genrm_engine.types import LabelledPair
from genrm_engine.weights import file_sha256

CHOICES, PRESET = "choices.json", "preset.json"
Choices = dict[str, dict[str, dict[str, Any]]]


def reproduce(place: Place, preset: Preset, *, only: Sequence[str] = ()) -> dict[str, Any]:
    """Compute what is missing of the preset's rows (of those named in ``only``, if any); returns the summary.

    Rows without training come first, then those without sampling. After each row the table is written anew.
    """
    wanted = _wanted(preset, only)
    _same_preset(place, preset)
    for study in preset.studies:
        for row in wanted:
            chosen = choose(place, preset, study, row) if row.train else {}
            for number in range(study.sampled_folds if row.sampled else study.folds):
                if not file_of(place, study, row, number).exists():
                    start = start_of(place, preset, study, row, number)
                    run_row(place, preset, study, row, number, chosen, start=start)
                    tables(place, preset)
    return tables(place, preset)


def tables(place: Place, preset: Preset) -> dict[str, Any]:
    """Write ``results.json``, the tables and plots from the rows that are there; no model is needed."""
    _same_preset(place, preset)
    results: dict[str, list[Result]] = {}
    data: dict[str, dict[str, list[LabelledPair]]] = {}
    for study in preset.studies:
        files = {study.name: study.inside, **study.outside}
        sets = data[study.name] = {name: read_set(place, file) for name, file in files.items()}
        results[study.name] = compared(read_lines(place.out / "rows", preset, study, sets), preset, study, sets)
    write_tables(place.out, preset, results, data, _choices(place))
    return summary(preset, results)


def start_of(place: Place, preset: Preset, study: Study, row: RowSpec, number: int) -> str:
    """The folder of the model that the row starts from on a fold; another row's judge is trained unless it is there."""
    if row.start in place.models:
        return place.models[row.start]
    first = preset.row(row.start)
    chosen, start = choose(place, preset, study, first), start_of(place, preset, study, first, number)
    train_row(place, preset, study, first, number, chosen, start=start)
    return judge_of(place, study, first, number)


def choose(place: Place, preset: Preset, study: Study, row: RowSpec) -> Mapping[str, Any]:
    """The settings of the row's grid with the best accuracy on the inner split (ties: the smaller NLL).

    Of one candidate nothing is tried. Kept in ``choices.json``, each candidate as soon as it is measured. Raises
    EngineError where a test fold of the row has been judged already but the choice is not written down.
    """
    known = _choices(place)
    mine = known.setdefault(study.name, {}).setdefault(row.name, {"candidates": [], "chosen": None})
    if mine["chosen"] is not None:
        return dict(mine["chosen"])
    if any((place.out / "rows").glob(f"{study.name}-{row.name}-*.json")):
        raise EngineError(f"{place.out}: {row.name} was tested before its settings were chosen")
    place.out.mkdir(parents=True, exist_ok=True)
    grid = preset.grid[row.name]
    if len(grid) == 1:
        mine["chosen"] = dict(grid[0])
        write_json(place.out / CHOICES, known)
        return dict(grid[0])
    tried = [candidate["settings"] for candidate in mine["candidates"]]
    for number, settings in enumerate(grid):
        if dict(settings) not in tried:
            name = f"{row.name}-{number}"
            mine["candidates"].append(try_settings(place, preset, study, row, settings, name))
            write_json(place.out / CHOICES, known)
    best = min(mine["candidates"], key=lambda candidate: (-candidate["accuracy"], candidate["nll"]))
    mine["chosen"] = best["settings"]
    write_json(place.out / CHOICES, known)
    return dict(best["settings"])


def _same_preset(place: Place, preset: Preset) -> None:
    """Refuse a folder of another preset, or of other data; results that do not tell are taken for this preset's.

    The data are known by their files: a file is the same for every version that reads it.
    """
    names = {file for study in preset.studies for file in (study.inside, *study.outside.values())}
    files = {place.data / name.partition(":")[0] for name in names}
    if missing := sorted(str(file) for file in files if not file.is_file()):
        raise EngineError(f"{', '.join(missing)}: no such file")
    now = {"preset": preset.name, "data_sha256": {file.name: file_sha256(file) for file in sorted(files)}}
    about = place.out / PRESET
    if not about.exists():
        place.out.mkdir(parents=True, exist_ok=True)
        write_json(about, now)
    elif json.loads(about.read_text(encoding="utf-8")) != now:
        raise EngineError(f"{place.out} holds results of another preset or other data ({about}): use an empty folder")


def _wanted(preset: Preset, only: Sequence[str]) -> list[RowSpec]:
    names = [row.name for row in preset.rows]
    unknown = sorted(set(only) - set(names))
    if unknown:
        raise EngineError(f"unknown row {', '.join(unknown)}: use some of {', '.join(names)}")
    return [row for row in preset.rows if not only or row.name in only]


def _choices(place: Place) -> Choices:
    file = place.out / CHOICES
    if not file.exists():
        return {}
    found: Choices = json.loads(file.read_text(encoding="utf-8"))
    return found
