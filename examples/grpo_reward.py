"""Train a small policy with TRL's GRPO, with a Tandem project's judge as the reward.

    pip install trl
    TANDEM_TOKEN=tandem_… python examples/grpo_reward.py --url http://127.0.0.1:8000 --project demo \
        --model HuggingFaceTB/SmolLM2-135M-Instruct --steps 2 --out build/policy

The prompts are the project's own. For each the policy writes a few answers; each answer meets the next one of its
group and the one before in the judge, and its reward is how much the judge prefers it: the mean of the margins
log(p / (1 - p)). Answers that are the same word for word do not meet. The rewards of a group add up to nothing, as
GRPO, which looks at differences inside of a group, would have it anyway.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

AT_ONCE = 64
"""Pairs that the API answers while one waits."""
PATIENCE = 600.0
"""Seconds until a judge that does not answer is given up."""
NOTHING = "(no answer)"

Messages = list[dict[str, str]]
Meeting = tuple[Messages, str, str]


@dataclass(frozen=True)
class Tandem:
    """A project of a running Tandem, over its REST API."""

    url: str
    token: str
    project: str

    def prompts(self) -> list[Messages]:
        """Every prompt of the project that has a label, once."""
        with self._send(f"/api/v1/projects/{self.project}/labels?shape=prompt") as answer:
            return [json.loads(line)["prompt"] for line in answer]

    def margins(self, meetings: Sequence[Meeting]) -> list[float]:
        """By how much the judge prefers the first response to the second, for each meeting."""
        found: list[float] = []
        for start in range(0, len(meetings), AT_ONCE):
            pairs = [
                {"prompt": prompt, "response_a": first, "response_b": second}
                for prompt, first, second in meetings[start : start + AT_ONCE]
            ]
            call = self._json(f"/api/v1/projects/{self.project}/judge?timeout=30", {"pairs": pairs})
            found += [said["margin"] for said in self._finished(call)["results"]]
        return found

    def _finished(self, call: dict[str, Any]) -> dict[str, Any]:
        """The call once it is answered: a judge that is busy is asked again."""
        until = time.monotonic() + PATIENCE
        while call["state"] in ("waiting", "running"):
            if time.monotonic() > until:
                raise TimeoutError("the judge does not answer; is its worker running?")
            time.sleep(1.0)
            call = self._json(call["url"])
        if call["state"] != "done":
            raise RuntimeError(f"the judge failed: {call['error']}")
        return call

    def _json(self, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        with self._send(path, body) as answer:
            return dict(json.load(answer))

    def _send(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        address = path if path.startswith("http") else self.url.rstrip("/") + path
        content = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        return urlopen(Request(address, data=content, headers=headers), timeout=60)  # noqa: S310  the user's own server


def reward_of(tandem: Tandem) -> Callable[..., list[float]]:
    """The reward function as TRL calls it: completions of the same prompt stand next to each other."""

    def judged(prompts: list[Messages], completions: list[Messages], **_: object) -> list[float]:
        texts = [completion[-1]["content"].strip() or NOTHING for completion in completions]
        met = list(_meetings(prompts, texts))
        margins = tandem.margins([(prompts[first], texts[first], texts[second]) for first, second in met])
        rewards: list[list[float]] = [[] for _ in texts]
        for (first, second), margin in zip(met, margins, strict=True):
            rewards[first].append(margin)
            rewards[second].append(-margin)
        return [sum(each) / len(each) if each else 0.0 for each in rewards]

    return judged


def _meetings(prompts: Sequence[Messages], texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Each answer with the next one of its prompt, the last with the first."""
    start = 0
    for end in range(1, len(prompts) + 1):
        if end < len(prompts) and prompts[end] == prompts[start]:
            continue
        ring = range(start, end) if end - start > 2 else range(start, end - 1)
        for place in ring:
            other = place + 1 if place + 1 < end else start
            if texts[place] != texts[other]:
                yield place, other
        start = end


def train(
    tandem: Tandem, *, model: str, steps: int, out: Path, max_completion_length: int = 64, num_generations: int = 4
) -> list[float]:
    """Train the policy, save it under `out` and return the largest reward of each step."""
    from datasets import Dataset
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    best: list[float] = []
    judged = reward_of(tandem)

    def reward(**batch: Any) -> list[float | None]:
        rewards = judged(**batch)
        best.append(max(rewards))
        return list(rewards)

    trainer = GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=GRPOConfig(
            output_dir=str(out),
            max_steps=steps,
            per_device_train_batch_size=num_generations,
            num_generations=num_generations,
            max_completion_length=max_completion_length,
            gradient_checkpointing=False,
            logging_steps=1,
            report_to=[],
            save_strategy="no",
            use_cpu=True,
        ),
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in tandem.prompts()]),
    )
    trainer.train()
    trainer.save_model(str(out))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--project", default="demo")
    parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M-Instruct", help="a name or a folder")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("build/policy"))
    options = parser.parse_args()
    token = os.environ.get("TANDEM_TOKEN", "")
    if not token:
        parser.error("set TANDEM_TOKEN to a token of a manager (manage.py create_token)")
    tandem = Tandem(options.url, token, options.project)
    for step, reward in enumerate(train(tandem, model=options.model, steps=options.steps, out=options.out), start=1):
        print(f"step {step}: largest reward {reward:.2f}")


if __name__ == "__main__":
    main()
