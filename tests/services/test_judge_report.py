"""The judge's report: the engine's own figures on the stored rows, and win rates that stay valid after training."""

from dataclasses import replace

import pytest

from genrm_engine import types as engine
from genrm_engine.evaluation import bias, metrics, planner
from genrm_engine.evaluation.agreement import Figure
from genrm_engine.evaluation.prediction_powered import powered_mean
from labeling.models import (
    Consensus,
    Deployment,
    ImportBatch,
    Judgement,
    JudgeVersion,
    JudgingRequest,
    Pair,
    Project,
    TrainedPair,
    TrainingRun,
)
from labeling.services import datasets, judge_report, trust, win_rates
from tests.factories import DeploymentFactory, JudgementFactory, JudgeVersionFactory, LabelFactory, PairFactory

PARTS = ("calibration", "gate", "test")


@pytest.fixture
def held(champion: Deployment) -> judge_report.Held:
    """Sixty labelled and judged hold-out pairs in groups of two; the judge errs where it is unsure."""
    for number in range(60):
        choice = "a" if number % 3 else "b"
        sure = 0.55 + 0.4 * (number % 7) / 6
        right = number % 7 > 1
        pair = PairFactory.create(
            project=champion.project,
            part=PARTS[number // 2 % 3],
            group_key=f"group-{number // 2}",
            response_a="- one\n- two" if number % 4 else "I am ChatGPT, made by OpenAI.",
            response_b="Only one, at some length." if number % 5 else "one",
        )
        LabelFactory.create(pair=pair, choice=choice)
        p_a = sure if (choice == "a") == right else 1 - sure
        JudgementFactory.create(pair=pair, judge=champion.judge, p_a=p_a, consistent=number % 6 > 0)
    trust.measure(champion)
    champion.refresh_from_db()
    return judge_report.held_out(champion)


def test_the_report_is_the_engine_s_on_the_same_rows(held: judge_report.Held, champion: Deployment) -> None:
    rows = [row.to_labelled() for row in datasets.holdout_rows(champion.project)]
    judged = [trust.to_engine(row) for row in Judgement.objects.filter(judge=champion.judge)]
    found = judge_report.report_of(held)
    assert found.figures == metrics.measure(rows, judged)
    assert found.figures.n == 60
    assert found.figures.to_json() == champion.measured
    sides: dict[str, engine.Choice] = {row.pair.id: "a" for row in rows if "ChatGPT" in row.pair.response_a}
    assert found.bias == bias.bias_report(judged, rows, names_itself=sides)
    assert found.bias is not None
    assert found.bias.self_naming is not None
    assert found.bias.self_naming.judge.n == 15


def test_a_new_judgement_or_label_makes_a_new_report(held: judge_report.Held, champion: Deployment) -> None:
    before = judge_report.report_of(held)
    assert judge_report.report_of(judge_report.held_out(champion)) == before
    Judgement.objects.update(p_a=0.5)
    after = judge_report.report_of(judge_report.held_out(champion))
    assert after.figures.accuracy == 0.5
    LabelFactory.create(pair=PairFactory.create(project=champion.project, part="gate"), choice="b")
    LabelFactory.create(pair=held.rows[0].pair, choice=held.rows[0].choice)
    assert judge_report.report_of(judge_report.held_out(champion)).figures.n == 60
    LabelFactory.create_batch(2, pair=held.rows[0].pair, choice="tie")
    assert judge_report.report_of(judge_report.held_out(champion)).figures.n == 59


def test_a_pair_counts_as_self_naming_only_where_one_response_does() -> None:
    def side(a: str, b: str, model: str = "") -> str | None:
        return judge_report.names_itself(Pair(response_a=a, response_b=b, model_a=model))

    assert side("I am ChatGPT.", "Hello.") == "a"
    assert side("Hello.", "As an assistant trained by Anthropic, I am glad.") == "b"
    assert side("I am ChatGPT.", "I am Claude.") is None
    assert side("ChatGPT is a model.", "Hello.") is None
    assert side("I am Grumbold.", "Hello.") is None
    assert side("I am Grumbold.", "Hello.", model="grumbold-7b") == "a"


def test_a_plan_is_the_engine_s_on_the_parts_that_are_tested(held: judge_report.Held, champion: Deployment) -> None:
    LabelFactory.create(pair=held.rows[0].pair, choice=held.rows[0].choice)
    held = judge_report.held_out(champion)
    rows = {str(row.pair.pk): row for row in held.rows if row.pair.part in ("calibration", "test")}
    p_a = {one.pair_id: trust.calibrated(champion, one.p_a) for one in held.judged if one.pair_id in rows}
    sure = {item: max(p, 1 - p) for item, p in p_a.items()}
    [expected] = planner.accepting(
        sure,
        {item: float((p > 0.5) == (rows[item].choice == "a")) for item, p in p_a.items()},
        {item: row.pair.group_key for item, row in rows.items()},
        thresholds=[0.7],
        ceiling=Figure(2, 1.0, 1.0, 1.0),
    )
    found = judge_report.plan_of(held, more=30, confidence=0.7)
    assert found.chosen == expected
    assert expected.agreement.n == 40
    assert found.ceiling == Figure(2, 1.0, 1.0, 1.0)
    assert [step.threshold for step in found.steps] == planner.steps(sure)
    assert (found.more, found.forecast.versions, found.forecast.accuracy) == (30, 1, None)
    assert found.labels_missing == champion.thresholds["labels_missing"]


def test_people_s_share_counts_their_labels_and_not_the_judge_s(champion: Deployment) -> None:
    pairs = PairFactory.create_batch(10, project=champion.project)
    for pair in pairs[:4]:
        Consensus.objects.create(pair=pair, choice="a", confidence=1.0, method="majority", labels=1)
    Consensus.objects.create(pair=pairs[5], choice="a", confidence=0.9, method="judge", labels=0, judge=champion.judge)
    plan = judge_report.plan_of(judge_report.held_out(champion), more=2)
    assert (plan.human_share, plan.chosen, plan.steps, plan.ceiling) == (0.6, None, [], None)
    assert judge_report.plan_of(judge_report.held_out(champion), more=70).human_share == 1.0


def figures(accuracy: float) -> dict[str, float]:
    return {"n": 100, "accuracy": accuracy, "accuracy_low": accuracy - 0.08, "accuracy_high": accuracy + 0.08}


def trained(project: Project, start: JudgeVersion, labels: int, accuracies: tuple[float, float]) -> JudgeVersion:
    """A run that has ended, with its candidate."""
    candidate = JudgeVersionFactory.create(parent=start)
    TrainingRun.objects.create(
        project=project, trigger="button", method="genrm", state="promoted", start=start, origin=start,
        candidate=candidate,
        training_pairs=labels,
        metrics={"champion": {"all": figures(accuracies[0])}, "candidate": {"all": figures(accuracies[1])}},
    )  # fmt: skip
    return candidate


def test_the_learning_curve_is_that_of_the_project_s_versions(champion: Deployment) -> None:
    project = champion.project
    first = trained(project, champion.judge, 50, (0.55, 0.62))
    trained(project, first, 120, (0.61, 0.68))
    trained(DeploymentFactory.create().project, first, 999, (0.1, 0.2))
    DeploymentFactory.create(project=project, judge=first, state="retired", measured=figures(0.64))
    PairFactory.create(project=project, audit=True)
    for audit in (False, False, True):
        LabelFactory.create(pair=PairFactory.create(project=project, audit=audit))
    LabelFactory.create(pair=PairFactory.create(project=project), choice="tie")
    history = judge_report.history_of(project)
    assert [(one.labels, one.accuracy) for one in history] == [(0, 0.55), (50, 0.64), (120, 0.68)]
    found = judge_report.plan_of(judge_report.held_out(champion), more=100).forecast
    assert found == planner.more_labels(history, 100, now=2)
    assert found.accuracy is not None


def test_a_version_has_learnt_what_its_whole_line_was_trained_on(champion: Deployment) -> None:
    """A run from the champion trains on what is new to it; one from the base on everything."""
    project, base = champion.project, champion.judge
    pairs = PairFactory.create_batch(52, project=project)
    first = trained(project, base, 40, (0.55, 0.62))
    second = trained(project, first, 12, (0.62, 0.64))
    from_base = trained(project, base, 52, (0.55, 0.66))
    for judge, new in ((first, pairs[:40]), (second, pairs[40:]), (from_base, pairs)):
        run = TrainingRun.objects.get(candidate=judge)
        TrainedPair.objects.bulk_create([TrainedPair(run=run, pair=pair) for pair in new])
    elsewhere = trained(DeploymentFactory.create().project, second, 1, (0.1, 0.2))
    TrainedPair.objects.create(run=TrainingRun.objects.get(candidate=elsewhere), pair=PairFactory.create())
    learnt = {one.accuracy: one.labels for one in judge_report.history_of(project)}
    assert learnt == {0.55: 0, 0.62: 40, 0.64: 52, 0.66: 52}
    assert datasets.learnt_by(project)[second.pk] == len(datasets.trained_by(second, project))


@pytest.fixture
def compared(champion: Deployment, monkeypatch: pytest.MonkeyPatch) -> list[Pair]:
    """Forty pairs of "new" against "old": every second one is an audit pair, six of those are labelled by people."""
    monkeypatch.setattr(win_rates, "LEAST_GROUPS", 2)
    pairs = []
    for number in range(40):
        pair = PairFactory.create(
            project=champion.project, model_a="new", model_b="old", audit=number % 2 == 0, part="gate" * (number == 39)
        )
        JudgementFactory.create(pair=pair, judge=champion.judge, p_a=0.2 + 0.6 * (number % 5) / 4)
        if number < 12 or number % 2:
            LabelFactory.create(pair=pair, choice=("a", "a", "tie", "b", "both_bad")[number % 5])
        pairs.append(pair)
    return pairs


def expected(pairs: list[Pair], champion: Deployment, *, temperature: float = 1.0) -> object:
    """The engine's mean over these pairs, with the labels of the audit pairs among them."""
    logit = {str(row.pair_id): row.p_a / (1 - row.p_a) for row in Judgement.objects.filter(pair__in=pairs)}
    wins = {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5}
    labels = {str(pair.pk): wins[label.choice] for pair in pairs if pair.audit for label in pair.labels.all()}
    predictions = {item: odds ** (1 / temperature) / (1 + odds ** (1 / temperature)) for item, odds in logit.items()}
    return powered_mean(labels, predictions, {str(pair.pk): pair.group_key for pair in pairs})


def same(found: object, wanted: object) -> None:
    one, other = ({name: getattr(each, name) for name in WANTED} for each in (found, wanted))
    bounds = {name: min(1.0, max(0.0, other[name])) for name in WANTED if "low" in name or "high" in name}
    assert one == pytest.approx({**other, **bounds})


WANTED = ("n", "items", "estimate", "low", "high", "power", "classical", "classical_low", "classical_high")


def test_before_any_training_all_pairs_outside_the_holdout_are_predicted(
    champion: Deployment, compared: list[Pair]
) -> None:
    first, second = win_rates.win_rates(champion.project)
    lines = {line.model: line.found for line in (first, second)}
    assert set(lines) == {"new", "old"}
    assert lines["new"] is not None
    assert lines["old"] is not None
    assert (lines["new"].n, lines["new"].items) == (6, 39)
    same(lines["new"], expected(compared[:39], champion))
    assert lines["old"].estimate == pytest.approx(1 - lines["new"].estimate)
    assert first.found is not None
    assert first.found.estimate > 0.5, "the best comes first"


@pytest.mark.parametrize("ancestor", [False, True])
def test_after_training_only_audit_pairs_are_predicted(
    champion: Deployment, compared: list[Pair], ancestor: bool
) -> None:
    """Labels of the other pairs are in the weights of the champion, or of a judge that it was made from."""
    child = trained(champion.project, champion.judge, 50, (0.6, 0.6))
    if ancestor:
        child = JudgeVersionFactory.create(parent=JudgeVersionFactory.create(parent=child))
    assert not win_rates.audit_only(champion.project, champion)
    Deployment.objects.update(judge=child)
    Judgement.objects.update(judge=child)
    champion.refresh_from_db()
    assert win_rates.audit_only(champion.project, champion)
    line = next(line for line in win_rates.win_rates(champion.project) if line.model == "new")
    assert line.found is not None
    assert (line.found.n, line.found.items) == (6, 20)
    same(line.found, expected([pair for pair in compared if pair.audit], champion))


@pytest.mark.parametrize("learnt", [False, True])
def test_groups_that_joined_the_gate_count_for_the_win_rates_as_before(
    champion: Deployment, compared: list[Pair], learnt: bool
) -> None:
    """Two audit pairs join: one labelled, one not, each beside a pair that is not of the audit."""
    for one, beside in ((compared[0], compared[13]), (compared[20], compared[15])):
        Pair.objects.filter(pk__in=(one.pk, beside.pk)).update(group_key=one.group_key)
    if learnt:
        Deployment.objects.update(judge=trained(champion.project, champion.judge, 50, (0.6, 0.6)))
        Judgement.objects.update(judge=Deployment.objects.get().judge)
    before = win_rates.win_rates(champion.project)
    joined = (compared[0].group_key, compared[20].group_key)
    assert Pair.objects.filter(group_key__in=joined).update(part="gate") == 4
    assert win_rates.win_rates(champion.project) == before
    assert before[0].found is not None
    assert (before[0].found.n, before[0].found.items) == (6, 20 if learnt else 39)


def test_a_run_of_another_project_or_line_changes_nothing(champion: Deployment, compared: list[Pair]) -> None:
    other = DeploymentFactory.create()
    trained(other.project, champion.judge, 50, (0.6, 0.6))
    trained(champion.project, champion.judge, 50, (0.6, 0.6))
    assert not win_rates.audit_only(champion.project, champion)


def test_while_the_judge_is_at_work_only_audit_pairs_are_predicted(champion: Deployment, compared: list[Pair]) -> None:
    request = JudgingRequest.objects.create(pair=compared[0], judge=champion.judge, method="score", priority=10)
    assert win_rates.population(champion.project, champion).count() == 20
    JudgingRequest.objects.filter(pk=request.pk).update(state="failed")
    assert win_rates.population(champion.project, champion).count() == 39


def test_predictions_are_calibrated_and_gold_out_of_turn_is_left_out(
    champion: Deployment, compared: list[Pair]
) -> None:
    champion.calibration = {"temperature": 2.5}
    champion.save()
    line = next(line for line in win_rates.win_rates(champion.project) if line.model == "new")
    same(line.found, expected(compared[:39], champion, temperature=2.5))
    Pair.objects.filter(pk__in=[pair.pk for pair in compared[:5]]).update(gold="a")
    assert win_rates.population(champion.project, champion).count() == 39
    Project.objects.update(gold_every=5)
    champion.project.refresh_from_db()
    assert win_rates.population(champion.project, champion).count() == 34


def test_labels_that_showed_the_judge_or_were_routed_count_for_nothing(
    champion: Deployment, compared: list[Pair]
) -> None:
    for pair in compared[12:20:2]:
        LabelFactory.create(pair=pair, choice="a", blind=False)
    line = next(line for line in win_rates.win_rates(champion.project) if line.model == "new")
    assert line.found is not None
    assert line.found.n == 6


def test_labels_of_one_import_do_not_stand_for_another(champion: Deployment, compared: list[Pair]) -> None:
    """Of the second import few audit pairs are labelled, of the third none: each label stands for its own import."""
    batches = [
        ImportBatch.objects.create(project=champion.project, filename=name, sha256=name, state="done") for name in "abc"
    ]
    for number, pair in enumerate(compared):
        Pair.objects.filter(pk=pair.pk).update(batch=batches[0 if number < 8 else 1 if number < 24 else 2])
    line = next(line for line in win_rates.win_rates(champion.project) if line.model == "new")
    assert line.found is not None
    assert (line.found.n, line.found.items, line.left_out) == (6, 24, 15)
    wins = {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5}
    means = [
        [wins[pair.labels.get().choice] for pair in compared[start:end] if pair.audit and pair.labels.exists()]
        for start, end in ((0, 8), (8, 24))
    ]
    by_import = [sum(found) / len(found) for found in means]
    assert line.found.classical == pytest.approx((8 * by_import[0] + 16 * by_import[1]) / 24)


def test_a_win_rate_takes_ten_independent_prompts(
    champion: Deployment, compared: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(win_rates, "LEAST_GROUPS", 10)
    line = win_rates.win_rates(champion.project)[0]
    assert (line.found, line.missing) == (None, "human labels are needed in at least 10 groups, not 6")


def test_what_is_missing_is_said(champion: Deployment, compared: list[Pair]) -> None:
    for pair in compared:
        pair.labels.all().delete()
    lines = win_rates.win_rates(champion.project)
    assert [(line.found, line.missing) for line in lines] == [(None, "no item has a human label")] * 2
    Pair.objects.update(model_a="", model_b="")
    assert win_rates.win_rates(champion.project) == []
    Deployment.objects.all().delete()
    assert win_rates.win_rates(champion.project) == []


def test_the_learning_curve_is_of_one_line(champion: Deployment) -> None:
    """A judge from elsewhere, measured here while it reigned, is no version that learnt nothing."""
    stranger = DeploymentFactory.create(project=champion.project, state="retired", measured=measured_as(0.9))
    Deployment.objects.filter(pk=champion.pk).update(measured=measured_as(0.6))
    found = judge_report.history_of(champion.project)
    assert [version.accuracy for version in found] == [0.6]
    Deployment.objects.filter(pk=champion.pk).update(state="retired")
    Deployment.objects.filter(pk=stranger.pk).update(state="champion")
    assert [version.accuracy for version in judge_report.history_of(champion.project)] == [0.9]


def measured_as(accuracy: float) -> dict[str, float]:
    return {"n": 40, "accuracy": accuracy, "accuracy_low": accuracy - 0.1, "accuracy_high": accuracy + 0.1}


def test_the_digest_sees_every_judgement(held: judge_report.Held) -> None:
    other = replace(held, said=[replace(held.said[0], consistent=not held.said[0].consistent), *held.said[1:]])
    assert judge_report.report_of(other).figures.consistency != judge_report.report_of(held).figures.consistency
