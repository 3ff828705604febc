"""What the starter judge can do on demo pairs of prompts it was not trained on, beside the bare model.

    python benchmarks/starter_judge.py --home .tandem --out benchmarks/results/starter_judge.json

For each judge: score and free-form reasoning in both orders; accuracy against the side that is good by construction,
consistency, the share of free answers with a readable verdict, and the automatic check of the rationales
(`genrm_engine.evaluation.rationales`). A trained judge is measured as `--judges star-dpo=RUN/judge`. `--read N` prints
N rationales for a person to read.
"""

import argparse
from pathlib import Path
from typing import Any

from demo.starter import held_out
from genrm_engine import JudgeSettings, LabelledPair, Pair, load_judge
from genrm_engine.evaluation.rationales import check_rationales
from genrm_engine.evaluation.run import judge_file, measure
from genrm_engine.files import read_rows, write_json
from genrm_engine.progress import Progress
from genrm_engine.reproduction.machine import machine
from genrm_engine.types import Judgement

DEMO = Path(__file__).resolve().parent.parent / "demo" / "pairs.jsonl"
JUDGES = ("embedded-base", "embedded")
RATIONALES = 100


def main() -> None:
    options = _options()
    rows = unseen()
    measured: dict[str, Any] = {}
    for given in options.judges:
        name, _, folder = given.partition("=")
        with load_judge(folder or name, home=options.home, device=options.device, threads=options.threads) as judge:
            measured[name] = {
                label: _measured(rows, judge.backend, settings, options.work / name / label, options.read)
                for label, settings in _settings(options.temperature).items()
            }
        about = {"pairs": len(rows), "prompts": len({row.pair.group for row in rows}), "judges": measured}
        write_json(options.out, {**about, "machine": machine(options.machine, options.device, options.threads)})


def unseen() -> list[LabelledPair]:
    """The demo's pairs of prompts that the starter judge was not trained on, with the side that is good."""
    found = []
    for row in read_rows(DEMO):
        if "response_a" in row and held_out(row["meta"]["group_key"]):
            pair = Pair.from_json({**row, "group": row["meta"]["group_key"]})
            found.append(LabelledPair(pair, row["meta"]["good"]))
    return found


def _settings(temperature: float) -> dict[str, JudgeSettings]:
    common: dict[str, Any] = {"method": "cot", "samples_per_order": 2, "temperature": temperature}
    return {
        "score": JudgeSettings(),
        "free": JudgeSettings(**common, verdict="free"),
        "forced": JudgeSettings(**common),
    }


def _measured(rows: list[LabelledPair], backend: Any, settings: JudgeSettings, work: Path, read: int) -> dict[str, Any]:
    judgements = judge_file(
        [row.pair for row in rows],
        backend=backend,
        settings=settings,
        file=work / "judgements.jsonl",
        progress=Progress(work, echo=print),
    )
    figures = measure(rows, judgements).to_json()
    kept = ("n", "accuracy", "accuracy_low", "accuracy_high", "single_order_accuracy", "consistency", "unparsed_rate",
            "accuracy_shorter", "accuracy_longer", "longer_wins", "seconds_per_pair", "tokens_per_pair")  # fmt: skip
    found = {"temperature": settings.temperature, **{name: figures[name] for name in kept}}
    if settings.verdict == "free":
        texts = _texts(rows, judgements)[:RATIONALES]
        found["rationales"] = check_rationales(texts)
        for text, pair in texts[:read]:
            print(f"[{pair.id}] {text}")
    return found


def _texts(rows: list[LabelledPair], judgements: list[Judgement]) -> list[tuple[str, Pair]]:
    """One rationale of each pair and order, as it names the responses in the order that was shown."""
    pairs = {row.pair.id: row.pair for row in rows}
    found = []
    for judgement in sorted(judgements, key=lambda judgement: judgement.pair_id):
        pair = pairs[judgement.pair_id]
        for rationale in judgement.rationales:
            if rationale.sample == 0:
                shown = Pair(pair.id, pair.prompt, pair.response_b, pair.response_a) if rationale.swapped else pair
                found.append((rationale.text, shown))
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(".tandem"))
    parser.add_argument("--work", type=Path, default=Path("build/starter-judge"), help="judgements; a run is continued")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/starter_judge.json"))
    parser.add_argument("--judges", nargs="+", default=list(JUDGES), help="names, or NAME=FOLDER")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--read", type=int, default=0, help="print so many rationales")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--machine", default="")
    return parser.parse_args()


if __name__ == "__main__":
    main()
