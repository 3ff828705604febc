"""The library's few entrances: load a judge, judge, train, measure, compare. Nothing here loads PyTorch on import.

>>> from genrm_engine import JudgeSettings, Message, Pair, load_judge
>>> pair = Pair("1", (Message("user", "What is 2 + 3?"),), "2 + 3 is 5.", "2 + 3 is 6.")
>>> with load_judge("scripted:longer") as judge:
...     [judgement] = judge.judge([pair], JudgeSettings(method="cot", samples_per_order=1))
>>> judgement.p_a
0.5
"""

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from genrm_engine.backends import Backend, load_backend
from genrm_engine.backends.loading import needing_extra
from genrm_engine.embedded import resolve_model
from genrm_engine.evaluation.metrics import Metrics
from genrm_engine.evaluation.run import measure
from genrm_engine.formats import refuse_collisions
from genrm_engine.judge import judge
from genrm_engine.progress import Progress
from genrm_engine.training.config import TrainConfig
from genrm_engine.training.tracking import Tracking
from genrm_engine.types import BackendKind, BackendSpec, Judgement, JudgeSettings, LabelledPair, Pair

HOME = Path(".tandem")


class Judge:
    """A loaded judge; close it, or use it in a ``with`` block."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def judge(self, pairs: Sequence[Pair], settings: JudgeSettings | None = None) -> list[Judgement]:
        """Judge the pairs in both orders; one judgement for each, in their order. Raises EngineError."""
        return judge(pairs, backend=self.backend, settings=settings or JudgeSettings())

    def evaluate(self, rows: Sequence[LabelledPair], settings: JudgeSettings | None = None) -> Metrics:
        """Judge labelled pairs and compare with the labels.

        Raises EngineError where an id stands for different pairs or choices, before anything is judged.
        """
        refuse_collisions(rows)
        return measure(rows, self.judge([row.pair for row in rows], settings))

    def close(self) -> None:
        """Free the model's memory."""
        self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def load_judge(
    model: str = "embedded", *, backend: BackendKind = "transformers", home: Path | None = None, **options: Any
) -> Judge:
    """Load a judge: a folder or name of a model, ``embedded``, ``embedded-base`` or ``scripted:NAME``.

    ``home`` is the folder where the embedded judges are kept (``TANDEM_HOME``, else ``.tandem``); ``options`` are the
    other fields of ``BackendSpec`` (device, dtype, threads, url, api_key, tokenizer). Raises EngineError.
    """
    kind: BackendKind = "scripted" if model.startswith("scripted:") else backend
    if kind in ("transformers", "vllm"):
        folder = home or Path(os.environ.get("TANDEM_HOME") or HOME)
        model = resolve_model(model, folder, progress=lambda _: None)
    return Judge(load_backend(BackendSpec(kind, model, **options)))


def train(
    config: TrainConfig, rows: Sequence[LabelledPair], out: Path, *, older: Sequence[LabelledPair] = (), track: str = ""
) -> dict[str, Any]:
    """Train a judge; it is written to ``out/judge``. Returns what ``run.json`` there holds.

    Progress goes to ``out/progress.jsonl``; a file ``out/cancel`` ends the run (Cancelled); a killed run, called again,
    goes on from its last checkpoint. ``older`` labels are mixed in by ``config.replay_share``. The curves also go to
    ``track``: ``tensorboard:FOLDER`` or ``mlflow:FOLDER-OR-ADDRESS``.
    """
    with needing_extra("training"):
        from genrm_engine.training.run import train as run
        from genrm_engine.training.trackers import tracked

    tracking = Tracking.parse(track, name=out.resolve().name) if track else None
    progress = Progress(out)
    with tracked(tracking, config, out, progress):
        return run(config, rows, out, progress=progress, older=older)
