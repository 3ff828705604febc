"""What a run writes down of itself while it works: phases, seconds, tokens, versions, curve, examples, and its zip."""

import io
import json
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from genrm_engine.evaluation import gate
from genrm_engine.files import append_row
from genrm_engine.weights import write_manifest
from labeling import retrain_outlook, run_files, run_queries, run_words
from labeling.models import Deployment, Label, Project, TrainedPair, TrainingRun
from labeling.services import training
from tests.engine.conftest import make_judgement
from tests.factories import DeploymentFactory, JudgeVersionFactory, LabelFactory, PairFactory, ProjectFactory
from workers import run as runs
from workers import run_progress
from workers.accounts import tokens_of
from workers.engine_process import Ended

Tick = Callable[[list[dict[str, Any]]], bool]

SAMPLED = {"phase": "sampling", "fraction": 0.1, "message": "Sampled", "tokens": 1_000}
STEPS = [
    {"phase": "training", "fraction": 0.2, "message": f"Step {step}", "step": step, "steps": 3, "stage": "star-0",
     "loss": 1.0 / step, "reward_margin": 0.1 * step, "tokens": 300}
    for step in (1, 2, 3)
]  # fmt: skip
VERSIONS = {"torch": "2.13.0", "trl": "1.16.0"}


def example(text: str, *, right: bool) -> dict[str, Any]:
    return {"pair_id": "1", "verdict": "a", "right": right, "text": text}


class Engine:
    """Writes and tells what the real process would; every tick takes a second of a clock that the test owns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.lines: list[dict[str, Any]] = [
            {"phase": "waiting", "fraction": 0.0, "message": "Waiting for the device"},
            SAMPLED,
            *STEPS,
        ]
        self.code = 0
        self.phases: list[str] = []
        self.run: TrainingRun | None = None
        monkeypatch.setattr("workers.accounts.time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(runs, "run_engine", self)

    def __call__(self, arguments: list[str], *, out: Path, tick: Tick, **known: Any) -> Ended:
        out.mkdir(parents=True, exist_ok=True)
        for line in self.lines if arguments[0] == "train" else [self._judged(out, arguments)]:
            append_row(out / "progress.jsonl", line)
            self.now += 1.0
            tick([line])
            self.phases += [TrainingRun.objects.get().phase]
        if arguments[0] == "train" and not self.code:
            self._write_judge(out / "judge")
        return Ended(self.code, "it broke" if self.code else "")

    def _judged(self, out: Path, arguments: list[str]) -> dict[str, Any]:
        rows = Path(arguments[arguments.index("--data") + 1]).read_text().splitlines()
        sure = 0.9 if out.name == "candidate" else 0.2  # every label is A
        for row in map(json.loads, rows):
            append_row(out / "judgements.jsonl", make_judgement(row["id"], sure).to_json())
        return {"phase": "judging", "fraction": 1.0, "message": "Judged"}

    def _write_judge(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "run.json").write_text(json.dumps({"versions": {**VERSIONS, "peft": None}, "python": "3.11.7"}))
        write_manifest(folder)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, home: Path) -> Engine:
    return Engine(monkeypatch)


@pytest.fixture
def taken(champion: Deployment, home: Path) -> TrainingRun:
    """A run on forty labels, measured on twenty, that a worker has just taken."""
    for part, count in (("", training.LEAST_TRAINING), ("gate", 20)):
        for pair in PairFactory.create_batch(count, project=champion.project, part=part):
            LabelFactory.create(pair=pair, external_annotator="Grace Hopper")
    training.request_run(champion.project, method="star-dpo", trigger="button")
    found = training.take(TrainingRun.objects.get().pk, lease="mine")
    assert found is not None
    return found


def test_a_run_says_in_which_phase_it_is_and_what_it_cost(taken: TrainingRun, engine: Engine) -> None:
    runs.execute(taken)
    taken.refresh_from_db()
    assert taken.state == TrainingRun.State.PROMOTED, taken.error
    assert engine.phases == ["sampling", "sampling", "training", "training", "training", "champion", "candidate"]
    assert {name: taken.seconds[name] for name in ("waiting", "sampling", "training", "champion", "candidate")} == {
        "waiting": 1, "sampling": 2, "training": 2, "champion": 1, "candidate": 1,
    }  # fmt: skip
    assert {"snapshot", "gate"} <= taken.seconds.keys()
    assert taken.tokens == 1_000 + 3 * 300 + 2 * 20 * 10
    assert taken.versions == {**VERSIONS, "python": "3.11.7"}
    assert [point["reward_margin"] for point in taken.curve] == pytest.approx([0.1, 0.2, 0.3])
    assert TrainedPair.objects.filter(run=taken).count() == training.LEAST_TRAINING


def test_a_run_taken_over_adds_to_what_it_cost_and_draws_no_step_twice(taken: TrainingRun, engine: Engine) -> None:
    engine.code = -9
    runs.execute(taken)
    taken.refresh_from_db()
    assert taken.state == TrainingRun.State.FAILED
    assert taken.tokens == 1_900, "what a run cost that failed is known too"
    assert taken.seconds["training"] == 2
    TrainingRun.objects.update(state="running", leased_until=timezone.now() - timedelta(seconds=1), finished_at=None)
    engine.code, engine.lines = 0, STEPS[1:]  # from a checkpoint after the first step
    again = training.take(taken.pk, lease="another")
    assert again is not None
    runs.execute(again)
    taken.refresh_from_db()
    assert taken.state == TrainingRun.State.PROMOTED, taken.error
    assert [point["step"] for point in taken.curve] == [1, 2, 3]
    assert taken.tokens == 1_900 + 2 * 300 + 2 * 20 * 10
    assert taken.seconds["training"] == 2 + 1
    assert taken.seconds["sampling"] == 2 + 1, "until the first step is told it may be sampling"


def test_the_curve_keeps_earlier_stages_and_old_rows_without_one() -> None:
    first = [{"stage": "star-0", "step": step} for step in (1, 2, 3)]
    second = [{"stage": "star-1", "step": step} for step in (1, 2)]
    assert run_progress.curve(first, second) == [*first, *second]
    assert run_progress.curve([*first, *second], [{"stage": "star-1", "step": 2}]) == [*first, *second]
    assert [point["step"] for point in run_progress.curve([{"step": 1}, {"step": 2}], first[1:])] == [1, 2, 3]


def test_examples_are_kept_without_what_no_database_takes() -> None:
    told = {"text": "It is\x00 \ud83dbetter.", "right": True, "verdict": "a", "pair_id": "7"}
    assert [one["text"] for one in run_progress.examples([], [told])] == ["It is better."]


def test_both_kinds_of_examples_are_kept_while_sampling() -> None:
    kept: list[dict[str, Any]] = []
    for number in range(9):
        kept = run_progress.examples(kept, [example(f"right {number}", right=True)])
    kept = run_progress.examples(kept, [example("wrong", right=False), example("right 0", right=True)])
    assert [one["text"] for one in kept] == ["right 0", "right 1", "right 2", "right 3", "wrong"]


def test_tokens_are_counted_from_files_that_only_grow(tmp_path: Path) -> None:
    assert tokens_of(tmp_path) == 0
    for folder in ("training", "champion"):
        (tmp_path / folder).mkdir()
    append_row(tmp_path / "training" / "progress.jsonl", SAMPLED)
    append_row(tmp_path / "champion" / "judgements.jsonl", {"tokens": 7})
    with (tmp_path / "champion" / "judgements.jsonl").open("a") as file:
        file.write('{"tokens": 9')  # torn by a kill
    assert tokens_of(tmp_path) == tokens_of(tmp_path) == 1_007


def test_the_zip_holds_the_frozen_rows_and_the_config_and_names_nobody(taken: TrainingRun, engine: Engine) -> None:
    assert not run_files.frozen(taken)
    runs.execute(taken)
    taken.refresh_from_db()
    assert run_files.frozen(taken)
    with zipfile.ZipFile(io.BytesIO(b"".join(run_files.archive(taken)))) as zipped:
        assert zipped.testzip() is None
        texts = {Path(name).name: zipped.read(name).decode() for name in zipped.namelist()}
    assert list(texts) == ["train.jsonl", "older.jsonl", "holdout.jsonl", "config.json"]
    folder = run_files.folder_of(taken)
    assert all(texts[name] == (folder / name).read_text() for name in run_files.SNAPSHOT)
    assert json.loads(texts["config.json"]) == taken.config
    assert len(texts["train.jsonl"].splitlines()) == 40
    assert "Grace" not in "".join(texts.values())
    assert str(folder.parent.parent) not in "".join(texts.values()), "where it lies is nobody's business"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("Warning: reward\n" + "the GPU ran out of memory: use a smaller model or batch", "Not enough memory"),
        (runs._reason(Ended(-9, "")), "Not enough memory"),
        (runs._reason(Ended(-15, "")), "The training process was killed"),
        ("The run's worker died again and again; see its log.", "The training process was killed"),
        ("the model judges/x cannot be loaded: no such file", "The judge could not be loaded"),
        ("judges/x: model.safetensors was changed after it was written", "The judge could not be loaded"),
        ("1 labelled pairs can be trained on (3 longer than 8 tokens): at least 2", "Too few labels for this method"),
        ("the judge gave no right rationale: more labels or samples are needed", "Too few labels for this method"),
        ("The frozen labels of this run were changed on disk.", "The frozen labels were changed"),
        ("KeyError: 'x'", "It ended with an error"),
    ],
)  # fmt: skip
def test_every_kind_of_failure_says_what_to_do(error: str, kind: str) -> None:
    failure = run_words.failure_of(TrainingRun(error=error))
    assert failure.kind == kind
    assert failure.advice


def test_a_rejection_says_by_how_much() -> None:
    ids = [str(number) for number in range(40)]
    good = [make_judgement(name, 0.9) for name in ids]
    bad = [make_judgement(name, 0.1, swapped=0.8, unparsed=1) for name in ids]
    decision = gate.decide(good, bad, dict.fromkeys(ids, "a"), {name: name for name in ids}).to_json()
    told = " ".join(one.by for one in run_words.shortfalls_of(decision))
    assert "0.80 less than the 0.80 that is asked." in told
    assert "points short of ruling out that it is worse by more than 5 points." in told
    assert "It fell by 100.0 points; 5.0 points are allowed, 95.0 points too many." in told
    assert "It rose by 50.0 points; 5.0 points are allowed, 45.0 points too many." in told
    assert run_words.shortfalls_of(gate.decide(bad, good, dict.fromkeys(ids, "a"), {i: i for i in ids}).to_json()) == []


def test_what_a_run_means_follows_its_frozen_config(taken: TrainingRun) -> None:
    taken.method = "genrm"
    text = " ".join(run_words.meaning_of(taken))
    assert f"trains on 40 labelled pairs that are new to {taken.origin}, and repeats none." in text
    assert "learns their shares" in text
    taken.config["soft_labels"] = False
    taken.replay_pairs, taken.start = 7, JudgeVersionFactory.create(name="the-champion")
    text = " ".join(run_words.meaning_of(taken))
    assert "must beat the champion the-champion." in text
    assert "repeats 7" in text
    assert "the response that most of them prefer, and the pair counts by their share." in text


@pytest.mark.parametrize(
    ("method", "learnt"),
    [
        ("genrm", "it learns their shares for either response; a tie is half for each."),
        ("bradley-terry", "it learns their shares for either response; a tie is half for each."),
        ("star-sft", "it learns the response that most of them prefer, and the pair counts by their share."),
        ("star-dpo", "it learns the response that most of them prefer, and the pair counts by their share."),
        ("grpo", "it learns the response that most of them prefer, and the pair counts by their share."),
    ],
)
def test_what_is_learnt_of_several_labels_is_said_as_the_method_learns_it(
    taken: TrainingRun, method: str, learnt: str
) -> None:
    taken.method = method
    assert f"Where several people labelled a pair {learnt}" in run_words.meaning_of(taken)


def test_the_time_left_follows_the_runs_own_pace_once_it_is_known(taken: TrainingRun) -> None:
    before = training.expected_seconds("star-dpo", 40)
    assert run_queries.seconds_left(taken) == before
    taken.progress, taken.seconds = 0.25, {"waiting": 1000.0, "sampling": 30.0}
    assert run_queries.seconds_left(taken) == pytest.approx(90)
    taken.state = TrainingRun.State.FAILED
    assert run_queries.seconds_left(taken) is None


def test_the_pace_is_that_at_work_not_that_of_the_clock(taken: TrainingRun) -> None:
    """The machine was off for a weekend, or somebody else had the device."""
    now = timezone.now()
    TrainingRun.objects.filter(pk=taken.pk).update(
        state="rejected", training_pairs=30, replay_pairs=10, started_at=now - timedelta(hours=61), finished_at=now,
        seconds={"waiting": 5_000, "training": 300, "champion": 60, "candidate": 40},
    )  # fmt: skip
    assert training.expected_seconds("star-dpo", 100) == 1_000
    TrainingRun.objects.filter(pk=taken.pk).update(seconds={})
    assert training.expected_seconds("star-dpo", 40) == 61 * 3_600, "an old one, whose phases were not counted"


def test_the_queue_names_other_projects_only_to_their_members(taken: TrainingRun, alice: User) -> None:
    judge = taken.start
    other = ProjectFactory.create(name="Secret letters")
    between, mine = (
        TrainingRun.objects.create(
            project=project, trigger="api", method="genrm", start=judge, origin=judge, training_pairs=100
        )
        for project in (other, ProjectFactory.create())
    )
    queue = run_queries.queue_for(mine, alice)
    assert queue is not None
    assert (queue.position, run_queries.queue_position(between), run_queries.queue_position(taken)) == (3, 2, None)
    assert [(one.run_id, one.running, one.project) for one in queue.ahead] == [
        (taken.pk, True, "Short stories"),
        (between.pk, False, ""),
    ]
    assert queue.seconds == training.expected_seconds("star-dpo", 40) + training.expected_seconds("genrm", 100)
    other.members.create(user=alice, role="annotator")
    queue = run_queries.queue_for(mine, alice)
    assert queue is not None
    assert (queue.ahead[1].project, queue.ahead[1].managed, queue.ahead[0].managed) == ("Secret letters", False, True)


def test_phases_are_those_of_the_method_and_stop_where_the_run_did(taken: TrainingRun) -> None:
    taken.phase = "training"
    states = {phase.name: phase.state for phase in run_queries.phases_of(taken)}
    assert states == {
        "waiting": "done", "snapshot": "done", "sampling": "done", "training": "now", "champion": "ahead",
        "candidate": "ahead", "gate": "ahead",
    }  # fmt: skip
    taken.state, taken.config = TrainingRun.State.CANCELLED, {"method": "bradley-terry"}
    states = {phase.name: phase.state for phase in run_queries.phases_of(taken)}
    assert states["training"] == "stopped"
    assert "sampling" not in states
    taken.state = TrainingRun.State.REJECTED
    assert {phase.state for phase in run_queries.phases_of(taken)} == {"done"}


def test_the_outlook_says_where_the_project_stands_and_what_the_gate_sees(champion: Deployment) -> None:
    project = champion.project
    Project.objects.update(holdout_share=0.2, audit_share=0.25)
    project.refresh_from_db()
    PairFactory.create_batch(3, project=project)
    found = retrain_outlook.outlook_of(project, training.readiness(project), labelled=37)
    assert [(one.labels, one.here) for one in found.milestones] == [
        (0, False), (20, False), (37, True), (200, False), (2_000, False),
    ]  # fmt: skip
    by_labels = {one.labels: one for one in found.milestones}
    assert (by_labels[200].training, by_labels[200].gate) == (120, 20)
    assert by_labels[200].detectable == gate.detectable(20, differing=0.4)
    assert by_labels[2_000].detectable == gate.detectable(200, differing=0.4)
    assert by_labels[20].detectable is None
    assert (by_labels[0].training_missing, by_labels[0].gate_missing) == (40, 15)
    assert not found.measured


@pytest.mark.parametrize(("new", "trains", "missing"), [(30, 33, 0), (4, 4, 6)])
def test_the_outlook_for_now_is_of_the_pairs_that_a_run_trains_on(
    champion: Deployment, new: int, trains: int, missing: int
) -> None:
    ready = training.Readiness(
        missing=[], origin=champion.judge, labelled_pairs=400, training_pairs=new, replay_pairs=new // 10,
        holdout_pairs=40, gate_pairs=20, methods=[],
    )  # fmt: skip
    found = retrain_outlook.outlook_of(champion.project, ready, labelled=440)
    [now] = [one for one in found.milestones if one.here]
    assert (now.training, now.training_missing) == (trains, missing)
    assert now.seconds == pytest.approx(training.expected_seconds(champion.project.retrain_method, trains), abs=1)
    assert (now.detectable is None) == bool(missing)


def test_the_outlook_takes_how_much_judges_differ_from_the_last_gate(champion: Deployment) -> None:
    TrainingRun.objects.create(
        project=champion.project, trigger="api", method="genrm", start=champion.judge, origin=champion.judge,
        state="rejected", gate={"low": -0.098, "high": 0.098, "groups": 80, "conditions": []},
    )  # fmt: skip
    ready = training.readiness(champion.project)
    found = retrain_outlook.outlook_of(champion.project, ready, labelled=0)
    assert found.measured
    assert found.differing == pytest.approx(0.2)


def test_a_larger_gate_sees_smaller_differences_and_as_decide_does() -> None:
    seen = [gate.detectable(groups, differing=0.4) for groups in (15, 60, 240)]
    assert seen == sorted(seen, reverse=True)
    ids = [str(number) for number in range(100)]
    old = [make_judgement(name, 0.9 if number % 5 else 0.1) for number, name in enumerate(ids)]
    new = [make_judgement(name, 0.9 if (number + 1) % 5 else 0.1) for number, name in enumerate(ids)]
    decided = gate.decide(old, new, dict.fromkeys(ids, "a"), {name: name for name in ids})
    assert decided.detectable == pytest.approx(gate.detectable(100, differing=0.4), rel=0.05)


def test_figures_that_are_promised_are_those_that_were_measured() -> None:
    results = Path(__file__, "../../../docs/results.md").resolve().read_text()
    before, after = retrain_outlook.MEASURED.before, retrain_outlook.MEASURED.after
    assert f"{before[0]:.3f} ({before[1]:.2f}–{before[2]:.2f})" in results
    assert f"**{after[0]:.3f}** ({after[1]:.2f}–{after[2]:.2f})" in results
    assert f"({retrain_outlook.MEASURED.pairs} pairs)" in results
    assert f"GenRM learns from {retrain_outlook.MEASURED.labels} human labels" in results


def test_the_policy_says_how_many_labels_are_missing(champion: Deployment) -> None:
    project = champion.project
    assert retrain_outlook.policy_of(project) == retrain_outlook.Policy(None, None, 0)
    project.retrain_after, project.retrain_every_days = 5, 3
    for pair in PairFactory.create_batch(2, project=project):
        LabelFactory.create(pair=pair)
    Label.objects.filter(pk=Label.objects.first().pk).update(withdrawn=True)  # type: ignore[union-attr]
    found = retrain_outlook.policy_of(project)
    assert (found.after, found.missing) == (5, 4)
    assert found.at == project.created_at + timedelta(days=3)


def test_a_shadow_of_another_project_is_not_what_became_of_the_candidate(taken: TrainingRun) -> None:
    candidate = JudgeVersionFactory.create()
    DeploymentFactory.create(judge=candidate)
    assert run_queries.deployment_of(taken) is None
    taken.candidate = candidate
    assert run_queries.deployment_of(taken) is None
    own = DeploymentFactory.create(judge=candidate, project=taken.project, state=Deployment.State.REJECTED)
    assert run_queries.deployment_of(taken) == own
