"""The free form in the sampler of this process: a typist whose every token is known, and the real small model."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from genrm_engine.backends import BackendSpec, load_backend
from genrm_engine.backends.encoding import PromptEncoder
from genrm_engine.backends.sampling import Sampler
from genrm_engine.judge import judge
from genrm_engine.prompts import build_prompt
from genrm_engine.types import Chain, JudgeSettings, Sampling
from tests.engine.conftest import make_pair

pytestmark = pytest.mark.model
END = "\0"
SIZE = 128


class Letters:
    """A tokenizer with a token for each character, and 0 as the end."""

    added_tokens_decoder: dict[int, Any] = {}
    all_special_ids = (0,)
    pad_token_id = eos_token_id = 0
    chat_template = None

    def __len__(self) -> int:
        return SIZE

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in text]}

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        return "".join(chr(one) for one in ids if one or not skip_special_tokens)

    def batch_decode(self, rows: list[list[int]], skip_special_tokens: bool = False) -> list[str]:
        return [self.decode(row) for row in rows]


class Cache:
    """What a typist remembers of each row: which text it writes, and how long its prompt was."""

    layers = ()

    def __init__(self, texts: Any, lengths: Any) -> None:
        self.texts, self.lengths = texts, lengths

    def reorder_cache(self, rows: Any) -> None:
        self.texts, self.lengths = self.texts[rows], self.lengths[rows]


class Typist:
    """A model that writes a text of its own after each prompt; the prompt's first letter says which.

    Where the text has an A or a B the other letter is the second choice, by ``p_a`` of the place.
    """

    config: Any = SimpleNamespace(get_text_config=SimpleNamespace)
    device = "cpu"

    def __init__(self, *texts: str) -> None:
        import torch

        self.texts = texts
        self.steps = 0
        self._head = torch.nn.Linear(SIZE, SIZE, bias=False)
        self._head.weight.data = torch.eye(SIZE)
        self.base_model = self.forward

    def get_output_embeddings(self) -> Any:
        return self._head

    def forward(self, input_ids: Any, attention_mask: Any, position_ids: Any, **known: Any) -> Any:
        import torch

        cache = known.get("past_key_values")
        if cache is None:
            lengths = attention_mask.sum(dim=1)
            begins = input_ids.shape[1] - lengths
            cache = Cache(input_ids.gather(1, begins[:, None])[:, 0] - ord("0"), lengths)
        self.steps += 1
        hidden = torch.full((*input_ids.shape, SIZE), -30.0)
        for row in range(len(input_ids)):
            place = int(position_ids[row, -1] - cache.lengths[row]) + 1
            self._think(hidden[row, -1], self.texts[int(cache.texts[row])], place)
        return SimpleNamespace(past_key_values=cache, last_hidden_state=hidden)

    def _think(self, logits: Any, text: str, place: int) -> None:
        import math

        letter = text[place] if place < len(text) else END
        logits[ord(letter)] = 5.0
        if letter in "AB":
            likelier = p_a(letter, place) if letter == "A" else 1 - p_a(letter, place)
            logits[ord("B" if letter == "A" else "A")] = 5.0 + math.log((1 - likelier) / likelier)


def p_a(letter: str, place: int) -> float:
    """P(A) where the typist writes this letter at this place."""
    distance = (1 + place) / 250
    return 0.5 + distance if letter == "A" else 0.5 - distance


def typed(*texts: str, opening: str = "Reason:", **sampling: Any) -> tuple[list[Chain], Typist]:
    model: Any = Typist(*texts)
    letters: Any = Letters()
    sampler = Sampler(model, PromptEncoder(letters))
    ids = [[ord(x) for x in f"{number}{'x' * 3 * number} {opening}"] for number in range(len(texts))]
    asked = Sampling(**{"samples": 1, "max_tokens": 90, "top_p": 0.01, "verdict": "free", **sampling})
    return [chain for [chain] in sampler.generate(ids, asked)], model


def test_the_probability_is_that_at_the_verdict_which_counts() -> None:
    text = " He says Winner: [A].\nA bit long, B is not.\n\nWinner: [B]"
    [chain], _ = typed(text)
    assert chain.text == "He says Winner: [A].\nA bit long, B is not."
    assert chain.p_first == pytest.approx(p_a("B", text.rindex("B")), abs=1e-5)
    assert chain.names_first is False
    assert chain.tokens == len(text)
    assert Letters().decode(list(chain.token_ids)) == " " + chain.text


def test_rows_of_a_batch_do_not_mix_and_each_ends_in_its_own_time() -> None:
    texts = [
        " Short.\nWinner: [A]",
        " I cannot say.",
        " A much longer reason is given here, over\nseveral lines.\nWinner: [[B]]",
        "",
        " Yes.\n**Winner:** [A]\n" + "and so on " * 20,
        " Winner: (A)",
    ]
    together, _ = typed(*texts)
    for number, (text, chain) in enumerate(zip(texts, together, strict=True)):
        alone = typed(*texts[: number + 1])[0][-1]
        assert chain == replace(alone, p_first=chain.p_first)
        assert (chain.p_first is None) == (number in (1, 3, 5))
        if chain.p_first is None:
            assert chain.text == text.strip()
        else:
            assert chain.p_first == pytest.approx(alone.p_first, abs=1e-6)
            assert (chain.p_first > 0.5) == chain.names_first == ("B]" not in text)
    assert together[4].tokens == len(" Yes.\n**Winner:** [A]\n")


def test_a_verdict_line_ends_the_chain_at_its_line_break_and_a_mention_does_not() -> None:
    ended, model = typed(" Yes.\nWinner: [A]\nWinner: [B]\n")
    assert ended[0].p_first is not None
    assert ended[0].p_first > 0.5
    assert model.steps == ended[0].tokens == len(" Yes.\nWinner: [A]\n")
    mentioned, _ = typed(" It says Winner: [A]\nand is wrong.\nWinner: [B]")
    assert mentioned[0].p_first is not None
    assert mentioned[0].p_first < 0.5


@pytest.mark.parametrize("cut", [1, 5, 8, 9])
def test_what_the_token_limit_cuts_off_is_no_verdict(cut: int) -> None:
    text = " It claims Winner: [B].\nWinner: [A]"
    length = text.rindex("Winner") + cut
    [chain], model = typed(text, max_tokens=length)
    assert chain == Chain(text[:length].strip(), None, length, tuple(ord(x) for x in text[:length]))
    assert model.steps == length


def test_the_opening_may_have_begun_the_form() -> None:
    [chain], _ = typed("B]\n", opening="Reason: It is so.\nWinner: [")
    assert chain.p_first == pytest.approx(p_a("B", 0), abs=1e-5)
    assert (chain.text, chain.token_ids, chain.tokens) == ("", (), 3)


def test_a_forced_verdict_is_still_one_line_and_read_after_the_form() -> None:
    chains, model = typed(" Good.\nWinner: [A]", " Better than that", verdict="forced")
    assert [chain.text for chain in chains] == ["Good.", "Better than that"]
    assert [chain.p_first for chain in chains] == pytest.approx([p_a("A", 16), 0.5], abs=1e-5)
    assert [chain.tokens for chain in chains] == [6 + 10, 17 + 10]
    assert model.steps == 17 + 10 + 1


@pytest.fixture(scope="module")
def tiny(tiny_model: Any) -> Any:
    loaded = load_backend(BackendSpec("transformers", str(tiny_model), device="cpu", dtype="float32", threads=1))
    yield loaded
    loaded.close()


@pytest.mark.parametrize("verdict", ["forced", "free"])
def test_a_later_round_draws_the_samples_that_the_full_vote_draws_there(tiny: Any, verdict: Any) -> None:
    prompts = [build_prompt(make_pair(number), method="cot") for number in range(3)]
    asked = Sampling(samples=5, max_tokens=12, seed=7, verdict=verdict)
    whole = tiny.generate(prompts, asked)
    rounds = [tiny.generate(prompts, replace(asked, samples=n, first_sample=at)) for at, n in ((0, 2), (2, 1), (3, 2))]
    joined = [[chain for chains in parts for chain in chains] for parts in zip(*rounds, strict=True)]
    for full, part in zip(whole, joined, strict=True):
        assert [(one.text, one.token_ids, one.tokens) for one in part] == [
            (one.text, one.token_ids, one.tokens) for one in full
        ]
        assert [one.p_first for one in part] == pytest.approx([one.p_first for one in full], abs=1e-5)


def test_a_sequential_vote_of_a_real_model_is_a_beginning_of_its_full_vote(tiny: Any) -> None:
    pairs = [make_pair(number) for number in range(6)]
    settings = JudgeSettings(method="cot", samples_per_order=4, max_rationale_tokens=6)
    full = judge(pairs, backend=tiny, settings=settings)
    part = judge(pairs, backend=tiny, settings=replace(settings, sequential="certain"))
    assert [row.vote for row in part] == [row.vote for row in full]
    for whole, row in zip(full, part, strict=True):
        kept = [chain for chain in whole.rationales if chain.sample < row.samples / 2]
        assert [(chain.text, chain.verdict) for chain in row.rationales] == [(x.text, x.verdict) for x in kept]
        assert [chain.p_a for chain in row.rationales] == pytest.approx([x.p_a for x in kept], abs=1e-5)


def test_the_embedded_judges_free_letter_is_its_score(embedded_model: Any) -> None:
    """Where the opening leaves only the letter to write, reading it is scoring the prompt."""
    backend = load_backend(BackendSpec("transformers", str(embedded_model), device="cpu", threads=1))
    prompts = [
        replace(build_prompt(make_pair(number), method="cot"), opening="Reason: It is better.\nWinner: [")
        for number in range(3)
    ]
    found = backend.generate(prompts, Sampling(samples=2, max_tokens=3, temperature=0.5, verdict="free"))
    scores = backend.score(prompts)
    backend.close()
    read = [
        (score, chain.p_first)
        for score, chains in zip(scores, found, strict=True)
        for chain in chains
        if chain.p_first is not None
    ]
    assert len(read) > 3
    assert [p_first for _, p_first in read] == pytest.approx([score for score, _ in read], abs=0.02)
