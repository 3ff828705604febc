"""What was measured, as Markdown: one row for each data file, then what to know of each; knows figures, not judges."""

from collections.abc import Mapping, Sequence
from typing import Any

HEAD = (
    "data", "pairs", "groups", "accuracy (95 %)", "vote", "longer wins", "lead on it (95 %)", "shorter is right",
    "same winner after the swap", "no verdict", "NLL", "ECE", "ECE, temperature", "kappa", "human ceiling",
    "judge, same comparisons", "alternative annotator",
)  # fmt: skip


def table(sets: Mapping[str, Mapping[str, Any]]) -> str:
    """One row for each set's figures, as ``evaluate_sets`` writes them; an empty cell means that none could be had."""
    lines = [HEAD, ("---",) * len(HEAD), *(_row(name, figures) for name, figures in sets.items())]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def report(overall: Mapping[str, Any], sets: Mapping[str, Mapping[str, Any]]) -> str:
    """The table with a sentence on all pairs before it and the notes on each set after it."""
    parts = [_sentence(overall), table(sets)]
    for name, figures in sets.items():
        notes = [f"- {note}" for note in figures["notes"]]
        if notes:
            parts.append("\n".join([f"**{name}**", "", *notes]))
    return "\n\n".join(parts) + "\n"


def _sentence(overall: Mapping[str, Any]) -> str:
    if overall["accuracy"] is None:
        return "No pair has a judgement and a label A or B."
    refused = f" The judge's server refused {overall['refused']} more." if overall["refused"] else ""
    accuracy = _share(overall["accuracy"], overall["accuracy_low"], overall["accuracy_high"])
    return (
        f"Accuracy {accuracy} on {overall['n']} pairs in {overall['groups']} groups, the same winner in both orders on "
        f'{overall["consistency"]:.3f}; "the longer one wins" reaches {overall["longer_wins"]:.3f}.{refused}'
    )


def _row(name: str, figures: Mapping[str, Any]) -> tuple[str, ...]:
    calibration, length = figures["calibration"] or {}, figures["length"] or {}
    agreement, test = figures["agreement"] or {}, figures["alternative_annotator_test"] or {}
    return (
        name,
        str(figures["n"]),
        str(figures["groups"]),
        _share(figures["accuracy"], figures["accuracy_low"], figures["accuracy_high"]),
        _number(figures["vote_accuracy"]),
        _number(figures["longer_wins"]),
        _share(length.get("lead"), length.get("lead_low"), length.get("lead_high"), sign="+"),
        _number(figures["accuracy_shorter"]),
        _number(figures["consistency"]),
        _number(figures["unparsed_rate"]),
        _number(figures["nll"]),
        _number(figures["ece"]),
        _number((calibration.get("after_temperature") or {}).get("ece")),
        _figure(agreement.get("kappa")),
        _figure(agreement.get("human_ceiling")),
        _figure(agreement.get("judge_against_rest")),
        _test(test),
    )


def _test(test: Mapping[str, Any]) -> str:
    if test.get("winning_rate") is None:
        return ""
    verdict = "passed" if test["passed"] else "failed"
    return f"{verdict}: ω {test['winning_rate']:.2f}, ρ {test['advantage']:.2f} at ε {test['epsilon']:g}"


def _figure(figure: Mapping[str, Any] | None) -> str:
    return "" if figure is None else _share(figure["value"], figure["low"], figure["high"])


def _share(value: float | None, low: float | None, high: float | None, *, sign: str = "") -> str:
    if value is None or low is None or high is None:
        return ""
    return f"{value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def notes(figures: Mapping[str, Any], *, least_groups: int) -> Sequence[str]:
    """What a reader of one set's figures should know, in plain sentences."""
    found = []
    if figures["n"] == 0:
        found.append("No pair has a label A or B.")
    elif figures["groups"] < least_groups:
        found.append(f"The intervals rest on only {figures['groups']} independent groups.")
    if figures["calibration"]:
        found.append(f"Calibration was fitted on {figures['calibration']['fitted_on']}.")
    if figures["selection"]:
        found.append(_selected(figures["selection"]))
    test = figures["alternative_annotator_test"]
    if test and test["reason"]:
        found.append(f"The alternative annotator test was not done: {test['reason']}.")
    return found


def _selected(found: Mapping[str, Any]) -> str:
    """From where on the judge may label alone, or what is missing for that."""
    terms = f"certainty {found['certainty']:.0%}, a tie counts as disagreement"
    wish = f"agree with people in {found['wished']:.0%} of the pairs ({terms})"
    if found["threshold"] is not None:
        share = f"{found['coverage']:.0%} of the pairs"
        return f"From a confidence of {found['threshold']:.2f} on, {share}, its verdicts {wish}."
    if found["labels_missing"] is None:
        return f"At no confidence do its verdicts {wish}, and more labels will not change that."
    return (
        f"That its verdicts {wish} at some confidence would take about {found['labels_missing']} more labels to show."
    )
