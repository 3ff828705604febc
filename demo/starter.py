"""Build `genrm_engine/starter/train.jsonl`, the starter judge's training pairs, each with the reason for its choice.

Only prompts outside the demo project's hold-out are used, so that the demo's gate stays honest: no judge that ships
with Tandem has seen a pair that the gate decides on. It trains nothing, and the same texts give the same bytes.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from demo.build import FACTUAL, SHARE_FACTUAL, SOURCE, Prompt, SourceError, good_sides, read_prompts
from genrm_engine.types import LabelledPair, Message, Pair

RATIONALES = SOURCE / "rationales"
OUTPUT = Path(__file__).parent.parent / "genrm_engine" / "starter" / "train.jsonl"
PROJECT = "demo"
HOLDOUT_SHARE = 0.3
FEWEST_WORDS, MOST_WORDS = 12, 30
NAMES = ("{better}", "{worse}")
LETTER = re.compile(r"\b[AB]\b")

Rationales = Mapping[str, Mapping[str, str]]
"""Prompt id → how the answer was spoilt → the reason."""


def held_out(group: str) -> bool:
    """Whether the demo project keeps all pairs of this prompt away from training.

    The rule of the importer's `_part`, written out because the build needs no Django; a test holds both together.
    """
    digest = hashlib.sha256(f"{PROJECT}/hold-out/{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < HOLDOUT_SHARE


def read_rationales(folder: Path = RATIONALES) -> dict[str, dict[str, str]]:
    """Read every YAML file of the folder; raises SourceError that names the file and the entry."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(folder.glob("*.yaml")):
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(entries, dict):
            raise SourceError(f"{path.name}: expected prompt ids with their rationales")
        if repeated := found.keys() & entries.keys():
            raise SourceError(f"{path.name}: prompts given twice: {', '.join(sorted(repeated))}")
        found |= {str(key): _texts(f"{path.name}, {key}", texts) for key, texts in entries.items()}
    return found


def labelled_pairs(prompts: Sequence[Prompt], rationales: Rationales) -> list[LabelledPair]:
    """Every pair of every prompt outside the hold-out, with the true choice and its reason.

    Raises SourceError where a pair lacks its rationale or a rationale belongs to no pair that is trained on.
    """
    training = [prompt for prompt in prompts if not held_out(prompt.key)]
    expected = {(prompt.key, worse.how) for prompt in training for worse in prompt.worse}
    given = {(key, how) for key, texts in rationales.items() for how in texts}
    if missing := expected - given:
        raise SourceError(f"no rationale for {_listed(missing)}")
    if unknown := given - expected:
        raise SourceError(f"a rationale for no pair, or for one of the hold-out: {_listed(unknown)}")
    return [row for prompt in training for row in _rows(prompt, rationales[prompt.key])]


def render(rows: Iterable[LabelledPair]) -> str:
    """Return the whole output file as text, one labelled pair a line."""
    return "".join(json.dumps(row.to_json(), ensure_ascii=False) + "\n" for row in rows)


def _rows(prompt: Prompt, texts: Mapping[str, str]) -> Iterator[LabelledPair]:
    sides = good_sides(prompt)
    for worse in prompt.worse:
        good = sides[worse.how]
        responses = (prompt.good, worse.text) if good == "a" else (worse.text, prompt.good)
        pair_id = f"{prompt.key}-{worse.how.replace('_', '-')}"
        pair = Pair(pair_id, (Message("user", prompt.text),), *responses, group=prompt.key)
        weight = SHARE_FACTUAL if worse.how in FACTUAL else 1.0
        yield LabelledPair(pair, choice=good, weight=weight, rationale=texts[worse.how])


def _texts(where: str, texts: object) -> dict[str, str]:
    if not isinstance(texts, dict):
        raise SourceError(f"{where}: expected one rationale for each way of spoiling")
    return {str(how): _rationale(f"{where}, {how}", text) for how, text in texts.items()}


def _rationale(where: str, text: object) -> str:
    """The text, once it has the form that the starter judge shall learn."""
    if not isinstance(text, str) or text != " ".join(text.split()) or not text.endswith("."):
        raise SourceError(f"{where}: a rationale is one line of text that ends in a full stop")
    if not FEWEST_WORDS <= len(text.split()) <= MOST_WORDS:
        raise SourceError(f"{where}: a rationale has {FEWEST_WORDS} to {MOST_WORDS} words, not {len(text.split())}")
    if any(text.count(name) != 1 for name in NAMES):
        raise SourceError(f"{where}: a rationale names {' and '.join(NAMES)} once each")
    if LETTER.search(text) or "winner" in text.lower():
        raise SourceError(f"{where}: a rationale has neither a bare A or B nor the word of the verdict")
    return text


def _listed(pairs: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{key} ({how})" for key, how in sorted(pairs))


def main() -> None:
    """Write the training pairs into the engine's starter folder."""
    rows = labelled_pairs(read_prompts(), read_rationales())
    OUTPUT.write_text(render(rows), encoding="utf-8")
    sides = Counter(row.choice for row in rows)
    print(f"{OUTPUT.name}: {len(rows)} pairs, {sides['a']} with the better response in A")


if __name__ == "__main__":
    main()
