"""Build `pairs.jsonl`, the demo data set, from the texts under `source/`; the same texts give the same bytes.

It knows nothing of the database or the judge: the ordinary importer loads what it writes.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import yaml

HERE = Path(__file__).parent
SOURCE = HERE / "source"
OUTPUT = HERE / "pairs.jsonl"
NOTE = (
    "Written for Tandem with the demo: original prompts and answers, each good answer against one spoilt in a stated "
    "way or against one sampled from the embedded model. The example labels of ada, ben and chen are made up by the "
    "build script, with noise; they are no research data."
)
SEED = "tandem-demo-8"
KINDS = ("explain", "rewrite", "plan", "code", "arithmetic", "refusal", "summary")
ERROR_RATES = {  # how often an example annotator prefers the worse answer, by how it was made
    "off_topic": 0.03,
    "rude": 0.03,
    "cut_off": 0.05,
    "sampled": 0.08,
    "wrong_result": 0.12,
    "contradicts": 0.12,
    "padded": 0.15,
}
CARE = {"ada": 0.8, "ben": 1.0, "chen": 1.2}  # example annotators, and a factor on their error rate
SHARE_LABELLED = 0.85
FACTUAL = ("contradicts", "wrong_result")
SHARE_FACTUAL = 0.3  # of the pairs that only differ in a fact: a judge as small as the embedded one cannot check facts
TIE_RATE = 0.04
UNMISTAKABLE = ("off_topic", "rude", "cut_off")
SHARE_GOLD = 0.13  # of the unmistakable pairs: about 6 % of all
SPOILT_PER_PROMPT = 4

Side = Literal["a", "b"]


class SourceError(ValueError):
    """A source file breaks the layout in source/README.md; the message names the file and the prompt."""


@dataclass(frozen=True)
class Worse:
    """The worse answer of a pair, how it came to be worse, and why the good one is better."""

    how: str
    why: str
    text: str
    made: Literal["spoilt", "sampled"]


@dataclass(frozen=True)
class Prompt:
    """One prompt with its good answer and everything that is set against it."""

    key: str
    kind: str
    text: str
    good: str
    worse: tuple[Worse, ...]


def draw(*parts: str) -> float:
    """Return a number in [0, 1) that depends on nothing but the seed and the parts."""
    digest = hashlib.sha256("/".join((SEED, *parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def read_prompts(source: Path = SOURCE) -> list[Prompt]:
    """Read every YAML file of the folder, and the sampled answers where present."""
    sampled = read_sampled(source / "sampled.jsonl")
    prompts: list[Prompt] = []
    for path in sorted(source.glob("*.yaml")):
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
        prompts += [_prompt(path.name, entry, sampled) for entry in entries]
    keys = [prompt.key for prompt in prompts]
    if repeated := {key for key in keys if keys.count(key) > 1}:
        raise SourceError(f"prompt ids used twice: {', '.join(sorted(repeated))}")
    if unknown := sampled.keys() - set(keys):
        raise SourceError(f"sampled.jsonl names unknown prompts: {', '.join(sorted(unknown))}")
    return prompts


def read_sampled(path: Path) -> dict[str, Worse]:
    """Read the answers of the embedded model by prompt id; none where the file is absent."""
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    default = "A sample of the small model; the written answer is more to the point."
    return {
        str(line["prompt_id"]): Worse("sampled", str(line.get("why", default)), str(line["text"]).strip(), "sampled")
        for line in lines
    }


def _prompt(name: str, entry: object, sampled: dict[str, Worse]) -> Prompt:
    fields = _fields(name, entry, "id", "kind", "prompt", "good")
    where = f"{name}, {fields['id']}"
    spoilt = cast("dict[str, object]", entry).get("spoilt")
    if not isinstance(spoilt, list) or len(spoilt) != SPOILT_PER_PROMPT:
        raise SourceError(f"{where}: needs exactly {SPOILT_PER_PROMPT} spoilt answers")
    worse = [Worse(made="spoilt", **_fields(where, item, "how", "why", "text")) for item in spoilt]
    hows = {item.how for item in worse}
    if len(hows) < len(worse) or not hows <= ERROR_RATES.keys() - {"sampled"}:
        raise SourceError(f"{where}: each answer is spoilt in another of the known ways")
    if fields["kind"] not in KINDS:
        raise SourceError(f"{where}: unknown kind {fields['kind']!r}")
    if fields["id"] in sampled:
        worse.append(sampled[fields["id"]])
    return Prompt(fields["id"], fields["kind"], fields["prompt"], fields["good"], tuple(worse))


def _fields(where: str, entry: object, *names: str) -> dict[str, str]:
    if not isinstance(entry, dict):
        raise SourceError(f"{where}: expected a mapping, found {type(entry).__name__}")
    texts = {name: entry.get(name) for name in names}
    if missing := [name for name, text in texts.items() if not isinstance(text, str) or not text.strip()]:
        raise SourceError(f"{where}: no text under {', '.join(missing)}")
    return {name: str(text).strip() for name, text in texts.items()}


def good_sides(prompt: Prompt) -> dict[str, Side]:
    """Draw where the good answer stands in each pair: in A for half of the spoilt ones, so no side is favoured."""
    spoilt = [item.how for item in prompt.worse if item.made == "spoilt"]
    ranked = sorted(spoilt, key=lambda how: draw("order", prompt.key, how))
    sides: dict[str, Side] = {how: "a" if rank % 2 else "b" for rank, how in enumerate(ranked)}
    if len(prompt.worse) > len(spoilt):
        sides["sampled"] = "a" if draw("order", prompt.key, "sampled") < 0.5 else "b"
    return sides


def example_labels(pair_id: str, how: str, good: Side) -> list[dict[str, str]]:
    """Make up the labels of one pair: none for some of the pairs, else one to three annotators who may err."""
    if draw("labelled", pair_id) >= SHARE_LABELLED:
        return []
    count = 1 + int(draw("count", pair_id) * len(CARE))
    chosen = sorted(CARE, key=lambda name: draw("who", pair_id, name))[:count]
    return [{"annotator": name, "choice": _choice(pair_id, how, good, name)} for name in sorted(chosen)]


def _choice(pair_id: str, how: str, good: Side, annotator: str) -> str:
    if draw("tie", pair_id, annotator) < TIE_RATE:
        return "tie"
    erred = draw("error", pair_id, annotator) < ERROR_RATES[how] * CARE[annotator]
    return good if not erred else "b" if good == "a" else "a"


def pairs_of(prompt: Prompt) -> Iterator[dict[str, object]]:
    """Yield the prompt's pairs in the shape of the output file."""
    sides = good_sides(prompt)
    for worse in prompt.worse:
        pair_id = f"{prompt.key}-{worse.how.replace('_', '-')}"
        if worse.how in FACTUAL and draw("factual", pair_id) >= SHARE_FACTUAL:
            continue
        good = sides[worse.how]
        in_gold = worse.how in UNMISTAKABLE and draw("gold", pair_id) < SHARE_GOLD
        yield {
            "id": pair_id,
            "source": "tandem-demo",
            "prompt": prompt.text,
            "response_a": prompt.good if good == "a" else worse.text,
            "response_b": worse.text if good == "a" else prompt.good,
            "labels": example_labels(pair_id, worse.how, good),
            "gold": good if in_gold else None,
            "meta": {
                "kind": prompt.kind,
                "how": worse.how,
                "why": worse.why,
                "good": good,
                "made": worse.made,
                "group_key": prompt.key,
            },
        }


def render(prompts: Iterable[Prompt]) -> str:
    """Return the whole output file as text: one header line, then one pair a line."""
    pairs = [pair for prompt in prompts for pair in pairs_of(prompt)]
    header = {"header": {"note": NOTE, "licence": "Apache-2.0", "pairs": len(pairs)}}
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in (header, *pairs))


def main() -> None:
    """Write the data set beside this file."""
    text = render(read_prompts())
    OUTPUT.write_text(text, encoding="utf-8")
    print(f"{OUTPUT.name}: {text.count(chr(10)) - 1} pairs")


if __name__ == "__main__":
    main()
