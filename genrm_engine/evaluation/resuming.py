"""Whether judgements on disk may be gone on with; does not know how they are made or measured.

``settings.json`` beside them says whose they are. It is written before the first judgement, so a run that was killed
finds its own again.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from genrm_engine.errors import EngineError
from genrm_engine.files import rows_hash, write_json
from genrm_engine.prompts import prompt_hash
from genrm_engine.types import BackendSpec, JudgeSettings, Pair
from genrm_engine.weights import weights_mark

_PAIRS_OF = "pairs of "
_READ_BY_SCORE = ("method", "rubric", "max_prompt_tokens")


def judge_marks(name: str, spec: BackendSpec) -> dict[str, str]:
    """What tells one judge from another: the name that it was asked for by, its weights, and how it runs."""
    return {
        "judge": name,
        "backend": spec.kind,
        "dtype": spec.dtype,
        "url": spec.url,
        "tokenizer": spec.tokenizer,
        "weights": weights_mark(spec.model),
    }


def same_judging(
    folder: Path, settings: JudgeSettings, judge: Mapping[str, str], pairs: Mapping[Path, Sequence[Pair]]
) -> None:
    """Refuse judgements of another judge, other settings, prompts or pairs: they must not be mixed.

    ``judge`` are its marks, ``pairs`` those of each file of judgements. What only one side says is not compared:
    earlier versions said less, and their judgements are gone on with. Judgements without ``settings.json`` are refused,
    because nothing says whose they are. Where no judgement was made yet, nothing is bound.
    """
    file = folder / "settings.json"
    now = {
        **_read(settings),
        "prompt_hash": prompt_hash(),
        **judge,
        **{f"{_PAIRS_OF}{os.path.relpath(path, folder)}": _content(of) for path, of in pairs.items()},
    }
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if _judged_nothing(folder, known) and not any(path.exists() for path in pairs):
        known = {}
    for path in pairs:
        if path.exists() and not known:
            raise EngineError(f"nothing says which judge {path} is of ({file} is missing): choose another place")
    differing = [name for name, value in now.items() if name in known and known[name] != value]
    if differing:
        raise EngineError(
            f"{folder} holds judgements of another judge, other settings, prompts or pairs "
            f"(different: {', '.join(differing)}): choose another place"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(file, {**known, **now})


def _judged_nothing(folder: Path, known: Mapping[str, object]) -> bool:
    """Whether files of judgements are named and none of them was begun; earlier versions named none."""
    files = [folder / name.removeprefix(_PAIRS_OF) for name in known if name.startswith(_PAIRS_OF)]
    return bool(files) and not any(path.exists() for path in files)


def _read(settings: JudgeSettings) -> dict[str, object]:
    """The settings that a judgement depends on: a score does not change with those for rationales."""
    every = asdict(settings)
    return every if settings.method == "cot" else {name: every[name] for name in _READ_BY_SCORE}


def _content(pairs: Sequence[Pair]) -> str:
    """The hash of what is shown to the judge; neither labels nor groups are."""
    return rows_hash(replace(pair, group="").to_json() for pair in pairs)
