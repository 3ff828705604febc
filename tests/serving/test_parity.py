"""The same pairs give the same probabilities, whichever backend computes them; a real vLLM in both its forms.

``TOLERANCE`` is that of bf16 between two implementations: against fp32 each is up to 0.025 off on these pairs. Where a
CPU computes bf16 slowly all three compute in fp32.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genrm_engine.backends import BackendSpec, load_backend
from genrm_engine.backends.openai import ChatBackend, CompletionsBackend
from genrm_engine.backends.tokens import TokenBackend
from genrm_engine.backends.transformers import TransformersBackend
from genrm_engine.errors import EngineError
from genrm_engine.judge import judge
from genrm_engine.prompts import JudgePrompt, build_prompt
from genrm_engine.types import Chain, JudgeSettings, Pair, Sampling
from tests.serving.conftest import KEY, SERVED, vllm_server

pytestmark = [pytest.mark.serving, pytest.mark.model, pytest.mark.timeout(900)]
TOLERANCE = 0.05
OF_ONE_CHAIN = 0.15  # of words drawn anew at each run: one in some hundreds is further off than the tolerance
SAME_BACKEND = 0.03  # other neighbours in the batch


@pytest.fixture(scope="module")
def url(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with vllm_server(embedded_model, tmp_path_factory.mktemp("server") / "log") as url:
        yield url


@pytest.fixture(scope="module", params=["vllm", "openai"])
def backend(request: pytest.FixtureRequest, embedded_model: Path) -> Iterator[TokenBackend]:
    """Both kinds; pytest closes the first before it makes the second."""
    if request.param == "vllm":
        spec = BackendSpec("vllm", str(embedded_model), device="cpu")
    else:
        address = request.getfixturevalue("url")
        spec = BackendSpec("openai", SERVED, url=address, api_key=KEY, tokenizer=str(embedded_model))
    loaded = load_backend(spec)
    assert isinstance(loaded, TokenBackend)
    yield loaded
    loaded.close()


def in_both_orders(pairs: list[Pair], method: Any) -> list[JudgePrompt]:
    return [build_prompt(pair, method=method, swapped=swapped) for pair in pairs for swapped in (False, True)]


def after(backend: TransformersBackend, prompt: JudgePrompt, words: tuple[int, ...]) -> list[int]:
    """The tokens of a prompt, a rationale and the verdict form."""
    return [*backend.encoder.prompt_ids(prompt), *words, *backend.encoder.form_ids]


def test_scores_agree(reference: TransformersBackend, backend: TokenBackend, pairs: list[Pair]) -> None:
    prompts = in_both_orders(pairs, "score")
    expected, found = reference.score(prompts), backend.score(prompts)
    assert found == pytest.approx(expected, abs=TOLERANCE)
    given = [score for score in expected if score is not None]
    assert max(given) - min(given) > 2 * TOLERANCE, "pairs that differ so little would show nothing"
    assert backend.count_tokens(prompts) == reference.count_tokens(prompts)


def test_a_forced_verdict_after_the_same_words_agrees(
    reference: TransformersBackend, backend: TokenBackend, pairs: list[Pair]
) -> None:
    prompts = in_both_orders(pairs[:6], "cot")
    chains = [one for [one] in reference.generate(prompts, Sampling(samples=1, max_tokens=16, seed=3))]
    ids = [after(reference, prompt, chain.token_ids) for prompt, chain in zip(prompts, chains, strict=True)]
    assert backend._indicator(ids) == pytest.approx([chain.p_first for chain in chains], abs=TOLERANCE)


def test_its_own_forced_chains_are_one_line_with_the_verdict_of_their_words(
    reference: TransformersBackend, backend: TokenBackend, pairs: list[Pair]
) -> None:
    prompts = in_both_orders(pairs[:4], "cot")
    found = backend.generate(prompts, Sampling(samples=3, max_tokens=16))
    assert [len(chains) for chains in found] == [3] * 8
    rows = [(prompt, chain) for prompt, chains in zip(prompts, found, strict=True) for chain in chains]
    for _, chain in rows:
        assert "\n" not in chain.text
        assert 1 <= len(chain.token_ids) <= 16
        assert chain.tokens == len(chain.token_ids) + len(backend.encoder.form_ids)
        assert str(reference.encoder.tokenizer.decode(list(chain.token_ids))).strip() == chain.text
    assert len({chain.text for _, chain in rows}) > len(prompts)
    ids = [after(reference, prompt, chain.token_ids) for prompt, chain in rows]
    assert backend._indicator(ids) == pytest.approx([chain.p_first for _, chain in rows], abs=TOLERANCE)
    expected = reference._sampler.score(ids)
    apart = np.abs(np.array([chain.p_first for _, chain in rows], float) - np.array(expected, float))
    assert apart.max() < OF_ONE_CHAIN
    assert apart.mean() < TOLERANCE / 2


def test_a_free_verdict_is_read_at_the_letter_the_judge_wrote(backend: TokenBackend, pairs: list[Pair]) -> None:
    """Where the opening leaves only the letter to write, reading it is scoring the prompt."""
    prompts = [replace(prompt, opening="Reason: It is better.\nWinner: [") for prompt in in_both_orders(pairs, "cot")]
    found = backend.generate(prompts, Sampling(samples=2, max_tokens=3, temperature=0.5, verdict="free"))
    scores = backend.score(prompts)
    rows: list[tuple[float, Chain]] = [
        (score, chain) for score, chains in zip(scores, found, strict=True) for chain in chains if score is not None
    ]
    read = [(score, chain.p_first) for score, chain in rows if chain.p_first is not None]
    assert len(read) > len(rows) / 2
    assert [p_first for _, p_first in read] == pytest.approx([score for score, _ in read], abs=SAME_BACKEND)
    assert all(chain.text for _, chain in rows if chain.p_first is None)


def test_a_pair_is_judged_alike_in_both_methods(backend: TokenBackend, pairs: list[Pair]) -> None:
    for settings in (JudgeSettings(), JudgeSettings(method="cot", samples_per_order=2, max_rationale_tokens=12)):
        for found in judge(pairs[:2], backend=backend, settings=settings):
            assert found.p_a == pytest.approx((found.p_a_straight + found.p_a_swapped) / 2)
            assert found.unparsed == 0


def test_the_servers_own_count_of_tokens_is_ours(url: str, embedded_model: Path, pairs: list[Pair]) -> None:
    spec = BackendSpec("openai", SERVED, url=url, api_key=KEY, tokenizer=str(embedded_model))
    backend = load_backend(spec)
    assert isinstance(backend, CompletionsBackend)
    prompts = in_both_orders(pairs[:3], "score")
    backend.score(prompts)
    assert backend.client.usage.prompt_tokens == sum(backend.count_tokens(prompts))
    assert backend.client.usage.completion_tokens == len(prompts)
    backend.close()


def test_chat_without_a_tokenizer_gives_probabilities_and_chains(url: str, pairs: list[Pair]) -> None:
    backend = load_backend(BackendSpec("openai", SERVED, url=url, api_key=KEY))
    assert isinstance(backend, ChatBackend)
    scores = backend.score(in_both_orders(pairs[:4], "score"))
    assert any(score is not None and 0 < score < 1 and score != 0.5 for score in scores)
    for chains in backend.generate(in_both_orders(pairs[:2], "cot"), Sampling(samples=2, max_tokens=16)):
        assert len(chains) == 2
        assert all(chain.tokens > 0 and (chain.text or chain.p_first is not None) for chain in chains)
    backend.close()


def test_a_wrong_key_and_a_wrong_model_are_plain_errors(url: str, embedded_model: Path, pairs: list[Pair]) -> None:
    prompts = in_both_orders(pairs[:1], "score")
    for model, key, said in ((SERVED, "wrong", "refuses the API key"), ("another", KEY, "does not serve")):
        for tokenizer in ("", str(embedded_model)):
            backend = load_backend(BackendSpec("openai", model, url=url, api_key=key, tokenizer=tokenizer))
            with pytest.raises(EngineError, match=said) as raised:
                backend.score(prompts)
            assert raised.value.permanent
            backend.close()
