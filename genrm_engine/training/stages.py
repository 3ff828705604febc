"""The steps that training methods are made of: load, sample, fit; each goes on where a killed run left it.

Knows a run's folder and configuration, not which steps make a method (``methods``).
"""

import gc
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from genrm_engine.backends.encoding import PromptEncoder
from genrm_engine.backends.loading import load_model
from genrm_engine.backends.transformers import TransformersBackend
from genrm_engine.device import lease_name
from genrm_engine.progress import Progress
from genrm_engine.training.config import TrainConfig
from genrm_engine.training.data import Item
from genrm_engine.training.likelihood import train_weighted
from genrm_engine.training.loop import is_main, wait_for_everyone
from genrm_engine.training.output import save_judge
from genrm_engine.training.preference import train_preferences
from genrm_engine.training.samples import sample
from genrm_engine.training.selection import Preference
from genrm_engine.types import BackendSpec, Chain

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Span = tuple[float, float]
"""The part of the run's progress, from 0 to 1, that a step covers."""
Fitted = tuple[Any, dict[str, Any]]
"""A trained model and what was seen while it was trained."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run's configuration (resolved), folder, tokenizer, progress, and the part of that which training covers."""

    config: TrainConfig
    out: Path
    encoder: PromptEncoder
    progress: Progress
    span: Span

    def load(self, model: str) -> "PreTrainedModel":
        """The model to train: fp32 master weights, or the device's own format where only an fp32 adapter is trained."""
        dtype = "auto" if self.config.lora else "float32"
        return load_model(model, dtype=dtype, device=local_device(self.config.device))

    def sampled(
        self, model: str, asked: Sequence[Item], span: Span, *, samples: int, iteration: int = 0
    ) -> dict[str, list[Chain]]:
        """Chains of every item by its key, sampled from ``model`` by the main process."""
        found: dict[str, list[Chain]] = {}
        if is_main():
            found = self._sample(model, asked, span, samples, iteration)
        wait_for_everyone()
        return found or self._sample("", asked, span, samples, iteration)

    def fit(
        self, model: "PreTrainedModel", rows: Sequence[dict[str, Any]], span: Span, *, name: str, on: str
    ) -> Fitted:
        """Weighted maximum likelihood on ``rows``; checkpoints under ``name``."""
        return train_weighted(
            model,
            rows,
            config=self.config,
            encoder=self.encoder,
            folder=self.out / "checkpoints" / name,
            progress=self.progress,
            span=span,
            on=on,
        )

    def prefer(self, start: str, preferences: Sequence[Preference], span: Span, *, name: str) -> Fitted:
        """Train the judge ``start`` on right-against-wrong chains, held to itself."""
        reference = None if self.config.lora else self.load(start)
        return train_preferences(
            self.load(start),
            reference,
            preferences,
            config=self.config,
            encoder=self.encoder,
            folder=self.out / "checkpoints" / name,
            progress=self.progress,
            span=span,
        )

    def save(self, model: Any, folder: Path, about: dict[str, Any]) -> None:
        """Write a judge by the main process while the others wait."""
        if is_main():
            save_judge(model, self.encoder.tokenizer, folder, about=about)
        wait_for_everyone()

    def saved(self, folder: Path) -> dict[str, Any] | None:
        """What was noted of a judge written before; None where it was not."""
        if not (folder / "manifest.json").is_file():
            return None
        about: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return about

    def _sample(
        self, model: str, asked: Sequence[Item], span: Span, samples: int, iteration: int
    ) -> dict[str, list[Chain]]:
        """An empty ``model`` reads what another process has sampled."""
        backend = None
        if model:
            spec = BackendSpec("transformers", model, device=self.config.device, threads=self.config.threads)
            backend = TransformersBackend(spec)
        try:
            return sample(
                asked,
                backend=backend,
                config=self.config,
                samples=samples,
                iteration=iteration,
                file=self.out / "samples.jsonl",
                progress=self.progress,
                span=span,
            )
        finally:
            if backend is not None:
                backend.close()
            gc.collect()


def free_memory() -> None:
    """Give back what models that nobody names any more take, on the device too."""
    gc.collect()
    torch.cuda.empty_cache()


def part_of(span: Span, low: float, high: float) -> Span:
    """The part of ``span`` from the share ``low`` to the share ``high``."""
    width = span[1] - span[0]
    return span[0] + low * width, span[0] + high * width


def with_rationale(items: Sequence[Item]) -> list[Item]:
    """The items that carry a written rationale."""
    return [item for item in items if item.row.rationale]


def told(item: Item) -> Item:
    """The item with a prompt that gives the answer away (STaR-Rationalizer)."""
    return replace(item, prompt=item.prompt.told(first=item.first_wins), prompt_ids=())


def local_device(device: str) -> str:
    """The device of this process: with several processes on GPUs, that of its rank."""
    name = lease_name(device)
    rank = os.environ.get("LOCAL_RANK")
    return f"cuda:{rank}" if name.startswith("cuda") and rank is not None else device
