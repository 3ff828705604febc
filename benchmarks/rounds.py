"""Three periodic rounds that run by themselves, played through the running product; then a roll-back and forward again.

Everything is real: `run_tandem` with its processes, the pages over HTTP, the small model. People's labels are replayed
in instalments; after each of them the project's policy starts a run, the scheduler and the training worker bring it to
its end, the gate decides. While a promoted judge judges every pair again, people go on labelling. After the last round
the manager rolls back: the former judge's labels must be there again, each as it was, and so once more the other way.

    make rounds                                   # pandalm: genrm, star-dpo, genrm; some hours on two cores
    make rounds ROUNDS="--set demo"
    make rounds ROUNDS="--short"                  # two rounds of few pairs, to try it; the result is printed, not kept

The result is written after every round.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.played_team import Product, Team, standing  # noqa: E402
from benchmarks.rounds_plan import (  # noqa: E402
    PLANS,
    SHORT_PAIRS,
    RoundsPlan,
    Row,
    comparable,
    differences,
    misses,
    rows_of,
    summary,
)
from benchmarks.team_plan import SLUG  # noqa: E402

if TYPE_CHECKING:
    from labeling.models import Deployment, TrainingRun

METHODS = "genrm,star-dpo,genrm"
POLICY_SECONDS = 5
LONGEST_START = 120
"""Seconds that the policy may take to start a run that has all its labels."""
LEFT = 60
"""Labels of the next instalment that people keep for the time after the judge has judged everything again."""
PACE = 0.5
"""Seconds between two labels that are given while the judge judges again."""
LONGEST = 8 * 3600
SOURCES = ("judge", "consensus")

Labels = dict[str, dict[str, Row]]


class Rounds(Team):
    """A team whose project retrains its judge by itself."""

    def __init__(self, product: Product, plan: RoundsPlan, rows: list[Row]) -> None:
        super().__init__(product, SLUG, plan.annotators, rows)
        self.plan = plan

    def set_up(self) -> None:
        plan = self.plan
        self.found(
            samples_per_order=plan.samples_per_order, holdout_share=plan.holdout_share, audit_share=plan.audit_share,
            wished_agreement=plan.wished_agreement, retrain_after=plan.instalment, retrain_method=plan.methods[0],
        )  # fmt: skip
        self.secret = self.token(scope="manage")

    def change(self, **wanted: Any) -> None:
        """The manager changes the project's settings, in a process that knows the product's broker."""
        self.product.shell(
            "from django.contrib.auth.models import User\n"
            "from labeling.models import Project\n"
            "from labeling.services.settings import change_settings\n"
            f"project = Project.objects.get(slug={self.slug!r})\n"
            f"change_settings(project, by=User.objects.get(username='manager'), **{wanted!r})\n"
        )

    def api(self, path: str, *, post: bool = False) -> dict[str, Any]:
        """Ask the REST API as the manager does; with ``post`` tell it to do something."""
        http, headers = self.people["manager"].http, {"Authorization": f"Bearer {self.secret}"}
        answer = (
            http.post(f"/api/v1{path}", json={}, headers=headers)
            if post
            else http.get(f"/api/v1{path}", headers=headers)
        )
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def runs(self) -> int:
        from labeling.models import TrainingRun

        return TrainingRun.objects.filter(project=self.project).count()

    def since_the_last_run(self) -> int:
        """Labels given since a run was asked for."""
        from labeling.services.training import new_blind_labels

        return new_blind_labels(self.project)

    def label_until(self, done: Callable[[], bool]) -> int:
        """Everybody labels in turn until it is done or nothing is left; how many labels they gave."""
        given, left = 0, list(self.annotators)
        while left and not done():
            for name in tuple(left):
                if self.label_next(name) is None:
                    left.remove(name)
                else:
                    given += 1
        return given

    def play_instalment(self) -> tuple["TrainingRun", dict[str, int]]:
        """Label until the policy has started the next run; that run, and how many labels it took.

        Where the run still lacks labels for its gate or its training, people go on beyond the instalment.
        """
        from labeling.models import TrainingRun

        known, before = self.runs(), self.since_the_last_run()

        def enough() -> bool:
            return self.runs() > known or (
                self.since_the_last_run() >= self.plan.instalment and not self.missing_for_a_run()
            )

        given = self.label_until(enough)
        lacking = " ".join(self.missing_for_a_run()) or "nothing is missing"
        self.product.wait(lambda: self.runs() > known, f"the policy's run ({lacking})", LONGEST_START)
        run = TrainingRun.objects.filter(project=self.project).latest("pk")
        return run, {"labels": before + given, "of_them_while_the_judge_judged_again": before}

    def missing_for_a_run(self) -> list[str]:
        from labeling.services.training import readiness

        return readiness(self.project).missing

    def wait_for(self, run: "TrainingRun") -> dict[str, Any]:
        """The run once it has ended, as the REST API shows it."""
        from labeling.models import TrainingRun

        def ended() -> bool:
            run.refresh_from_db()
            return run.state not in TrainingRun.ACTIVE

        self.product.wait(ended, "the training run", LONGEST)
        return self.api(f"/training-runs/{run.pk}")

    def judged_all(self) -> bool:
        """Whether the champion has judged every pair by every method that the project wants of it."""
        from labeling.models import Judgement, Pair
        from labeling.services.judging import champion_of, methods_of

        champion = champion_of(self.project)
        assert champion is not None, "there is one from the import on"
        made = Judgement.objects.filter(judge=champion.judge, pair__project=self.project)
        pairs = Pair.objects.filter(project=self.project).count()
        return all(made.filter(method=one).count() >= pairs for one in methods_of(self.project, champion))

    def settled(self) -> "Deployment":
        """The champion, once it has judged everything and is measured on all of it."""
        self.product.wait(self.judged_all, "every judgement", LONGEST)
        return self.wait_until_judged()

    def label_while_judging(self) -> dict[str, Any]:
        """People go on while the promoted judge judges every pair again; what that took, and the slowest label."""
        begun, given, slowest = time.monotonic(), 0, 0.0
        most = self.plan.instalment - LEFT - self.since_the_last_run()
        while not self.judged_all():
            if given < most:
                asked = time.monotonic()
                given += self.label_next(self.annotators[given % len(self.annotators)]) is not None
                slowest = max(slowest, time.monotonic() - asked)
            time.sleep(PACE)
        seconds = round(time.monotonic() - begun, 1)
        self.settled()
        return {"seconds": seconds, "labels_meanwhile": given, "slowest_label_seconds": round(slowest, 2)}

    def labels(self) -> Labels:
        """What leaves the project through REST as the judge's labels and as the consensus."""
        return {source: comparable(self.exported(source, token=self.secret)) for source in SOURCES}

    def labels_at_rest(self) -> Labels:
        """The labels once nothing moves any more: four times the same, five seconds apart."""
        self.settled()
        found, same = self.labels(), 0
        while same < 3:
            time.sleep(5)
            again = self.labels()
            found, same = again, same + 1 if again == found else 0
        return found

    def labels_before_the_end_of(self, run: "TrainingRun") -> Labels | None:
        """The labels at rest while the run is under way; None if it ended meanwhile."""
        from labeling.models import TrainingRun

        found = self.labels_at_rest()
        run.refresh_from_db()
        return found if run.state in TrainingRun.ACTIVE else None

    def labels_once(self, expected: Labels) -> tuple[Labels, float]:
        """The labels as soon as they are those, or after five minutes as they are then; and the seconds until then."""
        begun = time.monotonic()
        self.settled()
        found = self.labels()
        while found != expected and time.monotonic() - begun < 300:
            time.sleep(2)
            found = self.labels()
        return found, round(time.monotonic() - begun, 1)

    def switch(self, expected: Labels | None) -> tuple[dict[str, Any], Labels]:
        """Roll back to the former champion (or, done once more, forward again), and compare its labels."""
        reigns = self.api(f"/projects/{self.slug}/judges/roll-back", post=True)["name"]
        found, seconds = (self.labels_at_rest(), None) if expected is None else self.labels_once(expected)
        said = {
            "champion": reigns,
            "seconds": seconds,
            "labels": {source: len(rows) for source, rows in found.items()},
            "of_the_judge_alone": sum(row["provenance"]["method"] == "judge" for row in found["consensus"].values()),
        }
        against = found if expected is None else expected
        changed = {source: differences(against[source], found[source]) for source in SOURCES}
        return {**said, "compared": expected is not None, "differences": changed}, found


def play(team: Rounds, rows: list[Row], result: dict[str, Any], keep: Callable[[], None]) -> None:
    """Every round, and the roll-back; ``keep`` writes down what there is so far."""
    product, plan = team.product, team.plan
    with product.step("set up"):
        team.set_up()
    with product.step("import") as said:
        said["drawn"] = team.import_pairs(rows)
    with product.step("pre-label") as said:
        said.update(standing(team.settled()))
    before: Labels | None = None
    for number, method in enumerate(plan.methods, start=1):
        with product.step(f"round {number}: {method}") as said:
            before, found = one_round(team, method, last=number == len(plan.methods))
            said.update(decision=found["decision"], accuracy=found["accuracy"])
            result["rounds"].append({"round": number, **found})
        keep()
    with product.step("roll back, and forward again") as said:
        result["switched"] = switched(team, before)
        said.update(result["switched"] or {"nobody": "no candidate was promoted"})
    keep()


def one_round(team: Rounds, method: str, *, last: bool) -> tuple[Labels | None, dict[str, Any]]:
    """An instalment, the run that it brings about, and what follows; of the last round the labels before a promotion.

    In the last round nobody labels after the run has begun, and the judge labels alone what people have left: so the
    roll-back has something of every kind to restore, and nothing else that changes.
    """
    team.change(retrain_method=method)
    run, labels = team.play_instalment()
    team.wait_for_consensus()
    before = None
    if last:
        team.change(retrain_after=None, judge_labels=True)
        before = team.labels_before_the_end_of(run)
    ended = team.wait_for(run)
    found = {**summary(ended), "labels": labels}
    if ended["state"] == "promoted":
        found["judging_again"] = {"labels_meanwhile": 0, **_timed(team)} if last else team.label_while_judging()
    if ended["error"]:
        found["error"] = ended["error"][-2000:]
    found["champion_after"] = standing(team.settled())
    return before if ended["state"] == "promoted" else None, found


def _timed(team: Rounds) -> dict[str, float]:
    begun = time.monotonic()
    team.settled()
    return {"seconds": round(time.monotonic() - begun, 1)}


def switched(team: Rounds, before: Labels | None) -> dict[str, Any] | None:
    """Back, forward, back and forward again; each compared with what stood there before. None without a former judge.

    ``before`` are the labels before the last promotion, if the last round promoted: the first roll-back must restore
    them.
    """
    from labeling.services.deployments import former_champion

    if former_champion(team.project) is None:
        return None
    now = team.labels_at_rest()
    back, former = team.switch(before)
    forward, _ = team.switch(now)
    again, _ = team.switch(former)
    last, _ = team.switch(now)
    return {"back": back, "forward": forward, "back again": again, "forward again": last}


def main() -> None:
    options = arguments()
    plan = PLANS[options.set]
    methods = options.methods or ("genrm,genrm" if options.short else METHODS)
    plan = replace(plan, methods=tuple(methods.split(",")), pairs=SHORT_PAIRS if options.short else plan.pairs)
    if plan.data == "pandalm" and not (options.data / "pandalm_clean.jsonl.gz").exists():
        raise SystemExit(f"skipped: the real pairs are not at {options.data}")
    home = options.home / plan.data
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    os.environ |= {
        "TANDEM_HOME": str(home),
        "TANDEM_JUDGE_MODEL": options.judge,
        "TANDEM_DEMO": "",  # it would be judged too
        "TANDEM_JUDGE_THREADS": str(os.cpu_count() or 1),  # nobody else is waiting for the web server
        "TANDEM_POLICY_SECONDS": str(POLICY_SECONDS),
        "DJANGO_SETTINGS_MODULE": "webapp.settings",
        **({"TANDEM_LEAST_STEPS": "8"} if options.short else {}),
    }
    import django

    django.setup()
    check_methods(plan)
    imported, known = rows_of(plan, data=options.data, demo=ROOT / "demo" / "pairs.jsonl")
    given = [
        f"--set {plan.data}",
        f"--methods {methods}",
        f"--judge {Path(options.judge).name}",
        *["--short"] * options.short,
    ]
    result: dict[str, Any] = {
        "plan": plan.to_json(),
        "judge": Path(options.judge).name,
        "machine": options.machine,
        "command": f'make rounds ROUNDS="{" ".join(given)}"',
        "figures": "at the top of a round: the candidate's on the hold-out's test part, with 95 % intervals by prompt",
        "rounds": [],
    }
    print(json.dumps(result, indent=1), flush=True)
    kept = home / "result.json" if options.short else ROOT / "benchmarks" / "results" / f"rounds-{plan.data}.json"
    product = Product(home)
    begun = time.monotonic()

    def keep() -> None:
        result["seconds"], result["steps"] = round(time.monotonic() - begun), product.steps
        part = kept.with_suffix(".part")
        part.write_text(json.dumps(result, indent=1) + "\n")
        part.replace(kept)

    with product.running():
        play(Rounds(product, plan, known), imported, result, keep)
    wrong = misses(result)
    print("\n".join(wrong) or "as wished")
    sys.exit(bool(wrong))


def check_methods(plan: RoundsPlan) -> None:
    """Refuse a method that the product does not retrain by, before hours of labelling."""
    from labeling.models import Project

    unknown = [method for method in plan.methods if method not in Project.RetrainMethod.values]
    if unknown:
        raise SystemExit(f"--methods: {', '.join(unknown)} is not one of {', '.join(Project.RetrainMethod.values)}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=sorted(PLANS), default="pandalm", help="the pairs that are labelled")
    parser.add_argument("--methods", default="", help=f"the method of each round ({METHODS}; with --short genrm,genrm)")
    parser.add_argument("--judge", default="embedded", help="the judge that the project begins with")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the real pairs")
    parser.add_argument("--home", type=Path, default=ROOT / "build" / "rounds", help="data folders; emptied first")
    parser.add_argument("--short", action="store_true", help="few pairs, two rounds; the result is not kept")
    parser.add_argument("--machine", default="", help="what it runs on, for the result")
    return parser.parse_args()


if __name__ == "__main__":
    main()
