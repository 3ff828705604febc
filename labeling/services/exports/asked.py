"""What an export is asked for: the source, the form of its rows and the filters, checked. Knows no row."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from labeling.errors import ExportRefused

Source = Literal["human", "judge", "consensus", "hybrid"]
Profile = Literal["strict", "full"]
Format = Literal["ndjson", "parquet", "csv"]
Shape = Literal["preference", "reward", "kto", "sft", "prompt"]
Verdict = Literal["first", "final"]
Ties = Literal["drop", "keep", "soft"]

CHOICES: dict[str, tuple[str, ...]] = {
    "source": get_args(Source),
    "profile": get_args(Profile),
    "format": get_args(Format),
    "shape": get_args(Shape),
    "verdict": get_args(Verdict),
    "ties": get_args(Ties),
}
BY_JUDGE = ("judge", "hybrid")
"""Sources with labels that come straight from a judge."""
_TIES: dict[str, tuple[str, ...]] = {
    "preference": ("drop", "soft"),
    "reward": ("drop", "keep", "soft"),
    "kto": ("drop", "keep"),
    "sft": ("drop",),
    "prompt": ("drop",),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """An export's options, checked by `ask`. ``verdict`` is empty where the source has no first and final one."""

    source: str = "human"
    profile: str = "full"
    format: str = "ndjson"
    shape: str = "preference"
    verdict: str = ""
    blind: bool = False
    ties: str = "keep"
    min_confidence: float | None = None
    selective: bool = False
    judge: str = ""
    rationales: bool = False
    since: str = ""

    def to_json(self) -> dict[str, Any]:
        """The options that were given or follow from them; what is empty is left out."""
        return {name: value for name, value in asdict(self).items() if value not in ("", None, False)}

    @property
    def name(self) -> str:
        """For a file: `human-full`, `judge-strict`, `consensus-kto`."""
        return f"{self.source}-{self.profile if self.shape == 'preference' else self.shape}"

    @property
    def digest(self) -> str:
        """Stands for the options that decide which rows come, whatever their file format and cursor."""
        options = {name: value for name, value in self.to_json().items() if name not in ("format", "since")}
        return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16]


def ask(**given: Any) -> Asked:
    """The options with what follows from them filled in; None and empty ones were not given.

    Without a profile a shape asks for `strict`, else everything comes in `full`. Raises ExportRefused, naming the
    option.
    """
    options = {name: value for name, value in given.items() if value not in ("", None)}
    for name, known in CHOICES.items():
        if name in options and options[name] not in known:
            raise ExportRefused(name, f"{options[name]!r} is not one of {', '.join(known)}")
    source = str(options.get("source", "human"))
    profile = str(options.get("profile") or ("strict" if "shape" in options else "full"))
    shape = str(options.get("shape", "preference"))
    ties = str(options.get("ties") or ("keep" if profile == "full" else "drop"))
    verdict = str(options.get("verdict") or ("first" if source == "human" else ""))
    _check_form(profile, shape, ties)
    _check_source(source, options)
    if options.get("rationales") and profile != "full":
        raise ExportRefused("rationales", "they come with profile=full only")
    if shape == "prompt":
        _check_prompts(options)
    return Asked(**{**options, "source": source, "profile": profile, "shape": shape, "ties": ties, "verdict": verdict})


def ask_again(filters: Mapping[str, Any]) -> Asked:
    """The options as `to_json` kept them."""
    return Asked(**dict(filters))


def _check_form(profile: str, shape: str, ties: str) -> None:
    if profile == "full":
        if shape != "preference":
            raise ExportRefused("shape", f"{shape} is a form for trainers; it comes with profile=strict")
    elif ties not in _TIES[shape]:
        fitting = " or ".join(_TIES[shape])
        raise ExportRefused("ties", f"with shape={shape} ties can only be {fitting}")


def _check_source(source: str, options: Mapping[str, Any]) -> None:
    if source != "human":
        for name in ("verdict", "blind"):
            if options.get(name):
                raise ExportRefused(name, "only people's own labels have a first and a final verdict (source=human)")
    if source not in BY_JUDGE and options.get("judge"):
        raise ExportRefused("judge", "a version can only be chosen with source=judge or source=hybrid")
    if source != "judge":
        for name in ("selective", "rationales"):
            if options.get(name):
                raise ExportRefused(name, "this goes with source=judge only")
    least = options.get("min_confidence")
    if least is not None:
        if source == "human":
            raise ExportRefused("min_confidence", "a person's own label has no confidence; ask for another source")
        if not 0 <= least <= 1:
            raise ExportRefused("min_confidence", "must be between 0 and 1")


def _check_prompts(options: Mapping[str, Any]) -> None:
    for name in ("min_confidence", "selective", "since", "verdict", "blind"):
        if options.get(name):
            raise ExportRefused(
                name, "prompts come once each, whatever their labels; shape=prompt takes no such filter"
            )
