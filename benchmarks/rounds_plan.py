"""What three periodic rounds are played on, what is kept of each, and when labels count as restored. Starts nothing."""

import gzip
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.team_plan import Plan, as_imported, choose, group_of
from genrm_engine.types import Choice

Row = dict[str, Any]

SHARE = 0.3
"""Of all labels that people can give, what one instalment is; the rest is left open for the judge to label alone."""
REASONING = ("star-dpo", "star-sft", "grpo")
"""Methods whose judge counts by what it concludes from its rationales, so that it has to write some."""
FIGURES = (
    "n", "groups", "accuracy", "accuracy_low", "accuracy_high", "consistency", "consistency_low", "consistency_high",
    "single_order_accuracy", "nll", "ece", "accuracy_shorter", "accuracy_longer", "longer_wins",
)  # fmt: skip
GATE = ("promote", "p_better", "difference", "low", "high", "detectable", "reasons")


@dataclass(frozen=True)
class RoundsPlan:
    """What is decided before anything is measured."""

    data: str
    methods: tuple[str, ...]
    annotators: tuple[str, ...]
    pairs: int
    holdout_share: float
    audit_share: float
    pairs_of_a_holdout_prompt: int
    wished_agreement: float = 0.6
    seed: int = 0

    @property
    def instalment(self) -> int:
        """Blind labels after which the policy asks for a run."""
        return round(SHARE * self.pairs * len(self.annotators))

    @property
    def samples_per_order(self) -> int:
        """Rationales for each pair and order: none where no judge counts by them, because they take long."""
        return int(any(method in REASONING for method in self.methods))

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "instalment": self.instalment, "samples_per_order": self.samples_per_order}


PANDALM = RoundsPlan("pandalm", (), ("annotator1", "annotator2", "annotator3"), 500, 0.5, 0.05, 2)
DEMO = RoundsPlan("demo", (), ("ada", "ben", "chen"), 273, 0.5, 0.05, 1_000)
PLANS = {"pandalm": PANDALM, "demo": DEMO}
SHORT_PAIRS = 160


def rows_of(plan: RoundsPlan, *, data: Path, demo: Path) -> tuple[list[Row], list[Row]]:
    """The rows to import, which say nothing of what people chose, and the same ones with what they say."""
    if plan.data == "demo":
        known = _demo_rows(demo, plan)[: plan.pairs]
        return [_bare(row) for row in known], known
    with gzip.open(data / "pandalm_clean.jsonl.gz") as file:
        rows = [json.loads(line) for line in file]
    prompts = len({group_of(row) for row in rows})
    drawn = Plan(
        plan.pairs, prompts, 0, plan.holdout_share, plan.audit_share, plan.pairs_of_a_holdout_prompt, 0, 0,
        plan.wished_agreement, plan.seed,
    )  # fmt: skip
    known, _, _ = choose(rows, drawn)
    return [as_imported(row) for row in known], known


def _demo_rows(path: Path, plan: RoundsPlan) -> list[Row]:
    """The demo's pairs with a label of everybody: where its file has none, the answer that it was made to be."""
    rows = [row for row in map(json.loads, path.read_text().splitlines()) if "header" not in row]
    for row in rows:
        given = {one["annotator"]: one["choice"] for one in row["labels"]}
        row["labels"] = [{"annotator": name, "choice": given.get(name, _good(row))} for name in plan.annotators]
        row["gold"] = _good(row)
    return rows


def _good(row: Row) -> Choice:
    choice: Choice = row["meta"]["good"]
    return choice


def _bare(row: Row) -> Row:
    kept = {name: row[name] for name in ("id", "prompt", "response_a", "response_b", "source")}
    return {**kept, "meta": {"group_key": group_of(row)}}


def summary(run: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a run that has ended, as the REST API shows it.

    The figures at the top are the candidate's on the hold-out's test part, which decided nothing.
    """
    metrics: Mapping[str, Any] = run.get("metrics") or {}

    def measured(who: str, part: str) -> dict[str, Any]:
        found: Mapping[str, Any] = metrics.get(who, {}).get(part, {})
        return {name: found.get(name) for name in FIGURES}

    return {
        "decision": run["state"],
        **measured("candidate", "test"),
        "method": run["method"],
        "trigger": run["trigger"],
        "champion_before": {"judge": run.get("start"), **measured("champion", "test")},
        "candidate": {"judge": run["candidate"], "from": run.get("origin")},
        "on_the_gate_part": {who: measured(who, "gate") for who in ("champion", "candidate")},
        "on_the_whole_holdout": {who: measured(who, "all") for who in ("champion", "candidate")},
        "gate": {name: run["gate"].get(name) for name in GATE},
        "new_pairs": run["training_pairs"],
        "repeated_pairs": run.get("replay_pairs"),
        "holdout_pairs": run["holdout_pairs"],
        "seconds": run.get("seconds"),
        "tokens": run.get("tokens"),
        "yields": run["yields"],
    }


def comparable(rows: list[Row]) -> dict[str, Row]:
    """Exported labels by pair, without the moment at which a consensus was written down."""
    found = {}
    for row in rows:
        provenance = dict(row["provenance"])
        if "method" in provenance and "labels" in provenance:
            provenance.pop("created_at", None)
        found[str(row["id"])] = {**row, "provenance": provenance}
    return found


def differences(before: Mapping[str, Row], after: Mapping[str, Row]) -> dict[str, int]:
    """How many labels are gone, new, of another choice, or otherwise not what they were; all 0: restored exactly."""
    both = before.keys() & after.keys()
    chosen = sum(before[item]["choice"] != after[item]["choice"] for item in both)
    return {
        "gone": len(before.keys() - after.keys()),
        "new": len(after.keys() - before.keys()),
        "another_choice": chosen,
        "another_provenance": sum(before[item] != after[item] for item in both) - chosen,
    }


def misses(result: Mapping[str, Any]) -> list[str]:
    """What the rounds had to show, and did not. Whether a candidate is promoted is for the gate to say."""
    rounds, switched = result["rounds"], result.get("switched")
    found = [
        f"round {number} ended as {one['decision']}"
        for number, one in enumerate(rounds, start=1)
        if one["decision"] not in ("promoted", "rejected")
    ]
    found += [
        f"round {number} did not start by itself" for number, one in enumerate(rounds, 1) if one["trigger"] != "policy"
    ]
    if len(rounds) < len(result["plan"]["methods"]):
        found.append(f"only {len(rounds)} rounds were run")
    for name, restored in (switched or {}).items():
        found += [
            f"{name}: the labels of {source} differ: {counts}"
            for source, counts in restored["differences"].items()
            if any(counts.values())
        ]
    if switched is None and any(one["decision"] == "promoted" for one in rounds):
        found.append("nobody rolled back")
    return found
