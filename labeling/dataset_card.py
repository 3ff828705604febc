"""The card of a frozen dataset: Markdown as the Hugging Face hub reads it, from the manifest alone."""

import json
import re
from collections.abc import Mapping
from typing import Any

Manifest = Mapping[str, Any]

SOURCES = {
    "human": "Labels by people, one row for each annotator's verdict.",
    "judge": "**Synthetic labels**: what a generative judge prefers. No person confirmed them.",
    "consensus": "One label a pair: what people agreed on, or an adjudicator settled. Where the project lets the judge "
    "label alone, its labels are among them; the columns of `full` mark them by the method `judge`.",
    "hybrid": "One label a pair: what people agreed on where they labelled; elsewhere **synthetic labels** of a judge, "
    "only where it is as sure as it must be to label alone.",
}
SHAPES = {
    "preference": "`prompt`, `chosen` and `rejected` as chat messages, as TRL's DPO and reward trainers read them.",
    "reward": "Chosen and rejected with `margin` and scores, as TRL's RewardTrainer reads them.",
    "kto": "One response a row with a true or false `label`, as TRL's KTOTrainer reads it.",
    "sft": "The chosen response as `completion`, as TRL's SFTTrainer reads it.",
    "prompt": "Each prompt once, as TRL's GRPOTrainer reads it.",
}
LOADERS = {"ndjson": "json", "parquet": "parquet", "csv": "csv"}
MESSAGES = '[{"role": Value("string"), "content": Value("string")}]'
FEATURES = {
    "text": 'Value("string")',
    "whole": 'Value("int64")',
    "number": 'Value("float64")',
    "truth": 'Value("bool")',
    "time": 'Value("timestamp[us, tz=UTC]")',
    "json": "Json()",
    "messages": MESSAGES,
    "reply": MESSAGES,
}
"""By the kind of a column: its type for `datasets`."""
CHOICES = {"a": "A is better", "b": "B is better", "tie": "tie", "both_bad": "both bad"}
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def card_of(manifest: Manifest) -> str:
    """Front matter, what the rows are, how many, who said so, and how to load them. Holds no text of a pair."""
    filters = manifest["filters"]
    parts = [
        _front_matter(manifest),
        f"# {_plain(manifest['title'])}: {manifest['name']}\n",
        _about(filters),
        _counts(manifest),
        _judges(manifest["judges"]),
        _columns(manifest["columns"]),
        _limits(filters),
        _loading(manifest),
    ]
    return "\n".join(part for part in parts if part)


def _front_matter(manifest: Manifest) -> str:
    filters = manifest["filters"]
    tags = ["preference", "human-feedback" if filters["source"] == "human" else "rlhf"]
    if manifest["judges"]:
        tags.append("synthetic")
    size = next((name for most, name in SIZES if manifest["rows"] < most), "n>1M")
    name = f"{manifest['title']}: {manifest['name']}"
    lines = [
        "---",
        f"pretty_name: {json.dumps(name, ensure_ascii=False)}",
        "task_categories:",
        "- text-generation",
        "tags:",
        *(f"- {tag}" for tag in tags),
        "size_categories:",
        f"- {size}",
        "configs:",
        "- config_name: default",
        f"  data_files: {json.dumps(manifest['file'])}",
        "---",
        "",
    ]
    return "\n".join(lines)


def _about(filters: Mapping[str, Any]) -> str:
    form = (
        "Every column with its provenance, one pair with one label in a row."
        if filters["profile"] == "full"
        else SHAPES[filters["shape"]]
    )
    options = "\n".join(f"| {name} | {_cell(value)} |" for name, value in sorted(filters.items()))
    return f"{SOURCES[filters['source']]}\n\n{form}\n\n## Filters\n\n| option | value |\n|---|---|\n{options}\n"


def _counts(manifest: Manifest) -> str:
    labels = "\n".join(f"| {CHOICES.get(name, name)} | {count:,} |" for name, count in manifest["by_choice"].items())
    parts = ", ".join(f"{count:,} {name}" for name, count in manifest["by_part"].items()) or "none"
    table = f"| label | pairs read |\n|---|---|\n{labels}\n\n" if labels else ""
    return (
        f"## Counts\n\n{manifest['rows']:,} rows, {manifest['bytes']:,} bytes.\n\n{table}"
        f"By part of the project: {parts}. The parts calibration, gate and test measure the project's judges, "
        "and so do audit pairs: a judge trained elsewhere may learn from `part: train` and `audit: false` alone.\n"
    )


def _judges(judges: list[Mapping[str, Any]]) -> str:
    if not judges:
        return ""
    lines = [
        "## Synthetic labels\n",
        "| judge | made by | from | counts | temperature | labels alone from | prompt | weights |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in judges:
        prompt = f"{one['prompt_version']} ({one['prompt_hash'][:12]})"
        cells = (
            one["name"],
            one["made_by"],
            one["base_model"],
            one["counts"],
            _figure(one["temperature"]),
            _figure(one["selective_threshold"]),
            prompt,
            one["weights_sha256"][:12] or "–",
        )
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return "\n".join([*lines, ""])


def _columns(columns: list[Mapping[str, Any]]) -> str:
    lines = [f"| `{one['name']}` | {one['kind']}{', may be empty' if one['empty'] else ''} |" for one in columns]
    return "\n".join(["## Columns\n", "| column | kind |", "|---|---|", *lines, ""])


def _limits(filters: Mapping[str, Any]) -> str:
    lines = ["Preferences are of the people and guidelines of one project; they need not hold elsewhere."]
    if filters["source"] != "human":
        lines.append("A consensus hides how far people disagreed; `provenance.confidence` says it in `full`.")
    if filters["source"] in ("judge", "hybrid"):
        lines.append("A judge may favour length, format or position; the project's report on it measures how much.")
    if filters["profile"] == "strict" and filters.get("ties") == "drop" and filters["shape"] != "prompt":
        lines.append("Ties and pairs of which both responses are bad were left out.")
    return "\n".join(["## Limits\n", *(f"- {line}" for line in lines), ""])


def _loading(manifest: Manifest) -> str:
    filters = manifest["filters"]
    loader = LOADERS[filters["format"]]
    typed = loader == "json" and filters["profile"] == "full"
    names = "Features, Json, Value, load_dataset" if typed else "load_dataset"
    types, given = (_features(manifest["columns"]), ", features=features") if typed else ("", "")
    return (
        f"## Loading\n\n```python\nfrom datasets import {names}\n\n{types}"
        f'rows = load_dataset("{loader}", data_files="{manifest["file"]}", split="train"{given})\n```\n\n'
        f"SHA-256 of the file: `{manifest['sha256']}`\n"
    )


def _features(columns: list[Mapping[str, Any]]) -> str:
    """The types of the columns as code: a column may be empty in all the rows that a loader would guess them from."""
    outer: list[str] = []
    inner: dict[str, list[str]] = {}
    for one in columns:
        inside, _, name = str(one["name"]).rpartition(".")
        (inner.setdefault(inside, []) if inside else outer).append(f'"{name}": {FEATURES[one["kind"]]},')
    lines = [f"    {line}" for line in outer]
    for inside, own in inner.items():
        lines += [f'    "{inside}": {{', *(f"        {line}" for line in own), "    },"]
    return "\n".join(["features = Features({", *lines, "})", ""])


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _cell(value: object) -> str:
    return _plain(str(value)).replace("|", "\\|")


def _plain(text: str) -> str:
    """A name in a line of Markdown: nothing of it is markup."""
    return re.sub(r"([\\`*_\[\]<>#])", r"\\\1", " ".join(text.split()))
