"""What a reproduction runs: data, folds, rows and the settings to choose among. Loads without PyTorch.

A row is one judge under one way of judging. Settings are chosen by accuracy on an inner split of the first fold's
training part, written to ``choices.json``, and only then is a test fold read. Of later folds that validation part is
tested on too: among few settings, but their figures are a little too kind for it. Rows that begin with another row's
judge take over what was chosen for their method; there is nothing to choose.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from genrm_engine.errors import EngineError
from genrm_engine.training.config import STAR
from genrm_engine.types import Method

BASE = "embedded-base"
STARTER = "embedded"


@dataclass(frozen=True, slots=True)
class RowSpec:
    """One row of the table.

    ``train`` names the training method (empty: the model as it is), ``start`` the model it starts from or the row whose
    judge it trains further, ``method`` how it judges. Rows of a STaR method have a part for each iteration.
    """

    name: str
    title: str
    start: str = BASE
    train: str = ""
    method: Method = "score"

    @property
    def sampled(self) -> bool:
        """Whether the row needs sampled rationales, for judging or for training."""
        return self.method == "cot"


ROWS: tuple[RowSpec, ...] = (
    RowSpec("base-score", "untuned judge, no CoT"),
    RowSpec("base-cot", "untuned judge, CoT", method="cot"),
    RowSpec("starter-score", "starter judge, no CoT", start=STARTER),
    RowSpec("starter-cot", "starter judge, CoT", start=STARTER, method="cot"),
    RowSpec("bradley-terry", "Bradley-Terry", train="bradley-terry"),
    RowSpec("pairrm", "PairRM", train="pairrm"),
    RowSpec("genrm", "GenRM", train="genrm"),
    RowSpec("star-sft", "STaR-SFT", start=STARTER, train="star-sft", method="cot"),
    RowSpec("rationalizer", "STaR-Rationalizer", start=STARTER, train="rationalizer", method="cot"),
    RowSpec("star-dpo", "STaR-DPO", start=STARTER, train="star-dpo", method="cot"),
    RowSpec("genrm-writing", "GenRM that keeps writing, CoT", start=STARTER, train="genrm", method="cot"),
    RowSpec("star-dpo-genrm", "STaR-DPO from GenRM", start="genrm-writing", train="star-dpo", method="cot"),
)


@dataclass(frozen=True, slots=True)
class Study:
    """Judges trained and tested on one file, and tested out of distribution on others.

    ``folds`` cross-validate the rows without sampling; rows with sampling run on the first ``sampled_folds``, with at
    most ``sampled_pairs`` training pairs. Files may name a group after a colon, to take that group alone; rows with
    sampling judge ``outside_pairs`` of each file outside, the others all. With ``by_pair`` intervals come from
    resampling pairs, because a test fold is a single group (a debate).
    """

    name: str
    inside: str
    outside: Mapping[str, str]
    folds: int
    sampled_folds: int
    sampled_pairs: int | None = None
    outside_pairs: int | None = None
    by_pair: bool = False


@dataclass(frozen=True, slots=True)
class Preset:
    """Studies, how rationales are sampled, and for each row with training the ``grid`` of settings to choose among."""

    name: str
    studies: tuple[Study, ...]
    samples_per_order: int
    max_rationale_tokens: int
    iterations: int
    grid: Mapping[str, tuple[Mapping[str, Any], ...]]
    common: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[RowSpec, ...] = ROWS

    def config(self, row: RowSpec, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """The training configuration of a row, but for its model and device."""
        sizes: dict[str, Any] = {"max_rationale_tokens": self.max_rationale_tokens}
        if row.train in STAR:
            sizes |= {"iterations": self.iterations, "samples_per_order": self.samples_per_order}
        return {"method": row.train, **sizes, **self.common, **chosen}

    def row(self, name: str) -> RowSpec:
        return next(row for row in self.rows if row.name == name)


def _grid(rates: Sequence[float], epochs: Sequence[float] = (1.0,), **fixed: Any) -> tuple[Mapping[str, Any], ...]:
    return tuple({"learning_rate": rate, "epochs": count, **fixed} for count in epochs for rate in rates)


def _genrm(*, balanced: bool, share: float = 0.0) -> Mapping[str, Any]:
    """All weights at the rate that moves a small judge; with and without length balance."""
    fixed = {"lora": False, "learning_rate": 3e-5, "epochs": 2.0, "rationale_share": share}
    return {**fixed, "balance_length": balanced}


MTBENCH, OASST, UKP = "mtbench_clean.jsonl.gz", "oasst_clean.jsonl.gz", "ukp_benign.jsonl.gz"
PANDALM = "pandalm_clean.jsonl.gz"
ONE_DEBATE = f"{UKP}:tv-is-better-than-books"
FAST = (3e-5, 6e-5, 1e-4)
KEEPS_WRITING = 0.1
"""The share of rationale rows beside verdict rows; without any, GenRM destroys the writing."""

PRESETS: Mapping[str, Preset] = {
    "cpu-small": Preset(
        name="cpu-small",
        studies=(
            Study(
                "pandalm",
                PANDALM,
                {"mtbench": MTBENCH, "oasst": OASST, "ukp": ONE_DEBATE},
                folds=3,
                sampled_folds=1,
                sampled_pairs=400,
                outside_pairs=100,
            ),
        ),
        samples_per_order=4,
        max_rationale_tokens=40,
        iterations=3,
        grid={
            "genrm": tuple(_genrm(balanced=balanced) for balanced in (False, True)),
            "bradley-terry": _grid((4e-4, 1e-3), (2.0,)),
            "pairrm": _grid((4e-4, 1e-3), (2.0,)),
            "star-sft": _grid((1e-4, 4e-4)),
            "rationalizer": _grid((1e-4, 4e-4)),
            "star-dpo": _grid((5e-5, 2e-4)),
            "genrm-writing": (_genrm(balanced=False, share=KEEPS_WRITING),),
            "star-dpo-genrm": _grid((5e-5,)),
        },
        common={"lora": True, "micro_batch_size": 4},  # of 8, right and wrong, the longest take 20 GB
    ),
    "h100": Preset(
        name="h100",
        studies=(
            Study("pandalm", PANDALM, {"mtbench": MTBENCH, "oasst": OASST, "ukp": UKP}, folds=3, sampled_folds=3),
            Study(
                "ukp",
                UKP,
                {"mtbench": MTBENCH, "oasst": OASST, "pandalm": PANDALM},
                folds=6,
                sampled_folds=6,
                by_pair=True,
            ),
        ),
        samples_per_order=16,
        max_rationale_tokens=64,
        iterations=3,
        grid={
            "genrm": _grid(FAST, (1.0, 2.0, 3.0), rationale_share=0.0),
            "bradley-terry": _grid(FAST, (2.0, 3.0)),
            "pairrm": _grid(FAST, (2.0, 3.0)),
            "star-sft": _grid((1e-5, 3e-5, 1e-4)),
            "rationalizer": _grid((1e-5, 3e-5, 1e-4)),
            "star-dpo": _grid((3e-6, 1e-5, 3e-5)),
            "genrm-writing": _grid((3e-5,), (2.0,), rationale_share=KEEPS_WRITING),
            "star-dpo-genrm": _grid((1e-5,)),
        },
        common={"batch_size": 16, "micro_batch_size": 16},
    ),
}


def preset(name: str) -> Preset:
    """The preset of that name. Raises EngineError with the names there are."""
    if name not in PRESETS:
        raise EngineError(f"unknown preset {name!r}: use one of {', '.join(PRESETS)}")
    return PRESETS[name]
