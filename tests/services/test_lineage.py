"""Which labels are new to which judge, along its line of descent; and which ones measure, and never train."""

import json
from pathlib import Path
from typing import Any

import pytest

from genrm_engine.errors import EngineError
from labeling import jobs
from labeling.models import (
    Consensus,
    Deployment,
    Judgement,
    JudgeVersion,
    Label,
    Pair,
    Project,
    PrunedWeights,
    TrainedPair,
    TrainingRun,
)
from labeling.services import datasets, deployments, housekeeping, training
from labeling.services.datasets import LabelledRow
from tests.conftest import Sent
from tests.factories import (
    DeploymentFactory,
    JudgementFactory,
    JudgeVersionFactory,
    LabelFactory,
    PairFactory,
    labelled,
)
from workers import run as runs
from workers.engine_process import Ended

State = TrainingRun.State


@pytest.fixture
def champion(project: Project, judge: JudgeVersion) -> Deployment:
    return DeploymentFactory.create(project=project, judge=judge)


@pytest.fixture
def ready(champion: Deployment) -> Project:
    labelled(champion.project, training.LEAST_TRAINING)
    labelled(champion.project, training.LEAST_GATE, part="gate")
    return champion.project


def ended(project: Project, state: str, *, method: str = "genrm", gate: dict[str, Any] | None = None) -> TrainingRun:
    """A run that has trained on what was new to its judge, to its end."""
    run = training.request_run(project, method=method, trigger="button")
    new, _older = split(project, run.origin)
    training.trains_on(run, [row.pair.pk for row in new])
    run.candidate = JudgeVersionFactory.create(method=method, parent=run.origin)
    run.state, run.gate = state, gate or {"promote": state == State.PROMOTED}
    run.save()
    end = deployments.promote if state == State.PROMOTED else deployments.reject
    end(project, run.candidate, counts="score", gate=run.gate, by=None)
    return run


def split(project: Project, origin: JudgeVersion | None) -> tuple[list[LabelledRow], list[LabelledRow]]:
    return training.divided(datasets.training_rows(project), origin, project)


def reigning(project: Project) -> JudgeVersion:
    return Deployment.objects.get(project=project, state="champion").judge


def numbers(rows: list[LabelledRow]) -> list[int]:
    return [row.pair.pk for row in rows]


def test_a_second_run_counts_as_new_what_the_champions_line_has_not_seen(ready: Project) -> None:
    first = ended(ready, State.PROMOTED)
    assert first.training_pairs == 40
    fresh = labelled(ready, 12)
    second = training.request_run(ready, method="genrm", trigger="button")
    assert (second.origin, second.start) == (first.candidate, first.candidate)
    assert (second.training_pairs, second.replay_pairs) == (12, 6)
    new, older = split(ready, second.origin)
    assert numbers(new) == [pair.pk for pair in fresh]
    assert len(older) == 40


def test_too_few_new_labels_start_no_run_from_the_champion(ready: Project) -> None:
    ended(ready, State.PROMOTED)
    labelled(ready, training.LEAST_NEW - 1)
    [missing] = training.readiness(ready).missing
    assert missing.startswith("Label 1 more pairs that")
    labelled(ready, 1)
    assert training.readiness(ready).missing == []


def test_what_a_rejected_candidate_has_trained_on_stays_new_to_the_champion(ready: Project) -> None:
    run = ended(ready, State.REJECTED)
    assert TrainedPair.objects.filter(run=run).count() == 40
    again = training.readiness(ready)
    assert (again.training_pairs, again.replay_pairs) == (40, 0)
    assert again.origin == run.start


def test_a_roll_back_makes_the_labels_of_the_judge_that_went_new_again(ready: Project, alice: Any) -> None:
    Deployment.objects.update(promoted_at=Deployment.objects.get().created_at)
    ended(ready, State.PROMOTED)
    assert len(split(ready, reigning(ready))[0]) == 0
    deployments.roll_back(ready, by=alice)
    assert len(split(ready, reigning(ready))[0]) == 40


def test_a_grandchild_has_seen_what_its_whole_line_has_seen(ready: Project) -> None:
    ended(ready, State.PROMOTED)
    labelled(ready, 20)
    rejected = ended(ready, State.REJECTED)
    second = ended(ready, State.PROMOTED)
    assert second.candidate is not None
    assert datasets.ancestry(second.candidate)[1:] == datasets.ancestry(second.origin)
    assert len(datasets.ancestry(second.candidate)) == 3
    assert TrainedPair.objects.filter(run=second).count() == 20
    assert len(datasets.trained_by(second.candidate, ready)) == 60
    assert rejected.candidate is not None
    assert len(datasets.trained_by(rejected.candidate, ready)) == 60


def test_another_projects_run_makes_nothing_old_here(ready: Project) -> None:
    other = ended(ready, State.PROMOTED)
    assert other.candidate is not None
    elsewhere = DeploymentFactory.create(judge=other.candidate).project
    labelled(elsewhere, 3)
    assert len(split(elsewhere, other.candidate)[0]) == 3


def test_from_the_base_everything_is_new(ready: Project, judge: JudgeVersion) -> None:
    first = ended(ready, State.PROMOTED)
    Project.objects.update(retrain_from=Project.RetrainFrom.BASE)
    ready.refresh_from_db()
    run = training.request_run(ready, method="genrm", trigger="button")
    assert (run.origin, run.start) == (judge, first.candidate)
    assert (run.training_pairs, run.replay_pairs) == (40, 0)
    assert run.config["model"] == judge.weights


def test_a_reward_model_hands_on_its_newest_ancestor_that_writes(ready: Project) -> None:
    writer = ended(ready, State.PROMOTED)
    labelled(ready, 10)
    reward = ended(ready, State.PROMOTED, method="bradley-terry")
    labelled(ready, 10)
    again = ended(ready, State.PROMOTED, method="bradley-terry")
    assert reigning(ready) == again.candidate
    star = training.readiness(ready, method="star-dpo")
    assert star.origin == writer.candidate
    assert star.training_pairs == 20, "what the reward models have learnt is new to the one that writes"
    assert training.readiness(ready, method="bradley-terry").origin == again.candidate
    assert reward.origin == writer.candidate


def test_a_champion_that_cannot_be_trained_here_leaves_it_to_the_first_that_can(
    ready: Project, judge: JudgeVersion
) -> None:
    remote = JudgeVersionFactory.create(trainable=False)
    deployments.promote(ready, remote, counts="score", gate={}, by=None)
    run = training.request_run(ready, method="genrm", trigger="button")
    assert (run.start, run.origin) == (remote, judge)


def test_pruned_weights_start_no_run(ready: Project, judge: JudgeVersion, alice: Any) -> None:
    PrunedWeights.objects.create(judge=judge, by=alice, bytes=1)
    [missing] = training.readiness(ready).missing
    assert "were deleted" in missing


def test_hold_out_pairs_of_too_few_prompts_start_no_run(champion: Deployment) -> None:
    project = champion.project
    labelled(project, training.LEAST_TRAINING)
    for number in range(training.LEAST_GATE):
        labelled(project, 1, part="gate", group_key=f"prompt {number % 4}")
    [missing] = training.readiness(project).missing
    assert "of 1 more prompts (4 of 5)" in missing
    labelled(project, 1, part="gate")
    assert training.readiness(project).missing == []


@pytest.fixture
def audited(ready: Project) -> dict[str, Pair]:
    """Audit pairs: one whose group is untouched, and others whose group teaches, has taught or has no label."""
    found = {}
    for name in ("untouched", "teaching", "taught", "unlabelled"):
        found[name] = PairFactory.create(project=ready, audit=True, group_key=name)
        if name != "unlabelled":
            LabelFactory.create(pair=found[name])
    labelled(ready, 1, group_key="teaching")
    [taught] = labelled(ready, 1, group_key="taught")
    found["beside"] = PairFactory.create(project=ready, group_key="untouched")
    ended(ready, State.REJECTED, gate={"promote": False})
    Label.objects.filter(pair=taught).update(withdrawn=True)
    return found


def parts(pairs: dict[str, Pair]) -> dict[str, str]:
    for pair in pairs.values():
        pair.refresh_from_db()
    return {name: pair.part for name, pair in pairs.items()}


def test_only_untouched_audit_groups_join_the_gate(ready: Project, audited: dict[str, Pair]) -> None:
    before = set(numbers(datasets.training_rows(ready)))
    assert datasets.refresh_gate(ready) == 1
    assert parts(audited) == {"untouched": "gate", "beside": "gate", "teaching": "", "taught": "", "unlabelled": ""}
    assert set(numbers(datasets.training_rows(ready))) == before, "nothing that teaches is taken away"
    assert audited["untouched"].pk in numbers(datasets.holdout_rows(ready))
    assert datasets.refresh_gate(ready) == 0


def test_before_a_first_decision_nothing_joins(ready: Project, audited: dict[str, Pair]) -> None:
    TrainingRun.objects.update(gate={}, state=State.FAILED)
    assert datasets.refresh_gate(ready) == 0
    assert set(parts(audited).values()) == {""}


def test_what_joins_is_a_pair_for_people_again(
    ready: Project, audited: dict[str, Pair], sent: Sent, django_capture_on_commit_callbacks: Any
) -> None:
    """The judge alone had labelled a pair of the group: once that measures, its label goes."""
    Consensus.objects.create(
        pair=audited["beside"], choice="a", confidence=0.9, method="judge", judge=reigning(ready), labels=0
    )
    with django_capture_on_commit_callbacks(execute=True):
        datasets.refresh_gate(ready)
    assert sent == [(jobs.REFRESH_PROJECT, {"project_id": ready.pk})]
    housekeeping.refresh_project(ready.pk)
    assert not Consensus.objects.filter(pair=audited["beside"]).exists()


class Engine:
    """Stands in for the engine: every candidate is right, every champion wrong; keeps what was trained on."""

    def __init__(self) -> None:
        self.trained: list[set[str]] = []

    def __call__(self, arguments: list[str], *, out: Path, **_other: Any) -> Ended:
        given = {name: arguments[place + 1] for place, name in enumerate(arguments) if name.startswith("--")}
        out.mkdir(parents=True, exist_ok=True)
        if arguments[0] == "train":
            files = [Path(given["--train"]), *([Path(given["--replay"])] if "--replay" in given else [])]
            self.trained.append({row["id"] for file in files for row in rows_of(file)})
            (out / "judge").mkdir(exist_ok=True)
            (out / "judge" / "model.safetensors").write_bytes(str(len(self.trained)).encode())
            return Ended(0, "")
        right = out.name == "candidate"
        with (out / "judgements.jsonl").open("w") as file:
            for row in rows_of(Path(given["--data"])):
                p_a = 0.9 if (row["choice"] == "a") == right else 0.1
                made = JudgementFactory.build(p_a=p_a)
                fields = ("p_a", "p_a_straight", "p_a_swapped", "consistent", "votes_a", "votes_b", "samples")
                said = {name: getattr(made, name) for name in (*fields, "unparsed", "tokens", "seconds")}
                file.write(json.dumps({"pair_id": row["id"], "method": given["--method"], **said}) + "\n")
        return Ended(0, "")


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def executed(run: TrainingRun, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> TrainingRun:
    monkeypatch.setattr(runs, "run_engine", engine)
    taken = training.take(run.pk, lease=f"lease {run.pk}")
    assert taken is not None
    runs.execute(taken)
    run.refresh_from_db()
    return run


def test_hold_out_groups_never_train_also_after_the_gate_was_refreshed(
    ready: Project, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three runs one after the other; audit groups join the gate before the second."""
    labelled(ready, 8, audit=True)
    engine = Engine()
    states = []
    for _ in range(3):
        run = executed(training.request_run(ready, method="genrm", trigger="button"), engine, monkeypatch)
        states.append(run.state)
        labelled(ready, 15)
        labelled(ready, 3, audit=True)
    assert states == [State.PROMOTED] * 3
    assert Pair.objects.filter(part="gate", audit=True).count() == 11 + 3
    held_out = {str(pk) for pk in Pair.objects.exclude(part="").values_list("pk", flat=True)}
    audit = {str(pk) for pk in Pair.objects.filter(audit=True).values_list("pk", flat=True)}
    for trained in engine.trained:
        assert trained
        assert not trained & (held_out | audit)
    assert [len(trained) for trained in engine.trained] == [40, 55, 70]
    for run in TrainingRun.objects.all():
        measured = {row["group"] for row in rows_of(home / "runs" / str(run.pk) / "holdout.jsonl")}
        for name in ("train.jsonl", "older.jsonl"):
            assert not measured & {row["group"] for row in rows_of(home / "runs" / str(run.pk) / name)}


def test_a_worker_that_died_after_freezing_has_the_new_pairs_noted_by_the_next(
    ready: Project, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training.request_run(ready, method="genrm", trigger="button")
    with monkeypatch.context() as patched:
        patched.setattr(training, "trains_on", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            executed(run, Engine(), patched)
    assert not TrainedPair.objects.exists()
    TrainingRun.objects.update(state=State.QUEUED)
    gone = Pair.objects.filter(part="")[0]
    gone.delete()
    assert executed(run, Engine(), monkeypatch).state == State.PROMOTED
    assert TrainedPair.objects.filter(run=run).count() == 39


def test_a_run_ends_and_its_judge_reigns_together_or_not_at_all(
    ready: Project, judge: JudgeVersion, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that lost its run while it decided has promoted nobody."""
    run = training.request_run(ready, method="genrm", trigger="button")
    finish = training.finish

    def too_late(run: TrainingRun, *arguments: Any, **fields: Any) -> bool:
        TrainingRun.objects.filter(pk=run.pk).update(lease="somebody else's")
        return finish(run, *arguments, **fields)

    with monkeypatch.context() as patched:
        patched.setattr(training, "finish", too_late)
        executed(run, Engine(), patched)
    assert run.state == State.RUNNING
    assert (reigning(ready), Deployment.objects.count()) == (judge, 1)


def test_a_candidate_that_beat_a_judge_which_reigns_no_longer_is_kept_for_the_record(
    ready: Project, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training.request_run(ready, method="genrm", trigger="button")
    other = JudgeVersionFactory.create()
    deployments.promote(ready, other, counts="score", gate={}, by=None)
    executed(run, Engine(), monkeypatch)
    assert (run.state, reigning(ready)) == (State.REJECTED, other)
    assert f"{other} reigns by now" in run.message
    assert run.gate["promote"] is False
    assert Deployment.objects.get(judge=run.candidate).state == "rejected"


class NeverReasons(Engine):
    """Stands in for the engine where the champion is a reward model: it cannot be asked for rationales."""

    def __call__(self, arguments: list[str], *, out: Path, **other: Any) -> Ended:
        if out.name == "champion" and arguments[arguments.index("--method") + 1] == "cot":
            return Ended(2, "this judge writes nothing")
        return super().__call__(arguments, out=out, **other)


def test_the_champion_is_measured_as_it_reigns_and_the_candidate_as_it_would(
    ready: Project, champion: Deployment, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward_model = JudgeVersionFactory.create(method="bradley-terry", parent=champion.judge)
    deployments.promote(ready, reward_model, counts="score", gate={}, by=None)
    run = executed(training.request_run(ready, method="star-dpo", trigger="button"), NeverReasons(), monkeypatch)
    assert (run.state, run.origin) == (State.PROMOTED, champion.judge), run.error
    said = set(Judgement.objects.values_list("judge", "method"))
    assert said == {(reward_model.pk, "score"), (reigning(ready).pk, "cot")}


def test_a_run_that_is_cancelled_at_the_last_moment_promotes_nobody(
    ready: Project, judge: JudgeVersion, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training.request_run(ready, method="genrm", trigger="button")
    reign = runs._reign

    def cancelled(*arguments: Any) -> Any:
        training.cancel_run(run, by=None)
        return reign(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(runs, "_reign", cancelled)
        executed(run, Engine(), patched)
    assert (run.state, reigning(ready)) == (State.CANCELLED, judge)
    kept = Deployment.objects.exclude(judge=judge)
    assert list(kept.values_list("judge", "state", "gate")) == [(run.candidate_id, "retired", {})]


@pytest.mark.parametrize("error", [EngineError("the weights are gone"), OSError(28, "No space left on device")])
def test_what_goes_wrong_beside_the_engine_ends_the_run_too(
    ready: Project, home: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: Any) -> Any:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(runs, "weights_sha256", fails)
        run = executed(training.request_run(ready, method="genrm", trigger="button"), Engine(), patched)
    assert run.state == State.FAILED
    assert str(error) in run.error
