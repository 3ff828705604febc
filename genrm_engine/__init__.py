"""Generative reward models: judge pairs of responses, train the judge on human labels, measure it.

Nothing here imports PyTorch; ``genrm_engine.backends`` and ``genrm_engine.training`` do so when a model is loaded.
"""

from genrm_engine.errors import EngineError
from genrm_engine.types import Judgement, JudgeSettings, LabelledPair, Message, Pair, Rationale

__all__ = ["EngineError", "JudgeSettings", "Judgement", "LabelledPair", "Message", "Pair", "Rationale"]
