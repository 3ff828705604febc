"""Preference data as others write it, read as pairs, labels and consensus; knows nothing of models or judges.

Tandem's own rows, TRL's (explicit and implicit), HH-RLHF, UltraFeedback-binarized, Chatbot Arena (both layouts),
MT-Bench's human judgments, PandaLM, scales of strength, Label Studio's tasks and Argilla's records, as JSON Lines or
one JSON list, plain or gzipped.
"""

from genrm_engine.formats.columns import guess_columns
from genrm_engine.formats.ids import refuse_collisions
from genrm_engine.formats.layouts import FORMATS, detect
from genrm_engine.formats.reading import iter_data, read_data, read_labelled, read_pairs
from genrm_engine.formats.rows import DataRow, HumanLabel, Label, labelled_pairs

__all__ = [
    "FORMATS",
    "DataRow",
    "HumanLabel",
    "Label",
    "detect",
    "guess_columns",
    "iter_data",
    "labelled_pairs",
    "read_data",
    "read_labelled",
    "read_pairs",
    "refuse_collisions",
]
