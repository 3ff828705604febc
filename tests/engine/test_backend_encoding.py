"""Prompts of models without a chat template, and tokens that end a turn."""

from typing import Any

import pytest

from genrm_engine.backends.encoding import PromptEncoder
from genrm_engine.backends.heads import ResponseEncoder
from genrm_engine.prompts import build_prompt
from tests.engine.conftest import make_pair

pytestmark = pytest.mark.model
PROMPT = build_prompt(make_pair(1), method="score")


def letters(*, begins: bool, template: str | None = None) -> Any:
    """A token for each character; with ``begins`` the tokenizer puts ``<s>`` before every text, as Llama's does."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["<s>", "</s>", "<unk>", *(chr(code) for code in (10, *range(32, 127)))]
    inner = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    if begins:
        inner.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    inner.add_special_tokens(["<end_of_turn>"])
    found = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )
    found.chat_template = template
    return found


@pytest.mark.parametrize("begins", [False, True])
def test_without_a_template_a_prompt_begins_as_the_tokenizer_begins_a_text(begins: bool) -> None:
    tokenizer = letters(begins=begins)
    encoder = ResponseEncoder(tokenizer)
    assert encoder.prompt_ids(PROMPT) == tokenizer(encoder.prompt_text(PROMPT))["input_ids"]
    assert encoder.response_ids("Why?", "So.") == [*tokenizer("Why?\n\nSo.")["input_ids"], tokenizer.eos_token_id]
    assert encoder.prompt_ids(PROMPT).count(tokenizer.bos_token_id) == int(begins)
    assert encoder.text_ids(PROMPT.verdict_form) == encoder.form_ids


def test_a_template_alone_says_how_a_prompt_begins() -> None:
    encoder = PromptEncoder(letters(begins=True, template="<s>{{ messages[0].content }}"))
    assert encoder.prompt_ids(PROMPT).count(encoder.tokenizer.bos_token_id) == 1


def test_a_turns_end_known_among_the_added_tokens_alone_ends_a_turn() -> None:
    encoder = PromptEncoder(letters(begins=False))
    end = encoder.tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert end not in encoder.tokenizer.all_special_ids
    assert end in encoder.end_ids()
    assert end in encoder.newline_ids()
