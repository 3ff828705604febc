"""Fixtures of the engine's tests: pairs, a real small model, and a tiny one with its tokenizer."""

import fcntl
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from genrm_engine.embedded import ensure_converted
from genrm_engine.types import Judgement, LabelledPair, Message, Pair
from tests.engine.fake_server import FakeServer, serving

WORDS = [
    "apple",
    "river",
    "stone",
    "cloud",
    "lamp",
    "green",
    "seven",
    "walk",
    "paper",
    "music",
    "bread",
    "window",
    "tree",
    "light",
    "road",
]


def shared_home() -> Path:
    default = Path.home() / ".cache" / "tandem-tests"
    return Path(os.environ.get("TANDEM_TEST_HOME") or default)


def make_pair(number: int, *, good_first: bool = True, group: str = "") -> Pair:
    """A short pair of which one response carries the marker ``[good]``."""
    draw = random.Random(number)
    good = " ".join(draw.choices(WORDS, k=6)) + " [good]"
    bad = " ".join(draw.choices(WORDS, k=6)) + " [bad]"
    first, second = (good, bad) if good_first else (bad, good)
    return Pair(f"p{number}", (Message("user", f"Say something, number {number}."),), first, second, group)


def make_labelled(count: int) -> list[LabelledPair]:
    """Pairs whose good response is A in every second one."""
    found = []
    for number in range(count):
        good_first = number % 2 == 0
        found.append(LabelledPair(make_pair(number, good_first=good_first), "a" if good_first else "b"))
    return found


def make_judgement(pair_id: str, p_a: float, *, swapped: float | None = None, unparsed: int = 0) -> Judgement:
    other = p_a if swapped is None else swapped
    return Judgement(
        pair_id=pair_id,
        method="score",
        p_a=(p_a + other) / 2,
        p_a_straight=p_a,
        p_a_swapped=other,
        consistent=(p_a - 0.5) * (other - 0.5) > 0,
        votes_a=int(p_a > 0.5) + int(other > 0.5),
        votes_b=int(p_a <= 0.5) + int(other <= 0.5),
        samples=2,
        unparsed=unparsed,
        tokens=10,
        seconds=0.5,
    )


@pytest.fixture(autouse=True)
def _one_model_at_a_time(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests that run the real model take turns, in whatever process they are."""
    if request.node.get_closest_marker("model") is None or "tiny_model" in request.fixturenames:
        yield
        return
    home = shared_home()
    home.mkdir(parents=True, exist_ok=True)
    with (home / "model-tests.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def embedded_model() -> Path:
    """The embedded judge, converted once into a folder that later test runs use again."""
    return ensure_converted(shared_home(), progress=lambda text: None)


@pytest.fixture(scope="session")
def tiny_model(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two random layers behind the embedded judge's tokenizer: trains in milliseconds."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = AutoTokenizer.from_pretrained(embedded_model)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving(FakeServer()) as fake:
        yield fake


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A file of twenty labelled pairs."""
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps(row.to_json()) + "\n" for row in make_labelled(20)))
    return file


@pytest.fixture
def parted(data: Path) -> Path:
    """The same rows, every fourth of them in the split test and the others in train."""
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    parts = [{**row, "split": "train" if number % 4 else "test"} for number, row in enumerate(rows)]
    data.write_text("".join(json.dumps(row) + "\n" for row in parts))
    return data
