"""What the retrainings of an installation cost and gave: seconds, STaR yields, hold-out figures, the gate's decision.

    TANDEM_HOME=.tandem python benchmarks/demo_runs.py --out benchmarks/results/demo_runs.json

Measures nothing itself: it reads what the runs of a real installation wrote (start them with the Retrain button, wait).
"""

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import django
from django.db.models import Avg, Count

from genrm_engine.evaluation.metrics import Metrics

FIGURES = (
    "n",
    "groups",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "consistency",
    "accuracy_shorter",
    "accuracy_longer",
)
GATE = ("promote", "p_better", "difference", "low", "high", "detectable", "reasons")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", default="demo")
    parser.add_argument("--machine", default="2 cores, Xeon with AMX, no GPU, shared")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
    django.setup()
    report = {"machine": options.machine, "runs": runs(options.project), "judging": judging(options.project)}
    options.out.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def runs(slug: str) -> list[dict[str, Any]]:
    """Every ended run of the project, oldest first."""
    from labeling.models import TrainingRun

    ended = TrainingRun.objects.filter(project__slug=slug, finished_at__isnull=False, started_at__isnull=False)
    return [_run(run) for run in ended.order_by("pk")]


def _run(run: Any) -> dict[str, Any]:
    holdout = {who: {part: _figures(figures) for part, figures in parts.items()} for who, parts in run.metrics.items()}
    return {
        "method": run.method,
        "start": run.start.name,
        "state": run.state,
        "seconds": round((run.finished_at - run.started_at).total_seconds()),
        "training_pairs": run.training_pairs,
        "holdout_pairs": run.holdout_pairs,
        "config": {name: value for name, value in run.config.items() if name not in ("model", "rubric")},
        "yields": run.yields,
        "holdout": holdout,
        "gate": {name: run.gate.get(name) for name in GATE},
    }


def _figures(stored: Mapping[str, Any]) -> dict[str, Any]:
    figures = Metrics.from_json(stored).to_json()
    return {name: figures[name] for name in FIGURES}


def judging(slug: str) -> list[dict[str, Any]]:
    """Seconds per judgement of every judge and method, as the judge worker measured them."""
    from labeling.models import Judgement

    made = Judgement.objects.filter(pair__project__slug=slug).values("judge__name", "method")
    rows = made.annotate(n=Count("pk"), seconds=Avg("seconds"), tokens=Avg("tokens")).order_by("judge__name", "method")
    return [
        {
            "judge": row["judge__name"],
            "method": row["method"],
            "judgements": row["n"],
            "per_second": round(1 / row["seconds"], 2) if row["seconds"] else None,
            "tokens_per_judgement": round(row["tokens"]),
        }
        for row in rows
    ]


if __name__ == "__main__":
    main()
