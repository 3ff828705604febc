"""A judge version's model card: Markdown with a YAML head, as model hubs read it. Knows no page.

It holds figures and settings only: no name of a person, no text of a pair, no guideline, no place on this machine.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from genrm_engine.evaluation import metrics
from genrm_engine.evaluation.agreement import Figure
from genrm_engine.evaluation.bias import BiasReport, Leaning
from genrm_engine.starter import EMBEDDED
from genrm_engine.training.config import HEADS
from labeling import version_queries
from labeling.models import Deployment, JudgeVersion, Pair, TrainingRun
from labeling.services import datasets, judge_report, outside, renewal, trust
from labeling.templatetags.tandem import percent, points

EMBEDDED_BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
PARTS = [
    (Pair.Part.CALIBRATION, "calibration: fits the temperature"),
    (Pair.Part.GATE, "gate: decides promotions, so it flatters those promoted"),
    (Pair.Part.TEST, "test: only reported"),
]
PRIVATE = frozenset({"model", "rubric", "warm_up", "device", "threads"})
"""Settings of a run that say where it ran or what people wrote."""
FEW = 100

Lines = Iterator[str]


def card_of(deployment: Deployment) -> str:
    """The card of a version as the project has measured it."""
    judge = deployment.judge
    made = TrainingRun.objects.select_related("origin", "start").filter(candidate=renewal.first_of(judge))
    run = made.order_by("-pk").first()
    held = judge_report.held_out(deployment)
    by_part = [
        (name, part, version_queries.measure([row for row in held.rows if row.pair.part == part], held.judged))
        for part, name in PARTS
    ]
    whole = version_queries.measure(held.rows, held.judged)
    test = next(found for _, part, found in by_part if part == Pair.Part.TEST)
    line = datasets.ancestry(judge)
    sections = [
        _head(deployment, line, test),
        _about(deployment, line),
        _holdout([*((name, found) for name, _, found in by_part), ("whole hold-out", whole)]),
        _outside(deployment),
        _calibration(deployment),
        _leanings(judge_report.report_of(held).bias),
        _gate(deployment),
        _data(run),
        _limits(deployment, test),
    ]
    return "\n".join(line for section in sections for line in section) + "\n"


def _head(deployment: Deployment, line: Sequence[JudgeVersion], test: metrics.Metrics) -> Lines:
    """The YAML head. JSON is YAML, so every value is written as JSON: whatever a project is called, it stays one."""
    judge = deployment.judge
    head: dict[str, object] = {
        "library_name": "transformers",
        "pipeline_tag": "text-classification" if judge.method in HEADS else "text-generation",
        "base_model": _base(line[-1]),
        "tags": ["reward-model", "generative-judge", "preference", judge.method],
    }
    if test.n:
        metric = {"type": "accuracy", "name": "agreement with people", "value": round(test.accuracy or 0.0, 4)}
        measured = {
            "task": {"type": "text-classification", "name": "pairwise preference"},
            "dataset": {
                "type": f"tandem-{deployment.project.slug}",
                "name": f"{deployment.project.name}, blind hold-out, test part",
            },
            "metrics": [metric],
        }
        head["model-index"] = [{"name": judge.name, "results": [measured]}]
    yield "---"
    for name, value in head.items():
        yield f"{name}: {json.dumps(value, ensure_ascii=False)}"
    yield "---"


def _about(deployment: Deployment, line: Sequence[JudgeVersion]) -> Lines:
    judge, project = deployment.judge, deployment.project
    yield f"\n# {_plain(judge.name)}\n"
    yield (
        f"A judge of preferences: given a prompt and two responses, it says which is better. Measured in the project "
        f"“{_plain(project.name)}”, where it is **{deployment.get_state_display()}**."
    )
    yield from _facts(
        {
            "Made by": judge.method,
            "Base model": _base(line[-1]),
            "Line of descent": " ← ".join(_plain(one.name) for one in line),
            "Its verdict counts by": deployment.get_counts_display(),
            "Backend": judge.backend,
            "Prompt": f"version {judge.prompt_version}, sha256 `{judge.prompt_hash}`",
            "Weights": f"sha256 `{judge.weights_sha256}`" if judge.weights_sha256 else "not trained here",
            "Written": f"{judge.created_at:%Y-%m-%d}",
        }
    )


def _holdout(parts: Iterable[tuple[str, metrics.Metrics]]) -> Lines:
    yield "\n## Agreement with people on the blind hold-out\n"
    yield (
        "Blind first verdicts of people on whole prompts that no judge trains on. Intervals are 95 %, by bootstrap "
        "over prompts. “Longer wins” is what always choosing the longer response would reach.\n"
    )
    yield from _figures(parts)


def _outside(deployment: Deployment) -> Lines:
    sets = []
    for other in deployment.project.outside.all():
        rows = outside.rows_of(other)
        judged = version_queries.said_by([deployment], rows)[deployment.judge_id]
        sets.append((_plain(other.name), version_queries.measure(rows, judged)))
    if sets:
        yield "\n## Out of distribution\n"
        yield "Labelled hold-out pairs of other projects, judged under their own guidelines.\n"
        yield from _figures(sets)


def _figures(parts: Iterable[tuple[str, metrics.Metrics]]) -> Lines:
    yield "| part | n | prompts | accuracy | same winner in both orders | longer wins | NLL | Brier | ECE | unparsed |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for name, one in parts:
        accuracy = _share(one.accuracy, one.accuracy_low, one.accuracy_high)
        consistency = _share(one.consistency, one.consistency_low, one.consistency_high)
        probabilities = " | ".join(_number(value) for value in (one.nll, one.brier, one.ece))
        yield (
            f"| {name} | {one.n} | {one.groups} | {accuracy} | {consistency} | {percent(one.longer_wins)} "
            f"| {probabilities} | {percent(one.unparsed_rate)} |"
        )


def _calibration(deployment: Deployment) -> Lines:
    yield "\n## Calibration\n"
    stored = deployment.calibration
    if stored.get("temperature") is not None:
        yield (
            f"Log-odds are divided by a temperature of {stored['temperature']:.3f}, fitted on {stored['labels']} "
            f"labels of the calibration part and measured on {stored['n']} of the others.\n"
        )
        yield "| probabilities | ECE | NLL | Brier |"
        yield "|---|---|---|---|"
        for name, label in (("before", "as the judge says them"), ("after_temperature", "after the temperature")):
            if one := stored.get(name):
                yield f"| {label} | {one['ece']:.3f} | {one['nll']:.3f} | {one['brier']:.3f} |"
    else:
        yield "Not calibrated: its probabilities stand as it says them."
    threshold = trust.labels_alone(deployment)
    if threshold is not None:
        wished = percent(deployment.thresholds.get("wished"))
        yield f"\nFrom a calibrated confidence of {percent(threshold)} on it keeps the wished agreement of {wished}."


def _leanings(bias: BiasReport | None) -> Lines:
    yield "\n## Leanings\n"
    if bias is None:
        yield "Not measured: no labelled hold-out pair is judged."
        return
    yield f"On {bias.n} hold-out pairs of {bias.groups} prompts, 95 % intervals.\n"
    yield f"- Lead on “longer wins”: {_gap(bias.lead)}"
    yield f"- Chooses the response shown first: {_rate(bias.position.first)} (an even judge: 50 %)"
    yield f"- Another winner in the other order: {_rate(bias.position.flips)}"
    named: list[tuple[str, Leaning | None]] = [
        ("the longer response", bias.length),
        ("the more formatted response", bias.formatting),
        ("the response that names its author", bias.self_naming),
    ]
    for name, leaning in named:
        if leaning is not None:
            yield (
                f"- Chooses {name}: {_rate(leaning.judge)}, people {_rate(leaning.people)}, "
                f"difference {_gap(leaning.excess)}, n = {leaning.judge.n}"
            )


def _gate(deployment: Deployment) -> Lines:
    yield "\n## The gate\n"
    gate = deployment.gate
    if not gate:
        yield "It was never compared with a champion."
        return
    decision = "promoted" if gate.get("promote") else "did not promote"
    yield (
        f"On {gate.get('n', 0)} pairs of {gate.get('groups', 0)} prompts the gate {decision} it: difference to the "
        f"champion {points(gate.get('difference'))} (95 %: {points(gate.get('low'))} to {points(gate.get('high'))})."
    )
    if gate.get("detectable") is not None:
        yield f"With these labels it can see a difference of {points(gate['detectable'])}."
    yield ""
    for condition in gate.get("conditions", []):
        yield f"- {'met' if condition['met'] else 'not met'}: {_plain(condition['text'])}"
    if deployment.overruled_by_id is not None:
        yield "\nA person overruled this decision, with a reason that the project keeps."


def _data(run: TrainingRun | None) -> Lines:
    yield "\n## Training\n"
    if run is None:
        yield "No training run of this installation made it."
        return
    rubric = str(run.config.get("rubric", ""))
    yield from _facts(
        {
            "Started from": _plain(run.origin.name),
            "Had to beat": _plain(run.start.name),
            "Pairs new to it": run.training_pairs,
            "Older pairs repeated": run.replay_pairs,
            "Hold-out pairs": run.holdout_pairs,
            "Blind labels in the project": run.blind_labels,
            "Frozen rows": f"sha256 `{run.snapshot_sha256}`" if run.snapshot_sha256 else "unknown",
            "Guidelines": f"sha256 `{hashlib.sha256(rubric.encode()).hexdigest()}`" if rubric else "none",
            "Seconds by phase": ", ".join(f"{name} {value:.0f}" for name, value in run.seconds.items()) or "unknown",
            "Tokens": run.tokens or "unknown",
        }
    )
    yield from _json("Configuration", {name: value for name, value in run.config.items() if name not in PRIVATE})
    yield from _json("Versions", run.versions)
    if run.yields:
        yield from _json("Sampled chains by iteration", run.yields)


def _limits(deployment: Deployment, test: metrics.Metrics) -> Lines:
    yield "\n## Limits\n"
    yield "- It judges as the people of one project do, under its guidelines. Elsewhere nothing is known of it."
    if test.n < FEW:
        yield f"- The test part has only {test.n} judged label{'' if test.n == 1 else 's'}: its intervals are wide."
    if not deployment.trusted:
        yield "- Its project does not trust it: it is below the floor of accuracy and consistency, or was not measured."
    if deployment.calibration.get("temperature") is None:
        yield "- Its probabilities are not calibrated: take them as an order, not as shares."
    if test.unparsed_rate:
        yield f"- In {percent(test.unparsed_rate)} of its answers no verdict could be read."
    yield "- Each decision of the gate wears the gate’s labels a little, because versions are chosen by them."
    yield "- Judge both orders of a pair and take the mean: a single order also says something about the order."


def _facts(facts: Mapping[str, object]) -> Lines:
    yield ""
    for name, value in facts.items():
        yield f"- **{name}:** {value}"


def _json(title: str, value: Mapping[str, Any] | Sequence[Any]) -> Lines:
    if value:
        yield f"\n### {title}\n"
        yield f"```json\n{json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)}\n```"


def _base(root: JudgeVersion) -> str:
    """The model that the line began with, as hubs name it; of a folder only its own name."""
    if root.base_model in EMBEDDED:
        return EMBEDDED_BASE
    name = root.base_model.rstrip("/")
    return name if name.count("/") == 1 and not name.startswith(("/", ".")) else name.rsplit("/", 1)[-1]


def _plain(text: str) -> str:
    """One line that breaks no table."""
    return " ".join(text.split()).replace("|", "\\|")


def _share(value: float | None, low: float | None, high: float | None) -> str:
    return percent(value) if low is None else f"{percent(value)} ({percent(low)} to {percent(high)})"


def _rate(figure: Figure) -> str:
    return _share(figure.value, figure.low, figure.high)


def _gap(figure: Figure) -> str:
    return f"{points(figure.value)} ({points(figure.low)} to {points(figure.high)})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
