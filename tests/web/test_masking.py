"""Whoever says who it is stays nameless before a blind annotator; all other talk of models stays as it was written."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.markdown import render
from labeling.masking import PLACEHOLDER, mask

H = PLACEHOLDER

NAMED = [
    ("I'm Claude.", f"I'm {H}."),
    ("I’m Claude, an AI assistant made by Anthropic.", f"I’m {H}, an AI assistant made by {H}."),
    ("I`m claude!", f"I`m {H}!"),
    ("I AM CHATGPT", f"I AM {H}"),
    ("As ChatGPT, I have no legs.", f"As {H}, I have no legs."),
    ("I am an AI language model developed by OpenAI", f"I am an AI language model developed by {H}"),
    ("My name is Bard", f"My name is {H}"),
    ("I'm Qwen, created by Alibaba Cloud.", f"I'm {H}, created by {H}."),
    ("As a large language model trained by Google", f"As a large language model trained by {H}"),
    ("As an AI model built by OpenAI, my taste is odd.", f"As an AI model built by {H}, my taste is odd."),
    ("Well, as a chatbot made by Meta, I never sleep.", f"Well, as a chatbot made by {H}, I never sleep."),
    ("Hello, this is Gemini speaking.", f"Hello, this is {H} speaking."),
    ("Hi! I am **Claude 3.5 Sonnet**, at your service.", f"Hi! I am **{H}**, at your service."),
    ("I'm Google's language model, Gemini Pro.", f"I'm {H}'s language model, {H}."),
    ("I am an OpenAI language model.", f"I am an {H} language model."),
    ("I was created by the team at Anthropic.", f"I was created by the team at {H}."),
    ("I've been trained by Meta AI on text.", f"I've been trained by {H} on text."),
    ("OpenAI trained me on many books.", f"{H} trained me on many books."),
    ("My developers at DeepMind taught me that.", f"My developers at {H} taught me that."),
    ("I'm based on the GPT-4 architecture.", f"I'm based on the {H} architecture."),
    ("I'm not ChatGPT, I'm Microsoft Copilot!", f"I'm not {H}, I'm {H}!"),
    ("I am Vicuna, a chat assistant (LLM) from LMSYS.", f"I am {H}, a chat assistant (LLM) from {H}."),
    ("I'm an AI assistant (Claude) and like it.", f"I'm an AI assistant ({H}) and like it."),
    ("You can call me Llama 2.", f"You can call me {H}."),
    ("I am DeepSeek-V3, an AI independently created by DeepSeek.", f"I am {H}, an AI independently created by {H}."),
    ("Ich bin ChatGPT.", f"Ich bin {H}."),
    ("Ich bin ein von Google trainiertes Sprachmodell.", f"Ich bin ein von {H} trainiertes Sprachmodell."),
    (
        "Ich bin ein Sprachmodell, das von OpenAI entwickelt wurde.",
        f"Ich bin ein Sprachmodell, das von {H} entwickelt wurde.",
    ),
    ("Ich wurde von Anthropic entwickelt.", f"Ich wurde von {H} entwickelt."),
    ("Je suis Claude.", f"Je suis {H}."),
    ("Je suis un modèle de langage créé par Mistral AI.", f"Je suis un modèle de langage créé par {H}."),
    ("Je m’appelle Bard, et je chante.", f"Je m’appelle {H}, et je chante."),
    (
        "En tant que modèle développé par OpenAI, je reste neutre.",
        f"En tant que modèle développé par {H}, je reste neutre.",
    ),
    ("Soy Gemini.", f"Soy {H}."),
    ("Soy un modelo de lenguaje creado por OpenAI.", f"Soy un modelo de lenguaje creado por {H}."),
    ("Fui creado por Google.", f"Fui creado por {H}."),
    ("我是通义千问。", f"我是{H}。"),
    ("我是ChatGPT，由OpenAI训练。", f"我是{H}，由{H}训练。"),
    ("我是由阿里云开发的大型语言模型。", f"我是由{H}开发的大型语言模型。"),
    ("作为百度开发的人工智能语言模型，我不吃饭。", f"作为{H}开发的人工智能语言模型，我不吃饭。"),
]

LEFT_ALONE = [
    "Claude Monet painted water lilies.",
    "I'm Claude Monet, and I paint.",
    "I love Gemini as a star sign.",
    "As a Gemini, I like to talk.",
    "OpenAI was founded in 2015.",
    "A llama is an animal.",
    "How does ChatGPT work?",
    "It was created by OpenAI, I think.",
    "As an AI language model, I can tell you that Windows was developed by Microsoft.",
    "As a model developed by Google, BERT reads in both directions.",
    "As Claude walked home, I slept.",
    "As Google grew, so did the town.",
    "I'm an AI engineer at OpenAI.",
    "I am a fan of Claude, the AI model.",
    "I am using ChatGPT daily.",
    "I was working at Google when it rained.",
    "I am sure that Google developed it.",
    "I'm Apple picking today.",
    "This is Gemini, the third sign.",
    "Call me when Claude is back.",
    "Soy fan de Claude.",
    "Ich bin bei Google angestellt.",
    "Je suis chez Google.",
    "我是Claude的粉丝。",
    "我是百度员工。",
    "Say `I'm Claude` to it.",
    '```python\nprint("I\'m Claude")\n```',
    "- a list\n\n  ~~~\n  I am ChatGPT\n  ~~~",
    "Code:\n\n    I'm Claude",
]


@pytest.mark.parametrize(("text", "hidden"), NAMED)
def test_a_name_is_hidden_where_the_text_says_who_it_is(text: str, hidden: str) -> None:
    masked = mask(text)
    assert masked.text == hidden
    assert masked.count == hidden.count(H)


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_other_talk_and_code_stay(text: str) -> None:
    assert mask(text).text == text
    assert mask(text).count == 0


def test_the_models_of_the_pair_are_known_by_name_and_by_family() -> None:
    names = ["acme/frobnik-13b-v1.3", "gpt-4-0613", "model-a"]
    assert mask("I'm Frobnik 13B v1.3.", names).text == f"I'm {H}."
    assert mask("I'm Frobnik. Frobnik is a fine word.", names).text == f"I'm {H}. Frobnik is a fine word."
    assert mask("I am model-a.", names).text == f"I am {H}."
    assert mask("I am model material.", names).count == 0
    assert mask("I'm Frobnik.").count == 0


def test_text_beside_code_is_masked_all_the_same() -> None:
    assert mask("I'm Claude.\n```\nI'm Claude\n```\nI'm `x`, I'm Claude").text == (
        f"I'm {H}.\n```\nI'm Claude\n```\nI'm `x`, I'm {H}"
    )


@pytest.mark.parametrize(
    "text", ["I'm **Claude**.", "I'm [Claude](https://example.org).", "> I'm Claude\n\n- I'm Claude"]
)
def test_the_placeholder_is_plain_text_to_markdown(text: str) -> None:
    masked = mask(text)
    assert masked.text != text
    assert H in render(masked.text)


FRAGMENTS = [
    *(
        "I'm",
        "I am",
        "As",
        "an",
        "AI",
        "language model",
        "assistant",
        "trained by",
        "called",
        ",",
        ".",
        "(",
        ")",
        "and",
    ),
    *(
        "Claude",
        "OpenAI",
        "Google's",
        "GPT-4",
        "3.5",
        "Frobnik",
        "my name is",
        "我是",
        "由",
        "开发",
        "`",
        "\n",
        H,
        "me",
    ),
]
words = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map(" ".join)


@given(words)
def test_masking_twice_changes_nothing_more(text: str) -> None:
    once = mask(text, ["frobnik-7b"]).text
    assert mask(once, ["frobnik-7b"]).text == once
    assert mask(once, ["frobnik-7b"]).count == 0


@given(
    st.lists(st.sampled_from(["I'm", "as", "an AI", "model", "trained by", "my name is", "Zora", ",", ".", "ich bin"]))
)
def test_a_text_without_a_known_name_is_unchanged(parts: list[str]) -> None:
    text = " ".join(parts)
    assert mask(text).text == text


LONG = {
    "openings": "as I'm " * 7_000 + "Claude",
    "descriptions": "I'm a " * 8_000 + "OpenAI",
    "claims": "I'm Claude " * 4_500,
    "chain": "I'm Claude" + ", Claude" * 6_000,
    "white space": "I'm" + " " * 100_000 + "Claude",
    "one word": "I am " + "a" * 100_000 + " OpenAI",
    "teams": "I was made by" + " the" * 12_000 + " OpenAI",
    "ticks": "".join("`" * i + " " for i in range(310)) + "I'm Claude",
    "chinese": "我是一个" * 12_000 + "百度",
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG.keys())
def test_hostile_texts_take_linear_time(text: str) -> None:
    start = time.process_time()
    mask(text)
    assert time.process_time() - start < 3, "a fraction of it on a slow machine"
