"""A run's frozen choices, its gate and its failure in plain sentences. Knows a row, and queries nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from genrm_engine.evaluation.gate import GateSettings
from genrm_engine.training.config import TrainConfig
from labeling.models import TrainingRun
from labeling.services.datasets import learns_shares
from labeling.templatetags.tandem import points

METHODS = {
    "star-dpo": "The judge writes rationales; right ones are made likelier than wrong ones (STaR-DPO).",
    "star-sft": "The judge writes rationales and learns those that led to the right verdict (STaR-SFT).",
    "genrm": "The judge learns which verdict is right by the probability of the word that names it (GenRM). A few of "
    "its own rationales are mixed in, so that it goes on explaining.",
    "bradley-terry": "A reward model: it learns a number for each response and writes no rationale (Bradley–Terry).",
    "grpo": "The judge answers freely and is rewarded for right verdicts in both orders (GRPO, an experiment).",
}

SHORT = {"consistency": ("fell", 1), "gold": ("fell", 1), "shorter": ("fell", 1), "unparsed": ("rose", -1)}
"""Of conditions that compare two shares: what the candidate's did, and the sign of a fall."""


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A condition of the gate that was not met, and by how much."""

    text: str
    by: str


@dataclass(frozen=True, slots=True)
class Option:
    """A field of the frozen configuration, with what the engine says about it."""

    name: str
    value: str
    help: str


@dataclass(frozen=True, slots=True)
class Failure:
    """What kind of failure it was, and what to do next."""

    kind: str
    advice: str


FAILURES = [
    (
        ("frozen labels of this run were changed",),
        Failure(
            "The frozen labels were changed",
            "Ask for a new run: it freezes the labels again. And find out what else writes into the data folder.",
        ),
    ),
    (
        ("out of memory", "signal 9", "memoryerror", "cannot allocate memory"),
        Failure(
            "Not enough memory",
            "Stop what else uses the memory and ask again. If that does not help, start from a smaller judge, or train "
            "on a machine with more memory.",
        ),
    ),
    (
        ("killed by signal", "died again and again"),
        Failure(
            "The training process was killed",
            "Look into the log of the training worker for who stopped it, then ask again: a new run starts from the "
            "beginning.",
        ),
    ),
    (
        ("cannot be loaded", "no readable", "is missing", "was changed after it was written", "no safetensors"),
        Failure(
            "The judge could not be loaded",
            "Check that its weights are in the data folder and complete, or start from the judge that the project "
            "began with (Settings, Retraining).",
        ),
    ),
    (
        ("labelled pairs can be trained on", "more labels or samples", "no labelled pair"),
        Failure(
            "Too few labels for this method",
            "Label more pairs and ask again, or choose GenRM, which needs no right and wrong rationales.",
        ),
    ),
]
OTHERWISE = Failure("It ended with an error", "The log says more. Asking again is safe: the champion is as it was.")


def failure_of(run: TrainingRun) -> Failure:
    """What to do about a failed run, by the last line of its error."""
    said = (run.error or run.message).strip().lower().rpartition("\n")[2]
    return next((failure for signs, failure in FAILURES if any(sign in said for sign in signs)), OTHERWISE)


def shortfalls_of(gate: Mapping[str, Any]) -> list[Shortfall]:
    """The conditions that were not met, each with how far it was missed."""
    return [
        Shortfall(condition["text"], _missed(condition))
        for condition in gate.get("conditions") or []
        if not condition["met"]
    ]


def meaning_of(run: TrainingRun) -> list[str]:
    """What the run does and what it leaves alone, from its row and its frozen configuration."""
    starts = f"It starts from the weights of {run.origin} and must beat the champion"
    starts += "." if run.origin_id == run.start_id else f" {run.start}."
    new = f"It trains on {run.training_pairs} labelled pairs that are new to {run.origin}"
    return [
        starts,
        f"{new} and repeats {run.replay_pairs} that it has seen." if run.replay_pairs else f"{new}, and repeats none.",
        "Only blind first verdicts count: those given before the judge was shown. Ties and pairs that were called "
        "ambiguous teach nothing.",
        f"Hold-out and audit pairs never train. {run.holdout_pairs} hold-out pairs measure both judges, and the part "
        "of them set aside for the gate decides.",
        _learnt(run),
        METHODS.get(run.method, run.get_method_display()),
    ]


def options_of(run: TrainingRun) -> list[Option]:
    """The frozen configuration, field by field; the guidelines, which are long, are left to ``config.rubric``."""
    helps = {item.name: item.metadata["help"] for item in fields(TrainConfig)}
    return [Option(name, _shown(value), helps.get(name, "")) for name, value in run.config.items() if name != "rubric"]


def _learnt(run: TrainingRun) -> str:
    several = "Where several people labelled a pair it learns"
    if learns_shares(run):
        return f"{several} their shares for either response; a tie is half for each."
    return f"{several} the response that most of them prefer, and the pair counts by their share."


def _missed(condition: Mapping[str, Any]) -> str:
    rules, name = GateSettings(), condition.get("name", "")
    before, after = condition.get("champion"), condition.get("candidate")
    if after is None:
        return ""
    if name == "better":
        return f"{rules.probability - after:.2f} less than the {rules.probability:.2f} that is asked."
    if name == "not_worse":
        short = f"{100 * (-rules.margin - after):.1f}"
        return f"{short} points short of ruling out that it is worse by more than {100 * rules.margin:.0f} points."
    if name not in SHORT or before is None:
        return ""
    verb, sign = SHORT[name]
    margin = getattr(rules, f"{name}_margin")
    moved, over = (sign * (before - after), sign * (before - after) - margin)
    return f"It {verb} by {_points(moved)}; {_points(margin)} are allowed, {_points(over)} too many."


def _points(share: float) -> str:
    return points(share).lstrip("+")


def _shown(value: object) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
