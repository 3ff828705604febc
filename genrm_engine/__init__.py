"""Generative reward models: judge pairs of responses, train the judge on human labels, measure it.

Nothing here imports PyTorch; ``genrm_engine.backends`` and ``genrm_engine.training`` do so when a model is loaded.
"""

from genrm_engine.api import Judge, load_judge, train
from genrm_engine.errors import EngineError
from genrm_engine.evaluation.compare import compare
from genrm_engine.evaluation.metrics import evaluate
from genrm_engine.formats import read_labelled, read_pairs
from genrm_engine.training.config import TrainConfig
from genrm_engine.types import Judgement, JudgeSettings, LabelledPair, Message, Pair, Rationale

__all__ = [
    "EngineError",
    "Judge",
    "JudgeSettings",
    "Judgement",
    "LabelledPair",
    "Message",
    "Pair",
    "Rationale",
    "TrainConfig",
    "compare",
    "evaluate",
    "load_judge",
    "read_labelled",
    "read_pairs",
    "train",
]
