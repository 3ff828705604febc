"""A whole team at work, played through the running product: import, labelling, flags, retraining, selective labels.

Everything is real: `run_tandem` with its processes, the pages over HTTP, the small model. The three annotators are
replayed from the real labels of `pandalm_clean`; the adjudicator knows the file's consensus; the judge begins
untrained. Some labels are never used in the run: those of pairs that nobody was asked about, and those of prompts that
were never imported. On them it is seen whether the judge, where it labels alone, agrees with people as often as was
wished.

The plan (wish, hold-out share, budget), and the power that it gives a judge of 78 % accuracy, are written down first.

    make e2e                      # the whole of it
    make e2e E2E=--short          # a small team, at most ten minutes
"""

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.played_team import Product, Team, standing  # noqa: E402
from benchmarks.team_plan import FULL, SHORT, SLUG, Plan, Row, as_imported, choose, power  # noqa: E402

if TYPE_CHECKING:
    from labeling.models import Deployment

ANNOTATORS = ("annotator1", "annotator2", "annotator3")
RESULT = ROOT / "benchmarks" / "results"


class Play(Team):
    """The team's work on its project."""

    def __init__(self, product: Product, plan: Plan, rows: list[Row]) -> None:
        super().__init__(product, SLUG, ANNOTATORS, rows)
        self.plan = plan

    def set_up(self) -> None:
        """The team's members and its project, with the settings that the plan names."""
        plan = self.plan
        self.found(
            samples_per_order=0, holdout_share=plan.holdout_share, audit_share=plan.audit_share,
            wished_agreement=plan.wished_agreement, judge_labels=True,
        )  # fmt: skip

    def label(self, share: float) -> dict[str, Any]:
        """Three annotators in turn, until so many of the routed pairs were shown; the reasons why pairs came."""
        from labeling.models import Label, Pair
        from labeling.services.claims import ROUTED

        routed = Pair.objects.filter(ROUTED, project=self.project)
        most = round(share * routed.count())
        reasons: Counter[str] = Counter()
        left = list(ANNOTATORS)
        while left and routed.filter(claims__isnull=False).distinct().count() < most:
            for name in tuple(left):
                reason = self.label_next(name)
                if reason is None:
                    left.remove(name)
                else:
                    reasons[reason] += 1
        self.wait_for_consensus()
        labels = Label.objects.filter(pair__project=self.project)
        return {"labels": labels.count(), "asked_for": dict(reasons), "routed_pairs_shown": most}

    def settle(self) -> dict[str, int]:
        """The adjudicator settles every open flag by the file's consensus."""
        from labeling.models import Flag

        kinds: Counter[str] = Counter()
        while flag := Flag.objects.select_related("pair").filter(pair__project=self.project, state="open").first():
            kinds.update(Flag.objects.filter(pair=flag.pair, state="open").values_list("kind", flat=True))
            choice = self.gold[flag.pair.external_id]
            path = f"/p/{SLUG}/pairs/{flag.pair_id}/"
            self.people["adjudicator"].post(path, choice=choice, reason="As the file's consensus says")
        return dict(kinds)

    def retrain(self) -> dict[str, Any]:
        from labeling.models import TrainingRun

        self.people["manager"].post(f"/p/{SLUG}/retrain/", method="genrm")
        run = TrainingRun.objects.get(project=self.project)

        def ended() -> bool:
            run.refresh_from_db()
            return run.state not in TrainingRun.ACTIVE

        self.product.wait(ended, "the training run", 7200)
        said = {"state": run.state, "message": run.message, "training_pairs": run.training_pairs, "gate": run.gate}
        if run.state not in (TrainingRun.State.PROMOTED, TrainingRun.State.REJECTED):
            raise SystemExit(f"the training run failed: {json.dumps(said, default=str)} {run.error[-2000:]}")
        return said

    def export(self) -> dict[str, Any]:
        """What leaves through REST as the judge's own, beside the labels of people that were never used."""
        from labeling.models import ApiToken

        rows = self.exported("consensus", token=self.token(scope=ApiToken.Scope.READ))
        alone = {row["id"]: row["choice"] for row in rows if row["provenance"]["method"] == "judge"}
        return {
            "rows": len(rows),
            "by_method": dict(Counter(row["provenance"]["method"] for row in rows)),
            **self.compare(alone),
        }

    def compare(self, said: dict[str, str]) -> dict[str, Any]:
        """How often verdicts agree with the file's consensus; pairs of which it says tie are counted, not compared."""
        from scipy.stats import binomtest

        decided = {item: choice for item, choice in said.items() if self.gold[item] in ("a", "b")}
        right = sum(self.gold[item] == choice for item, choice in decided.items())
        found: dict[str, Any] = {"labelled_alone": len(said), "ties_of_people": len(said) - len(decided)}
        if not decided:
            return found
        interval = binomtest(right, len(decided)).proportion_ci(0.95, method="exact")
        return found | {
            "agree": right,
            "of": len(decided),
            "agreement": round(right / len(decided), 4),
            "low": round(float(interval.low), 4),
            "high": round(float(interval.high), 4),
            "wish_kept": right / len(decided) >= self.plan.wished_agreement,
        }

    def unseen(self, champion: "Deployment", rows: list[Row]) -> dict[str, Any]:
        """The champion, its calibration and its threshold on prompts that the project never saw."""
        from labeling.services import trust

        source, target = self.product.home / "unseen.jsonl", self.product.home / "unseen-judged.jsonl"
        source.write_text("".join(json.dumps(as_imported(row)) + "\n" for row in rows))
        model = str(self.product.home / champion.judge.weights)
        command = ["judge", "--model", model, "--method", champion.counts, "--in", str(source), "--out", str(target)]
        subprocess.run([sys.executable, "-m", "genrm_engine", *command], cwd=ROOT, check=True)
        judged = [json.loads(line) for line in target.read_text().splitlines()]
        p_a = {str(row["pair_id"]): trust.calibrated(champion, float(row["p_a"])) for row in judged}
        threshold = trust.labels_alone(champion)
        everything = {item: "a" if p >= 0.5 else "b" for item, p in p_a.items()}
        alone = {item: everything[item] for item, p in p_a.items() if threshold and max(p, 1 - p) >= threshold}
        longer = {row["id"]: "a" if len(row["response_a"]) >= len(row["response_b"]) else "b" for row in rows}
        return {
            "pairs": len(rows),
            **self.compare(alone),
            "coverage": round(len(alone) / len(rows), 4),
            "all_pairs": self.compare(everything),
            "longer_wins": self.compare(longer),
        }


def play(product: Product, plan: Plan, data: list[Row], imported: list[Row], unseen: list[Row]) -> None:
    """The whole run, step by step."""
    team = Play(product, plan, data)
    with product.step("set up"):
        team.set_up()
    with product.step("import") as said:
        said["drawn"] = team.import_pairs([as_imported(row) for row in imported])
    with product.step("pre-label") as said:
        said["judge"] = team.wait_until_judged().judge.name
    with product.step("three annotators label") as said:
        said.update(team.label(plan.asked_before_training))
    with product.step("an adjudicator settles") as said:
        said.update(team.settle())
    with product.step("the untrained judge") as said:
        said.update(standing(team.wait_until_judged()))
    with product.step("retrain") as said:
        said.update(team.retrain())
    with product.step("the trained judge") as said:
        champion = team.wait_until_judged()
        said.update(standing(champion))
    with product.step("three annotators go on, in routed order") as said:
        time.sleep(20)  # a sweep, and the jobs that follow a promotion
        said.update(team.label(plan.asked_in_all))
    with product.step("an adjudicator settles what is left") as said:
        said.update(team.settle())
    with product.step("selective export, against labels that were never used") as said:
        said.update(team.export())
    with product.step("prompts that were never imported") as said:
        champion = team.wait_until_judged()
        said.update(standing(champion))
        said.update(team.unseen(champion, unseen))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the real pairs")
    parser.add_argument("--home", type=Path, default=ROOT / "build" / "e2e", help="data folder; emptied first")
    parser.add_argument("--short", action="store_true", help="a small team; the result is printed, not kept")
    parser.add_argument("--machine", default="", help="what it runs on, for the result")
    options = parser.parse_args()
    source = options.data / "pandalm_clean.jsonl.gz"
    if not source.exists():
        raise SystemExit(f"skipped: the real pairs are not at {options.data}")
    shutil.rmtree(options.home, ignore_errors=True)
    options.home.mkdir(parents=True)
    os.environ |= {
        "TANDEM_HOME": str(options.home),
        "TANDEM_JUDGE_MODEL": "embedded-base",  # the bare model: nobody has taught it anything
        "TANDEM_DEMO": "",  # it would be judged too
        "TANDEM_JUDGE_THREADS": str(os.cpu_count() or 1),  # nobody else is waiting for the web server
        **({"TANDEM_LEAST_STEPS": "20"} if options.short else {}),  # its few labels change little, however long
        "DJANGO_SETTINGS_MODULE": "webapp.settings",
    }
    import django

    django.setup()
    plan = SHORT if options.short else FULL
    with gzip.open(source) as file:
        data = [json.loads(line) for line in file]
    imported, unseen, tested = choose(data, plan)
    result: dict[str, Any] = {
        "plan": asdict(plan),
        "expected": power(tested, wished=plan.wished_agreement),
        "machine": options.machine,
        "command": "make e2e",
    }
    print(json.dumps(result, indent=1), flush=True)
    product = Product(options.home)
    start = time.monotonic()
    with product.running():
        play(product, plan, data, imported, unseen)
    result |= {"seconds": round(time.monotonic() - start), "steps": product.steps}
    (options.home / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    if not options.short:
        (RESULT / "whole-team.json").write_text(json.dumps(result, indent=1) + "\n")
    verdict(result, short=options.short)


def verdict(result: dict[str, Any], *, short: bool) -> None:
    """Whether everything came out as it must; the short run is too small to promise a better judge or coverage."""
    steps = result["steps"]
    untrained, trained = steps["the untrained judge"], steps["the trained judge"]
    export = steps["selective export, against labels that were never used"]
    unseen = steps["prompts that were never imported"]
    wrong = []
    if untrained["selection"].get("coverage") or untrained["labels_of_the_judge_alone"]:
        wrong.append("the untrained judge got coverage")
    if export["labelled_alone"] and not unseen["trusted"]:
        wrong.append("a judge that is not trusted labelled alone")
    if not short:
        wrong += _missed(untrained, trained, export, unseen)
    print("\n".join(wrong) or "as wished")
    sys.exit(bool(wrong))


def _missed(
    untrained: dict[str, Any], trained: dict[str, Any], export: dict[str, Any], unseen: dict[str, Any]
) -> list[str]:
    """What the whole run had to show, and did not."""
    missed = []
    if not trained["trusted"] or trained["accuracy"] <= untrained["accuracy"]:
        missed.append("the trained judge is not better, or not trusted")
    if not unseen["selection"].get("coverage"):
        missed.append("the trained judge got no coverage")
    if not (export.get("wish_kept") and unseen.get("wish_kept")):
        missed.append("on labels that were never used the judge agrees less than was wished")
    return missed


if __name__ == "__main__":
    main()
