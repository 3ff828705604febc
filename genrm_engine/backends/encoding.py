"""From a judge's prompt to token ids, with any chat tokenizer; knows nothing of the model behind it."""

from typing import TYPE_CHECKING, Any

from genrm_engine.errors import EngineError
from genrm_engine.prompts import INDICATORS, OPENINGS, VERDICT_FORM, JudgePrompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class PromptEncoder:
    """Token ids of prompts, of the verdict form and of the two indicators.

    ``A`` and ``B`` must be one token each wherever a verdict is read; a tokenizer for which they are not is refused.
    Control tokens in a prompt's text (``<|im_end|>`` in a response) are broken up, so that text stays text.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self.tokenizer = tokenizer
        self._control = sorted(
            {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}, key=len, reverse=True
        )
        self._begin_ids = _begin_ids(tokenizer)
        self.form_ids = self.text_ids(VERDICT_FORM)
        self.indicator_ids = self._indicators()
        self.pad_id = _first_id(tokenizer.pad_token_id, tokenizer.eos_token_id)
        self.eos_id = _first_id(tokenizer.eos_token_id, tokenizer.pad_token_id)

    def text_ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def plain_ids(self, text: str) -> list[int]:
        """Token ids of a whole input that no chat template frames, with the beginning the tokenizer gives to one."""
        return [*self._begin_ids, *self.text_ids(text)]

    def prompt_ids(self, prompt: JudgePrompt) -> list[int]:
        text = self.prompt_text(prompt)
        return self.text_ids(text) if self.tokenizer.chat_template else self.plain_ids(text)

    def prompt_text(self, prompt: JudgePrompt) -> str:
        user = self._defused(prompt.user)
        if not self.tokenizer.chat_template:
            return f"{user}\n\n{prompt.opening}"
        turn: Any = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": user}], add_generation_prompt=True, tokenize=False
        )
        return str(turn) + prompt.opening

    def newline_ids(self) -> list[int]:
        """Every token that contains a line break or ends the turn: a rationale is one line."""
        size = len(self.tokenizer)
        texts = self.tokenizer.batch_decode([[token] for token in range(size)])
        ends = self.end_ids()
        return [token for token in range(size) if token in ends or "\n" in texts[token]]

    def end_ids(self) -> set[int]:
        """Every token that ends the turn: a control token is never part of an answer.

        Some tokenizers call the end of a turn special only among their added tokens.
        """
        added = {number for number, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        return {*self.tokenizer.all_special_ids, *added, self.eos_id}

    def _defused(self, text: str) -> str:
        for token in self._control:
            if token in text:
                text = text.replace(token, f"{token[:1]} {token[1:]}")
        return text

    def _indicators(self) -> tuple[int, int]:
        found = []
        for indicator in INDICATORS:
            ids = set()
            for context in (OPENINGS["score"], VERDICT_FORM, f"One is better.{VERDICT_FORM}"):
                before, after = self.text_ids(context), self.text_ids(context + indicator)
                if len(after) != len(before) + 1 or after[:-1] != before:
                    raise EngineError(f"this tokenizer does not write {indicator!r} as one token after {context!r}")
                ids.add(after[-1])
            if len(ids) != 1:
                raise EngineError(f"this tokenizer writes {indicator!r} differently from place to place")
            found.append(ids.pop())
        return found[0], found[1]


def _begin_ids(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The token that the tokenizer puts before every text, where it does."""
    begin: list[int] = tokenizer("")["input_ids"][:1]
    return begin if begin and begin[0] == tokenizer.bos_token_id else []


def _first_id(*candidates: int | None) -> int:
    for candidate in candidates:
        if candidate is not None:
            return int(candidate)
    raise EngineError("this tokenizer has neither a padding nor an end token")
