"""Rationales sampled from the judge that is about to be trained, kept in ``samples.jsonl`` so that a run can go on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genrm_engine.backends import Backend
from genrm_engine.errors import EngineError
from genrm_engine.files import append_row, read_appended
from genrm_engine.progress import Progress
from genrm_engine.training.config import TrainConfig
from genrm_engine.training.data import Item
from genrm_engine.types import Chain, Sampling

CHUNK = 24


def sample(
    items: Sequence[Item],
    *,
    backend: Backend | None,
    config: TrainConfig,
    samples: int,
    iteration: int,
    file: Path,
    progress: Progress,
    span: tuple[float, float],
) -> dict[str, list[Chain]]:
    """Chains of every item by its key; what ``file`` holds already is not sampled again.

    Without a ``backend`` all of them must be in the file: another process has sampled them.
    """
    sampling = Sampling(
        samples=samples,
        max_tokens=config.max_rationale_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        seed=config.seed + iteration,
    )
    found = _read(file, iteration)
    waiting = sorted((item for item in items if item.key not in found), key=lambda item: len(item.prompt_ids))
    if waiting and backend is None:
        raise EngineError(f"{file} lacks the samples of {len(waiting)} questions")
    done = len(items) - len(waiting)
    for start in range(0, len(waiting), CHUNK):
        progress.check()
        chunk = waiting[start : start + CHUNK]
        assert backend is not None
        chains = backend.generate([item.prompt for item in chunk], sampling)
        for item, texts in zip(chunk, chains, strict=True):
            append_row(file, {"iteration": iteration, "key": item.key, "chains": [_to_json(chain) for chain in texts]})
            found[item.key] = texts
        done += len(chunk)
        fraction = span[0] + (span[1] - span[0]) * done / len(items)
        progress.say(
            "sampling",
            fraction,
            f"Sampled rationales for {done} of {len(items)} questions",
            step=done,
            steps=len(items),
            tokens=_tokens(chunk, chains),
            examples=_examples(chunk, chains),
        )
    return {item.key: found[item.key] for item in items}


def _tokens(items: Sequence[Item], chains: Sequence[Sequence[Chain]]) -> int:
    """Those read, each prompt once, and those written."""
    return sum(len(item.prompt_ids) for item in items) + sum(chain.tokens for texts in chains for chain in texts)


def _examples(items: Sequence[Item], chains: Sequence[Sequence[Chain]]) -> list[dict[str, Any]]:
    """The first rationale with the right verdict and the first with the wrong one."""
    found: dict[bool, dict[str, Any]] = {}
    for item, texts in zip(items, chains, strict=True):
        for chain in texts:
            if chain.p_first is None:
                continue
            first = chain.p_first > 0.5
            right = first == item.first_wins
            verdict = "a" if first != item.swapped else "b"
            row = {"pair_id": item.row.pair.id, "verdict": verdict, "right": right, "text": chain.text}
            found.setdefault(right, row)
    return [found[right] for right in sorted(found, reverse=True)]


def _read(file: Path, iteration: int) -> dict[str, list[Chain]]:
    rows = [row for row in read_appended(file) if row["iteration"] == iteration]
    return {row["key"]: [_from_json(chain) for chain in row["chains"]] for row in rows}


def _to_json(chain: Chain) -> dict[str, Any]:
    return {"text": chain.text, "p_first": chain.p_first, "tokens": chain.tokens, "token_ids": list(chain.token_ids)}


def _from_json(row: dict[str, Any]) -> Chain:
    return Chain(row["text"], row["p_first"], row["tokens"], tuple(row["token_ids"]))
