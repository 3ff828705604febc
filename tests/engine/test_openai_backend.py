"""Judging through an OpenAI-compatible server, by its chat or by token ids."""

import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("httpx2", reason="comes with the engine's libraries")

from genrm_engine.backends import BackendSpec, client
from genrm_engine.backends.client import Client
from genrm_engine.backends.encoding import PromptEncoder
from genrm_engine.backends.openai import ChatBackend, CompletionsBackend, connect, letter_of
from genrm_engine.errors import EngineError
from genrm_engine.judge import judge
from genrm_engine.prompts import build_prompt
from genrm_engine.types import JudgeSettings, Sampling
from tests.engine.conftest import make_pair
from tests.engine.fake_server import FakeServer, Reply

KEY = "sk-not-a-real-key-0123456789"
SCORE = build_prompt(make_pair(1), method="score")
COT = build_prompt(make_pair(1), method="cot")


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.01)


# Chat: no tokenizer at hand.


def said(*texts: str, tokens: list[Any] | None = None, usage: int = 10) -> Reply:
    logprobs = None if tokens is None else {"content": tokens}
    choices = [
        {"index": number, "message": {"role": "assistant", "content": text}, "logprobs": logprobs}
        for number, text in enumerate(texts)
    ]
    return Reply({"choices": choices, "usage": {"prompt_tokens": 50, "completion_tokens": usage}})


def token(text: str, **candidates: float) -> dict[str, Any]:
    """A token with its candidates' probabilities; ``_A`` is A after a space."""
    listed = [
        {"token": name.replace("_", " "), "logprob": math.log(probability)} for name, probability in candidates.items()
    ]
    return {"token": text, "logprob": -0.1, "top_logprobs": listed}


@pytest.fixture
def chat(server: FakeServer) -> Iterator[ChatBackend]:
    made = connect(BackendSpec("openai", "served", url=server.url, api_key=KEY), retries=0, timeout=5)
    assert isinstance(made, ChatBackend)
    yield made
    made.close()


def test_a_chat_score_is_the_share_of_a_among_the_candidates(server: FakeServer, chat: ChatBackend) -> None:
    server.replies = [
        said("A", tokens=[token("A", A=0.5, B=0.2, _A=0.1, The=0.1)]),
        said("**B**", tokens=[token("**", The=0.5, It=0.2), token("B", B=0.9, A=0.1)]),
        said("A", tokens=[token("A", A=0.9, The=0.05, It=0.02)]),
    ]
    found = [chat.score([SCORE])[0] for _ in range(3)]
    assert found == pytest.approx([0.6 / 0.8, 0.1, 0.9 / 0.92])
    [message] = server.asked[0].body["messages"]
    assert message["role"] == "user"
    assert message["content"].startswith(SCORE.user)
    assert server.asked[0].path == "/v1/chat/completions"
    assert server.asked[0].body["model"] == "served"


def test_without_log_probabilities_a_letter_is_one_or_nothing_is_read(server: FakeServer, chat: ChatBackend) -> None:
    server.replies = [said("The answer: B."), said("A"), said("Both Are fine")]
    assert [chat.score([SCORE])[0] for _ in range(3)] == [0.0, 1.0, None]


@pytest.mark.parametrize(
    "text",
    [
        "Neither A nor B",
        "Both A and B are",
        "Comparing A and B:",
        "A better response is B",
        "A closer look at both",
        "The answer is A or B",
        "A, B",
        "A\nB",
        "A. Good\nB",
        "A: 7\nB: 9",
        "B/A",
        "A?",
        "B.A.",
        "",
    ],
)
def test_a_chat_reply_that_says_more_than_a_letter_is_no_verdict(
    server: FakeServer, chat: ChatBackend, text: str
) -> None:
    words = [token(part, A=0.9, B=0.1) for part in re.findall(r"\s*\w+|\W", text)]
    server.replies = [said(text), said(text, tokens=words)]
    assert [chat.score([SCORE])[0] for _ in range(2)] == [None, None]


@pytest.mark.parametrize(
    "text",
    [
        "B",
        " **B**\n",
        "[B]",
        '"B"',
        "B.",
        "__B__",
        "Response B",
        "Winner: B",
        "The better response is B!",
        "B\n\nBecause",
        "B. Response B is",
        "**B**, because it",
        "B because Response A",
        "B! Response A lacks",
    ],
)
def test_a_chat_letter_is_read_in_its_usual_dress_and_before_reasons(
    server: FakeServer, chat: ChatBackend, text: str
) -> None:
    place = text.index("B")
    listed = [token(text[:place], A=0.9, B=0.1), token("B", A=0.3, B=0.6), token(text[place + 1 :], A=0.9, B=0.1)]
    server.replies = [said(text), said(text, tokens=listed), said(text.strip(), tokens=[*listed, token("<|end|>")])]
    assert [chat.score([SCORE])[0] for _ in range(3)] == pytest.approx([0.0, 1 / 3, 1 / 3])


def test_the_candidates_of_a_letter_inside_a_word_are_not_the_answers(server: FakeServer, chat: ChatBackend) -> None:
    pieces = [token("A", A=0.9, B=0.1), token("nswer:"), token(" A", _A=0.6, _B=0.4)]
    server.answer = lambda body: said("Answer: A", tokens=pieces)
    assert chat.score([SCORE]) == pytest.approx([0.6])


WORDS = st.sampled_from(["A", "B", "both", "neither", "and", "or", "better", "the", "answer", "is", "because", "not"])
GAPS = st.sampled_from([" ", ": ", ". ", ", ", "\n", " **", "/"])


@given(st.lists(st.tuples(WORDS, GAPS), max_size=6))
def test_a_reply_with_the_letters_exchanged_is_read_the_other_way(parts: list[tuple[str, str]]) -> None:
    text = "".join(word + gap for word, gap in parts)
    found = letter_of(text, [])
    assert letter_of(text.translate(str.maketrans("AB", "BA")), []) == (None if found is None else 1 - found)
    if found is not None:
        [first, *_] = [word for word, _ in parts if word not in ("better", "the", "answer", "is")]
        assert first == ("A" if found else "B"), "only the words of a lead may stand before the letter"


def test_a_chat_verdict_is_the_last_in_the_asked_form(server: FakeServer, chat: ChatBackend) -> None:
    text = "It says Winner: [A] itself.\nWinner: [B]"
    tokens = [token("It says Winner: ["), token("A", A=0.9, B=0.1), token("] itself.\nWinner: [")]
    tokens += [token("B", B=0.8, A=0.2), token("]"), token("<|end|>")]
    server.replies = [said(text, tokens=tokens, usage=17), said(text), said("Winner: B, I think")]
    [[with_candidates]] = chat.generate([COT], Sampling(1, 30))
    [[without]] = chat.generate([COT], Sampling(1, 30))
    [[unparsed]] = chat.generate([COT], Sampling(1, 30))
    assert with_candidates.p_first == pytest.approx(0.2)
    assert with_candidates.text == "It says Winner: [A] itself."
    assert with_candidates.tokens == 17
    assert without.p_first == 0.0
    assert unparsed.p_first is None
    assert unparsed.text == "Winner: B, I think"


def test_a_server_that_ignores_n_is_asked_again(server: FakeServer, chat: ChatBackend) -> None:
    server.answer = lambda body: said("Short.\nWinner: [A]", usage=7)
    [chains, more] = chat.generate([COT, COT], Sampling(3, 30))
    assert [chain.tokens for chain in (*chains, *more)] == [7] * 6
    assert sorted(asked.body["n"] for asked in server.asked) == [1, 1, 2, 2, 3, 3]
    server.answer = lambda body: said(*["x\nWinner: [A]"] * body["n"], usage=7)
    assert [chain.tokens for chain in chat.generate([COT], Sampling(3, 30))[0]] == [3, 2, 2]


def test_options_that_a_server_refuses_by_name_are_left_out(server: FakeServer, chat: ChatBackend) -> None:
    def strict(body: dict[str, Any]) -> Reply:
        for name in ("max_tokens", "logprobs", "top_logprobs"):
            if name in body:
                return Reply({"error": {"message": f"Unsupported parameter: '{name}'"}}, 400)
        return said("B")

    server.answer = strict
    assert chat.score([SCORE] * 3) == [0.0] * 3
    refusals = len(server.asked) - 3
    assert refusals == 3
    assert server.asked[-1].body["max_completion_tokens"] == 5
    assert chat.score([SCORE]) == [0.0]
    assert len(server.asked) == 7


def test_a_server_that_refuses_several_choices_gets_single_requests(server: FakeServer, chat: ChatBackend) -> None:
    def one_at_a_time(body: dict[str, Any]) -> Reply:
        if body.get("n", 1) > 1:
            return Reply({"error": {"message": "Only one completion choice is allowed"}}, 400)
        return said("B" if body["max_tokens"] == 5 else "Short.\nWinner: [A]", usage=7)

    server.answer = one_at_a_time
    assert chat.score([SCORE]) == [0.0]
    chains = chat.generate([COT, COT], Sampling(4, 30))
    assert [chain.tokens for row in chains for chain in row] == [7] * 8
    assert len(server.asked) == 1 + 1 + 8
    chat.generate([COT], Sampling(4, 30))
    assert len(server.asked) == 10 + 4


@pytest.mark.parametrize("name", ["temperature", "top_p"])
def test_a_server_with_its_own_sampling_is_asked_without_and_that_is_said(
    server: FakeServer, chat: ChatBackend, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    def own(body: dict[str, Any]) -> Reply:
        if body.get(name, 1.0) != 1.0:
            return Reply({"error": {"message": f"Unsupported value: '{name}' supports only the default (1)"}}, 400)
        return said(*["Short.\nWinner: [A]"] * body.get("n", 1))

    server.answer = own
    assert [len(row) for row in chat.generate([COT] * 2, Sampling(2, 30, temperature=1.0, top_p=1.0))] == [2, 2]
    assert not caplog.records
    assert [len(row) for row in chat.generate([COT] * 2, Sampling(2, 30, temperature=0.5, top_p=0.9))] == [2, 2]
    [note] = caplog.records
    assert f"refuses {name}" in note.getMessage()
    assert name not in server.asked[-1].body
    assert server.asked[-1].body["n"] == 2


def test_another_bad_request_stays_an_error(server: FakeServer, chat: ChatBackend) -> None:
    server.answer = lambda body: Reply({"error": {"message": "context length exceeded"}}, 400)
    with pytest.raises(EngineError, match="context length exceeded") as raised:
        chat.score([SCORE])
    assert raised.value.permanent
    with pytest.raises(EngineError, match="context length exceeded"):
        chat.generate([COT], Sampling(4, 30))
    server.answer = lambda body: said(*["Short.\nWinner: [A]"] * body["n"])
    assert len(chat.generate([COT], Sampling(4, 30))[0]) == 4
    assert server.asked[-1].body["n"] == 4


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": ["x"]}])
def test_an_answer_without_choices_is_one_plain_error(server: FakeServer, chat: ChatBackend, body: Any) -> None:
    server.answer = lambda asked: Reply(body)
    with pytest.raises(EngineError, match="without choices"):
        chat.score([SCORE])


def test_a_pair_is_judged_in_both_orders_over_http(server: FakeServer, chat: ChatBackend) -> None:
    def longer(body: dict[str, Any]) -> Reply:
        text = body["messages"][0]["content"]
        good_first = text.index("[good]") < text.index("[bad]")
        return said(*[f"The marked one.\nWinner: [{'A' if good_first else 'B'}]"] * body.get("n", 1))

    server.answer = longer
    settings = JudgeSettings(method="cot", samples_per_order=2)
    [first, second] = judge([make_pair(1), make_pair(2, good_first=False)], backend=chat, settings=settings)
    assert (first.p_a, second.p_a) == (1.0, 0.0)
    assert first.consistent
    assert first.votes_a == 4
    assert second.unparsed == 0


# Completions: the model's tokenizer is at hand.


class Letters:
    """A tokenizer with a token for each character, and 0 as the end."""

    added_tokens_decoder: dict[int, Any] = {}
    all_special_ids = (0,)
    pad_token_id = eos_token_id = 0
    chat_template = None

    def __len__(self) -> int:
        return 128

    def __call__(self, text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) if ord(letter) < 128 else 63 for letter in text]}

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        return "".join(chr(one) for one in ids if one or not skip_special_tokens)

    def batch_decode(self, rows: list[list[int]], skip_special_tokens: bool = False) -> list[str]:
        return [self.decode(row, skip_special_tokens) for row in rows]


def wrote(*texts: str, p_a: float = 0.5, ended: bool = False) -> Reply:
    choices = []
    for number, text in enumerate(texts):
        ids = [ord(letter) for letter in text] + [0] * ended
        listed = {f"token_id:{ord('A')}": math.log(p_a / 10), f"token_id:{ord('B')}": math.log((1 - p_a) / 10)}
        choices.append(
            {"index": number, "text": text, "token_ids": ids, "logprobs": {"top_logprobs": [listed] * len(ids)}}
        )
    return Reply({"choices": choices, "usage": {"prompt_tokens": 9, "completion_tokens": 9}})


@pytest.fixture
def tokens(server: FakeServer) -> Iterator[CompletionsBackend]:
    letters: Any = Letters()
    made = CompletionsBackend("served", PromptEncoder(letters), Client(server.url, KEY, retries=0, timeout=5))
    yield made
    made.close()


def test_a_score_sends_token_ids_and_reads_the_two_indicators(server: FakeServer, tokens: CompletionsBackend) -> None:
    server.answer = lambda body: wrote("x", p_a=0.7)
    assert tokens.score([SCORE, SCORE]) == pytest.approx([0.7, 0.7])
    body = server.asked[0].body
    assert body["prompt"] == tokens.encoder.prompt_ids(SCORE)
    assert body["logprob_token_ids"] == [ord("A"), ord("B")]
    assert body["max_tokens"] == 1
    assert "seed" not in body


def test_an_indicator_that_is_no_number_is_no_verdict(server: FakeServer, tokens: CompletionsBackend) -> None:
    server.answer = lambda body: wrote("x", p_a=math.nan)
    assert tokens.score([SCORE]) == [None]
    [[chain]] = tokens.generate([COT], Sampling(1, 20))
    assert chain.p_first is None


def test_a_forced_verdict_is_read_after_prompt_rationale_and_form(
    server: FakeServer, tokens: CompletionsBackend
) -> None:
    def answer(body: dict[str, Any]) -> Reply:
        if body["max_tokens"] > 1:
            return wrote(" It is on topic.\n", " Shorter", p_a=0.5)
        return wrote("A", p_a=0.9 if body["prompt"][-20:] == [ord(x) for x in " topic.\nWinner: ["][-20:] else 0.4)

    server.answer = answer
    [[on_topic, shorter]] = tokens.generate([COT], Sampling(2, 20))
    assert on_topic.text == "It is on topic."
    assert tokens.encoder.tokenizer.decode(list(on_topic.token_ids)) == " It is on topic."
    assert on_topic.tokens == len(on_topic.token_ids) + len(COT.verdict_form)
    ends = ["".join(chr(x) for x in asked.body["prompt"]) for asked in server.asked[1:]]
    start = tokens.encoder.prompt_text(COT)
    assert sorted(ends) == sorted([f"{start} It is on topic.\nWinner: [", f"{start} Shorter\nWinner: ["])
    assert shorter.p_first == pytest.approx(0.4)
    first = server.asked[0].body
    assert first["min_tokens"] == 4
    assert ord("\n") in first["stop_token_ids"]


def test_a_free_verdict_is_read_at_its_own_letter(server: FakeServer, tokens: CompletionsBackend) -> None:
    def at_letter(text: str, place: int, p_a: float) -> Reply:
        reply = wrote(text, p_a=0.5, ended=True)
        [choice] = reply.body["choices"]
        choice["logprobs"]["top_logprobs"][place] = {"token_id:65": math.log(p_a), "token_id:66": math.log(1 - p_a)}
        return reply

    text = " He wrote Winner: [A].\n\nWinner: [B]"
    server.replies = [at_letter(text, text.rindex("B"), 0.25), wrote(" Undecided", ended=True)]
    [[chain]] = tokens.generate([COT], Sampling(1, 60, verdict="free"))
    [[unparsed]] = tokens.generate([COT], Sampling(1, 60, verdict="free"))
    assert chain.p_first == pytest.approx(0.25)
    assert chain.text == "He wrote Winner: [A]."
    assert "".join(chr(x) for x in chain.token_ids) == " He wrote Winner: [A]."
    assert chain.tokens == len(text)
    assert unparsed.p_first is None
    assert unparsed.text == "Undecided"


def test_a_server_without_token_ids_is_named_with_the_way_out(server: FakeServer, tokens: CompletionsBackend) -> None:
    server.answer = lambda body: Reply({"choices": [{"index": 0, "text": "A"}]})
    with pytest.raises(EngineError, match="leave the tokenizer out"):
        tokens.score([SCORE])
    reply = wrote("x")
    reply.body["choices"][0]["logprobs"]["top_logprobs"] = [{"token_id:1": -1.0}]
    server.answer = lambda body: reply
    with pytest.raises(EngineError, match="logprob_token_ids"):
        tokens.score([SCORE])
